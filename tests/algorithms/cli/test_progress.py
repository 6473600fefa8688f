"""The lines of progress: of a job, of work on rows; on a terminal and elsewhere."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from types import SimpleNamespace

import pytest
from rich.console import Console

from hecore.algorithms.cli import progress as lines
from hecore.algorithms.cli.progress import (
    fitting,
    left_text,
    line_text,
    phase_text,
    progress_lines,
    rows_progress,
    size,
)
from hecore.algorithms.job.progress import JobProgress, PeerLine
from hecore.algorithms.rows_done import RowsDone
from hecore.errors import HecoreError

from ..command import COLOUR, CONTROL, ESCAPE

CONNECTED = PeerLine(
    connected=True, met=True, away=0, sent=1_500_000, received=20, waiting=0, round_trip=0.012
)


def test_the_line_of_a_job() -> None:
    peers = {
        "shop": CONNECTED,
        "telco": PeerLine(
            connected=False, met=True, away=9, sent=0, received=0, waiting=1 << 21, round_trip=None
        ),
        "x": PeerLine(connected=False, met=False, away=9, sent=0, received=0, waiting=0, round_trip=None),
    }
    progress = JobProgress(phase="training", detail="tree 3/9", done=1 / 3, remaining=75.0, peers=peers)
    alone = JobProgress(phase="training", done=1 / 3, remaining=75.0, peers={"shop": CONNECTED})
    assert phase_text(progress) == "training: tree 3/9"
    assert left_text(alone) == "33%, 0:01:15 left"
    assert left_text(progress) == "33%"  # while somebody is away nobody knows
    told = line_text(progress)
    assert told == "↑ 1.5 MB ↓ 20 B (2.1 MB queued) 12 ms, telco is away, x has not come yet"
    assert left_text(JobProgress(phase="a", done=0.0, remaining=float("inf"))) == "0%"
    assert [size(n) for n in (0, 999, 1000, 2.5e6, 3e9)] == ["0 B", "999 B", "1.0 kB", "2.5 MB", "3.00 GB"]


def test_work_on_rows_tells_rate_share_and_remaining_time(capfd: pytest.CaptureFixture[str]) -> None:
    rows = RowsDone(done=250_000, total=1_000_000, resumed=50_000, seconds=20.0)
    with progress_lines() as tell:
        tell(rows_progress("scoring", rows))
        tell(rows_progress("scoring", rows))
    assert capfd.readouterr().err == "scoring: 10,000 rows/s, 25%, 0:01:15 left\n"
    assert rows_progress("scoring", RowsDone(done=0, total=0, resumed=0, seconds=0.0)).done == 0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that pass when a test says so."""
    now = [1000.0]
    monkeypatch.setattr(lines, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def piped(steps: int, seconds: float, clock: list[float], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is written elsewhere than on a terminal during a training of so many steps."""
    pipe = io.StringIO()
    monkeypatch.setattr(lines, "errors", Console(file=pipe, width=80))
    with progress_lines() as tell:
        tell(JobProgress(phase="making keys"))
        for step in range(1, steps + 1):
            clock[0] += seconds
            rest = (steps - step) * seconds
            tell(JobProgress(phase="training", detail=f"step {step}", done=step / steps, remaining=rest))
    assert not CONTROL.search(pipe.getvalue())
    return pipe.getvalue().splitlines()


def test_elsewhere_a_line_for_each_phase_and_tenth(
    clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = piped(5000, 0.001, clock, monkeypatch)
    assert len(told) == 12
    assert told[:3] == [
        "making keys",
        "training: step 1, 0%, 0:00:05 left",
        "training: step 500, 10%, 0:00:04 left",
    ]
    assert told[-1] == "training: step 5000, 100%, 0:00:00 left"


def test_elsewhere_slow_work_says_something_every_half_minute(
    clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert 145 <= len(piped(300, 20, clock, monkeypatch)) <= 155  # 300 steps of 20 s: ten minutes for a tenth


def test_with_logs_as_json_nothing_is_shown(capfd: pytest.CaptureFixture[str]) -> None:
    with progress_lines("json") as tell:
        tell(JobProgress(phase="training"))
    assert capfd.readouterr().err == ""


def on_screen(
    monkeypatch: pytest.MonkeyPatch,
    told: Iterable[JobProgress],
    width: int = 80,
    good: bool = True,
    **look: bool,
) -> tuple[str, list[str]]:
    """What is written to a terminal, and its lines as they stood, one after the other; `good`: no error."""
    screen = io.StringIO()
    monkeypatch.setattr(lines, "errors", Console(file=screen, force_terminal=True, width=width, **look))
    with suppress(HecoreError), progress_lines() as tell:
        for progress in told:
            tell(progress)
        if not good:
            raise HecoreError("lost")
    text = re.split(r"[\r\n]+", ESCAPE.sub("", screen.getvalue()))
    return screen.getvalue(), [line.rstrip() for line in text if line.strip()]


TRAINING = JobProgress(
    phase="training",
    detail="tree 17/20, logloss 0.0382, validation logloss 0.0500, 1.0 s per tree",
    done=0.85,
    remaining=3.0,
    peers={"shop": CONNECTED},
)


@pytest.mark.parametrize(
    ("width", "text"),
    [
        (80, "tree 17/20, logloss 0.0382 "),
        (100, "tree 17/20, logloss 0.0382, validation logloss 0.0500 "),
        (120, "tree 17/20, logloss 0.0382, validation logloss 0.0500, 1.0 s per tree "),
    ],
)
@pytest.mark.parametrize("no_color", [False, True])
def test_on_a_terminal_a_long_line_loses_its_last_parts_and_nothing_is_cut(
    monkeypatch: pytest.MonkeyPatch, width: int, text: str, no_color: bool
) -> None:
    written, shown = on_screen(monkeypatch, [TRAINING], width=width, good=False, no_color=no_color)
    assert max(map(len, shown)) <= width
    assert "…" not in written
    assert shown[-1][1:].startswith(f" training: {text}")  # behind a spinner, which turns
    assert re.search(r" 85%, 0:00:03 left 0:\d\d:\d\d$", shown[-1])
    assert bool(COLOUR.search(written)) != no_color


def test_what_is_about_no_phase_stands_below_while_the_work_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    _, shown = on_screen(monkeypatch, [TRAINING])
    assert "  ↑ 1.5 MB ↓ 20 B 12 ms" in shown
    assert "↑" not in shown[-1]


def test_a_phase_that_failed_does_not_look_done(monkeypatch: pytest.MonkeyPatch) -> None:
    _, shown = on_screen(monkeypatch, [TRAINING], good=False)
    assert " 85%, 0:00:03 left" in shown[-1]
    _, shown = on_screen(monkeypatch, [TRAINING])
    assert " 85%" not in shown[-1]


def test_a_phase_that_took_no_time_leaves_no_line(
    monkeypatch: pytest.MonkeyPatch, clock: list[float]
) -> None:
    def phases() -> Iterator[JobProgress]:
        for phase, seconds in (("reading the file", 0.1), ("aligning rows", 5.0), ("making keys", 0.2)):
            yield JobProgress(phase=phase)
            clock[0] += seconds
        yield JobProgress(phase="training")

    _, shown = on_screen(monkeypatch, phases())
    last = shown[-2:]
    assert last[0].strip().startswith("aligning rows")
    assert last[1].strip().startswith("training")


@pytest.mark.parametrize(
    ("width", "text"), [(40, "a: one, two, three"), (12, "a: one, two"), (10, "a: one"), (2, "a: one")]
)
def test_what_does_not_fit_is_left_out_from_the_end(width: int, text: str) -> None:
    assert fitting("a: one, two, three", width) == text
