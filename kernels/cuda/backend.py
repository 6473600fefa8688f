"""CudaBackend: the Backend contract over rows in device memory; see the package for the parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

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
from .batch import CudaResidues, Operand, own, own_pair
from .constants import Constants
from .device import Array, Device
from .engine import Engine
from .fixed_base import CudaFixedBase
from .host_form import on_device
from .numbers import Numbers
from .segments import segment_product

#: work(engine, out, first, last): elements first … last of a result into `out`, on that engine's device.
Work = Callable[[Engine, Array, int, int], None]


class CudaBackend(Numbers, Backend):
    """Backend over CUDA devices; see `Backend` for each operation's contract.

    Batches live on the first device. Powers, which cost much and move little, are split over all of them.
    """

    name = "cuda"
    #: Fewer powers leave most of a device idle and take as long; an estimate until measured on a GPU.
    least_count = 64

    def __init__(self, devices: Sequence[Device]) -> None:
        super().__init__(Engine(devices[0]))
        self.engines = [self.home, *(Engine(device) for device in devices[1:])]
        self._combs = CombCache(partial(CudaFixedBase, self))

    # --- element-wise -----------------------------------------------------------------------------

    @on_device
    def mod_mul(self, a: Residues, b: Residues) -> CudaResidues:
        left, right = own_pair(a, b)
        count = checks.common_length(len(left), len(right))
        return self._product(left.constants, left.spread(count), right.spread(count), count)

    @on_device
    def mod_pow(self, a: Residues, exponents: int | Limbs) -> CudaResidues:
        x = own(a)
        if isinstance(exponents, int):
            checks.check_exponent(exponents)
            if exponents > 0 and exponents & (exponents - 1) == 0:
                return self._shift(x, exponents.bit_length() - 1)
            limbs = lb.from_ints([exponents], lb.width_for_bits(exponents.bit_length()))
            return self._power(x, limbs, len(x))
        return self._power(x, exponents, checks.common_length(len(x), len(exponents)))

    @on_device
    def mod_inv(self, a: Residues) -> CudaResidues:
        x = own(a)
        k, m = x.constants, x.modulus.mpz
        out = self.home.allocate(k, len(x))

        def invert_one(row: Array) -> Array:
            inverse = gmpy2.invert(self.to_ints(CudaResidues(k, row))[0], m)
            return k.rows(int(inverse))

        def piece(first: int, last: int) -> None:
            out[first:last] = self.home.invert(k, x.rows[first:last], invert_one)

        try:
            self.home.in_pieces(len(x), 3 * 4 * k.row, piece)
        except ZeroDivisionError:
            shared = (i for i, value in enumerate(self.to_ints(x)) if gmpy2.gcd(value, m) != 1)
            raise NotInvertible(next(shared)) from None
        return CudaResidues(k, out)

    @on_device
    def fixed_base(self, modulus: Modulus, base: int, max_bits: int) -> FixedBase:
        return self._combs.get(modulus, base, max_bits)

    # --- structure modulo root² and modulo p·q ----------------------------------------------------

    @on_device
    def mul_one_plus(self, x: Residues, m: Residues) -> CudaResidues:
        left, right = own(x), own(m)
        checks.check_root(left.modulus, right.modulus)
        count = checks.common_length(len(left), len(right))
        k = left.constants
        out = self.home.allocate(k, count)
        self.home.call("add_message", k, count, out, left.spread(count), right.spread(count))
        return CudaResidues(k, out)

    @on_device
    def one_plus(self, square: Modulus, m: Residues) -> CudaResidues:
        checks.check_root(square, m.modulus)
        k = self.home.constants(square)
        return self.mul_one_plus(CudaResidues(k, k.one), m)

    @on_device
    def high_digit(self, x: Residues) -> CudaResidues:
        batch = own(x)
        root = self.home.constants(checks.known_root(batch.modulus))
        out = self.home.allocate(root, len(batch))
        self.home.call("high_digit", batch.constants, len(batch), out, batch.rows, root.factors(root.words))
        return CudaResidues(root, out)

    @on_device
    def reduce(self, x: Residues, modulus: Modulus) -> CudaResidues:
        batch, k = own(x), self.home.constants(modulus)
        out = self.home.allocate(k, len(batch))
        if batch.modulus.root == modulus:
            # Y = Y0 + Y1·r is x·R mod r² with the R of r too: Y0 is x·R mod r.
            out[...] = batch.rows[:, : k.row]
        else:
            self._convert(batch, k, out)
        return CudaResidues(k, out)

    @on_device
    def crt_combine(self, a: Residues, b: Residues, target: Modulus) -> CudaResidues:
        left, right = own(a), own(b)
        checks.check_factors(a.modulus, b.modulus, target)
        p, q = a.modulus.value, b.modulus.value
        count = checks.common_length(len(left), len(right))
        k = self.home.constants(target)
        # Idempotents: q·(q⁻¹ mod p) is 1 mod p and 0 mod q, and the other way round.
        parts = []
        for x, mine, others in ((left, p, q), (right, q, p)):
            part = self.home.allocate(k, len(x))
            self._convert(x, k, part, others * int(gmpy2.invert(others, mine)))
            parts.append(CudaResidues(k, part).spread(count))
        out = self.home.allocate(k, count)
        self.home.call("add_D", k, count, out, *parts)
        return CudaResidues(k, out)

    # --- products over segments -------------------------------------------------------------------

    @on_device
    def segment_product(
        self, x: Residues, indices: NDArray[np.int64], offsets: NDArray[np.int64]
    ) -> CudaResidues:
        batch = own(x)
        indices, offsets = np.asarray(indices, dtype=np.int64), np.asarray(offsets, dtype=np.int64)
        checks.check_segments(len(batch), indices, offsets)
        k = batch.constants
        return CudaResidues(k, segment_product(self.home, k, batch.rows, indices, offsets))

    # --- movement ---------------------------------------------------------------------------------

    @on_device
    def gather(self, x: Residues, indices: NDArray[np.int64]) -> CudaResidues:
        batch, places = own(x), np.ascontiguousarray(indices, dtype=np.int64)
        checks.check_indices(len(batch), places)
        k, device = batch.constants, self.home.device
        if places.size == 0:
            return CudaResidues(k, self.home.allocate(k, 0))
        return CudaResidues(k, device.xp.take(batch.rows, device.from_host(places), axis=0))

    @on_device
    def concatenate(self, parts: Sequence[Residues]) -> CudaResidues:
        checks.check_parts(len(parts))
        batches = [own_pair(parts[0], part)[1] for part in parts]
        rows = self.home.device.xp.concatenate([batch.rows for batch in batches])
        return CudaResidues(batches[0].constants, rows)

    @on_device
    def select(self, mask: NDArray[np.bool_], a: Residues, b: Residues) -> CudaResidues:
        left, right = own_pair(a, b)
        count = checks.common_length(len(left), len(right))
        checks.check_mask(mask, count)
        chosen = self.home.device.from_host(np.ascontiguousarray(mask, dtype=np.bool_).reshape(-1, 1))
        rows = self.home.device.xp.where(chosen, left.rows, right.rows)
        return CudaResidues(left.constants, rows)

    # --- pieces -----------------------------------------------------------------------------------

    def spread_over_devices(self, modulus: Modulus, count: int, work: Work) -> CudaResidues:
        """A batch of `count` elements, each device working on a part; all parts gathered on the first."""
        home = self.home
        k = home.constants(modulus)
        cuts = [count * i // len(self.engines) for i in range(len(self.engines) + 1)]
        with home.device.active():
            out = home.allocate(k, count)
        others = []
        for engine, (first, last) in zip(self.engines[1:], pairwise(cuts[1:]), strict=True):
            with engine.device.active():
                part = engine.allocate(k, last - first)
                work(engine, part, first, last)
            others.append((engine, part, first, last))
        with home.device.active():
            work(home, out[: cuts[1]], 0, cuts[1])
            for engine, part, first, last in others:
                out[first:last] = home.device.from_peer(part, engine.device)
        return CudaResidues(k, out)

    def _product(self, k: Constants, a: Operand, b: Operand, count: int) -> CudaResidues:
        return CudaResidues(k, self.home.multiply(k, count, a, b))

    def _shift(self, x: CudaResidues, squarings: int) -> CudaResidues:
        """x^(2^squarings)."""
        k = x.constants
        out = self.home.allocate(k, len(x))
        self.home.call("shift_D", k, len(x), out, x.spread(len(x)), squarings)
        return CudaResidues(k, out)

    def _power(self, x: CudaResidues, exponents: Limbs, count: int) -> CudaResidues:
        """x^e by windows, exponents uint64[1 or count, any width]."""
        bits = max(1, lb.unsigned_bits(exponents))
        trimmed = np.ascontiguousarray(exponents[:, : lb.width_for_bits(bits)], dtype=lb.LIMB_DTYPE)
        words = trimmed.view(np.uint32)
        shared = len(words) == 1

        def work(engine: Engine, out: Array, first: int, last: int) -> None:
            k, rows = engine.constants(x.modulus), x.rows
            if engine is not self.home:
                wanted = rows if len(x) == 1 else rows[first:last]
                rows = engine.device.from_peer(wanted, self.home.device)
            elif len(x) > 1:
                rows = rows[first:last]

            def piece(start: int, stop: int) -> None:
                base = Operand(rows, None, 0) if len(x) == 1 else Operand(rows[start:stop])
                each = words if shared else words[first + start : first + stop]
                engine.power(k, out[start:stop], base, each, bits)

            engine.in_pieces(last - first, 4 * words.shape[1], piece)

        return self.spread_over_devices(x.modulus, count, work)

    def _convert(self, x: CudaResidues, k: Constants, out: Array, times: int = 1) -> None:
        """out = x·times modulo another modulus, through plain words on the device."""
        words = 2 * x.modulus.width

        def piece(first: int, last: int) -> None:
            plain = self.home.export_words(x.constants, x.rows[first:last], words)
            self.home.import_words(k, plain, out[first:last], times)

        self.home.in_pieces(len(x), 4 * words, piece)
