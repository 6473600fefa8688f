"""The Backend protocol: the complete list of batch operations modulo a fixed odd modulus.

A backend keeps batches in its own form on its own device (plain integers, Montgomery limbs, two
digits) between operations; `Residues` is opaque to everything above. Host form is
`uint64[count, width]` (see `limbs`). All backends compute the same integers: results are canonical,
0 ≤ x < m, and compared exactly.

Every operation is finished when it returns, or when a result is read back (`to_*`) on a device that
queues work. "count" is the number of elements of a batch; empty batches work everywhere. Where two
batches (or a batch and its exponents) meet element by element, one of length one broadcasts. Other
unequal lengths, unequal moduli, and indices outside their batch raise ValueError; a batch of
another backend raises TypeError.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from . import limbs as lb
from .limbs import Limbs
from .modulus import Modulus
from .multiexp import Entries, entries_power, matrix_power

#: What a device may be given as it is.
MachineNumbers = NDArray[np.float64] | NDArray[np.int64]


class Residues(ABC):
    """A batch of residues modulo `modulus`, in the form of the backend that made it. Immutable."""

    __slots__ = ("modulus",)

    def __init__(self, modulus: Modulus) -> None:
        self.modulus = modulus

    @abstractmethod
    def __len__(self) -> int:
        """Number of elements."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(count={len(self)}, modulus={self.modulus!r})"


