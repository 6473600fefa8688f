"""Fixed-base powers of the simd backend: a table of Montgomery rows, one product a byte of the exponent."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

import gmpy2
import numpy as np

from .. import limbs as lb
from ..backend import FixedBase
from ..limbs import Limbs
from ..modulus import Modulus
from . import montgomery
from .batch import SimdResidues, allocate, one, own, stretch
from .constants import Rows, address, aligned, u64

if TYPE_CHECKING:
    from .backend import SimdBackend

WINDOW_BITS = 8
#: Windows are added to a table this many at a time: 256 bits of exponent.
GROWTH = 32


class SimdFixedBase(FixedBase):
    """table[t][d] = base^(d·256^t), grown as far as exponents reach."""

    def __init__(self, backend: SimdBackend, modulus: Modulus, base: int, max_bits: int) -> None:
        self._backend = backend
        self._modulus = modulus
        self._base = base % modulus.value
        self._max_bits = max_bits
        self._constants = backend.constants_of(modulus)
        self._table = aligned(0, 1 << WINDOW_BITS, self._constants.stride)
        self._lock = Lock()

    def pow(self, exponents: Limbs) -> SimdResidues:
        """base^exponents[i]; unsigned uint64[count, e]. ValueError beyond `max_bits` bits."""
        bits = lb.unsigned_bits(exponents)
        if bits > self._max_bits:
            raise ValueError(f"an exponent has more than {self._max_bits} bits")
        k, count = self._constants, len(exponents)
        windows = max(1, -(-bits // WINDOW_BITS))
        table = self._reaching(windows)
        digits = self._backend.lay_digits(k, exponents, WINDOW_BITS, windows, count)
        out = allocate(k, count)
        words = table.shape[1] * table.shape[2]

        def work(first: int, last: int, scratch: np.uint64) -> None:
            montgomery.comb_rows(
                address(out), address(table), address(digits), windows, words,
                first, last, u64(k.stride), *k.tail(scratch),
            )  # fmt: skip

        self._backend.run(work, count, k)
        return SimdResidues(k, out, count)

    def _reaching(self, windows: int) -> Rows:
        """A table of at least `windows` windows; entry 2^i + j of one is entry 2^i times entry j."""
        with self._lock:
            have = len(self._table)
            if windows <= have:
                return self._table
            backend, k = self._backend, self._constants
            reach = max(windows, -(-self._max_bits // WINDOW_BITS))
            wanted = min(-(-windows // GROWTH) * GROWTH, reach)
            power = own(backend.from_ints(self._modulus, self._window_bases(have, wanted)))
            entries = [stretch(one(k), len(power)), power]
            for _ in range(1, WINDOW_BITS):
                power = backend.mod_mul(power, power)
                entries += [power, *(backend.mod_mul(power, entry) for entry in entries[1:])]
            table = aligned(wanted, 1 << WINDOW_BITS, k.stride)
            table[:have] = self._table
            for digit, entry in enumerate(entries):
                table[have:, digit] = entry.rows[: len(entry)]
            self._table = table
            return table

    def _window_bases(self, first: int, last: int) -> list[int]:
        """base^(256^t) for windows first … last − 1."""
        m = self._modulus.mpz
        bases = [gmpy2.powmod(self._base, 1 << (WINDOW_BITS * first), m)]
        while len(bases) < last - first:
            bases.append(gmpy2.powmod(bases[-1], 1 << WINDOW_BITS, m))
        return [int(base) for base in bases]
