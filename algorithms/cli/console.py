"""What the commands have in common: where they write, and how they fail."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.text import Text

from hecore.algorithms.errors import ConfigurationError, told
from hecore.errors import HecoreError

console = Console()
errors = Console(stderr=True)  # errors and progress: what is piped on is the result alone

INTERRUPTED = 130  # 128 + SIGINT, as shells report it


def friendly(command: Callable[..., None]) -> Callable[..., None]:
    """Errors that hecore raises on purpose end the command with their text and exit code 1."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except (HecoreError, OSError) as error:
            text = Text.assemble(("error:", "red"), " ", told(error))
            errors.print(text, highlight=False, soft_wrap=True)
            raise typer.Exit(1) from None
        except (KeyboardInterrupt, typer.Abort):
            errors.print("interrupted")
            raise typer.Exit(INTERRUPTED) from None

    return run


class _Logged(logging.Handler):
    """Log lines above a progress line, if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        errors.print(self.format(record), markup=False, highlight=False, soft_wrap=True)


def show_logs(level: int) -> None:
    """hecore's log lines from `level` on to standard error, and the warnings of others."""
    form = "%(asctime)s %(levelname)s %(message)s"
    logging.basicConfig(format=form, level=logging.WARNING, handlers=[_Logged()])
    logging.getLogger("hecore").setLevel(level)


def say(text: str) -> None:
    """A line as it is: a path may hold what looks like markup."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def refuse_to_overwrite(path: Path) -> None:
    """ConfigurationError if there is such a file: a result that somebody has is not lost to a new one."""
    if path.exists():
        raise ConfigurationError(f"{path} exists: it is not overwritten, choose another name")


def check_out(out: Path) -> None:
    """Before any work: ConfigurationError unless `--out` can become a new table, .parquet or .csv."""
    from hecore.algorithms.data.write import check_table_out

    check_table_out(out)
    refuse_to_overwrite(out)
    if not out.absolute().parent.is_dir():
        raise ConfigurationError(f"{out.absolute().parent} is no folder: --out needs one that is there")
