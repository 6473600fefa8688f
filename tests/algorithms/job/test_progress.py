"""What is told of a job under way: how long it still takes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from hecore.algorithms.job import progress
from hecore.algorithms.job.progress import Pace, ProgressKeeper


class Clock:
    """Seconds that the test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


def test_a_pace_is_that_of_this_process_alone() -> None:
    """7 of 10 trees are of an earlier process: 2 of this one in 30 seconds are 15 seconds each."""
    clock = Clock()
    pace = Pace(clock.monotonic)
    assert pace.remaining == float("inf")
    clock.now += 14.0
    pace.step(0.8, 0.1)
    assert pace.remaining == pytest.approx(2 * 14.0)
    clock.now += 16.0
    pace.step(0.9, 0.1)
    assert (pace.remaining, pace.whole) == (pytest.approx(15.0), pytest.approx(150.0))
    clock.now += 3.0
    pace.step(1.0, 0.1)
    assert pace.remaining == pytest.approx(0.0)


def test_after_a_moment_nobody_knows_the_time_left() -> None:
    """Trees that wait in the store come at once after a restart."""
    clock = Clock()
    pace = Pace(clock.monotonic)
    clock.now += 0.01
    pace.step(0.8, 0.1)
    assert pace.remaining == float("inf")
    clock.now += 1.0
    pace.step(0.9, 0.1)
    assert pace.remaining == pytest.approx(0.505)


def test_the_time_while_a_party_was_away_belongs_to_no_pace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, metrics = Clock(), SimpleNamespace(connected=False)
    monkeypatch.setattr(progress, "time", clock)
    keeper = ProgressKeeper(tmp_path / "progress.json", None)
    keeper.watch([SimpleNamespace(peer="shop", metrics=metrics)])  # type: ignore[list-item]
    pace = Pace(keeper.together)
    clock.now += 600.0  # after a restart the other is not back yet
    keeper.together()
    metrics.connected = True
    for _ in range(2):
        clock.now += 5.0
        keeper.together()
    pace.step(0.5, 0.1)
    assert (pace.whole, pace.remaining) == (pytest.approx(100.0), pytest.approx(50.0))
