"""The progress of work on rows: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

from hecore.algorithms.cli.console import errors
from hecore.algorithms.rows_done import RowsDone

#: Seconds between two lines of progress where there is no terminal.
QUIET = 30.0


class RowsLine:
    """Share of the rows done, rate and remaining time, a line for each name."""

    def __init__(self) -> None:
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[text]}"),
        )
        self._bar = Bar(*columns, console=errors, transient=True, disable=not errors.is_interactive)
        self._tasks: dict[str, Any] = {}
        self._spoken = time.monotonic()

    def __enter__(self) -> RowsLine:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, name: str, progress: RowsDone) -> None:
        """Where the work called `name` stands."""
        text = f"{progress.done / max(1, progress.total):.0%}"
        if progress.rate:
            rest = timedelta(seconds=round(progress.remaining))
            text += f", {progress.rate:,.0f} rows/s, {rest} left"
        if not errors.is_interactive:
            if time.monotonic() >= self._spoken + QUIET:
                self._spoken = time.monotonic()
                errors.print(f"{name}: {text}", highlight=False, soft_wrap=True, markup=False)
            return
        if name not in self._tasks:
            self._tasks[name] = self._bar.add_task(name, total=progress.total, text="")
        self._bar.update(self._tasks[name], completed=progress.done, text=text)
