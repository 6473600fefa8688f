"""Budgets, turns and spreads, with clocks that tell what they are told to."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from hecore.bench import timing
from hecore.bench.timing import DeviceClock, Spread, Timing, host_clock, measure
from hecore.kernels.cuda.device import Times


class FakeClock:
    """Calls the run, and tells the next of some given times over and over."""

    def __init__(self, *seconds: float) -> None:
        self._seconds, self.calls = seconds, 0

    def __call__(self, run: Any) -> tuple[float, None]:
        run()
        self.calls += 1
        return self._seconds[(self.calls - 1) % len(self._seconds)], None


def test_spread() -> None:
    assert Spread.of([5.0, 1.0, 3.0, 2.0, 4.0]) == Spread(1.0, 2.0, 3.0, 4.0, 5.0, 5)
    assert Spread.of([2.0]) == Spread(2.0, 2.0, 2.0, 2.0, 2.0, 1)
    assert Spread.of([2.0, 4.0]).median == 3.0


def test_the_budget_is_spent() -> None:
    (result,) = measure([(int, FakeClock(0.01))], 1.0)
    assert 98 <= result.host.calls <= 105
    assert result.host.median == 0.01
    assert result.device is None


def test_the_median_is_not_moved_by_one_slow_call() -> None:
    (result,) = measure([(int, FakeClock(*[0.01] * 9, 0.3))], 1.0)
    assert result.host.median == 0.01
    assert result.host.highest == 0.3


@pytest.mark.parametrize(("seconds", "calls"), [(0.9, 3), (4.1, 3), (60.0, 3)])
def test_long_calls_are_repeated_too(seconds: float, calls: int) -> None:
    (result,) = measure([(int, FakeClock(seconds))], 1.0)
    assert result.host.calls == calls


def test_subjects_take_turns() -> None:
    order: list[str] = []
    runs = [
        (lambda: order.append("a"), FakeClock(0.1)),
        (lambda: order.append("b"), FakeClock(0.5)),
    ]
    measure(runs, 1.0)
    assert order.count("a") >= 10
    assert order.count("b") == 3
    assert order[:5] == ["a", "a", "a", "b", "a"]
    assert "a" in order[order.index("b") : len(order) - order[::-1].index("b")]


def test_processor_time_is_noted() -> None:
    (asleep,) = measure([(lambda: time.sleep(0.02), host_clock)], 0.05)
    assert asleep.cores < 0.5
    (awake,) = measure([(lambda: pow(3, 1 << 18), host_clock)], 0.05)
    assert asleep.cores < awake.cores < 1.5


def test_a_run_that_raises_costs_the_others_nothing() -> None:
    calls = iter([1.0, 1.0, 0.0])
    broken, whole = measure(
        [(lambda: 1 / next(calls), FakeClock(0.2)), (int, FakeClock(0.2))],
        1.0,
    )
    assert isinstance(broken, ZeroDivisionError)
    assert isinstance(whole, Timing)
    assert whole.host.calls >= 5


def test_nothing_to_measure() -> None:
    assert measure([], 1.0) == []


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_rests_and_returns(enabled: bool) -> None:
    seen = []
    was = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        measure([(lambda: seen.append(gc.isenabled()), FakeClock(9.0))], 1.0)
        assert seen == [False] * timing.LEAST_CALLS
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if was else gc.disable)()


def test_host_clock_runs_once() -> None:
    calls: list[int] = []
    seconds, device = host_clock(lambda: calls.append(1))
    assert calls == [1]
    assert 0 <= seconds < 60
    assert device is None


def test_a_device_tells_its_own_times() -> None:
    log: list[str] = []

    class Device:
        @contextmanager
        def timed(self) -> Iterator[Times]:
            times = Times()
            log.append("start")
            yield times
            log.append("stop")
            times.kernels, times.copies = 0.25, 0.125

    (result,) = measure([(lambda: log.append("run"), DeviceClock(Device()))], 1e-9)
    assert log[:3] == ["start", "run", "stop"]
    assert result.device == Spread.of([0.25] * result.host.calls)
    assert result.copies == Spread.of([0.125] * result.host.calls)
    assert result.host.lowest < 0.1


def test_constants_allow_a_median() -> None:
    assert timing.LEAST_CALLS >= 3
