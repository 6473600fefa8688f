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


@dataclass
class Meter:
    """Totals of a run.

    operations:  ciphertexts per kind: "encrypt", "decrypt", "add", "add_plain", "negate", "multiply", "sum",
                 "pack", "rerandomize", "validate"; products asked for: "matrix_entries", "histogram_entries";
                 bytes of batches: "bytes_written", "bytes_read"
    seconds:     wall time per phase, as entered by `phase`; phases do not nest
    """

    operations: Counter[str] = field(default_factory=Counter)
    seconds: Counter[str] = field(default_factory=Counter)

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
        """Add the time spent inside to `seconds[name]`."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - started  # type: ignore[assignment]


def count(operation: str, elements: int) -> None:
    """Report `elements` elements of an operation to the active meter, if there is one."""
    meter = _active.get()
    if meter is not None:
        meter.operations[operation] += elements
