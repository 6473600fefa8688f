"""How many word products a device does with nothing else to do: the ceiling for all that it computes."""

from __future__ import annotations

import numpy as np

from .abi import PROBE_CHAINS, THREADS
from .device import Device
from .shapes import SHAPES

#: Blocks for each multiprocessor: 16 × 128 threads are all it can hold.
BLOCKS = 16
#: Rounds of a launch: some milliseconds on any device.
ROUNDS = 1 << 14
#: Launches; the fastest counts, as others may have waited for the clock to rise.
LAUNCHES = 5


def word_product_rate(device: Device, rounds: int = ROUNDS) -> float:
    """32 × 32 + 64-bit products a second, measured by the device's own clock."""
    blocks = BLOCKS * device.processors
    count = blocks * THREADS
    out = device.empty((count,), np.uint32)
    seconds = []
    for launch in range(LAUNCHES + 1):
        with device.timed() as times:
            device.launch("word_products", SHAPES[0], blocks, [out, rounds, count])
        if launch:  # the first one compiles
            seconds.append(times.kernels)
    return PROBE_CHAINS * rounds * count / min(seconds)
