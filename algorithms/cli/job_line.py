"""The progress of a job: a live line on a terminal, else a plain line for each phase and each while."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column

from hecore.algorithms.cli.console import errors

if TYPE_CHECKING:
    from hecore.algorithms.job.progress import JobProgress

#: Seconds between two lines of one phase where there is no terminal.
QUIET = 30.0
#: A peer that is away for so many seconds is mentioned.
AWAY = 3.0


@contextmanager
def job_line(form: Literal["text", "json"]) -> Iterator[Callable[[JobProgress], None]]:
    """A function that shows where a job stands; with logs as JSON lines nothing else is written."""
    if form == "json":
        yield lambda progress: None
    elif errors.is_interactive:
        with _Live() as live:
            yield live.show
    else:
        yield _Plain().show


class _Live:
    """One line a phase: what is done, a bar, the time left, bytes each way, peers that are away."""

    def __init__(self) -> None:
        fixed = Column(no_wrap=True)
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[left]}"),
            TimeElapsedColumn(table_column=fixed),
            TextColumn("{task.fields[line]}", markup=False),
            console=errors,
        )
        self._task: TaskID | None = None
        self._phase = ""

    def __enter__(self) -> _Live:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._finish()
        self._bar.stop()

    def show(self, progress: JobProgress) -> None:
        """Draw a snapshot."""
        if progress.phase != self._phase:
            self._finish()
            self._phase = progress.phase
            self._task = self._bar.add_task(progress.phase, total=None, left="", line="")
        if self._task is not None:
            total = None if progress.done is None else 1.0
            self._bar.update(
                self._task,
                description=phase_text(progress),
                total=total,
                completed=min(progress.done or 0.0, 0.999),  # a full bar's clock stands still
                left=left_text(progress),
                line=line_text(progress),
            )

    def _finish(self) -> None:
        if self._task is not None:
            self._bar.update(self._task, total=1.0, completed=1.0, left="", line="")


class _Plain:
    """A line for each phase, each tenth of it, and when QUIET seconds have passed."""

    def __init__(self) -> None:
        self._said: tuple[str, int] = ("", 0)
        self._spoken = time.monotonic()

    def show(self, progress: JobProgress) -> None:
        """Write a snapshot if it is due."""
        here = (progress.phase, int(10 * (progress.done or 0.0)))
        now = time.monotonic()
        if here == self._said and now < self._spoken + QUIET:
            return
        self._said, self._spoken = here, now
        parts = [phase_text(progress), left_text(progress), line_text(progress)]
        errors.print(", ".join(filter(None, parts)), highlight=False, soft_wrap=True, markup=False)


def phase_text(progress: JobProgress) -> str:
    """The phase, and what is known of it."""
    return f"{progress.phase}: {progress.detail}" if progress.detail else progress.phase


def left_text(progress: JobProgress) -> str:
    """The share that is done and the time left."""
    if progress.done is None:
        return ""
    share = f"{progress.done:.0%}"
    if progress.remaining is None or not progress.remaining < 1e8:
        return share
    return f"{share}, {timedelta(seconds=round(progress.remaining))} left"


def line_text(progress: JobProgress) -> str:
    """Bytes each way in this process, the round trip, and who is away."""
    if not progress.peers:
        return ""
    lines = progress.peers.values()
    text = f"↑ {size(sum(line.sent for line in lines))} ↓ {size(sum(line.received for line in lines))}"
    waiting = sum(line.waiting for line in lines)
    text += f" ({size(waiting)} queued)" if waiting > 1 << 20 else ""
    trips = [line.round_trip for line in lines if line.round_trip is not None]
    text += f" {1000 * max(trips):.0f} ms" if trips else ""
    for name, line in progress.peers.items():
        if not line.connected and line.away > AWAY:
            text += f", {name} is away" if line.met else f", {name} has not come yet"
    return text


def size(count: float) -> str:
    """Bytes for people."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.2f} GB"
