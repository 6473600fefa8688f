"""Logs of a run: FOLDER/log.jsonl always, standard error as text or as JSON lines.

What is logged names parties, files, phases and counts. No key, no mask and no value of the data gets here:
whoever logs sees to that, as errors do.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from hecore.algorithms.private_files import make_folder, open_descriptor

Form = Literal["text", "json"]
LOGGER = "hecore"


class JsonLines(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, text."""

    def format(self, record: logging.LogRecord) -> str:
        """See logging.Formatter."""
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {"time": when, "level": record.levelname.lower(), "logger": record.name}
        return json.dumps(line | {"text": record.getMessage()}, ensure_ascii=False)


class _Shown(logging.Handler):
    """Hands the texts of warnings to a function: a progress line is on the terminal, too."""

    def __init__(self, show: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._show = show

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler. What is an error ends the run, and is told at its end."""
        if record.levelno < logging.ERROR:
            self._show(record.getMessage())


@contextmanager
def log_to(folder: Path, form: Form, show: Callable[[str], None]) -> Iterator[None]:
    """Log from INFO on to the file; as JSON everything to standard error as well, else warnings to `show`."""
    make_folder(folder)
    descriptor = open_descriptor(folder / "log.jsonl", os.O_WRONLY | os.O_APPEND)
    logger = logging.getLogger(LOGGER)
    with os.fdopen(descriptor, "a", encoding="utf-8") as file:
        handlers: list[logging.Handler] = [logging.StreamHandler(file)]
        if form == "json":
            handlers.append(logging.StreamHandler())
        for handler in handlers:
            handler.setFormatter(JsonLines())
        if form == "text":
            handlers.append(_Shown(show))
        level, logger.propagate = logger.level, False
        logger.setLevel(logging.INFO)
        for handler in handlers:
            logger.addHandler(handler)
        try:
            yield
        finally:
            for handler in handlers:
                logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = True
