"""The fixed odd modulus that a batch is reduced by."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import gmpy2

from .limbs import width_for_bits

MINIMUM = 3


@dataclass(frozen=True)
class Modulus:
    """An odd modulus m ≥ 3 and, where m is a square, its root: m = root².

    Backends use a known root for the two-digit form x = x0 + x1·root, 0 ≤ x0, x1 < root, in which a
    product modulo root² costs 5 half-size multiplications instead of 8. Everything derived is
    computed once. A modulus that knows its root and one that does not are unequal: their batches
    may differ in form.

    Raises ValueError for an even or too small value. `repr` shows the size only: p² is a secret.
    """

    value: int = field(repr=False)
    root: Modulus | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.value < MINIMUM or self.value % 2 == 0:
            raise ValueError(f"a modulus must be odd and at least {MINIMUM}")
        if self.root is not None and self.root.value**2 != self.value:
            raise ValueError("the root's square is not the modulus")

    @classmethod
    def square_of(cls, root: Modulus) -> Modulus:
        """The modulus root², which knows its root."""
        return cls(root.value**2, root)

    @cached_property
    def bits(self) -> int:
        """Bit length of the modulus."""
        return self.value.bit_length()

    @cached_property
    def width(self) -> int:
        """64-bit limbs of a canonical residue in host form."""
        return width_for_bits(self.bits)

    @property
    def nbytes(self) -> int:
        """Bytes of a canonical residue in host and wire form: 8·width."""
        return 8 * self.width

    @cached_property
    def mpz(self) -> gmpy2.mpz:
        """The value as a gmpy2 integer."""
        return gmpy2.mpz(self.value)

    def __repr__(self) -> str:
        return f"Modulus(bits={self.bits}, square={self.root is not None})"
