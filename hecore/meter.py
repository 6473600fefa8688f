"""Counting what a run did: operations, bytes on the wire, and seconds by phase.

`with meter.activate():` makes a meter the one that the operations of this thread report to;
`meter.phase(name)` adds time to a phase. Where no meter is active, counting costs one look-up.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

_active: ContextVar[Meter | None] = ContextVar("hecore_meter", default=None)


#: A timeline has so many slots at most; a longer run makes them wider.
MOST_SLOTS = 240


@dataclass
class Timeline:
    """When the phases of a run were: seconds of each in slots of equal width, however long the run.

        slot i covers [i·width, (i+1)·width) after `start`;  Σ over phases ≤ width

    start   perf_counter() at the beginning of slot 0
    """

    start: float
    width: float = 0.05
    slots: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, started: float, ended: float, share: float = 1.0) -> None:
        """Add a piece of a phase, given as perf_counter() values; what lies before `start` is left out.

        share   of the piece that belongs to the phase, evenly over it
        """
        begin, end = max(0.0, started - self.start), ended - self.start
        if end <= begin:
            return
        while end > MOST_SLOTS * self.width:
            self._widen()
        row = self.slots.setdefault(name, [])
        last = min(int(end / self.width), MOST_SLOTS - 1)
        row.extend([0.0] * (last + 1 - len(row)))
        for slot in range(int(begin / self.width), last + 1):
            low, high = slot * self.width, (slot + 1) * self.width
            row[slot] += share * max(0.0, min(end, high) - max(begin, low))

    def _widen(self) -> None:
        self.width *= 2
        for name, row in self.slots.items():
            padded = [*row, 0.0] if len(row) % 2 else row
            self.slots[name] = [a + b for a, b in zip(padded[::2], padded[1::2], strict=True)]


@dataclass
class Meter:
    """Totals of a run.

    operations:  ciphertexts per kind: "encrypt", "decrypt", "add", "add_plain", "negate", "multiply", "sum",
                 "pack", "rerandomize", "validate"; products asked for: "matrix_entries", "histogram_entries";
                 bytes of batches: "bytes_written", "bytes_read"
    by_phase:    the same operations by the phase in which they were done; "" outside of any
    seconds:     wall time per phase, as entered by `phase`; of nested phases the inner one counts
    timeline:    when the phases were, if wanted
    """

    operations: Counter[str] = field(default_factory=Counter)
    by_phase: dict[str, Counter[str]] = field(default_factory=dict)
    seconds: Counter[str] = field(default_factory=Counter)
    timeline: Timeline | None = None
    _open: list[tuple[str, float]] = field(default_factory=list, repr=False)

    @contextmanager
    def activate(self) -> Iterator[Meter]:
        """Make this the meter of the current thread (or task)."""
        token = _active.set(self)
        try:
            yield self
        finally:
            _active.reset(token)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the time spent inside to `seconds[name]`; one thread at a time enters phases of a meter."""
        now = time.perf_counter()
        if self._open:  # the outer phase pauses
            self._add(*self._open[-1], now)
        self._open.append((name, now))
        try:
            yield
        finally:
            now = time.perf_counter()
            self._add(*self._open.pop(), now)
            if self._open:
                self._open[-1] = self._open[-1][0], now

    def count(self, operation: str, elements: int) -> None:
        """Add `elements` elements of an operation, in the phase that is open."""
        self.operations[operation] += elements
        name = self._open[-1][0] if self._open else ""
        self.by_phase.setdefault(name, Counter())[operation] += elements

    def _add(self, name: str, started: float, ended: float) -> None:
        self.seconds[name] += ended - started  # type: ignore[assignment]
        if self.timeline is not None:
            self.timeline.add(name, started, ended)


@contextmanager
def phase(name: str) -> Iterator[None]:
    """A phase of the active meter, if there is one."""
    meter = _active.get()
    if meter is None:
        yield
    else:
        with meter.phase(name):
            yield


def count(operation: str, elements: int) -> None:
    """Report `elements` elements of an operation to the active meter, if there is one."""
    meter = _active.get()
    if meter is not None:
        meter.count(operation, elements)
