"""What the kernels need of a modulus, and arrays in the form they work on.

A batch is a row-major array uint64[rows, stride]: limbs of the form's radix, K a digit. For a modulus root²
there are two digits, K words x0 and then K words x1; the rest of a row is zero. Rows are 64-byte aligned.
"""

from __future__ import annotations

from functools import cached_property
from math import prod

import numpy as np
from numpy.typing import NDArray

from ..limbs import Limbs
from ..modulus import Modulus
from . import words
from .bignum import ROWS
from .lanes import LIMB_BITS, LIMB_MASK

Rows = NDArray[np.uint64]
u64 = np.uint64

#: R ≥ 2^SPARE_BITS · n: residues stay below 2n without comparison (see `montgomery`).
SPARE_BITS = 8
#: Chunk factors kept with a modulus.
KEPT_FACTORS = 64


def aligned(*shape: int) -> Rows:
    """An uninitialised uint64 array that begins on a 64-byte boundary."""
    size = prod(shape)
    buffer = np.empty(size + 8, dtype=np.uint64)
    start = (-buffer.ctypes.data % 64) // 8
    return buffer[start : start + size].reshape(shape)


def address(array: NDArray[np.generic]) -> np.uint64:
    """Where an array begins, as kernels take it."""
    return u64(array.ctypes.data)


class Constants:
    """The constants of one modulus, computed once.

    digits   2 for a modulus with a known root, else 1
    limbs    K: limbs a digit, a multiple of ROWS with R = radix^K ≥ 2^8 · n
    stride   words a row
    row      n | 2n | C: scalars for the kernels; inverse = −1/n mod radix
    chunk_bits   bits of a plain integer that one product brings in: a chunk is below 2^−8·R
    """

    def __init__(self, modulus: Modulus) -> None:
        base = modulus.root or modulus
        self.modulus = modulus
        self.digits = 2 if modulus.root is not None else 1
        self._n = base.value
        needed = -(-(base.bits + SPARE_BITS) // LIMB_BITS)
        self.limbs = -(-needed // ROWS) * ROWS
        self.stride = -(-self.digits * self.limbs // 8) * 8
        self.chunk_bits = LIMB_BITS * self.limbs - SPARE_BITS
        self._radix = 1 << (LIMB_BITS * self.limbs)
        self.inverse = np.uint64(-pow(self._n, -1, 1 << LIMB_BITS) % (1 << LIMB_BITS))
        self.row = aligned(3 * self.limbs)
        self.row[:] = [
            *_limbs(self._n, self.limbs),
            *_limbs(2 * self._n, self.limbs),
            *self._difference_start(),
        ]
        self._factors: dict[tuple[int, int], Rows] = {}

    def _difference_start(self) -> list[int]:
        """C: a multiple of n below 4R whose limbs are all at least radix − 1 and below 4·radix."""
        multiple = -(-2 * self._radix // self._n) * self._n
        limbs = [(multiple >> (LIMB_BITS * k)) & LIMB_MASK for k in range(self.limbs - 1)]
        limbs.append(multiple >> (LIMB_BITS * (self.limbs - 1)))
        for k in range(self.limbs - 1):  # lend the radix from each limb to the one below
            limbs[k] += 1 << LIMB_BITS
            limbs[k + 1] -= 1
        return limbs

    def encode(self, value: int) -> list[int]:
        """One row of a residue taken as it is (not times R)."""
        value %= self.modulus.value
        digits = [value] if self.digits == 1 else [value % self._n, value // self._n]
        row = [limb for digit in digits for limb in _limbs(digit, self.limbs)]
        return row + [0] * (self.stride - len(row))

    def constant(self, *values: int) -> Rows:
        """Rows of residues times R."""
        out = aligned(len(values), self.stride)
        out[:] = [self.encode(value * self._radix) for value in values]
        return out

    def tail(self, scratch: np.uint64) -> tuple[np.uint64, ...]:
        """The last arguments of most kernels: c, inverse, K, two, s."""
        return address(self.row), self.inverse, u64(self.limbs), u64(self.digits - 1), scratch

    @cached_property
    def one(self) -> Rows:
        """The row of 1·R: the neutral element."""
        return self.constant(1)

    @cached_property
    def unit(self) -> Rows:
        """The row of 1 as it is: a product with it takes R out."""
        out = aligned(1, self.stride)
        out[:] = self.encode(1)
        return out

    def chunk_factors(self, place: int, times: int = 1) -> Rows:
        """Rows ± times·2^(chunk_bits·place)·R²: bring a plain chunk of an integer in, with either sign.

        The factors of a few `times` are kept, oldest first out.
        """
        if (place, times) not in self._factors:
            while len(self._factors) >= KEPT_FACTORS:
                del self._factors[next(iter(self._factors))]
            factor = times * self._radix << (self.chunk_bits * place)
            self._factors[place, times] = self.constant(factor, -factor)
        return self._factors[place, times]

    def split(self, limbs: Limbs, out: Rows, place: int) -> None:
        """Rows of one digit: bits chunk_bits·place … of contiguous unsigned 64-bit limbs."""
        words.split(limbs, out, self.chunk_bits * place, self.chunk_bits)

    def join(self, rows: Rows, out: Limbs) -> None:
        """Unsigned 64-bit limbs of normalised plain rows."""
        words.join(rows, out, self.digits * self.limbs)


def _limbs(value: int, count: int) -> list[int]:
    return [(value >> (LIMB_BITS * k)) & LIMB_MASK for k in range(count)]
