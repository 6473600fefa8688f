"""Host form of big integers: little-endian limb arrays, and exact vectorised arithmetic on them.

A batch of integers is one C-contiguous array `uint64[count, width]`; limb 0 is the lowest:

    value[i] = Σ_k limbs[i, k] · 2^(64·k)                     unsigned, 0 ≤ value < 2^(64·width)

Read as *two's complement* the same bits stand for −2^(64·width−1) ≤ value < 2^(64·width−1).
Functions whose name or docstring says "signed" use that reading. The array's memory is the
fixed-width little-endian byte string of the wire format, so both are views of each other.

No function here touches one Python integer per element except `from_ints` and `to_ints` (and their
signed twins), which exist for keys, tests and small inputs.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

LIMB_BITS = 64
LIMB_BYTES = 8
#: One limb: unsigned, little-endian whatever the machine, so that bytes and limbs share memory.
LIMB_DTYPE = np.dtype("<u8")

Limbs = NDArray[np.uint64]

_ONE = np.uint64(1)
#: 2^−1074 is the smallest positive float64.
_LEAST_POWER = -1074
_TOP_BIT = np.uint64(63)


def width_for_bits(bits: int) -> int:
    """Limbs that hold `bits` bits: ⌈bits / 64⌉, at least one."""
    return max(1, -(-bits // LIMB_BITS))


# --- Python integers and bytes --------------------------------------------------------------------


def from_ints(values: Iterable[int], width: int) -> Limbs:
    """Unsigned limbs of Python integers, (count, width). OverflowError if one does not fit."""
    size = width * LIMB_BYTES
    data = b"".join(int(value).to_bytes(size, "little") for value in values)
    return from_bytes(data, width)


def to_ints(limbs: Limbs) -> list[int]:
    """Unsigned limbs as Python integers."""
    return _read_ints(limbs, signed=False)


def from_signed_ints(values: Iterable[int], width: int) -> Limbs:
    """Two's complement limbs of Python integers, shape (count, width).

    Raises OverflowError if one is too large.
    """
    size = width * LIMB_BYTES
    data = b"".join(int(value).to_bytes(size, "little", signed=True) for value in values)
    return from_bytes(data, width)


def to_signed_ints(limbs: Limbs) -> list[int]:
    """Two's complement limbs as Python integers."""
    return _read_ints(limbs, signed=True)


def _read_ints(limbs: Limbs, *, signed: bool) -> list[int]:
    size = limbs.shape[1] * LIMB_BYTES
    data = to_bytes(limbs)
    return [
        int.from_bytes(data[start : start + size], "little", signed=signed)
        for start in range(0, len(data), size)
    ]


def from_bytes(data: bytes | bytearray | memoryview, width: int) -> Limbs:
    """A read-only view of fixed-width little-endian integers as limbs, shape (count, width)."""
    limbs = np.frombuffer(data, dtype=LIMB_DTYPE).reshape(-1, width)
    limbs.flags.writeable = False
    return limbs


def to_bytes(limbs: Limbs) -> bytes:
    """Fixed-width little-endian bytes, 8·width an integer."""
    return byte_view(limbs).tobytes()


def byte_view(limbs: Limbs) -> memoryview:
    """The bytes of `to_bytes` without a copy where the limbs lie in order."""
    return np.ascontiguousarray(limbs, dtype=LIMB_DTYPE).view(np.uint8).reshape(-1).data


# --- machine numbers ------------------------------------------------------------------------------


def from_int64(values: NDArray[np.int64]) -> Limbs:
    """Signed limbs of a flat int64 array, shape (count, 1): the same bits."""
    return np.ascontiguousarray(values, dtype="<i8").view(LIMB_DTYPE).reshape(-1, 1)


def from_uint64(values: NDArray[np.uint64]) -> Limbs:
    """Signed limbs of a flat uint64 array, shape (count, 2): one limb more for the sign."""
    out = np.zeros((values.size, 2), dtype=LIMB_DTYPE)
    out[:, 0] = values
    return out


