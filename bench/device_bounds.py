"""What a device could reach: the word products of an operation, at the rate of the instruction for one.

A word product multiplies 32 by 32 bits and adds 64: one IMAD.WIDE. A digit of b bits has L = b/32 words, and
the kernels execute

    product mod n², two digits    5·L²      a0·b0, a0·b1 + a1·b0, and two reductions
    square mod n²                 4·L²      the two middle products are one
    product mod n, one digit      2·L²

Only operations whose count is certain have a bound. Additions, carries, conversions and copies count as
nothing, so no implementation reaches it.
"""

from __future__ import annotations

from hecore.kernels.cuda.fixed_base import WIDE
from hecore.noise import UNIFORM_SURPLUS_BITS

WORD_BITS = 32
#: Window bits of a power by a long exponent: a table of 2^5 rows.
POWER_WINDOW = 5


def word_products(case: str, key_bits: int) -> float | None:
    """Word products an item of a case, None where nobody has counted them."""
    full, half = _words(key_bits), _words(key_bits / 2)
    comb = {
        "encrypt-owner": 2 * _comb(key_bits / 2, half),
        "encrypt-public": _comb(key_bits / 2, full),
        "encrypt-uniform": _comb(key_bits + UNIFORM_SURPLUS_BITS, full),
        "rerandomize": _comb(key_bits + UNIFORM_SURPLUS_BITS, full) + 5 * full**2,
    }
    counted = {
        "add": 5 * full**2,
        "sum": 5 * full**2,
        "products": 5 * full**2,
        "add-plain": 2 * full**2,
        "encrypt-classic": _power(key_bits, full),
        "decrypt": 2 * _power(key_bits / 2, half),
        "multiply-full": _power(key_bits, full),
        **comb,
    }
    return counted.get(case)


def _words(bits: float) -> float:
    return bits / WORD_BITS


def _comb(exponent_bits: float, words: float) -> float:
    """One product for each window of the wide table."""
    return exponent_bits / WIDE * 5 * words**2


def _power(exponent_bits: float, words: float) -> float:
    """A square a bit, a product a window, and the table."""
    products = exponent_bits / POWER_WINDOW + (1 << POWER_WINDOW)
    return exponent_bits * 4 * words**2 + products * 5 * words**2
