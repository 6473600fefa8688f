"""Dense integer matrix × encrypted vector by joint tables: w bases answer w bits with one product.

    M[i, j] = least[j] + Σ_t bit(i, j, t)·2^t         least[j] the smallest exponent of column j

    group g of w columns:   table[g][p] = ∏_k x[g, k]^(bit k of p)        for all patterns p ≠ 0
    output (i, t):          ∏_g table[g][pattern(i, g, t)]                one product a group
    result i:               ∏_t output(i, t)^(2^t)                        Horner, once a row
                            · ∏_j x[j]^least[j]                           once for all rows

A table of 2^w entries serves every row and every bit of w columns; a table of one base's digits of w bits
is as large and serves that base alone. So groups may be some three columns wider than windows are long, at
about (bits + 2^w / R) / w products an entry for R rows. Subtracting the least makes exponents unsigned, and
often a bit shorter. See Pippenger, "On the evaluation of powers and related problems" (1976).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from . import limbs as lb

if TYPE_CHECKING:
    from .backend import Backend, Residues
    from .multiexp import Entries

MAX_WINDOW = 14
#: Exponents of more bits are left to the other plans.
MAX_BITS = 62
#: A matrix with fewer non-zero exponents than one in four is not spread out.
SPARSEST = 4
#: Rows looked at to estimate how many patterns are not zero.
SAMPLE_ROWS = 32
#: Bits of patterns laid out at a time.
LAID_BITS = 1 << 25


@dataclass(frozen=True)
class Dense:
    """A matrix above its columns' least exponents.

    least    int64[columns]
    above    uint64[rows, varying]: the columns that vary, short ones first, each minus its least
    columns  int64[varying]: which those are
    """

    least: NDArray[np.int64]
    above: NDArray[np.uint64]
    columns: NDArray[np.int64]

    @property
    def positions(self) -> NDArray[np.int64]:
        """Bits that some exponent has, ascending."""
        union = int(np.bitwise_or.reduce(self.above, axis=None, initial=0))
        return np.array([t for t in range(union.bit_length()) if union >> t & 1], dtype=np.int64)


@dataclass(frozen=True)
class Groups:
    """`varying` columns in groups of `window` or one less; the first `full` groups have `window`."""

    window: int
    count: int
    full: int

    @classmethod
    def of(cls, varying: int, window: int) -> Groups:
        """As few groups as hold all columns, of sizes that differ by at most one."""
        count = -(-varying // window)
        window = -(-varying // count)
        return cls(window, count, varying - count * (window - 1))

    @property
    def columns(self) -> NDArray[np.int64]:
        """int64[count, window]: the places of each group's columns; −1 where a short group has none."""
        sizes = np.full(self.count, self.window - 1)
        sizes[: self.full] += 1
        places = (np.cumsum(sizes) - sizes)[:, None] + np.arange(self.window)
        places[self.full :, -1] = -1
        return places

    @property
    def entries(self) -> int:
        """Of all tables."""
        return self.count * ((1 << (self.window - 1)) - 1) + (self.full << (self.window - 1))

    @property
    def products(self) -> int:
        """That fill the tables: one an entry but for the bases themselves."""
        return self.entries - self.count * (self.window - 1) - self.full


def spread(matrix: Entries, union: int) -> Dense | None:
    """The matrix with its zeros; None if it is sparse, its rows are alike, or exponents exceed MAX_BITS bits.

    `union` is the bitwise or of the exponents' magnitudes.
    """
    rows, columns = matrix.rows, matrix.columns
    if SPARSEST * len(matrix.row) < rows * columns or union.bit_length() > MAX_BITS:
        return None
    exponents = np.zeros((rows, columns), dtype=np.int64)
    exponents[matrix.row, matrix.column] = lb.to_int64(matrix.exponents)
    least = exponents.min(axis=0)
    above = (exponents - least).astype(np.uint64)
    largest = above.max(axis=0)
    varying = np.flatnonzero(largest)
    if not varying.size:
        return None
    varying = varying[np.argsort(largest[varying], kind="stable")]
    return Dense(least, np.ascontiguousarray(above[:, varying]), varying)


class LaidBits:
    """The bits of some rows, by which the cost of any grouping is estimated."""

    def __init__(self, dense: Dense) -> None:
        rows = len(dense.above)
        some = np.random.default_rng(SAMPLE_ROWS).choice(rows, min(rows, SAMPLE_ROWS), replace=False)
        self._rows = rows
        self._positions = dense.positions
        self._bits = _bits(dense.above[some], self._positions)  # (rows, columns, positions)

    def products(self, groups: Groups) -> int:
        """What `joint_power` spends with these groups, squares included."""
        starts = groups.columns[:, 0]
        patterns = np.bitwise_or.reduceat(self._bits, starts, axis=1)
        lookups = np.count_nonzero(patterns) - np.count_nonzero(patterns.any(axis=1))
        steps = int(self._positions[-1]) + self._positions.size - 1
        return groups.products + round(self._rows * (lookups / len(patterns) + steps))


