"""The line of progress that a training writes on a terminal or into a pipe."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column

from hecore.algorithms.cli.console import errors

if TYPE_CHECKING:
    from hecore.algorithms.lr import Progress as Training


class ProgressLine:
    """Stage, epoch, loss, bar, share done, time passed, time left: on a terminal a line for each stage.

    Elsewhere it is plain text: each stage, and in training each tenth of the work or each minute.
    """

    def __init__(self) -> None:
        fixed = Column(no_wrap=True)  # where the line is too long, the bar gives way and nothing else
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[share]}"),
            TimeElapsedColumn(table_column=fixed),
            TextColumn("{task.fields[left]}"),
            console=errors,
        )
        self._task: TaskID | None = None
        self._stage = ""
        self._tenth, self._spoken = 0, time.monotonic()

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._task is None:
            return
        if kind is None:
            self._finish()
        self._bar.stop()

    def show(self, stage: str, training: Training | None) -> None:
        """What `run_demo` tells."""
        text, share, left = stage, "", ""
        if training is not None:
            text += f", {training.unit} {training.epoch + 1}/{training.epochs}"
            text += "" if training.loss is None else f", loss {training.loss:.4f}"
            share = f"{training.done:.0%}"
            rest = timedelta(seconds=round(training.seconds / training.done - training.seconds))
            left = f"left {rest}" if training.done < 1 else ""
        if errors.is_interactive:
            self._draw(stage, text, share, left, training)
        elif training is None or self._due(training):
            errors.print(", ".join(filter(None, [text, share, left])), highlight=False, soft_wrap=True)

    def _draw(self, stage: str, text: str, share: str, left: str, training: Training | None) -> None:
        if stage != self._stage:
            self._finish()
            self._stage = stage
            self._task = self._bar.add_task(text, total=None, share="", left="")
            self._bar.start()
        if self._task is not None and training is not None:
            # Full only when the stage is over: a full bar's clock stands still.
            done = min(training.done, 0.999)
            self._bar.update(self._task, description=text, total=1, completed=done, share=share, left=left)

    def _finish(self) -> None:
        if self._task is not None:
            self._bar.update(self._task, total=1, completed=1, left="")

    def _due(self, training: Training) -> bool:
        tenth, now = int(10 * training.done), time.monotonic()
        if tenth == self._tenth and now < self._spoken + 60:
            return False
        self._tenth, self._spoken = tenth, now
        return True
