"""The ceiling of one core: how many vector multiplications it does when nothing stands in their way."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numba import njit

from .cache import CACHED, restore
from .constants import address, aligned
from .lanes import FORM, LANES, Emitter, vector_intrinsic

#: Accumulators side by side: more than the multiplier's latency times its units, and no more than fit beside
#: the factors in the form's registers.
CHAINS = 16 if FORM.rows > 8 else 10
ROUNDS = 100_000


@vector_intrinsic(2)
def _chains(e: Emitter, memory: Any, rounds: Any) -> None:
    """memory[CHAINS + i] += memory[i]·y for i < CHAINS, and y += 1, `rounds` times: all products differ."""

    def column(_: Any, carried: list[Any]) -> list[Any]:
        *sums, y = carried
        sums = [e.multiply_low(one, e.load(memory, i), y) for i, one in enumerate(sums)]
        return [*sums, e.add(y, e.splat_const(1))]

    start = [e.load(memory, CHAINS + i) for i in range(CHAINS)]
    *sums, _ = e.loop(e.const(0), rounds, [*start, e.splat_const(3)], column)
    for i, one in enumerate(sums):
        e.store(one, memory, CHAINS + i)


@njit(nogil=True, cache=CACHED)
def _run(memory: Any, rounds: Any) -> None:
    _chains(memory, rounds)


restore()


def multiplications_per_second(seconds: float = 0.2) -> float:
    """Multiplications with addition a second on one core, a vector of LANES counted as one."""
    memory = aligned(2 * CHAINS, LANES)
    memory[:] = 5
    rounds = np.uint64(ROUNDS)
    _run(address(memory), rounds)
    best, end = 0.0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        started = time.perf_counter()
        _run(address(memory), rounds)
        best = max(best, CHAINS * ROUNDS / (time.perf_counter() - started))
    return best
