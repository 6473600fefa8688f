"""Words, limbs and digits: what the compiled conversions make of rows, against Python integers."""

from __future__ import annotations

import random

import numpy as np
import pytest

from hecore.kernels import BackendUnavailable
from hecore.kernels.limbs import from_ints, to_ints

try:
    from hecore.kernels.simd import words
    from hecore.kernels.simd.lanes import LANES, LIMB_BITS
    from hecore.kernels.simd.probe import multiplications_per_second
except BackendUnavailable as error:
    pytest.skip(str(error), allow_module_level=True)

EDGES = [0, 1, (1 << 192) - 1, 1 << 63, 1 << 64, (1 << 64) - 1, 1 << 191, int("10" * 96, 2)]
VALUES = [*EDGES, *(random.Random(1).getrandbits(192) for _ in range(2 * LANES + 3))]


@pytest.mark.parametrize("bits", [1, 3, 5, 6, 8, 13, 32, 63])
@pytest.mark.parametrize("count", [1, LANES, LANES + 1, len(VALUES)])
def test_digits_of_exponents(bits: int, count: int) -> None:
    """Each lane has its own row's digits, lowest first; windows and lanes beyond the exponents are 0."""
    values = VALUES[-count:]
    windows, blocks = -(-192 // bits) + 2, -(-count // LANES)
    out = np.full((blocks, windows, LANES), -1, dtype=np.int64)
    words.lay_digits(from_ints(values, 3), out, bits, 0, blocks)
    for place in range(blocks * LANES):
        block, lane = divmod(place, LANES)
        value = values[0] if count == 1 else values[place] if place < count else 0
        expected = [(value >> (bits * window)) & ((1 << bits) - 1) for window in range(windows)]
        assert out[block, :, lane].tolist() == expected


def test_digits_of_a_range_of_blocks_leave_the_others_alone() -> None:
    out = np.full((4, 24, LANES), -1, dtype=np.int64)
    words.lay_digits(from_ints(VALUES[: 3 * LANES], 3), out, 8, 1, 3)
    assert (out[[0, 3]] == -1).all()
    assert (out[1:3] >= 0).all()


@pytest.mark.parametrize("chunk_bits", [1, 51, 52, 53, 100, 191, 192])
def test_split_and_join(chunk_bits: int) -> None:
    """A chunk of bits goes into limbs, and limbs go back to words."""
    rows = from_ints(VALUES, 3)
    limbs = np.full((len(VALUES), 24), 77, dtype=np.uint64)
    words.split(rows, limbs, 7, chunk_bits)
    expected = [(value >> 7) & ((1 << chunk_bits) - 1) for value in VALUES]
    found = [sum(int(limb) << (LIMB_BITS * k) for k, limb in enumerate(row)) for row in limbs]
    assert found == expected
    assert int(limbs.max()) < 1 << LIMB_BITS
    back = np.empty_like(rows)
    words.join(limbs, back, limbs.shape[1])
    assert to_ints(back) == expected


def test_the_ceiling_is_a_plausible_rate() -> None:
    assert 1e7 < multiplications_per_second(0.01) < 1e11
