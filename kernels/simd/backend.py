"""SimdBackend: the Backend contract over batches of Montgomery rows; see the package for the parts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from threading import Lock

import gmpy2
import numpy as np
from numpy.typing import NDArray

from .. import checks
from .. import limbs as lb
from ..backend import Backend, FixedBase, Residues
from ..combs import CombCache
from ..errors import NotInvertible
from ..limbs import Limbs
from ..modulus import Modulus
from ..threads import Workers
from ..windows import best_window
from . import montgomery, words
from .batch import (
    Indices,
    SimdResidues,
    allocate,
    blocks_of,
    choice,
    one,
    own,
    spread_indices,
    stretch,
    take,
)
from .blocks import Work, run_blocks
from .constants import Constants, Rows, address, aligned, u64
from .fixed_base import SimdFixedBase
from .lanes import FORM, LANES
from .segments import Arrangement, arrange

#: Moduli whose constants are kept, oldest first out.
KEPT_MODULI = 64


class SimdBackend(Backend):
    """Backend over numba; see `Backend` for each operation's contract."""

    name = "simd"
    least_count = FORM.least_count

    def __init__(self) -> None:
        self._workers = Workers("hecore-simd")
        self._constants: dict[Modulus, Constants] = {}
        self._combs = CombCache(partial(SimdFixedBase, self))
        self._lock = Lock()

    # --- host ↔ backend ---------------------------------------------------------------------------

    def from_limbs(self, modulus: Modulus, limbs: Limbs) -> SimdResidues:
        checks.check_canonical(modulus, limbs)
        return self._import(modulus, limbs)

    def to_limbs(self, x: Residues) -> Limbs:
        x = own(x)
        k = x.constants
        out = aligned(blocks_of(len(x)) * LANES, k.stride)

        def work(first: int, last: int, scratch: np.uint64) -> None:
            montgomery.export_rows(
                address(out), address(x.rows), address(k.unit), first, last, u64(k.stride),
                *k.tail(scratch),
            )  # fmt: skip

        self.run(work, len(x), k)
        return self._join(k, out, len(x))

    def from_signed(self, modulus: Modulus, limbs: Limbs) -> SimdResidues:
        negative = lb.is_negative(limbs)
        magnitude = lb.negate_where(limbs, negative)
        checks.check_magnitude(modulus, magnitude)
        return self._import(modulus, magnitude, negative.astype(np.int64))

    def to_signed(self, x: Residues) -> Limbs:
        plain = self.to_limbs(x)
        half = lb.from_ints([x.modulus.value // 2 + 1], x.modulus.width)
        upper = ~lb.less(plain, half)
        out = plain.copy()
        if upper.any():
            out[upper] = lb.subtract(plain[upper], lb.from_ints([x.modulus.value], x.modulus.width))
        return out

    # --- element-wise -----------------------------------------------------------------------------

    def mod_mul(self, a: Residues, b: Residues) -> SimdResidues:
        left, right = _common(a, b)
        count = checks.common_length(len(left), len(right))
        first, second = spread_indices(len(left), count), spread_indices(len(right), count)
        return self._product(left.constants, left.rows, first, right.rows, second)

    def mod_mul_at(self, a: Residues, a_indices: Indices, b: Residues, b_indices: Indices) -> SimdResidues:
        left, right = _common(a, b)
        first, second = np.asarray(a_indices, dtype=np.int64), np.asarray(b_indices, dtype=np.int64)
        checks.check_indices(len(left), first)
        checks.check_indices(len(right), second)
        count = checks.common_length(first.size, second.size)
        first, second = np.broadcast_to(first, count), np.broadcast_to(second, count)
        return self._product(left.constants, left.rows, first, right.rows, second)

    def mod_pow(self, a: Residues, exponents: int | Limbs) -> SimdResidues:
        x = own(a)
        if isinstance(exponents, int):
            checks.check_exponent(exponents)
            if exponents & (exponents - 1) == 0 and exponents > 0:
                return self._shift(x, exponents.bit_length() - 1)
            exponents = lb.from_ints([exponents], lb.width_for_bits(exponents.bit_length()))
        return self._power(x, exponents)

    def mod_inv(self, a: Residues) -> SimdResidues:
        x = own(a)
        if len(x) == 0:
            return x
        levels = [x]
        while len(levels[-1]) > 1:
            levels.append(self._pairwise(levels[-1]))
        try:
            root = int(gmpy2.invert(self.to_ints(levels[-1])[0], x.modulus.mpz))
        except ZeroDivisionError:
            shared = (i for i, v in enumerate(self.to_ints(x)) if gmpy2.gcd(v, x.modulus.mpz) != 1)
            raise NotInvertible(next(shared)) from None
        inverse = own(self.from_ints(x.modulus, [root]))
        for level in reversed(levels[:-1]):
            # The inverse of one of a pair is the pair's inverse times the other; a single one has none.
            count = len(level)
            partner = np.arange(count) ^ 1
            partner[partner >= count] = count  # the spare row: 1
            parent = np.arange(count) // 2
            inverse = self._product(x.constants, inverse.rows, parent, level.rows, partner)
        return inverse

    def _pairwise(self, x: SimdResidues) -> SimdResidues:
        """x[0]·x[1], x[2]·x[3], …; the last alone if the count is odd."""
        first = np.arange(0, len(x), 2)
        return self._product(x.constants, x.rows, first, x.rows, np.minimum(first + 1, len(x)))

    def fixed_base(self, modulus: Modulus, base: int, max_bits: int) -> FixedBase:
        return self._combs.get(modulus, base, max_bits)

    # --- structure modulo root² and modulo p·q ----------------------------------------------------

    def mul_one_plus(self, x: Residues, m: Residues) -> SimdResidues:
        left, right = own(x), own(m)
        checks.check_root(left.modulus, right.modulus)
        count = checks.common_length(len(left), len(right))
        left, right = stretch(left, count), stretch(right, count)
        k = left.constants
        out = allocate(k, count)

        def work(first: int, last: int, scratch: np.uint64) -> None:
            montgomery.add_product_rows(
                address(out), address(left.rows), address(right.rows), first, last,
                u64(k.stride), u64(right.constants.stride), address(k.row), k.inverse, u64(k.limbs), scratch,
            )  # fmt: skip

        self.run(work, count, k)
        return SimdResidues(k, out, count)

    def one_plus(self, square: Modulus, m: Residues) -> SimdResidues:
        k = self.constants_of(square)
        checks.check_root(square, m.modulus)
        return self.mul_one_plus(one(k), m)

    def high_digit(self, x: Residues) -> SimdResidues:
        x = own(x)
        root = checks.known_root(x.modulus)
        k, target = x.constants, self.constants_of(root)
        plain = allocate(target, len(x))

        def work(first: int, last: int, scratch: np.uint64) -> None:
            montgomery.export_high_rows(
                address(plain), address(x.rows), address(k.unit), first, last, u64(k.stride),
                u64(target.stride), address(k.row), k.inverse, u64(k.limbs), scratch,
            )  # fmt: skip

        self.run(work, len(x), k)
        zeros = np.zeros(len(x), dtype=np.int64)
        return self._product(target, plain, np.arange(len(x)), target.chunk_factors(0), zeros)

    def reduce(self, x: Residues, modulus: Modulus) -> SimdResidues:
        x = own(x)
        if x.modulus.root == modulus:
            # X = X0 + X1·n is x·R mod n² with the R of n too: X0 is x·R mod n.
            k = self.constants_of(modulus)
            out = allocate(k, len(x))
            out[: len(x)] = 0
            out[: len(x), : k.limbs] = x.rows[: len(x), : k.limbs]
            return SimdResidues(k, out, len(x))
        return self._import(modulus, self.to_limbs(x))

    def crt_combine(self, a: Residues, b: Residues, target: Modulus) -> SimdResidues:
        checks.check_factors(a.modulus, b.modulus, target)
        p, q = a.modulus.value, b.modulus.value
        count = checks.common_length(len(a), len(b))
        # Idempotents: q·(q⁻¹ mod p) is 1 mod p and 0 mod q, and the other way round.
        parts = [
            self._import(
                target, self.to_limbs(stretch(x, count)), times=others * int(gmpy2.invert(others, mine))
            )
            for x, mine, others in ((own(a), p, q), (own(b), q, p))
        ]
        return self._sum(*parts)

    # --- products over segments -------------------------------------------------------------------

    def segment_product(
        self, x: Residues, indices: NDArray[np.int64], offsets: NDArray[np.int64]
    ) -> SimdResidues:
        level = own(x)
        indices, offsets = np.asarray(indices, dtype=np.int64), np.asarray(offsets, dtype=np.int64)
        checks.check_segments(len(level), indices, offsets)
        while int(np.diff(offsets).max(initial=0)) > 1:
            plan = arrange(indices, offsets, len(level), self._workers.count)
            level = self._multiply_pieces(level, plan)
            indices, offsets = plan.place, plan.offsets
        chosen = np.full(offsets.size - 1, len(level), dtype=np.int64)  # the spare row: 1
        filled = np.diff(offsets) == 1
        chosen[filled] = indices[offsets[:-1][filled]]
        return take(level, chosen)

    def _multiply_pieces(self, x: SimdResidues, plan: Arrangement) -> SimdResidues:
        """The product of every piece, where the plan places it."""
        k, count = x.constants, plan.place.size
        out = allocate(k, count)

        def work(first: int, last: int, scratch: np.uint64) -> None:
            montgomery.segment_rows(
                address(out), address(x.rows), address(plan.chosen), plan.steps, plan.block_start,
                first, last, u64(k.stride), *k.tail(scratch),
            )  # fmt: skip

        self.run(work, count, k)
        return SimdResidues(k, out, count)

    # --- movement ---------------------------------------------------------------------------------

    def gather(self, x: Residues, indices: NDArray[np.int64]) -> SimdResidues:
        batch, places = own(x), np.asarray(indices, dtype=np.int64)
        checks.check_indices(len(batch), places)
        return take(batch, places)

    def concatenate(self, parts: Sequence[Residues]) -> SimdResidues:
        checks.check_parts(len(parts))
        batches = [_common(parts[0], part)[1] for part in parts]
        k, count = batches[0].constants, sum(len(batch) for batch in batches)
        out = allocate(k, count)
        np.concatenate([batch.rows[: len(batch)] for batch in batches], out=out[:count])
        return SimdResidues(k, out, count)

    def select(self, mask: NDArray[np.bool_], a: Residues, b: Residues) -> SimdResidues:
        left, right = _common(a, b)
        count = checks.common_length(len(left), len(right))
        checks.check_mask(mask, count)
        left, right = stretch(left, count), stretch(right, count)
        out = allocate(left.constants, count)
        out[:count] = np.where(np.asarray(mask)[:, None], left.rows[:count], right.rows[:count])
        return SimdResidues(left.constants, out, count)

    # --- pieces -----------------------------------------------------------------------------------

    def constants_of(self, modulus: Modulus) -> Constants:
        """The constants of a modulus, computed once."""
        with self._lock:
            if modulus not in self._constants:
                while len(self._constants) >= KEPT_MODULI:
                    del self._constants[next(iter(self._constants))]
                self._constants[modulus] = Constants(modulus)
            return self._constants[modulus]

    def run(self, work: Work, count: int, k: Constants, entries: int = 0) -> None:
        """`run_blocks` on this backend's threads."""
        run_blocks(self._workers, work, count, k, entries)

    def lay_digits(
        self, k: Constants, exponents: Limbs, bits: int, windows: int, count: int
    ) -> NDArray[np.int64]:
        """Digits of exponents, one or one a row, as int64[blocks][windows][lanes], the lowest first."""
        rows = np.ascontiguousarray(exponents, dtype=lb.LIMB_DTYPE)
        out = aligned(blocks_of(count), windows, LANES).view(np.int64)

        def work(first: int, last: int, _: np.uint64) -> None:
            words.lay_digits(rows, out, bits, first, last)

        self.run(work, count, k)
        return out

    def _import(
        self, modulus: Modulus, limbs: Limbs, negative: Indices | None = None, times: int = 1
    ) -> SimdResidues:
        """times·v for unsigned integers v of any width, negated where `negative` is 1.

        Σ_i chunk_i · (times · 2^(i·chunk_bits))
        """
        k, count = self.constants_of(modulus), len(limbs)
        rows = np.ascontiguousarray(limbs)
        signs = np.zeros(count, dtype=np.int64) if negative is None else negative
        parts = []
        for place in range(max(1, -(-limbs.shape[1] * lb.LIMB_BITS // k.chunk_bits))):
            chunk = aligned(count, k.stride)

            def work(first: int, last: int, _: np.uint64, chunk: Rows = chunk, place: int = place) -> None:
                here = slice(first * LANES, last * LANES)
                k.split(rows[here], chunk[here], place)

            self.run(work, count, k)
            factors = k.chunk_factors(place, times)
            parts.append(self._product(k, chunk, np.arange(count), factors, signs))
        total = parts[0]
        for part in parts[1:]:
            total = self._sum(total, part)
        return total

    def _join(self, k: Constants, rows: Rows, count: int) -> Limbs:
        """The first `count` plain rows as unsigned 64-bit limbs."""
        out = np.empty((count, k.modulus.width), dtype=lb.LIMB_DTYPE)

        def work(first: int, last: int, _: np.uint64) -> None:
            here = slice(first * LANES, last * LANES)
            k.join(rows[:count][here], out[here])

        self.run(work, count, k)
        return out

    def _product(
        self, k: Constants, a: Rows, a_indices: Indices, b: Rows, b_indices: Indices
    ) -> SimdResidues:
        """a[a_indices] · b[b_indices]."""
        count = len(a_indices)
        out, first_choice, second_choice = allocate(k, count), choice(a_indices), choice(b_indices)

        def work(first: int, last: int, scratch: np.uint64) -> None:
            montgomery.multiply_rows(
                address(out), address(a), address(first_choice), address(b), address(second_choice),
                first, last, u64(k.stride), *k.tail(scratch),
            )  # fmt: skip

        self.run(work, count, k)
        return SimdResidues(k, out, count)

    def _sum(self, a: SimdResidues, b: SimdResidues) -> SimdResidues:
        """a + b."""
        k, count = a.constants, len(a)
        out = allocate(k, count)

        def work(first: int, last: int, scratch: np.uint64) -> None:
            montgomery.add_rows_modulo(
                address(out), address(a.rows), address(b.rows), first, last,
                u64(k.stride), address(k.row), u64(k.limbs), u64(k.digits - 1), scratch,
            )  # fmt: skip

        self.run(work, count, k)
        return SimdResidues(k, out, count)

    def _shift(self, x: SimdResidues, squarings: int) -> SimdResidues:
        """x^(2^squarings)."""
        k, count = x.constants, len(x)
        out, chosen = allocate(k, count), choice(np.arange(count))

        def work(first: int, last: int, scratch: np.uint64) -> None:
            montgomery.shift_rows(
                address(out), address(x.rows), address(chosen), squarings, first, last,
                u64(k.stride), *k.tail(scratch),
            )  # fmt: skip

        self.run(work, count, k)
        return SimdResidues(k, out, count)

    def _power(self, x: SimdResidues, exponents: Limbs) -> SimdResidues:
        """x^e by windows, whose width is the best for the longest exponent."""
        k, count = x.constants, checks.common_length(len(x), len(exponents))
        bits = max(1, lb.unsigned_bits(exponents))
        window = best_window(bits)
        windows = -(-bits // window)
        laid = self.lay_digits(k, exponents, window, windows, count)
        entries = max(2, int(laid.max(initial=0)) + 1)
        out, chosen = allocate(k, count), choice(spread_indices(len(x), count))

        def work(first: int, last: int, scratch: np.uint64) -> None:
            montgomery.power_rows(
                address(out), address(x.rows), address(chosen), address(laid), windows, window, entries,
                address(k.one), first, last, u64(k.stride), *k.tail(scratch),
            )  # fmt: skip

        self.run(work, count, k, entries)
        return SimdResidues(k, out, count)


def _common(a: Residues, b: Residues) -> tuple[SimdResidues, SimdResidues]:
    left, right = own(a), own(b)
    checks.common_modulus(left, right)
    return left, right
