"""The compiled code of the kernels: for every architecture, without spills, multiplying as expected.

A compiler that stops joining low and high products into one IMAD.WIDE, or that spills, would cost half the
speed and fail no other test.
"""

from __future__ import annotations

import pytest

from hecore.bench import gpu_code, nvrtc, sass
from hecore.bench.gpu_code import H200, ROWS
from hecore.kernels.cuda import abi
from hecore.kernels.cuda.shapes import ALL_SHAPES, Shape

needs_nvrtc = pytest.mark.skipif(nvrtc.why_not() is not None, reason=str(nvrtc.why_not()))
needs_nvdisasm = pytest.mark.skipif(sass.why_not() is not None, reason=str(sass.why_not()))

#: What `architectures` needs to have for the sources: asynchronous copies came with 8.0.
OLDEST = 80
TARGETS = [f"sm_{arch}" for arch in nvrtc.architectures() if arch >= OLDEST] if not nvrtc.why_not() else []

#: Bytes of spills let pass from sm_100 on, where ptxas trades a few words for another block a processor.
FEW_BYTES = 32

#: Registers a thread may take: as many as leave room for the warps of kernels.md.
REGISTERS = {
    Shape(4, 4): 64,
    Shape(8, 4): 64,
    Shape(16, 4): 64,
    Shape(4, 8): 96,
    Shape(8, 8): 96,
    Shape(4, 12): 128,
    Shape(8, 12): 128,
    Shape(16, 12): 128,
    Shape(4, 16): 168,
    Shape(8, 16): 168,
    Shape(16, 16): 168,
    Shape(32, 16): 168,
}


def name(shape: Shape) -> str:
    return f"{shape.lanes}x{shape.limbs}"


def entries_of(family: str) -> set[str]:
    return {entry for kernel in abi.KERNELS if kernel.family == family for entry in kernel.entries()}


def check_usage(family: str, shape: Shape, target: str) -> None:
    _, log = nvrtc.compile_family(family, shape, target)
    usages = sass.usages(log)
    assert set(usages) == entries_of(family)
    assert "warning" not in log
    for entry, usage in usages.items():
        assert usage.spills <= (FEW_BYTES if int(target[3:]) >= 100 else 0), entry
        assert usage.registers <= REGISTERS[shape], entry


@needs_nvrtc
@pytest.mark.parametrize("family", abi.FAMILIES)
def test_usage(family: str) -> None:
    check_usage(family, Shape(8, 8), "sm_90")


@needs_nvrtc
@pytest.mark.parametrize("target", ["sm_80", "sm_100"])
def test_other_architectures(target: str) -> None:
    check_usage("segment", Shape(8, 16), target)


@needs_nvrtc
@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("shape", REGISTERS, ids=name)
@pytest.mark.parametrize("family", abi.FAMILIES)
def test_usage_everywhere(family: str, shape: Shape, target: str) -> None:
    check_usage(family, shape, target)


def test_every_shape_has_its_limit() -> None:
    assert set(REGISTERS) >= set(ALL_SHAPES)


def check_multiplications(shape: Shape) -> None:
    """A row adds L words of each lane's K limbs; only q, p and a few addresses are products besides."""
    for kernel, step in gpu_code.steps(shape).items():
        exact = ROWS[kernel] * shape.words * shape.limbs
        assert exact <= step.counts.wide <= exact + 12, kernel
        assert step.counts.all <= 2.6 * exact + 600, kernel


@needs_nvdisasm
@pytest.mark.parametrize("shape", [Shape(8, 8)], ids=name)
def test_multiplications(shape: Shape) -> None:
    check_multiplications(shape)


@needs_nvdisasm
@pytest.mark.slow
@pytest.mark.parametrize("shape", REGISTERS, ids=name)
def test_multiplications_of_all_shapes(shape: Shape) -> None:
    check_multiplications(shape)


@needs_nvdisasm
def test_the_probe_multiplies_and_does_little_else() -> None:
    loop = sass.compiled("probe", Shape(8, 8), "sm_90")["word_products"].product_loop()
    assert loop.counts.wide == 8 * abi.PROBE_CHAINS
    assert loop.counts.all <= 1.2 * loop.counts.wide


@needs_nvrtc
def test_an_error_comes_with_the_compilers_words() -> None:
    with pytest.raises(nvrtc.CompileError, match="no_such_thing"):
        nvrtc.compile_source(b"int f() { return no_such_thing; }", "broken.cu", ("-arch=sm_90",), "CUBIN")


def test_reading_a_log() -> None:
    log = (
        "ptxas info    : Compiling entry function 'a' for 'sm_90'\n"
        "ptxas info    : Function properties for a\n"
        "ptxas         .     16 bytes stack frame, 4 bytes spill stores, 8 bytes spill loads\n"
        "ptxas info    : Used 82 registers, used 0 barriers, 8448 bytes smem\n"
        "ptxas info    : Compiling entry function 'b' for 'sm_90'\n"
        "ptxas info    : Function properties for b\n"
        "ptxas         .     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n"
        "ptxas info    : Used 32 registers, used 0 barriers\n"
    )
    assert sass.usages(log) == {"a": sass.Usage(82, 8448, 16, 12), "b": sass.Usage(32, 0, 0, 0)}
    assert H200.resident_warps(sass.Usage(82, 8448, 0, 0)) == 20
    assert H200.resident_warps(sass.Usage(32, 100_000, 0, 0)) == 8


def test_rates_for_people() -> None:
    assert [gpu_code.rounded(x) for x in (382_384_784, 17_500, 12.3)] == ["382 M", "17.5 k", "12.3"]
