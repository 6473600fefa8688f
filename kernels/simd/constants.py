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
from .lanes import FORM, HIGH_EXPONENT, LIMB_BITS, LIMB_MASK, LOW_EXPONENT

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
    start = (-int(address(buffer)) % 64) // 8
    return buffer[start : start + size].reshape(shape)


def address(array: NDArray[np.generic]) -> np.uint64:
    """Where an array begins, as kernels take it."""
    return u64(array.__array_interface__["data"][0])  # three times as fast as array.ctypes.data


def factor_words(limbs: Rows) -> Rows:
    """Limbs as products take them: as they are, or as the words of their floating-point numbers."""
    return limbs.astype(np.float64).view(np.uint64) if FORM.floats else limbs


def starts(K: int, difference: Rows) -> tuple[Rows, ...]:
    """Where the sums of 2K limbs start, so that they come out right after all halves are added:

    product   x·y, and its reduction            cross   C, two products, and their reduction
    square    the triangle of x², doubled, its diagonal, and the reduction
    twice     x·y, doubled, and the reduction   alone   x·y

    Zero and C, but for the exponents that halves in floating point bring along: minus as many, modulo 2^64.
    Of the reduction, half as many stand where the sum is doubled after.
    """
    place = np.arange(2 * K)
    low, high = LOW_EXPONENT * int(FORM.floats), HIGH_EXPONENT * int(FORM.floats)

    def exponents(pairs: NDArray[np.int64]) -> NDArray[np.object_]:
        """Of pairs[k] products of limbs i + j = k: their low halves stand there, the high ones above."""
        above = np.concatenate([[0], pairs[:-1]])
        words: NDArray[np.object_] = pairs.astype(object) * low + above.astype(object) * high
        return words

    pairs = np.maximum(np.minimum(place + 1, 2 * K - 1 - place), 0)
    one = exponents(pairs)
    # A finished limb is not written: the low half m[k]·n[0] that makes it zero is not added.
    reduction = one - np.where(place < K, low, 0)
    from_c = np.concatenate([difference, np.zeros(K, dtype=np.uint64)]).astype(object)
    product, half = -one - reduction, -(one + reduction) // 2
    rows = (product, from_c - one + product, half, -one - reduction // 2, -one)
    return tuple(np.array([int(word) % (1 << 64) for word in row], dtype=np.uint64) for row in rows)


class Constants:
    """The constants of one modulus, computed once.

    digits   2 for a modulus with a known root, else 1
    limbs    K: limbs a digit, a multiple of ROWS with R = radix^K ≥ 2^8 · n
    stride   words a row
    row      scalars for the kernels (see `montgomery`); inverse = −1/n mod radix, as a factor
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
        inverse = -pow(self._n, -1, 1 << LIMB_BITS) % (1 << LIMB_BITS)
        self.inverse = factor_words(np.array([inverse], dtype=np.uint64))[0]
        digit = np.array(_limbs(self._n, self.limbs), dtype=np.uint64)
        doubled = np.array(_limbs(2 * self._n, self.limbs), dtype=np.uint64)
        difference = np.array(self._difference_start(), dtype=np.uint64)
        parts = (digit, doubled, difference, factor_words(digit), *starts(self.limbs, difference))
        self.row = aligned(sum(part.size for part in parts))
        np.concatenate(parts, out=self.row)
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
