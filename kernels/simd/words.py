"""64-bit words ↔ limbs of the form in use, and exponents → digits in lanes; row by row, compiled."""

from __future__ import annotations

import numpy as np

from .cache import jit
from .lanes import LANES, LIMB_BITS, LIMB_MASK

_LIMB = np.int64(LIMB_BITS)
_MASK = np.uint64(LIMB_MASK)
#: A limb that begins above this bit of a word goes on in the next.
_ROOM = np.uint64(64 - LIMB_BITS)
_LANES = np.int64(LANES)


@jit
def split(words, out, start, bits):
    """out[i] = bits start … start + bits − 1 of words[i], in limbs; the rest of a row is zero."""
    count, width = words.shape
    stride = out.shape[1]
    limbs = (bits + _LIMB - 1) // _LIMB
    for i in range(count):
        for k in range(stride):
            limb = np.uint64(0)
            take = min(_LIMB, bits - k * _LIMB)
            if k < limbs and take > 0:
                place = start + k * _LIMB
                word, shift = place >> 6, np.uint64(place & 63)
                if word < width:
                    limb = words[i, word] >> shift
                    if shift > _ROOM and word + 1 < width:
                        limb |= words[i, word + 1] << (np.uint64(64) - shift)
                limb &= _MASK
                if take < _LIMB:
                    limb &= (np.uint64(1) << np.uint64(take)) - np.uint64(1)
            out[i, k] = limb


@jit
def join(rows, out, limbs):
    """out[i] = Σ_k rows[i, k]·radix^k in 64-bit words; bits beyond are dropped (they are zero)."""
    count, width = out.shape
    for i in range(count):
        for w in range(width):
            out[i, w] = np.uint64(0)
        for k in range(limbs):
            place = k * _LIMB
            word, shift = place >> 6, np.uint64(place & 63)
            limb = rows[i, k]
            if word < width:
                out[i, word] |= limb << shift
            if shift > _ROOM and word + 1 < width:
                out[i, word + 1] |= limb >> (np.uint64(64) - shift)


@jit
def lay_digits(words, out, bits, first, last):
    """out[block, window, lane] = bits window·bits … of the exponent of row block·LANES + lane.

    `out` int64[blocks][windows][LANES], blocks first … last − 1 of it; `bits` < 64 a window. One row of words
    is every row's exponent; lanes beyond the last row have the digit 0.
    """
    count, width = words.shape
    windows = out.shape[1]
    mask = (np.uint64(1) << np.uint64(bits)) - np.uint64(1)
    for block in range(first, last):
        for lane in range(_LANES):
            row = block * _LANES + lane if count > 1 else 0
            for window in range(windows):
                place = window * bits
                word, shift = place >> 6, np.uint64(place & 63)
                digit = np.uint64(0)
                if row < count and word < width:
                    digit = words[row, word] >> shift
                    if shift + np.uint64(bits) > np.uint64(64) and word + 1 < width:
                        digit |= words[row, word + 1] << (np.uint64(64) - shift)
                out[block, window, lane] = np.int64(digit & mask)
