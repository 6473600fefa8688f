"""Logs of a run: FOLDER/log.jsonl always, standard error as text or as JSON lines.

What is logged names parties, files, phases and counts. No key, no mask and no value of the data gets here:
whoever logs sees to that, as errors do.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

Form = Literal["text", "json"]
LOGGER = "hecore"


class JsonLines(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, text."""

    def format(self, record: logging.LogRecord) -> str:
        """See logging.Formatter."""
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {"time": when, "level": record.levelname.lower(), "logger": record.name}
        return json.dumps(line | {"text": record.getMessage()}, ensure_ascii=False)


@contextmanager
def log_to(folder: Path, form: Form) -> Iterator[None]:
    """Log from INFO on to the file, and to standard error: warnings as text, or everything as JSON."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(folder / "log.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    logger = logging.getLogger(LOGGER)
    with os.fdopen(descriptor, "a", encoding="utf-8") as file:
        to_file, to_errors = logging.StreamHandler(file), logging.StreamHandler()
        to_file.setFormatter(JsonLines())
        if form == "json":
            to_errors.setFormatter(JsonLines())
        else:
            to_errors.setLevel(logging.WARNING)
        level, logger.propagate = logger.level, False
        logger.setLevel(logging.INFO)
        handlers: list[logging.Handler] = [to_file, to_errors]
        for handler in handlers:
            logger.addHandler(handler)
        try:
            yield
        finally:
            for handler in handlers:
                logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = True
