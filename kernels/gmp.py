"""The gmpy2 backend: plain residues as GMP integers. Always there, and the oracle of the others.

A batch is a list of `mpz`. Long products and powers run on all cores ($HECORE_THREADS): gmpy2
releases the GIL inside each GMP call when its context says so, and inside its list powers always.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from threading import Lock
from typing import TypeVar

import gmpy2
import numpy as np
from gmpy2 import mpz
from numpy.typing import NDArray

from . import checks
from . import limbs as lb
from .backend import Backend, FixedBase, Residues
from .combs import CombCache
from .errors import NotInvertible
from .limbs import Limbs
from .modulus import Modulus
from .threads import Workers

Item = TypeVar("Item")
Result = TypeVar("Result")

#: Products (of 4096 bits) below which a second thread costs more than it brings.
PRODUCTS_WORTH_A_THREAD = 512
#: Powers of one base below which plain powers cost less than building the comb's table.
POWERS_WORTH_A_COMB = 24
WINDOW_BITS = 8


class GmpResidues(Residues):
    """A batch as a list of mpz, canonical."""

    __slots__ = ("values",)

    def __init__(self, modulus: Modulus, values: list[mpz]) -> None:
        super().__init__(modulus)
        self.values = values

    def __len__(self) -> int:
        return len(self.values)


def _values(x: Residues) -> list[mpz]:
    if not isinstance(x, GmpResidues):
        raise TypeError(f"the gmp backend was given {type(x).__name__}, a batch of another backend")
    return x.values


class GmpBackend(Backend):
    """Backend over gmpy2; see `Backend` for each operation's contract."""

    name = "gmp"

    def __init__(self) -> None:
        self._workers = Workers("hecore-gmp")
        self._combs = CombCache(partial(GmpFixedBase, self))

    # --- host ↔ backend ---------------------------------------------------------------------------

    def from_limbs(self, modulus: Modulus, limbs: Limbs) -> GmpResidues:
        checks.check_canonical(modulus, limbs)
        size = modulus.nbytes
        data = lb.to_bytes(limbs)
        values = [mpz.from_bytes(data[i : i + size], byteorder="little") for i in range(0, len(data), size)]
        return GmpResidues(modulus, values)

    def to_limbs(self, x: Residues) -> Limbs:
        size = x.modulus.nbytes
        data = b"".join([value.to_bytes(size, "little") for value in _values(x)])
        return lb.from_bytes(data, x.modulus.width)

    def from_signed(self, modulus: Modulus, limbs: Limbs) -> GmpResidues:
        checks.check_magnitude(modulus, lb.absolute(limbs))
        m = modulus.mpz
        return GmpResidues(modulus, [value % m for value in _signed_integers(limbs)])

    def to_signed(self, x: Residues) -> Limbs:
        top, half = x.modulus.mpz, x.modulus.mpz // 2
        size = x.modulus.nbytes
        lifted = [value - top if value > half else value for value in _values(x)]
        data = b"".join([value.to_bytes(size, "little", signed=True) for value in lifted])
        return lb.from_bytes(data, x.modulus.width)

    # --- element-wise -----------------------------------------------------------------------------

    def mod_mul(self, a: Residues, b: Residues) -> GmpResidues:
        modulus = checks.common_modulus(a, b)
        m = modulus.mpz
        left, right = _broadcast(_values(a), _values(b))

        def multiply(start: int, stop: int) -> list[mpz]:
            return [x * y % m for x, y in zip(left[start:stop], right[start:stop], strict=True)]

        return GmpResidues(modulus, self._in_parallel(multiply, len(left)))

    def mod_pow(self, a: Residues, exponents: int | Limbs) -> GmpResidues:
        modulus, values = a.modulus, _values(a)
        m = modulus.mpz
        if isinstance(exponents, int):
            checks.check_exponent(exponents)
            exponent = mpz(exponents)

            def power(start: int, stop: int) -> list[mpz]:
                return list(gmpy2.powmod_base_list(values[start:stop], exponent, m))

            return GmpResidues(modulus, self._in_parallel(power, len(values), exponent.bit_length()))
        each = [mpz(e) for e in lb.to_ints(exponents)]
        values, each = _broadcast(values, each)

        def powers(start: int, stop: int) -> list[mpz]:
            pairs = zip(values[start:stop], each[start:stop], strict=True)
            return [gmpy2.powmod(x, e, m) for x, e in pairs]

        return GmpResidues(modulus, self._in_parallel(powers, len(values), exponents.shape[1] * 64))

    def mod_inv(self, a: Residues) -> GmpResidues:
        m, values = a.modulus.mpz, _values(a)

        def invert(start: int, stop: int) -> list[mpz]:
            return _batch_inverse(values[start:stop], m, start)

        return GmpResidues(a.modulus, self._in_parallel(invert, len(values), 3))

    def fixed_base(self, modulus: Modulus, base: int, max_bits: int) -> FixedBase:
        return self._combs.get(modulus, base, max_bits)

    # --- structure modulo root² and modulo p·q ----------------------------------------------------

    def mul_one_plus(self, x: Residues, m: Residues) -> GmpResidues:
        return self.mod_mul(x, self.one_plus(x.modulus, m))

    def one_plus(self, square: Modulus, m: Residues) -> GmpResidues:
        checks.check_root(square, m.modulus)
        root = m.modulus.mpz
        return GmpResidues(square, [value * root + 1 for value in _values(m)])

    def high_digit(self, x: Residues) -> GmpResidues:
        root = checks.known_root(x.modulus)
        n = root.mpz
        return GmpResidues(root, [value // n for value in _values(x)])

    def reduce(self, x: Residues, modulus: Modulus) -> GmpResidues:
        m = modulus.mpz
        return GmpResidues(modulus, [value % m for value in _values(x)])

    def crt_combine(self, a: Residues, b: Residues, target: Modulus) -> GmpResidues:
        checks.check_factors(a.modulus, b.modulus, target)
        p, q = a.modulus.mpz, b.modulus.mpz
        inverse = gmpy2.invert(p, q)
        pairs = zip(*_broadcast(_values(a), _values(b)), strict=True)
        return GmpResidues(target, [x + p * ((y - x) * inverse % q) for x, y in pairs])

    # --- products over segments -------------------------------------------------------------------

    def segment_product(
        self, x: Residues, indices: NDArray[np.int64], offsets: NDArray[np.int64]
    ) -> GmpResidues:
        m, values = x.modulus.mpz, _values(x)
        checks.check_segments(len(values), indices, offsets)
        flat, cuts = indices.tolist(), offsets.tolist()
        pieces = _pieces(cuts, max(1, len(flat) // self._workers.count + 1))

        def multiply(start: int, stop: int) -> list[mpz]:
            products = []
            for _, first, last in pieces[start:stop]:
                product = values[flat[first]]
                for index in flat[first + 1 : last]:
                    product = product * values[index] % m
                products.append(product)
            return products

        partial = self._in_parallel(multiply, len(pieces), len(flat) // max(1, len(pieces)))
        out = [mpz(1)] * (len(cuts) - 1)
        for (segment, _, _), product in zip(pieces, partial, strict=True):
            out[segment] = product if out[segment] == 1 else out[segment] * product % m
        return GmpResidues(x.modulus, out)

    # --- movement ---------------------------------------------------------------------------------

    def gather(self, x: Residues, indices: NDArray[np.int64]) -> GmpResidues:
        values = _values(x)
        checks.check_indices(len(values), indices)
        return GmpResidues(x.modulus, [values[i] for i in indices.tolist()])

    def concatenate(self, parts: Sequence[Residues]) -> GmpResidues:
        checks.check_parts(len(parts))
        modulus = checks.common_modulus(*parts)
        return GmpResidues(modulus, [value for part in parts for value in _values(part)])

    def select(self, mask: NDArray[np.bool_], a: Residues, b: Residues) -> GmpResidues:
        modulus = checks.common_modulus(a, b)
        left, right = _broadcast(_values(a), _values(b))
        checks.check_mask(mask, len(left))
        chosen = zip(mask.tolist(), left, right, strict=True)
        return GmpResidues(modulus, [x if take else y for take, x, y in chosen])

    # --- threads ----------------------------------------------------------------------------------

    def _in_parallel(
        self, work: Callable[[int, int], list[Result]], count: int, products: int = 1
    ) -> list[Result]:
        """work(0, count), split over the threads if `products` an element are worth it."""
        threads = min(self._workers.count, count, count * products // PRODUCTS_WORTH_A_THREAD)
        if threads <= 1:
            return work(0, count)
        cuts = [count * i // threads for i in range(threads + 1)]

        def part(start: int, stop: int) -> list[Result]:
            with gmpy2.context(gmpy2.get_context(), allow_release_gil=True):
                return work(start, stop)

        futures = [self._workers.pool.submit(part, *pair) for pair in pairwise(cuts)]
        return [item for future in futures for item in future.result()]


class GmpFixedBase(FixedBase):
    """table[t][d] = base^(d·256^t): a power costs one product per exponent byte, no squaring.

    Rows are built when an exponent first reaches them, and not at all for the first few powers.
    """

    def __init__(self, backend: GmpBackend, modulus: Modulus, base: int, max_bits: int) -> None:
        self._backend = backend
        self._modulus = modulus
        self._next = mpz(base) % modulus.mpz  # base^(256^len(table))
        self._base = self._next
        self._max_bits = max_bits
        self._table: list[list[mpz]] = []
        self._lock = Lock()
        self._asked = 0

    def pow(self, exponents: Limbs) -> GmpResidues:
        """base^exponents[i]; unsigned uint64[count, e]. ValueError beyond `max_bits` bits."""
        data = lb.to_bytes(exponents)
        size = exponents.shape[1] * lb.LIMB_BYTES
        bits = lb.unsigned_bits(exponents)
        if bits > self._max_bits:
            raise ValueError(f"an exponent has more than {self._max_bits} bits")
        self._asked += len(exponents)
        if self._asked < POWERS_WORTH_A_COMB:
            base = GmpResidues(self._modulus, [self._base])
            return self._backend.mod_pow(base, exponents)
        digits = max(1, -(-bits // WINDOW_BITS))
        self._extend(digits)
        table, m = self._table[:digits], self._modulus.mpz

        def powers(start: int, stop: int) -> list[mpz]:
            out = []
            for place in range(start * size, stop * size, size):
                product = mpz(1)
                for row, digit in zip(table, data[place : place + digits], strict=True):
                    product = product * row[digit] % m
                out.append(product)
            return out

        values = self._backend._in_parallel(powers, len(exponents), digits)
        return GmpResidues(self._modulus, values)

    def _extend(self, rows: int) -> None:
        m = self._modulus.mpz
        with self._lock:  # two threads that both need a row must not both append it
            while len(self._table) < rows:
                row = [mpz(1)]
                for _ in range((1 << WINDOW_BITS) - 1):
                    row.append(row[-1] * self._next % m)
                self._next = row[-1] * self._next % m
                self._table.append(row)


def _signed_integers(limbs: Limbs) -> list[int]:
    if limbs.shape[1] == 1:
        small: list[int] = lb.to_int64(limbs).tolist()
        return small
    return lb.to_signed_ints(limbs)


def _broadcast(a: list[Item], b: list[Result]) -> tuple[list[Item], list[Result]]:
    """Two lists of one length, a list of one repeated. ValueError on other lengths."""
    count = checks.common_length(len(a), len(b))
    return a if len(a) == count else a * count, b if len(b) == count else b * count


def _batch_inverse(values: list[mpz], m: mpz, start: int) -> list[mpz]:
    """Inverses by one inversion of the product; values[0] is element `start` of its batch."""
    prefix = [mpz(1)]
    for value in values:
        prefix.append(prefix[-1] * value % m)
    try:
        inverse = gmpy2.invert(prefix[-1], m)
    except ZeroDivisionError:
        shared = (i for i, value in enumerate(values) if gmpy2.gcd(value, m) != 1)
        raise NotInvertible(start + next(shared)) from None
    out = [mpz(0)] * len(values)
    for i in range(len(values) - 1, -1, -1):
        out[i] = inverse * prefix[i] % m
        inverse = inverse * values[i] % m
    return out


def _pieces(offsets: list[int], longest: int) -> list[tuple[int, int, int]]:
    """(segment, first, last), no piece longer than `longest`, none empty."""
    pieces = []
    for segment, (first, last) in enumerate(pairwise(offsets)):
        for start in range(first, last, longest):
            pieces.append((segment, start, min(start + longest, last)))
    return pieces
