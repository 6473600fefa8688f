"""How much of a device a launch takes: shapes by size, grids, pieces of segments."""

from __future__ import annotations

import numpy as np
import pytest

from hecore.kernels import Modulus
from hecore.kernels.cuda.abi import THREADS
from hecore.kernels.cuda.backend import CudaBackend
from hecore.kernels.cuda.device import ENTRIES
from hecore.kernels.cuda.segments import SHORTEST_PIECE, longest_piece
from hecore.kernels.cuda.shapes import (
    ALL_SHAPES,
    SHAPES,
    SMALL_SHAPES,
    Shape,
    blocks_for,
    full_grid,
    shape_for,
    words_for,
)

from .reference import ReferenceDevice

H200 = 132


@pytest.mark.parametrize(
    ("bits", "words"),
    [(2, 16), (512, 16), (513, 32), (1024, 32), (1536, 48), (2048, 64), (2049, 96), (3072, 96), (4096, 128),
     (8192, 256), (8193, 512), (16384, 512)],
)  # fmt: skip
def test_a_digit_has_the_fewest_words_that_hold_it(bits: int, words: int) -> None:
    assert words_for(bits) == words


def test_moduli_beyond_all_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="16385 bits is beyond the 16384"):
        words_for(16385)
    with pytest.raises(ValueError, match="beyond"):
        CudaBackend([ReferenceDevice()]).from_ints(Modulus(2**20000 + 1), [1])


def test_shapes_are_what_the_kernels_can_do() -> None:
    for shape in ALL_SHAPES:
        assert shape.limbs % 4 == 0
        assert 32 % shape.lanes == 0
        assert shape.groups * shape.lanes == THREADS
    assert len({shape.words for shape in SHAPES}) == len(SHAPES)
    assert {shape.words for shape in SMALL_SHAPES} <= {shape.words for shape in SHAPES}


def test_small_batches_take_more_lanes() -> None:
    assert shape_for(64, 2000, H200) == Shape(16, 4)
    assert shape_for(64, 10_000, H200) == Shape(8, 8)
    assert shape_for(128, 1, H200) == Shape(8, 16)


def test_grids() -> None:
    multiply, compare = ENTRIES["multiply_2"], ENTRIES["first_not_below"]
    assert blocks_for(multiply, Shape(8, 8), 16) == 1
    assert blocks_for(multiply, Shape(8, 8), 17) == 2
    assert blocks_for(compare, Shape(8, 8), 129) == 2


def test_a_power_launches_no_more_blocks_than_fit() -> None:
    device = ReferenceDevice(processors=1)
    backend = CudaBackend([device])
    x = backend.from_ints(Modulus(1009), range(1000))
    backend.mod_pow(x, 3)
    [grid] = [grid for entry, _, grid in device.launched if entry == "power_1"]
    assert grid == full_grid(1) < blocks_for(ENTRIES["power_1"], SHAPES[0], 1000)


@pytest.mark.parametrize("items", [10**6, 10**7])
@pytest.mark.parametrize("segments", [1, 160])
def test_segments_fill_the_device_evenly(items: int, segments: int) -> None:
    longest = longest_piece(items, segments, 64, H200)
    groups = full_grid(H200) * Shape(8, 8).groups
    assert 0.98 * groups <= items / longest <= groups


def test_few_items_are_not_cut_too_short() -> None:
    assert longest_piece(100, 1, 64, H200) == SHORTEST_PIECE


def test_a_sum_takes_few_levels() -> None:
    device = ReferenceDevice(processors=2)
    backend = CudaBackend([device])
    modulus = Modulus(2**61 - 1)
    x = backend.from_ints(modulus, range(1, 5001))
    device.launched.clear()
    product = backend.segment_product(x, np.arange(5000), np.array([0, 5000]))
    want = 1
    for value in range(1, 5001):
        want = want * value % modulus.value
    assert backend.to_ints(product) == [want]
    entries = [entry for entry, _, _ in device.launched if entry.startswith("segment")]
    assert len(entries) == 4