class Slots(NamedTuple):
    """Rows of `length` signed values, `per_number` of them in one number: Σ_j value_j·2^(bits·j).

    A row takes ⌈length / per_number⌉ numbers; the values that its last one lacks are 0.
    """

    length: int
    per_number: int
    bits: int

    @property
    def numbers(self) -> int:
        """Numbers of a row."""
        return -(-self.length // self.per_number)


class FixedBase(Protocol):
    """A base with a table of its powers: base^(d · 2^(w·t)) for every digit d and window t."""

    def pow(self, exponents: Limbs) -> Residues:
        """base^exponents[i], one an element; exponents unsigned uint64[count, e].

        Raises ValueError if one has more than `max_bits` bits.
        """
        ...


class Backend(Protocol):
    """Batch arithmetic modulo fixed odd moduli. See the module docstring for forms and lengths."""

    name: str
    #: The fewest elements of which powers are faster here than on the next of `select.LOADERS`.
    least_count: int = 1

    # --- host ↔ backend ---------------------------------------------------------------------------

    def from_limbs(self, modulus: Modulus, limbs: Limbs) -> Residues:
        """Import unsigned canonical limbs uint64[count, modulus.width].

        Raises ValueError for another width, or naming the first element ≥ m.
        """
        ...

    def to_limbs(self, x: Residues) -> Limbs:
        """Export canonical residues, uint64[count, modulus.width]."""
        ...

    def from_signed(self, modulus: Modulus, limbs: Limbs) -> Residues:
        """Import two's complement limbs uint64[count, any width]: x = v mod m, for |v| < m.

        An int64 array is `limbs.from_int64(array)`, width 1. Raises ValueError if some |v| ≥ m.
        """
        ...

    def to_signed(self, x: Residues) -> Limbs:
        """Export the centred lift −m/2 < v < m/2, two's complement uint64[count, modulus.width]."""
        ...

    def from_ints(self, modulus: Modulus, values: Iterable[int]) -> Residues:
        """Import Python integers 0 ≤ v < m (keys, tests, small inputs).

        Raises ValueError as `from_limbs`, OverflowError below 0 or beyond its limbs.
        """
        return self.from_limbs(modulus, lb.from_ints(values, modulus.width))

    def to_ints(self, x: Residues) -> list[int]:
        """Export as Python integers."""
        return lb.to_ints(self.to_limbs(x))

    def from_bytes(self, modulus: Modulus, data: bytes | bytearray | memoryview) -> Residues:
        """Import fixed-width little-endian bytes, `modulus.nbytes` an element.

        Raises ValueError as `from_limbs`, and for a length that is no multiple.
        """
        return self.from_limbs(modulus, lb.from_bytes(data, modulus.width))

    def to_bytes(self, x: Residues) -> bytes:
        """Export as fixed-width little-endian bytes, `modulus.nbytes` an element."""
        return lb.to_bytes(self.to_limbs(x))

    # --- machine numbers: a backend on a device may take them as they are, 8 bytes each -----------

    def from_numbers(
        self, modulus: Modulus, values: MachineNumbers, scale_bits: int, value_bits: int, slots: Slots | None
    ) -> Residues | None:
        """Import round(values·2^scale_bits), half to even, with `slots` packed; flat float64 or int64.

        None where the backend leaves that to its caller, who has the limbs made on the host (`from_signed`)
        and names what cannot be encoded: some |integer| ≥ 2^value_bits, or a value that is not finite. The
        caller has shown that what is imported is below the modulus.
        """
        return None

    def to_slots(self, x: Residues, slots: Slots) -> Limbs | None:
        """Unpack the centred lifts: two's complement uint64[values, ⌈bits/64⌉], row by row.

        None where the backend leaves that to its caller, or where some number is no packing of such values.
        """
        return None

    # --- element-wise -----------------------------------------------------------------------------

    def mod_mul(self, a: Residues, b: Residues) -> Residues:
        """a·b mod m."""
        ...

    def mod_mul_at(
        self, a: Residues, a_indices: NDArray[np.int64], b: Residues, b_indices: NDArray[np.int64]
    ) -> Residues:
        """out[k] = a[a_indices[k]]·b[b_indices[k]]: `mod_mul` of what `gather` gives, one index broadcasts.

        A backend overrides it to save the copies.
        """
        return self.mod_mul(self.gather(a, a_indices), self.gather(b, b_indices))

    def mod_pow(self, a: Residues, exponents: int | Limbs) -> Residues:
        """a^e mod m, 0^0 = 1: one exponent e ≥ 0 for all, or one a row, unsigned uint64[count, e].

        Raises ValueError for a negative exponent.
        """
        ...

    def mod_inv(self, a: Residues) -> Residues:
        """a⁻¹ mod m by one inversion and 3 products an element (Montgomery's trick).

        Raises NotInvertible naming the first element that shares a factor with m.
        """
        ...

    def fixed_base(self, modulus: Modulus, base: int, max_bits: int) -> FixedBase:
        """A comb for powers of one base, exponents up to `max_bits` bits; cached by arguments."""
        ...

    # --- structure modulo root² and modulo p·q ----------------------------------------------------

    def mul_one_plus(self, x: Residues, m: Residues) -> Residues:
        """x·(1 + m·r) mod r², for x modulo r² (which knows r) and m modulo r; else ValueError."""
        ...

    def one_plus(self, square: Modulus, m: Residues) -> Residues:
        """1 + m·r mod r², for m modulo r and `square` = r², which knows r; else ValueError."""
        ...

    def high_digit(self, x: Residues) -> Residues:
        """x1 of x = x0 + x1·r: ⌊x / r⌋, modulo r.

        For x ≡ 1 mod r this is Paillier's L(x) = (x − 1)/r. Raises ValueError if x's modulus knows
        no root.
        """
        ...

    def reduce(self, x: Residues, modulus: Modulus) -> Residues:
        """x mod `modulus`; meaningful where `modulus` divides x's own."""
        ...

    def crt_combine(self, a: Residues, b: Residues, target: Modulus) -> Residues:
        """The x modulo target = p·q with x ≡ a mod p and x ≡ b mod q.

        Garner: a + p·((b − a)·p⁻¹ mod q). Raises ValueError if the target is not p·q, or if p and q
        share a factor.
        """
        ...

    # --- products over segments -------------------------------------------------------------------

    def segment_product(
        self, x: Residues, indices: NDArray[np.int64], offsets: NDArray[np.int64]
    ) -> Residues:
        """out[s] = ∏ x[indices[k]] over offsets[s] ≤ k < offsets[s+1]; 1 for an empty segment.

        `indices` int64[k] in [0, count), `offsets` int64[segments + 1], non-decreasing from 0 to k;
        else ValueError. This is the encrypted histogram, the encrypted sum, and the inner loop of a
        multi-exponentiation.
        """
        ...

    def matvec_exp(self, matrix: Limbs, x: Residues, *, transposed: bool = False) -> Residues:
        """out[i] = ∏_j x[j]^matrix[i, j], signed exponents: integer matrix × encrypted vector.

        `matrix` two's complement uint64[rows, columns, width]; `transposed` takes matrix[j, i]
        instead. Planned in `multiexp`, which also says what is raised, from the operations above; a
        backend overrides it only to fuse.
        """
        return matrix_power(self, matrix.swapaxes(0, 1) if transposed else matrix, x)

    def entries_exp(self, matrix: Entries, x: Residues) -> Residues:
        """`matvec_exp` of a sparse matrix, given by its entries."""
        return entries_power(self, matrix, x)

    # --- movement ---------------------------------------------------------------------------------

    def gather(self, x: Residues, indices: NDArray[np.int64]) -> Residues:
        """x[indices], indices int64[k] in [0, count)."""
        ...

    def concatenate(self, parts: Sequence[Residues]) -> Residues:
        """The parts one after another; all modulo the same modulus, at least one (ValueError)."""
        ...

    def select(self, mask: NDArray[np.bool_], a: Residues, b: Residues) -> Residues:
        """a where mask, else b; bool[count]."""
        ...
