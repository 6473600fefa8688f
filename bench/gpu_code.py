"""What the compiled CUDA kernels allow a GPU to reach, read from their instructions: no GPU is needed.

A scheduler of a multiprocessor issues one instruction a clock for a warp. Its multiplier takes an IMAD.WIDE
of a warp every 4 clocks and another IMAD every 2 (inferred from ptxas's stall counts on sm_90; the kernel
`word_products` measures it). So a product whose lanes execute W IMAD.WIDE, M other IMADs and I instructions
takes

    clocks = max(4·W + 2·M, I)      rate = multiprocessors · 4 · frequency · (32 / T) / clocks

at most. Kernels reach some share of it: latencies and memory are not in the formula.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hecore.kernels.cuda.abi import THREADS
from hecore.kernels.cuda.shapes import Shape, shape_for, words_for

from . import nvrtc, sass

#: Rows of a multiplicand that one limb of the multiplier adds, by kernel: 5·L² word products and so on.
ROWS = {"multiply_1": 2, "multiply_2": 5, "shift_2": 4, "comb_2": 5, "segment_product_2": 5}
FAMILY = {
    "multiply_1": "product",
    "multiply_2": "product",
    "shift_2": "product",
    "comb_2": "comb",
    "segment_product_2": "segment",
}
MEANING = {
    "multiply_1": "product, one digit",
    "multiply_2": "product, two digits",
    "shift_2": "squaring, two digits",
    "comb_2": "step of a comb",
    "segment_product_2": "step of a segment product",
}


@dataclass(frozen=True)
class Processor:
    """A GPU: multiprocessors, clock, and what a multiprocessor holds."""

    name: str
    multiprocessors: int
    frequency: float
    registers: int = 65536
    shared: int = 227 * 1024
    warps: int = 64

    def rate(self, clocks: float, lanes: int) -> float:
        """Elements a second, if a warp's elements take `clocks` of a scheduler."""
        return self.multiprocessors * 4 * self.frequency * (32 / lanes) / clocks

    def resident_warps(self, usage: sass.Usage) -> int:
        """Warps of a multiprocessor at the same time, as registers and shared memory allow."""
        registers = -(-usage.registers // 8) * 8 * THREADS
        blocks = min(self.registers // registers, self.shared // (usage.shared + 1024))
        return min(blocks * THREADS // 32, self.warps)


H200 = Processor("H200", 132, 1.98e9)


@dataclass(frozen=True)
class Step:
    """One product of a kernel, as a lane executes it."""

    kernel: str
    shape: Shape
    usage: sass.Usage
    counts: sass.Counts

    @property
    def clocks(self) -> int:
        """Of a scheduler, for a warp: see the module docstring."""
        return max(4 * self.counts.wide + 2 * self.counts.imad, self.counts.all)


def step_of(kernel: str, code: sass.Code, shape: Shape) -> Step:
    """The product in a compiled kernel: the rounds of its loop, and what stands around it.

    Around it stands the loop over products, or else the whole kernel.
    """
    loop = code.product_loop()
    limbs = loop.counts.wide // (ROWS[kernel] * shape.limbs)
    rounds = shape.words // limbs
    outer = code.around(loop)
    rest = (outer.counts if outer else code.counts) - loop.counts
    return Step(kernel, shape, code.usage, loop.counts.times(rounds) + rest)


def steps(shape: Shape, target: str = "sm_90") -> dict[str, Step]:
    """The products of all kernels in ROWS, compiled for a shape."""
    codes: dict[str, sass.Code] = {}
    for family in dict.fromkeys(FAMILY.values()):
        codes |= sass.compiled(family, shape, target)
    return {kernel: step_of(kernel, codes[kernel], shape) for kernel in ROWS}


@dataclass(frozen=True)
class Operation:
    """An operation of Paillier: its bound in operations a second, and the target."""

    name: str
    bound: float
    target: float | None


def operations(
    key_bits: int, square_n: dict[str, Step], square_p: dict[str, Step], device: Processor = H200
) -> Iterator[Operation]:
    """Bounds for a key: steps modulo n² and modulo p² (and q²), conversions and recombination left out."""
    half = key_bits // 2
    scale = 2048 / key_bits

    def rate(steps: dict[str, Step], amounts: dict[str, float]) -> float:
        lanes = next(iter(steps.values())).shape.lanes
        return device.rate(sum(steps[kernel].clocks * amount for kernel, amount in amounts.items()), lanes)

    def power(bits: int, window: int = 5) -> dict[str, float]:
        return {"shift_2": bits, "comb_2": bits / window + (1 << window)}

    def comb(bits: int, window: int) -> dict[str, float]:
        return {"comb_2": -(-bits // window) - 1}

    yield Operation("add, device resident", rate(square_n, {"multiply_2": 1}), 300e6 * scale**2)
    yield Operation("segment product, a row", rate(square_n, {"segment_product_2": 1}), None)
    for window in (8, 12):
        bound = rate(square_p, comb(half, window)) / 2
        yield Operation(f"encrypt, owner, comb of {window} bits", bound, 4.5e6 * scale**3)
    for window in (8, 12):
        bound = rate(square_n, comb(half, window))
        yield Operation(f"encrypt, public, comb of {window} bits", bound, 2.4e6 * scale**3)
    yield Operation("encrypt, classic r^n", rate(square_n, power(key_bits)), 140e3 * scale**3)
    yield Operation("decrypt", rate(square_p, power(half)) / 2, 550e3 * scale**3)


def rounded(rate: float) -> str:
    """A rate for people, three figures: 382 M, 4.49 M, 17.5 k."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if rate >= size:
            return f"{rate / size:.3g} {unit}"
    return f"{rate:.3g}"


def report(target: str = "sm_90", device: Processor = H200) -> str:
    """The tables of docs/gpu/README.md, as Markdown."""
    key_sizes = (2048, 3072, 4096)
    of_words = {bits: shape_for(words_for(bits), 1 << 20, device.multiprocessors) for bits in (1024, 1536)}
    of_words |= {bits: shape_for(words_for(bits), 1 << 20, device.multiprocessors) for bits in key_sizes}
    shapes = list(dict.fromkeys(sorted(of_words.values(), key=lambda shape: shape.words)))
    compiled = {shape: steps(shape, target) for shape in (*shapes, Shape(16, 4))}
    lines = [
        f"Compiled by NVRTC {nvrtc.version()} for {target}; bounds for an {device.name}:"
        f" {device.multiprocessors} multiprocessors at {device.frequency / 1e9:.2f} GHz.",
        "",
        "| kernel | T×K | registers | spills | warps | IMAD.WIDE a lane | other IMAD | instructions a lane "
        "| an integer | bound M/s |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for shape, of_shape in compiled.items():
        for kernel, step in of_shape.items():
            counts, usage = step.counts, step.usage
            rate = device.rate(step.clocks, shape.lanes) / 1e6
            lines.append(
                f"| {MEANING[kernel]} | {shape.lanes}×{shape.limbs} | {usage.registers} | {usage.spills} "
                f"| {device.resident_warps(usage)} | {counts.wide} | {counts.imad} | {counts.all} "
                f"| {counts.all * shape.lanes / 1000:.1f} k | {rate:,.0f} |"
            )
    for bits in key_sizes:
        found = operations(bits, compiled[of_words[bits]], compiled[of_words[bits // 2]], device)
        lines += [
            "",
            f"{bits}-bit key:",
            "",
            "| operation | bound /s | target /s | target / bound |",
            "|---|---|---|---|",
        ]
        for operation in found:
            wanted = "–" if operation.target is None else rounded(operation.target)
            share = "–" if operation.target is None else f"{operation.target / operation.bound:.0%}"
            lines.append(f"| {operation.name} | {rounded(operation.bound)} | {wanted} | {share} |")
    return "\n".join(lines) + "\n"
