"""The progress of jobs, alignments, predictions: live lines on a terminal, else plain ones now and then."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from rich.console import RenderableType
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column
from rich.text import Text

from hecore.algorithms.cli.console import errors

if TYPE_CHECKING:
    from hecore.algorithms.job.progress import JobProgress, PeerLine
    from hecore.algorithms.rows_done import RowsDone

#: Seconds between two lines of one phase where there is no terminal.
QUIET = 30.0
#: A phase of fewer seconds leaves no line on a terminal.
BRIEF = 0.5
#: A peer that is away for so many seconds is mentioned.
AWAY = 3.0
#: Columns of a live line beside what it says: spinner, share and time left, time passed.
BESIDE = 32


@contextmanager
def progress_lines(form: Literal["text", "json"] = "text") -> Iterator[Callable[[JobProgress], None]]:
    """A function that shows where the work stands; with logs as JSON lines nothing else is written."""
    if form == "json":
        yield lambda progress: None
    elif errors.is_interactive:
        with _Live() as live:
            yield live.show
    else:
        yield _Plain().show


class _Lines(Progress):
    """A line for each phase, and one below them that is about no phase."""

    below = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        """See Progress."""
        yield from super().get_renderables()
        if self.below:
            yield Text(f"  {self.below}", "dim", no_wrap=True)


class _Live:
    """A phase: what is done, a bar, the time left. Below: bytes each way, peers that are away."""

    def __init__(self) -> None:
        fixed = Column(no_wrap=True)  # where a line is too long, the bar gives way first
        self._lines = _Lines(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[left]}"),
            TimeElapsedColumn(table_column=fixed),
            console=errors,
        )
        self._task: TaskID | None = None
        self._phase, self._began = "", 0.0

    def __enter__(self) -> _Live:
        self._lines.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._lines.below = ""
        if kind is None:
            self._finish()
        self._lines.stop()

    def show(self, progress: JobProgress) -> None:
        """Draw a snapshot."""
        look: dict[str, Any] = {
            "description": fitting(phase_text(progress), errors.width - BESIDE),
            "total": None if progress.done is None else 1.0,
            "completed": min(progress.done or 0.0, 0.999),  # a full bar's clock stands still
            "left": left_text(progress),
        }
        self._lines.below = line_text(progress)
        now = time.monotonic()
        if self._task is None or progress.phase != self._phase:
            self._finish(brief=now < self._began + BRIEF)
            self._phase, self._began = progress.phase, now
            self._task = self._lines.add_task(**look)
        else:
            self._lines.update(self._task, **look)

    def _finish(self, *, brief: bool = False) -> None:
        if self._task is None:
            return
        if brief:
            self._lines.remove_task(self._task)
        else:
            self._lines.update(self._task, total=1.0, completed=1.0, left="")
        self._task = None


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


def rows_progress(phase: str, rows: RowsDone) -> JobProgress:
    """Work on rows, as a phase: rate, share of the rows done, time left."""
    from hecore.algorithms.job.progress import JobProgress  # heavy: ZeroMQ

    detail = f"{rows.rate:,.0f} rows/s" if rows.rate else ""
    done = rows.done / max(1, rows.total)
    return JobProgress(phase=phase, detail=detail, done=done, remaining=rows.remaining)


def fitting(text: str, width: int) -> str:
    """As much of a text of parts, joined by commas, as fits; the first part is always there."""
    while len(text) > width and ", " in text:
        text = text.rpartition(", ")[0]
    return text


def phase_text(progress: JobProgress) -> str:
    """The phase, and what is known of it."""
    return f"{progress.phase}: {progress.detail}" if progress.detail else progress.phase


def left_text(progress: JobProgress) -> str:
    """The share that is done and the time left."""
    if progress.done is None:
        return ""
    share = f"{progress.done:.0%}"
    return share if progress.left is None else f"{share}, {progress.left} left"


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
        if _is_absent(line):
            text += f", {name} is away" if line.met else f", {name} has not come yet"
    return text


def _is_absent(line: PeerLine) -> bool:
    return not line.connected and line.away > AWAY


def size(count: float) -> str:
    """Bytes for people."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.2f} GB"
