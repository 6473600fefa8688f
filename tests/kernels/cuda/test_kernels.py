"""Every CUDA kernel, on every shape, against Python integers: on the host emulator, without a GPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hecore.kernels.cuda import abi
from hecore.kernels.cuda.device import ENTRIES
from hecore.kernels.cuda.shapes import ALL_SHAPES, Shape

from .emulator import build
from .emulator.device import EmulatedDevice
from .reference import ReferenceDevice
from .vectors import LANES, PLAIN, Case, cases, fault

needs_compiler = pytest.mark.skipif(build.why_not() is not None, reason=str(build.why_not()))

ALL_SHAPES_BY_SIZE = sorted(ALL_SHAPES, key=lambda shape: shape.words)
LANE_ENTRIES = [entry for entry, kernel in ENTRIES.items() if kernel.lanes]
PLAIN_ENTRIES = [entry for entry, kernel in ENTRIES.items() if not kernel.lanes]


def name(shape: Shape) -> str:
    return f"{shape.lanes}x{shape.limbs}"


@needs_compiler
@pytest.mark.parametrize("entry", LANE_ENTRIES)
@pytest.mark.parametrize("shape", ALL_SHAPES, ids=name)
def test_rows(shape: Shape, entry: str) -> None:
    device = EmulatedDevice()
    longest = shape == ALL_SHAPES_BY_SIZE[-1]
    for case in cases(entry, shape, effort=0 if longest else 1):
        assert fault(case, device) is None


@needs_compiler
@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("entry", LANE_ENTRIES)
@pytest.mark.parametrize("shape", [*ALL_SHAPES, Shape(4, 16)], ids=name)
def test_more_rows(shape: Shape, entry: str) -> None:
    device = EmulatedDevice()
    for case in cases(entry, shape, effort=6):
        assert fault(case, device) is None


@needs_compiler
@pytest.mark.parametrize("entry", PLAIN_ENTRIES)
def test_plain_numbers(entry: str) -> None:
    device = EmulatedDevice()
    for case in cases(entry, Shape(8, 8)):
        assert fault(case, device) is None


@needs_compiler
def test_offsets_have_64_bits(tmp_path: Path) -> None:
    """Rows behind 2^31 words, in a file that is empty but for them."""
    shape = Shape(16, 16)
    case = next(c for c in cases("multiply_2", shape) if c.label == "modulo R − 1")
    _, a, _, _, b, _, _, constants, inverse, _ = case.arguments
    row = a[0].size
    far = (1 << 31) // row + 3
    batch = np.memmap(tmp_path / "batch", np.uint32, "w+", shape=(far + 2, *a.shape[1:]))
    batch[far : far + 2] = a[2:4]
    places = np.array([far, far + 1], np.int32)
    out = [np.zeros_like(a[:2]) for _ in range(2)]
    device = EmulatedDevice()
    device.launch("multiply_2", shape, 1, [out[0], batch, places, 1, b, None, 1, constants, inverse, 2])
    device.launch("multiply_2", shape, 1, [out[1], a[2:4], None, 1, b, None, 1, constants, inverse, 2])
    assert out[0].tobytes() == out[1].tobytes()
    assert out[0].any()


def test_every_kernel_has_cases() -> None:
    assert {kernel.name for kernel in abi.KERNELS} == {*LANES, *PLAIN}
    for entry in ENTRIES:
        assert next(cases(entry, Shape(4, 4))).arguments[-1] > 0


class OneBitOff(ReferenceDevice):
    """A device that is nearly right."""

    def execute(self, entry, shape, grid, named):
        super().execute(entry, shape, grid, named)
        named["out"].reshape(-1)[-1] ^= 1


@pytest.mark.parametrize("entry", ["multiply_2", "unpack_slots"])
def test_a_wrong_bit_is_noticed(entry: str) -> None:
    case: Case = next(cases(entry, Shape(4, 4)))
    assert fault(case, ReferenceDevice()) is None
    assert "first" in str(fault(case, OneBitOff()))
