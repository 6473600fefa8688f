"""Work on all blocks of LANES elements, cut over the threads of a backend and the one that calls."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from ..threads import Workers
from .batch import blocks_of
from .constants import Constants, address, aligned
from .lanes import FORM, LANES
from .rounding import TOWARDS_ZERO, mode, set_mode

#: work(first block, last block, scratch)
Work = Callable[[int, int, np.uint64], None]


def run_blocks(workers: Workers, work: Work, count: int, k: Constants, entries: int = 0) -> None:
    """work(first, last, scratch) over all blocks of `count` elements; returns when all are done.

    Scratch has room for a table of `entries` rows besides what every kernel needs. Kernels that compute in
    floating point round towards zero (`rounding`); so does what Python runs meanwhile on the same thread,
    such as handlers of signals.
    """
    blocks = blocks_of(count)
    threads = min(workers.count, blocks)

    def part(first: int, last: int) -> None:
        scratch = aligned(8 * k.limbs + (2 + entries) * k.stride, LANES)
        place = address(scratch)
        if not FORM.floats:
            work(first, last, place)
            return
        before = mode()
        try:  # an interrupt at any place leaves the mode as it was
            set_mode(TOWARDS_ZERO)
            work(first, last, place)
        finally:
            set_mode(before)

    if threads <= 1:
        part(0, blocks)
        return
    mine, *others = pairwise([blocks * i // threads for i in range(threads + 1)])
    futures = [workers.pool.submit(part, *pair) for pair in others]
    part(*mine)  # a thread less to wake
    for future in futures:
        future.result()
