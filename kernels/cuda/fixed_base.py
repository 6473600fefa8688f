"""Fixed-base powers of the cuda backend: a table of Montgomery rows, built on the device."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

import gmpy2
import numpy as np

from .. import limbs as lb
from ..backend import FixedBase
from ..limbs import Limbs
from ..modulus import Modulus
from .batch import CudaResidues, Operand
from .constants import Constants
from .device import Array
from .engine import Engine

if TYPE_CHECKING:
    from .backend import CudaBackend

#: Windows of the table that serves a few powers, and of the one that many pay for.
NARROW, WIDE = 8, 12
#: Bits of exponent that a table grows by.
GROWTH_BITS = 256
#: A wide table takes at most this share of the free memory.
SHARE_OF_MEMORY = 8


@dataclass(frozen=True)
class Table:
    """Rows [digit d][window t] = base^(d·2^(bits·t)): windows of `bits` bits."""

    bits: int
    rows: Array

    @property
    def windows(self) -> int:
        """How many there are."""
        return int(self.rows.shape[1])


class CudaFixedBase(FixedBase):
    """Powers of one base; tables on every device of the backend, grown as far as exponents reach."""

    def __init__(self, backend: CudaBackend, modulus: Modulus, base: int, max_bits: int) -> None:
        self._backend = backend
        self._modulus = modulus
        self._base = base % modulus.value
        self._max_bits = max_bits
        self._tables: dict[tuple[Engine, int], Table] = {}
        self._asked = 0
        self._lock = Lock()

    def pow(self, exponents: Limbs) -> CudaResidues:
        """base^exponents[i]; unsigned uint64[count, e]. ValueError beyond `max_bits` bits."""
        bits = lb.unsigned_bits(exponents)
        if bits > self._max_bits:
            raise ValueError(f"an exponent has more than {self._max_bits} bits")
        bits = max(1, bits)
        words = np.ascontiguousarray(exponents[:, : lb.width_for_bits(bits)], dtype=lb.LIMB_DTYPE)
        exponents32 = words.view(np.uint32)

        def work(engine: Engine, out: Array, first: int, last: int) -> None:
            table = self._table(engine, bits, len(exponents32))
            k = engine.constants(self._modulus)

            def piece(start: int, stop: int) -> None:
                uploaded = engine.device.from_host(exponents32[first + start : first + stop])
                engine.call(
                    "comb_D", k, stop - start, out[start:stop], table.rows, table.windows, uploaded,
                    exponents32.shape[1], table.bits, -(-bits // table.bits),
                )  # fmt: skip

            engine.in_pieces(last - first, 4 * exponents32.shape[1], piece)

        return self._backend.spread_over_devices(self._modulus, len(exponents32), work)

    def _table(self, engine: Engine, bits: int, count: int) -> Table:
        """A table of this device that reaches `bits`, as wide as the powers asked for so far pay for."""
        with self._lock:
            self._asked += count
            k = engine.constants(self._modulus)
            window = WIDE if (engine, WIDE) in self._tables or self._wide_pays(engine, k, bits) else NARROW
            table = self._tables.get((engine, window))
            if table is None or table.bits * table.windows < bits:
                table = self._grown(engine, k, table, window, bits)
                self._tables[engine, window] = table
                if window == WIDE:
                    self._tables.pop((engine, NARROW), None)
            return table

    def _wide_pays(self, engine: Engine, k: Constants, bits: int) -> bool:
        """Whether a wide table's products are saved by the powers asked for, and it fits."""
        entries = -(-bits // WIDE) << WIDE
        saved = -(-bits // NARROW) - -(-bits // WIDE)
        small = 4 * k.row * entries <= engine.device.free_memory() // SHARE_OF_MEMORY
        return small and self._asked * saved >= entries

    def _grown(self, engine: Engine, k: Constants, old: Table | None, window: int, bits: int) -> Table:
        """A table for `bits`, the windows of `old` taken over."""
        reach = min(-(-bits // GROWTH_BITS) * GROWTH_BITS, max(self._max_bits, bits))
        have = old.windows if old else 0
        start = int(gmpy2.powmod(self._base, 1 << (window * have), self._modulus.mpz))
        rows = build_windows(engine, k, start, window, -(-reach // window) - have)
        if old is not None:
            rows = engine.device.xp.concatenate([old.rows, rows], axis=1)
        return Table(window, rows)


def build_windows(engine: Engine, k: Constants, base: int, bits: int, windows: int) -> Array:
    """Rows [digit d][window t] = base^(d·2^(bits·t)), doubled level by level.

    digits 0 … 2^l − 1    times base^(2^(bits·t + l)), a square,    are digits 2^l … 2^(l+1) − 1
    """
    xp = engine.device.xp
    squares = engine.allocate(k, windows * bits)
    # One group squares one number in a chain: the grid has no second.
    engine.call("squares_D", k, len(squares), squares, k.rows(base), grid=1)
    rows = engine.allocate(k, windows << bits)
    rows[:windows] = k.one
    for level in range(bits):
        count = windows << level
        square = xp.arange(count, dtype=np.int32) % windows * bits + level
        engine.multiply(k, count, Operand(rows[:count]), Operand(squares, square), rows[count : 2 * count])
    return rows.reshape(1 << bits, windows, k.row)