def from_shifted_int64(values: NDArray[np.int64], shifts: NDArray[np.int64], width: int) -> Limbs:
    """Signed limbs of values[i] · 2^shifts[i], shape (count, width); shifts ≥ 0.

    This is how floats become exact integers: a 53-bit mantissa and a power of two. The caller
    guarantees −2^63 < value and |value| · 2^shift < 2^(64·width − 1).
    """
    magnitude = np.abs(values).astype(np.uint64)
    out = np.zeros((values.size, width), dtype=LIMB_DTYPE)
    rows = np.arange(values.size)
    # Only a zero can be shifted out of its limbs: it may land anywhere.
    word = np.minimum(shifts // LIMB_BITS, width - 1)
    bit = (shifts % LIMB_BITS).astype(np.uint64)
    out[rows, word] = magnitude << bit
    spill = (bit > 0) & (word + 1 < width)
    out[rows[spill], word[spill] + 1] = magnitude[spill] >> (np.uint64(LIMB_BITS) - bit[spill])
    return negate_where(out, values < 0)


def to_int64(limbs: Limbs) -> NDArray[np.int64]:
    """Signed limbs as a flat int64 array. OverflowError if a value needs more than 64 bits."""
    low = np.ascontiguousarray(limbs[:, 0]).view(np.int64)
    sign = (low >> 63).view(np.uint64)
    if limbs.shape[1] > 1 and not bool((limbs[:, 1:] == sign[:, None]).all()):
        raise OverflowError("a value does not fit in 64 bits")
    return low


def to_float64(limbs: Limbs, exponent: int = 0) -> NDArray[np.float64]:
    """value · 2^exponent as float64, rounded once (half to even); signed limbs in, flat array out.

    The leading 64 bits of each magnitude are kept, everything below is folded into the lowest of
    them (a sticky bit), so rounding to 53 bits, or fewer for a subnormal result, is as if from the
    exact value. Beyond the range of float64: ±inf, with numpy's overflow warning.
    """
    negative = is_negative(limbs)
    magnitude = negate_where(limbs, negative)
    width = limbs.shape[1]
    rows = np.arange(limbs.shape[0])
    nonzero = magnitude != 0
    top = np.where(nonzero.any(axis=1), width - 1 - np.argmax(nonzero[:, ::-1], axis=1), 0)
    high = magnitude[rows, top]
    below = np.where(top > 0, magnitude[rows, np.maximum(top - 1, 0)], np.uint64(0))
    lead = (LIMB_BITS - _bit_length(high)).astype(np.uint64)
    lead = np.where(high == 0, np.uint64(0), lead)
    leading = (high << lead) | np.where(
        lead > 0, below >> ((np.uint64(64) - lead) % np.uint64(64)), np.uint64(0)
    )
    lost = (below << lead) != 0
    depth = np.cumsum(nonzero, axis=1)  # depth[i, k]: non-zero limbs up to k
    lost |= np.where(top > 1, depth[rows, np.maximum(top - 2, 0)] > 0, False)
    leading |= lost.astype(np.uint64)
    power = LIMB_BITS * top - lead.astype(np.int64) + exponent
    # A normal float64 ends at bit 11 of `leading`, a subnormal one where that stands for 2^−1074.
    last = np.clip(_LEAST_POWER - power, 11, 65)
    result = np.ldexp(_rounded_shift(leading, last).astype(np.float64), power + last)
    return np.asarray(np.where(negative, -result, result))


def _rounded_shift(words: NDArray[np.uint64], bits: NDArray[np.int64]) -> NDArray[np.uint64]:
    """words / 2^bits rounded half to even, 0 < bits ≤ 65."""
    half = _ONE << np.minimum(bits - 1, 63).astype(np.uint64)
    kept = np.where(bits < LIMB_BITS, words >> np.minimum(bits, 63).astype(np.uint64), np.uint64(0))
    rest = words & (half | (half - _ONE))
    up = (rest > half) | ((rest == half) & ((kept & _ONE) != 0))
    return np.where(bits <= LIMB_BITS, kept + up, np.uint64(0))


def _bit_length(words: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Bits of each word, 0 for 0; exact (each half converts to float64 without rounding)."""
    high = (words >> np.uint64(32)).astype(np.float64)
    low = (words & np.uint64(0xFFFFFFFF)).astype(np.float64)
    high_bits, low_bits = np.frexp(high)[1], np.frexp(low)[1]
    return np.where(high_bits > 0, high_bits + 32, low_bits).astype(np.int64)


# --- arithmetic (two's complement and unsigned alike, modulo 2^(64·width)) ------------------------


def is_negative(limbs: Limbs) -> NDArray[np.bool_]:
    """Sign of signed limbs, shape (count,)."""
    return np.asarray((limbs[:, -1] >> _TOP_BIT) != 0)


def resize(limbs: Limbs, width: int) -> Limbs:
    """Sign-extend signed limbs to `width`, or drop limbs: OverflowError if one mattered."""
    have = limbs.shape[1]
    if width >= have:
        out = np.empty((limbs.shape[0], width), dtype=LIMB_DTYPE)
        out[:, :have] = limbs
        out[:, have:] = _sign_words(limbs)[:, None]
        return out
    kept = limbs[:, :width]
    if not bool((limbs[:, width:] == _sign_words(kept)[:, None]).all()):
        raise OverflowError(f"a value does not fit in {width * LIMB_BITS} bits")
    return np.ascontiguousarray(kept)


def widen(limbs: Limbs, width: int) -> Limbs:
    """Zero-extend unsigned limbs to `width`, no less than their own; the same array if it is that."""
    if limbs.shape[1] == width:
        return limbs
    out = np.zeros((limbs.shape[0], width), dtype=LIMB_DTYPE)
    out[:, : limbs.shape[1]] = limbs
    return out


def _sign_words(limbs: Limbs) -> NDArray[np.uint64]:
    """All ones where negative, else zero, shape (count,)."""
    top = np.ascontiguousarray(limbs[:, -1]).view(np.int64)
    return np.asarray((top >> 63).view(np.uint64))


def add(a: Limbs, b: Limbs) -> Limbs:
    """a + b mod 2^(64·width); rows may broadcast, widths are equal (ValueError)."""
    a, b = _broadcast_rows(a, b)
    out = np.empty(a.shape, dtype=LIMB_DTYPE)
    carry = np.zeros(a.shape[0], dtype=np.uint64)
    for k in range(a.shape[1]):
        partial = a[:, k] + b[:, k]
        total = partial + carry
        carry = ((partial < a[:, k]) | (total < partial)).astype(np.uint64)
        out[:, k] = total
    return out


def _broadcast_rows(a: Limbs, b: Limbs) -> tuple[Limbs, Limbs]:
    # numpy would stretch a single limb over all places of a wider operand: never what is meant.
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"limbs of width {a.shape[1]} and {b.shape[1]} cannot be combined")
    left, right = np.broadcast_arrays(a, b)
    return left, right


def negate(limbs: Limbs) -> Limbs:
    """−a mod 2^(64·width), by complement and increment."""
    out = ~limbs
    carry = np.ones(limbs.shape[0], dtype=bool)
    for k in range(limbs.shape[1]):
        if not carry.any():
            break
        out[:, k] += carry
        carry &= out[:, k] == 0
    return out


def negate_where(limbs: Limbs, mask: NDArray[np.bool_]) -> Limbs:
    """−a where mask, else a; always a new array."""
    out = np.array(limbs, dtype=LIMB_DTYPE)
    if mask.any():
        out[mask] = negate(out[mask])
    return out


def absolute(limbs: Limbs) -> Limbs:
    """|value| of signed limbs as unsigned limbs of the same width: −2^(64·width − 1) fits as well."""
    return negate_where(limbs, is_negative(limbs))


def subtract(a: Limbs, b: Limbs) -> Limbs:
    """a − b mod 2^(64·width)."""
    return add(a, negate(b))


def shift_left(limbs: Limbs, bits: int) -> Limbs:
    """a · 2^bits mod 2^(64·width)."""
    words, rest = divmod(bits, LIMB_BITS)
    out = np.zeros(limbs.shape, dtype=LIMB_DTYPE)
    keep = limbs.shape[1] - words
    if keep <= 0:
        return out
    out[:, words:] = limbs[:, :keep] << np.uint64(rest)
    if rest:
        out[:, words + 1 :] |= limbs[:, : keep - 1] >> np.uint64(LIMB_BITS - rest)
    return out


def shift_right(limbs: Limbs, bits: int) -> Limbs:
    """⌊a / 2^bits⌋ of signed limbs (rounds towards −∞)."""
    words, rest = divmod(bits, LIMB_BITS)
    width = limbs.shape[1]
    extended = resize(limbs, width + words + 1)
    out = extended[:, words : words + width] >> np.uint64(rest)
    if rest:
        out |= extended[:, words + 1 : words + 1 + width] << np.uint64(LIMB_BITS - rest)
    return np.ascontiguousarray(out)


def less(a: Limbs, b: Limbs) -> NDArray[np.bool_]:
    """a < b, unsigned, shape (count,); rows may broadcast, widths are equal (ValueError)."""
    a, b = _broadcast_rows(a, b)
    result = np.zeros(a.shape[0], dtype=bool)
    for k in range(a.shape[1]):
        result = (a[:, k] < b[:, k]) | ((a[:, k] == b[:, k]) & result)
    return result


def first_not_below(limbs: Limbs, bound: int) -> int | None:
    """The first row whose unsigned value is at least `bound` > 0, of any length; None if there is none."""
    if unsigned_bits(limbs) < bound.bit_length():
        return None
    below = less(limbs, from_ints([bound], limbs.shape[1]))
    return None if below.all() else int(np.argmin(below))


def unsigned_bits(limbs: Limbs) -> int:
    """Smallest b with value ≤ 2^b − 1 for every row of unsigned limbs; 0 for an empty batch."""
    return _union(limbs).bit_length()


def signed_bits(limbs: Limbs) -> int:
    """Smallest b with |value| ≤ 2^b − 1 for every row; 0 for an empty batch."""
    return magnitude_union(limbs).bit_length()


def magnitude_union(limbs: Limbs) -> int:
    """Bitwise or of |value| over all rows of signed limbs; 0 for an empty batch."""
    return _union(absolute(limbs))


def _union(limbs: Limbs) -> int:
    return int.from_bytes(to_bytes(np.bitwise_or.reduce(limbs, axis=0)), "little")


# --- bit fields -----------------------------------------------------------------------------------


def split_fields(limbs: Limbs, field_bits: int, count: int) -> Limbs:
    """Unsigned fields of `field_bits` bits from the lowest up, (rows, count, ⌈field_bits/64⌉).

    limbs:  … | field 2 | field 1 | field 0 |   bits above count·field_bits are ignored
    """
    rows = limbs.shape[0]
    field_width = width_for_bits(field_bits)
    padded_width = width_for_bits(field_bits * count) + field_width + 1
    padded = widen(limbs, max(padded_width, limbs.shape[1]))
    out = np.empty((rows, count, field_width), dtype=LIMB_DTYPE)
    top_bits = field_bits - (field_width - 1) * LIMB_BITS
    top_mask = np.uint64((1 << top_bits) - 1)
    for index in range(count):
        word, bit = divmod(index * field_bits, LIMB_BITS)
        field = padded[:, word : word + field_width] >> np.uint64(bit)
        if bit:
            field |= padded[:, word + 1 : word + 1 + field_width] << np.uint64(LIMB_BITS - bit)
        field[:, -1] &= top_mask
        out[:, index] = field
    return out


def join_fields(fields: Limbs, field_bits: int, width: int) -> Limbs:
    """Σ_i fields[:, i]·2^(field_bits·i) mod 2^(64·width); signed (rows, count, field width)."""
    rows, count, _ = fields.shape
    out = np.zeros((rows, width), dtype=LIMB_DTYPE)
    for index in range(count):
        word, bit = divmod(index * field_bits, LIMB_BITS)
        if word >= width:
            break
        # Only limbs from `word` up can change: add there, and let the sign run to the top.
        tail = fields[:, index]
        if width - word > tail.shape[1]:
            tail = resize(tail, width - word)
        out[:, word:] = add(out[:, word:], shift_left(tail[:, : width - word], bit))
    return out
