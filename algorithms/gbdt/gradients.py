"""(g, h) as exact integers, and as ciphertexts: all classes of a row side by side in one plaintext.

    integer = round(value · 2^e),   |integer| < 2^gradient_bits

The exponents e_g and e_h are the active party's own, chosen for each tree from the largest |g| and h; nobody
else needs them. A slot has gradient_bits and a sign, and headroom for the sum of all rows:

    plaintext of a row:   | – | h_K | g_K |  …  | h_2 | g_2 | h_1 | g_1 |

Sums are exact as integers of int64, and in float64 as well (`GBDTConfig.check_rows`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hecore import CipherBatch, Encryptor, SlotLayout
from hecore.algorithms.errors import TableError
from hecore.algorithms.objectives import Floats
from hecore.keys import PublicKey

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Gradients:
    """The integers of a tree. `values` int64 (rows, 2·outputs): g₁, h₁, g₂, h₂, …; value = integer·2^−e."""

    values: Integers
    exponents: tuple[int, int]

    @property
    def outputs(self) -> int:
        """K."""
        return int(self.values.shape[1]) // 2

    def scales(self) -> Floats:
        """2^−e for each of the 2·K columns."""
        return np.asarray(np.ldexp(1.0, -np.array(self.exponents * self.outputs)))


def quantise(g: Floats, h: Floats, bits: int) -> Gradients:
    """(rows, K) derivatives as integers of at most `bits` bits. TableError for one not finite, or h < 0."""
    if not (np.isfinite(g).all() and np.isfinite(h).all()) or (h < 0).any():
        raise TableError("a gradient is not finite, or a second derivative negative: training diverges")
    exponents = (_exponent(g, bits), _exponent(h, bits))
    values = np.empty((len(g), 2 * g.shape[1]), dtype=np.int64)
    values[:, 0::2] = np.rint(np.ldexp(g, exponents[0]))
    values[:, 1::2] = np.rint(np.ldexp(h, exponents[1]))
    return Gradients(values, exponents)


def _exponent(values: Floats, bits: int) -> int:
    """The largest e with round(|v|·2^e) < 2^bits for all values."""
    largest = float(np.abs(values).max(initial=0.0))
    if largest == 0.0:
        return 0
    exponent: int = bits - math.frexp(largest)[1]
    return exponent if round(math.ldexp(largest, exponent)) < 2**bits else exponent - 1


def row_layout(public: PublicKey, bits: int, rows: int, outputs: int) -> SlotLayout:
    """Slots for `bits` bits and sums of `rows` rows.

    Where all 2·K numbers of a row fit, they share one ciphertext. Else a row has several ciphertexts, each
    holding whole (g, h) pairs.
    """
    layout = SlotLayout.for_key(public, bits, terms=max(1, rows))
    slots = min(2 * outputs, max(1, layout.slots - layout.slots % 2))
    return SlotLayout(slots, layout.slot_bits, layout.value_bits)


def encrypted_blocks(
    values: Integers, encryptor: Encryptor, layout: SlotLayout, block_rows: int
) -> Iterator[CipherBatch]:
    """The rows in blocks of `block_rows`, each encrypted when it is asked for."""
    for start in range(0, len(values), block_rows):
        yield encryptor.encrypt(values[start : start + block_rows], layout=layout)
