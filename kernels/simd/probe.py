"""The ceiling of one core: how many halves of products it adds when nothing stands in their way."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from .cache import jit
from .constants import address, aligned, factor_words
from .lanes import FORM, LANES, Emitter, vector_intrinsic

#: Products side by side: as many as the form's registers hold.
CHAINS = FORM.rows
ROUNDS = 100_000


@vector_intrinsic(2)
def _chains(e: Emitter, memory: Any, rounds: Any) -> None:
    """CHAINS products a round, both halves added to sums that move up a limb: a row of `add_rows`.

    Factors in memory[i] and memory[CHAINS], sums in memory[CHAINS + 1 + i].
    """
    x = [e.as_factor(e.load(memory, i)) for i in range(CHAINS)]

    def column(_: Any, sums: list[Any]) -> list[Any]:
        sums = [*sums, e.zero]
        e.multiply_add(sums, x, e.as_factor(e.load(memory, CHAINS)), range(CHAINS))
        e.store(sums[0], memory, 2 * CHAINS + 1)
        return sums[1:]

    start = [e.load(memory, CHAINS + 1 + i) for i in range(CHAINS)]
    for i, one in enumerate(e.loop(e.const(0), rounds, start, column)):
        e.store(one, memory, CHAINS + 1 + i)


@jit
def _run(memory: Any, rounds: Any) -> None:
    _chains(memory, rounds)


def multiplications_per_second(seconds: float = 0.2) -> float:
    """Halves of products, multiplied and added, a second on one core; a vector of LANES counts as one."""
    memory = aligned(2 * CHAINS + 2, LANES)
    memory[:] = factor_words(np.full(LANES, 5, dtype=np.uint64))
    rounds = np.uint64(ROUNDS)
    _run(address(memory), rounds)
    best, end = 0.0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        started = time.perf_counter()
        _run(address(memory), rounds)
        best = max(best, 2 * CHAINS * ROUNDS / (time.perf_counter() - started))
    return best
