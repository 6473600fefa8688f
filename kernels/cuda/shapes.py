"""Which lanes and limbs a kernel is compiled for, and how much of the device a launch takes.

    words of a digit     16    32    48    64    96   128   192   256   512
    lanes × limbs       4×4   4×8  4×12   8×8  8×12  8×16 16×12 16×16 32×16
    small batches             8×4        16×4

A digit has the fewest words that hold it. A batch that would leave the device half empty takes more lanes of
fewer limbs: rows in memory are the same for both.
"""

from __future__ import annotations

from dataclasses import dataclass

from .abi import THREADS, Kernel


@dataclass(frozen=True, order=True)
class Shape:
    """T lanes of K limbs: the compile-time constants of a kernel."""

    lanes: int
    limbs: int

    @property
    def words(self) -> int:
        """L = T·K: 32-bit words of a digit."""
        return self.lanes * self.limbs

    @property
    def groups(self) -> int:
        """Elements that a block works on at a time."""
        return THREADS // self.lanes


#: By words of a digit, the shortest first.
SHAPES = (
    Shape(4, 4),
    Shape(4, 8),
    Shape(4, 12),
    Shape(8, 8),
    Shape(8, 12),
    Shape(8, 16),
    Shape(16, 12),
    Shape(16, 16),
    Shape(32, 16),
)
#: More lanes for few elements.
SMALL_SHAPES = (Shape(8, 4), Shape(16, 4))
#: Every shape that may be asked for.
ALL_SHAPES = (*SHAPES, *SMALL_SHAPES)

#: Elements and places that a kernel counts: int.
MOST_PLACES = (1 << 31) - 1
#: Blocks of a processor that run at once, about (five of 128 threads with 84 registers each).
RESIDENT_BLOCKS = 5


def words_for(bits: int) -> int:
    """Words of a digit for residues of `bits` bits. ValueError beyond the longest."""
    for shape in SHAPES:
        if bits <= 32 * shape.words:
            return shape.words
    raise ValueError(
        f"a digit of {bits} bits is beyond the {32 * SHAPES[-1].words} that the CUDA kernels have"
    )


def shape_for(words: int, count: int, processors: int) -> Shape:
    """The shape for a batch of `count` elements on a device of `processors` multiprocessors."""
    [usual] = [shape for shape in SHAPES if shape.words == words]
    for small in SMALL_SHAPES:
        if small.words == words and count <= small.groups * processors * RESIDENT_BLOCKS // 2:
            return small
    return usual


def blocks_for(kernel: Kernel, shape: Shape, count: int) -> int:
    """Blocks with a group (or a thread) for each of `count` elements."""
    a_block = shape.groups if kernel.lanes else THREADS
    return -(-count // a_block)


def full_grid(processors: int) -> int:
    """Blocks that fill a device: a strided kernel gains nothing from more."""
    return processors * RESIDENT_BLOCKS
