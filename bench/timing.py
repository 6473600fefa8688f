"""Honest timing: warm-up is somebody else's, calls are repeated within a budget, the median counts.

Subjects that are compared are measured in turns, a part of their budget at a time: what the machine does
meanwhile falls on all of them. The garbage collector rests while the clock runs. Host clock and device
times are kept apart: a rate is always of the host clock, conversions and transfers included.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from hecore.kernels.cuda.device import Device, Times

#: A budget is spent in this many turns.
TURNS = 4
#: Calls at least, however long they take: fewer have no quartiles.
LEAST_CALLS = 3

Run = Callable[[], Any]


class Spread(NamedTuple):
    """Seconds a call: extremes, quartiles and median of `calls` calls."""

    lowest: float
    lower: float
    median: float
    upper: float
    highest: float
    calls: int

    @classmethod
    def of(cls, samples: Sequence[float]) -> Spread:
        """The spread of at least one sample."""
        if len(samples) == 1:
            only = samples[0]
            return cls(only, only, only, only, only, 1)
        lower, median, upper = statistics.quantiles(samples, n=4, method="inclusive")
        return cls(min(samples), lower, median, upper, max(samples), len(samples))


@dataclass(frozen=True)
class Timing:
    """One measurement: the host clock, and where there is a device, its own: kernels and copies apart.

    cores  processor seconds of this process a second: below 1 with one thread, something else ran, too
    """

    host: Spread
    device: Spread | None = None
    copies: Spread | None = None
    cores: float = 1.0


class Clock(Protocol):
    """Times one call: (host seconds, the device's times or None)."""

    def __call__(self, run: Run) -> tuple[float, Times | None]: ...


def host_clock(run: Run) -> tuple[float, None]:
    """The host's clock."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started, None


class DeviceClock:
    """The host's clock, and what the device says of its kernels and copies in the same call."""

    def __init__(self, device: Device) -> None:
        self._device = device

    def __call__(self, run: Run) -> tuple[float, Times]:
        with self._device.timed() as times:
            host, _ = host_clock(run)
        return host, times


@dataclass
class _Series:
    run: Run
    clock: Clock
    budget: float
    host: list[float] = field(default_factory=list)
    device: list[Times] = field(default_factory=list)
    processor: float = 0.0
    error: Exception | None = None

    def turn(self) -> None:
        """Call until a turn's share of the budget is spent, at least once, or a call fails."""
        try:
            self._calls()
        except Exception as error:
            self.error = error

    def _calls(self) -> None:
        spent = 0.0
        while spent < self.budget / TURNS:
            started = time.process_time()
            host, device = self.clock(self.run)
            self.processor += time.process_time() - started
            self.host.append(host)
            if device is not None:
                self.device.append(device)
            spent += max(host, 1e-9)

    @property
    def done(self) -> bool:
        """Whether the budget is spent on enough calls, or a call failed."""
        if self.error is not None:
            return True
        return sum(self.host) >= self.budget and len(self.host) >= LEAST_CALLS

    @property
    def outcome(self) -> Timing | Exception:
        """What came out: the timing, or what a call raised."""
        if self.error is not None:
            return self.error
        cores = self.processor / sum(self.host)
        if not self.device:
            return Timing(Spread.of(self.host), cores=cores)
        kernels = Spread.of([times.kernels for times in self.device])
        copies = Spread.of([times.copies for times in self.device])
        return Timing(Spread.of(self.host), kernels, copies, cores)


def measure(runs: Sequence[tuple[Run, Clock]], seconds: float) -> list[Timing | Exception]:
    """Time all runs for `seconds` > 0 each, in turns; every one has been called before.

    A run that raises gives its exception, and costs the others nothing.
    """
    series = [_Series(run, clock, seconds) for run, clock in runs]
    with _collector_at_rest():
        while waiting := [one for one in series if not one.done]:
            for one in waiting:
                one.turn()
    return [one.outcome for one in series]


@contextmanager
def _collector_at_rest() -> Iterator[None]:
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