def joint_power(backend: Backend, dense: Dense, x: Residues, window: int, most: int) -> Residues:
    """∏_j x[j]^(M[i, j] − least[j]) for every row i, with at most `most` outputs side by side."""
    rows, varying = dense.above.shape
    groups, positions = Groups.of(varying, window), dense.positions
    table = _tables(backend, backend.gather(x, dense.columns), groups)
    laid = positions.size * groups.count * groups.window
    step = max(1, min(most // positions.size, LAID_BITS // laid))
    parts = []
    for start in range(0, rows, step):
        patterns = _patterns(dense.above[start : start + step], groups, positions)
        parts.append(_rows(backend, table, patterns, positions, groups))
    return backend.concatenate(parts)


def _bits(above: NDArray[np.uint64], positions: NDArray[np.int64]) -> NDArray[np.uint8]:
    """uint8[…, positions]: the bits of numbers."""
    octets = int(positions[-1]) // 8 + 1
    low = np.ascontiguousarray(above, dtype="<u8").view(np.uint8).reshape(*above.shape, 8)[..., :octets]
    bits = np.unpackbits(low, axis=-1, bitorder="little")
    return bits if positions.size == 8 * octets else bits[..., positions]


def _patterns(above: NDArray[np.uint64], groups: Groups, positions: NDArray[np.int64]) -> NDArray[np.uint16]:
    """uint16[rows, positions, groups]: bit k is the bit at the position of the group's column k."""
    rows, columns = len(above), groups.columns
    patterns = np.zeros((rows, groups.count, positions.size), dtype=np.uint16)
    for k in range(groups.window):
        width = groups.count if k + 1 < groups.window else groups.full
        bits = _bits(above[:, columns[:width, k]], positions)
        patterns[:, :width] |= bits.astype(np.uint16) << np.uint16(k)
    return np.ascontiguousarray(patterns.transpose(0, 2, 1))


def _tables(backend: Backend, bases: Residues, groups: Groups) -> Residues:
    """Pattern p ≠ 0 of group g at (p − 1)·groups + g; from 2^(window − 1) on, of the full groups alone.

    Level by level: the patterns whose highest bit is k are base k, alone and times all that are lower.
    """
    columns = groups.columns
    table = backend.gather(bases, columns[:, 0])
    for k in range(1, groups.window):
        width = groups.count if k + 1 < groups.window else groups.full
        patterns, base = (1 << k) - 1, columns[:width, k]
        lower = (np.arange(patterns)[:, None] * groups.count + np.arange(width)).ravel()
        products = backend.mod_mul_at(table, lower, bases, np.tile(base, patterns))
        table = backend.concatenate([table, backend.gather(bases, base), products])
    return table


def _rows(
    backend: Backend,
    table: Residues,
    patterns: NDArray[np.uint16],
    positions: NDArray[np.int64],
    groups: Groups,
) -> Residues:
    """∏_t (∏_g table[g][pattern])^(2^t) for each row of patterns."""
    rows, bits, _ = patterns.shape
    place = np.flatnonzero(patterns)
    pattern, group = patterns.ravel()[place].astype(np.int64), place % groups.count
    half = 1 << (groups.window - 1)
    low = (pattern - 1) * groups.count
    high = (half - 1) * groups.count + (pattern - half) * groups.full
    indices = np.where(pattern < half, low, high) + group
    offsets = np.zeros(rows * bits + 1, dtype=np.int64)
    np.cumsum(np.count_nonzero(patterns, axis=2).ravel(), out=offsets[1:])
    return horner(backend, backend.segment_product(table, indices, offsets), positions.tolist())


def horner(backend: Backend, digits: Residues, shifts: list[int]) -> Residues:
    """∏_t digits[i·T + t]^(2^shifts[t]) for each i, with T ascending shifts."""
    row = np.arange(len(digits) // len(shifts), dtype=np.int64)
    result = backend.gather(digits, row * len(shifts) + len(shifts) - 1)
    for t in range(len(shifts) - 2, -1, -1):
        raised = backend.mod_pow(result, 1 << (shifts[t + 1] - shifts[t]))
        result = backend.mod_mul_at(raised, row, digits, row * len(shifts) + t)
    return backend.mod_pow(result, 1 << shifts[0]) if shifts[0] else result
