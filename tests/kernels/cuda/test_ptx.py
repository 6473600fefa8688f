"""The kernels as NVRTC compiles them: the PTX runs on the emulator, and gives the same integers.

So the inline assembly is proved too, and that the compiler keeps the carry chains together.
"""

from __future__ import annotations

import pytest

from hecore.bench import nvrtc
from hecore.kernels.cuda.device import ENTRIES
from hecore.kernels.cuda.shapes import ALL_SHAPES, Shape

from .emulator import build, ptx
from .emulator.device import EmulatedDevice
from .vectors import cases, fault

WHY_NOT = build.why_not() or nvrtc.why_not()
pytestmark = pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))


def name(shape: Shape) -> str:
    return f"{shape.lanes}x{shape.limbs}"


@pytest.mark.parametrize("entry", ENTRIES)
def test_ptx(entry: str) -> None:
    device = EmulatedDevice(builder=ptx.library)
    for case in cases(entry, Shape(8, 8)):
        assert fault(case, device) is None


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("entry", [entry for entry, kernel in ENTRIES.items() if kernel.lanes])
@pytest.mark.parametrize("shape", [*ALL_SHAPES, Shape(4, 16)], ids=name)
def test_ptx_of_all_shapes(shape: Shape, entry: str) -> None:
    device = EmulatedDevice(builder=ptx.library)
    for case in cases(entry, shape):
        assert fault(case, device) is None


def test_an_unknown_instruction_stops_the_translation() -> None:
    text = ".visible .entry multiply_1(\n.param .u64 p\n)\n{\n\tbrev.b32 \t%r1, %r2;\n\tret;\n\n}\n"
    with pytest.raises(ptx.UnknownInstruction, match="brev"):
        ptx.translated(text)
