"""Signed fixed point: arrays of numbers ↔ exact integers with one scale for the whole array.

    value = integer · 2^(−scale_bits)          integer = round(value · 2^scale_bits), half to even

`FixedPoint` keeps the integers as two's complement limbs, so that nothing between an array and its
ciphertexts makes one Python integer per element. It is also the share type of the protocols: its arithmetic
is exact, and its width grows as far as a result needs.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import EncodingError, EncodingOverflow, ScaleMismatch, ShapeMismatch
from .kernels import limbs as lb
from .kernels.limbs import Limbs

#: Fractional bits of floats when nothing else is asked for: steps of 2^−40 ≈ 9·10^−13.
DEFAULT_SCALE_BITS = 40
MAXIMUM_SCALE_BITS = 1024
#: Of a float64.
MANTISSA_BITS = 53

Shape = tuple[int, ...]


@dataclass(frozen=True)
class FixedPoint:
    """Exact signed numbers `integer · 2^(−scale_bits)` of any shape.

    `limbs` is two's complement uint64[product of shape, width], row-major. EncodingError for a negative
    scale, ShapeMismatch for another number of integers than `shape` has places.
    """

    limbs: Limbs
    shape: Shape
    scale_bits: int

    def __post_init__(self) -> None:
        if self.scale_bits < 0:
            raise EncodingError(f"scale_bits={self.scale_bits} is negative")
        if len(self.limbs) != prod(self.shape):
            raise ShapeMismatch(f"{len(self.limbs)} integers cannot have shape {self.shape}")

    def __add__(self, other: FixedPoint) -> FixedPoint:
        if not isinstance(other, FixedPoint):
            return NotImplemented  # a CipherBatch adds itself
        a, b, shape = self._aligned(other)
        width = max(a.shape[1], b.shape[1])
        if max(lb.signed_bits(a), lb.signed_bits(b)) + 2 > width * lb.LIMB_BITS:
            width += 1
        total = lb.add(lb.resize(a, width), lb.resize(b, width))
        return FixedPoint(total, shape, self.scale_bits)

    def __neg__(self) -> FixedPoint:
        wide = lb.resize(self.limbs, self.width_for(lb.signed_bits(self.limbs) + 1))
        return FixedPoint(lb.negate(wide), self.shape, self.scale_bits)

    def __sub__(self, other: FixedPoint) -> FixedPoint:
        if not isinstance(other, FixedPoint):
            return NotImplemented
        return self + (-other)

    def __getitem__(self, key: Any) -> FixedPoint:
        index = np.arange(len(self.limbs)).reshape(self.shape)[key]
        chosen = self.limbs[index.ravel()]
        return FixedPoint(chosen, tuple(index.shape), self.scale_bits)

    def reshape(self, *shape: int) -> FixedPoint:
        """The same numbers in another shape; one dimension may be −1. ShapeMismatch if they do not fit."""
        try:
            index = np.empty(len(self.limbs), dtype=np.bool_).reshape(shape)
        except ValueError as error:
            raise ShapeMismatch(str(error)) from None
        return FixedPoint(self.limbs, tuple(index.shape), self.scale_bits)

    def transpose(self) -> FixedPoint:
        """Axes reversed."""
        index = np.arange(len(self.limbs)).reshape(self.shape).T
        return FixedPoint(self.limbs[index.ravel()], tuple(index.shape), self.scale_bits)

    def floor_shift(self, bits: int) -> FixedPoint:
        """⌊integer / 2^bits⌋ at a scale `bits` smaller: the same number, cut. EncodingError below scale 0."""
        cut = lb.shift_right(self.limbs, bits)
        narrow = lb.resize(cut, self.width_for(lb.signed_bits(cut)))
        return FixedPoint(narrow, self.shape, self.scale_bits - bits)

    def rescale(self, scale_bits: int) -> FixedPoint:
        """The same numbers at a larger or equal scale, exactly. ScaleMismatch for a smaller one."""
        bits = scale_bits - self.scale_bits
        if bits < 0:
            raise ScaleMismatch(f"scale_bits={scale_bits} is below the {self.scale_bits} of these numbers")
        if bits == 0:
            return self
        wide = lb.resize(self.limbs, self.width_for(lb.signed_bits(self.limbs) + bits))
        return FixedPoint(lb.shift_left(wide, bits), self.shape, scale_bits)

    def times_integer(self, factor: int) -> FixedPoint:
        """factor · integer at the same scale, by shifts and additions; `factor` any Python integer."""
        bits = lb.signed_bits(self.limbs) + abs(factor).bit_length()
        wide = lb.resize(self.limbs, self.width_for(bits + 1))
        total = np.zeros_like(wide)
        for place in range(abs(factor).bit_length()):
            if abs(factor) >> place & 1:
                total = lb.add(total, lb.shift_left(wide, place))
        return FixedPoint(lb.negate(total) if factor < 0 else total, self.shape, self.scale_bits)

    def to_integers(self) -> NDArray[Any]:
        """The integers themselves (scale ignored), as an object array of Python integers."""
        out = np.empty(len(self.limbs), dtype=object)
        out[:] = lb.to_signed_ints(self.limbs)
        return out.reshape(self.shape)

    @classmethod
    def from_integers(cls, values: Any, scale_bits: int = 0) -> FixedPoint:
        """Python integers of any size, taken as the integers of a given scale."""
        array = np.asarray(values, dtype=object)
        flat = [int(value) for value in array.ravel()]
        bits = max((abs(value).bit_length() for value in flat), default=0)
        limbs = lb.from_signed_ints(flat, cls.width_for(bits))
        return cls(limbs, tuple(array.shape), scale_bits)

    @classmethod
    def zeros(cls, shape: Shape, scale_bits: int) -> FixedPoint:
        """All zero."""
        return cls(lb.from_int64(np.zeros(shape, dtype=np.int64).ravel()), shape, scale_bits)

    @staticmethod
    def width_for(bits: int) -> int:
        """Limbs for magnitudes of up to `bits` bits and a sign."""
        return lb.width_for_bits(bits + 1)

    def _aligned(self, other: FixedPoint) -> tuple[Limbs, Limbs, Shape]:
        if self.scale_bits != other.scale_bits:
            raise ScaleMismatch(
                f"scales of {self.scale_bits} and {other.scale_bits} bits: rescale() one of them"
            )
        if self.shape == other.shape:
            return self.limbs, other.limbs, self.shape
        a, b, shape = broadcast_indices(self.shape, other.shape)
        return self.limbs[a], other.limbs[b], shape


def broadcast_indices(a: Shape, b: Shape) -> tuple[NDArray[np.int64], NDArray[np.int64], Shape]:
    """Flat indices that bring row-major arrays of shapes a and b to their common shape, as numpy would.

    ShapeMismatch if they have none.
    """
    try:
        shape = np.broadcast_shapes(a, b)
    except ValueError:
        raise ShapeMismatch(f"shapes {a} and {b} cannot be broadcast together") from None
    flat = (np.broadcast_to(np.arange(prod(s), dtype=np.int64).reshape(s), shape).ravel() for s in (a, b))
    first, second = flat
    return first, second, shape


def encode(values: Any, scale_bits: int | None = None) -> FixedPoint:
    """Numbers of any shape as fixed point.

    values:      a number, nested list or array: bool, integers (Python integers of any size), float16/32/64
    scale_bits:  fractional bits; None takes 0 for integers and 40 for floats

    Integers are exact. Floats round half to even to a multiple of 2^(−scale_bits). EncodingError names the
    place of a NaN, infinity or masked value, or the type of anything that is no number.
    """
    if scale_bits is not None:
        scale_bits = whole_scale(scale_bits)
    if isinstance(values, FixedPoint):
        return values if scale_bits is None else values.rescale(scale_bits)
    if scale_bits is not None and not 0 <= scale_bits <= MAXIMUM_SCALE_BITS:
        raise EncodingError(f"scale_bits={scale_bits} is not in 0 … {MAXIMUM_SCALE_BITS}")
    array = _as_array(values)
    shape = tuple(array.shape)
    if array.dtype.kind == "f" and array.dtype.itemsize <= np.dtype(np.float64).itemsize:
        scale = DEFAULT_SCALE_BITS if scale_bits is None else scale_bits
        return FixedPoint(_encode_floats(array.astype(np.float64).ravel(), shape, scale), shape, scale)
    whole = FixedPoint(_encode_integers(array), shape, 0)
    return whole.rescale(scale_bits or 0)


def whole_scale(scale_bits: Any) -> int:
    """`scale_bits` as a Python integer; EncodingError unless it is a whole number."""
    try:
        return operator.index(scale_bits)
    except TypeError:
        raise EncodingError(f"scale_bits={scale_bits!r} is not a whole number of bits") from None


def _as_array(values: Any) -> NDArray[Any]:
    """np.asarray, but exact for lists of large integers, and with EncodingError where it fails or hides."""
    if type(values).__module__.startswith("scipy.sparse"):
        raise EncodingError(
            f"a {type(values).__name__} is no dense array: write"
            " hecore.sparse.encode_sparse(matrix, scale_bits) @ x for a product with a sparse one"
        )
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise EncodingError(f"the values do not form an array: {error}") from None
    if isinstance(values, np.ma.MaskedArray) and np.ma.getmaskarray(values).any():
        masked = np.flatnonzero(np.ma.getmaskarray(values))
        raise EncodingError(
            f"a masked value{at_place(int(masked[0]), array.shape)} cannot be encoded"
            f" ({masked.size} such values): impute or drop missing values first"
        )
    made = array.dtype.kind == "f" and not hasattr(values, "dtype")
    if made and bool((np.abs(array) >= 2.0**MANTISSA_BITS).any()):
        exact = np.asarray(values, dtype=object)  # numpy makes floats of [2**63, −1]: digits would be lost
        if all(isinstance(value, int | np.integer) for value in exact.ravel()):
            return exact
    return array


def _encode_integers(array: NDArray[Any]) -> Limbs:
    kind = array.dtype.kind
    if kind in "bi" or (kind == "u" and array.dtype.itemsize < lb.LIMB_BYTES):
        return lb.from_int64(array.ravel().astype(np.int64))
    if kind == "u":
        return lb.from_uint64(array.ravel())
    if kind == "O" and all(isinstance(v, int | np.integer) for v in array.ravel()):
        return FixedPoint.from_integers(array).limbs
    raise EncodingError(
        f"cannot encode values of dtype {array.dtype}:"
        " give integers, or floats of up to 64 bits (one kind an array)"
    )


def _encode_floats(values: NDArray[np.float64], shape: Shape, scale_bits: int) -> Limbs:
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        how_many = f" ({bad.size} such values)" if values.size > 1 else ""
        raise EncodingError(
            f"{values[bad[0]]}{at_place(int(bad[0]), shape)} cannot be encoded{how_many}: "
            "impute or drop missing values first"
        )
    # value·2^scale = fraction·2^exponent. Up to 2^53 it is rounded; above, every float is an integer: its
    # 53-bit mantissa, shifted. Working on the exponent apart never overflows float64.
    fraction, exponent = np.frexp(values)
    exponent = exponent.astype(np.int64) + scale_bits
    mantissa = np.rint(np.ldexp(fraction, np.minimum(exponent, MANTISSA_BITS))).astype(np.int64)
    shifts = np.maximum(exponent - MANTISSA_BITS, 0)
    width = FixedPoint.width_for(int(exponent.max(initial=1)))
    if width == 1:
        return lb.from_int64(mantissa << shifts)
    return lb.from_shifted_int64(mantissa, shifts, width)


def decode(numbers: FixedPoint) -> Any:
    """The array of a FixedPoint: integers at scale 0, else float64; a scalar for shape ().

    Integers beyond 64 bits come as an object array of Python integers. Floats are rounded once;
    EncodingOverflow names the first beyond float64. The array is the caller's own.
    """
    if numbers.scale_bits > 0:
        with np.errstate(over="ignore"):
            floats = lb.to_float64(numbers.limbs, -numbers.scale_bits)
        beyond = np.flatnonzero(np.isinf(floats))
        if beyond.size:
            raise EncodingOverflow(
                f"the number{at_place(int(beyond[0]), numbers.shape)} is beyond float64: where it was"
                " decrypted, its ciphertext may be damaged; where it is that large, take it as a"
                " FixedPoint (Decryptor.decrypt_fixed)"
            )
        return floats.reshape(numbers.shape)[()]
    try:
        return lb.to_int64(numbers.limbs).reshape(numbers.shape).copy()[()]
    except OverflowError:
        return numbers.to_integers()[()]


def at_place(flat_index: int, shape: Sequence[int]) -> str:
    """The place of a flat index for messages: " at row 3, column 5"; nothing for a single number."""
    where = np.unravel_index(flat_index, tuple(shape)) if shape else ()
    if len(where) == 1:
        return f" at row {int(where[0])}"
    if len(where) == 2:
        return f" at row {int(where[0])}, column {int(where[1])}"
    return f" at index {tuple(int(i) for i in where)}" if where else ""
