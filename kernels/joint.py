"""Dense integer matrix × encrypted vector by joint tables: w bases answer w bits with one product.

    M[i, j] = least[j] + Σ_t bit(i, j, t)·2^t         least[j] the smallest exponent of column j

    group g of w columns:   table[g][p] = ∏_k x[g, k]^(bit k of p)        for all patterns p
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
from functools import cached_property
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
SAMPLE_ROWS = 16
#: … and at most so many columns.
SAMPLE_COLUMNS = 4096
#: Rows whose products take as long as one row's: a call costs what some fifty products do.
FEWEST = 48
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

    @cached_property
    def positions(self) -> NDArray[np.int64]:
        """Bits that some exponent has, ascending."""
        union = int(np.bitwise_or.reduce(self.above, axis=None, initial=0))
        return np.array([t for t in range(union.bit_length()) if union >> t & 1], dtype=np.int64)


@dataclass(frozen=True)
class Groups:
    """`varying` columns in `count` groups of `window`; the last groups may have one less."""

    varying: int
    window: int
    count: int

    @classmethod
    def of(cls, varying: int, window: int) -> Groups:
        """As few groups as hold all columns, of sizes that differ by at most one."""
        count = -(-varying // window)
        return cls(varying, -(-varying // count), count)

    @property
    def columns(self) -> NDArray[np.int64]:
        """int64[count, window]: each group's columns; `varying` where a short group has none."""
        sizes = np.full(self.count, self.window)
        sizes[self.varying - self.count * self.window :] -= self.varying < self.count * self.window
        places: NDArray[np.int64] = (np.cumsum(sizes) - sizes)[:, None] + np.arange(self.window)
        places[sizes < self.window, -1] = self.varying
        return places

    @property
    def products(self) -> int:
        """That fill the tables."""
        return self.count * _table_products(self.window)


def _table_products(window: int) -> int:
    """Of `_subset_products` of one group."""
    half = window // 2
    return (1 << window) + _table_products(half) + _table_products(window - half) if window > 1 else 0


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
    exponents -= least
    above = exponents.view(np.uint64)
    largest = above.max(axis=0)
    varying = np.flatnonzero(largest)
    if not varying.size:
        return None
    varying = varying[np.argsort(largest[varying], kind="stable")]
    return Dense(least, np.ascontiguousarray(above[:, varying]), varying)


class LaidBits:
    """The bits of some rows and columns, by which the cost of any grouping is estimated."""

    def __init__(self, dense: Dense) -> None:
        rows, varying = dense.above.shape
        self._rows = int(rows)
        self._positions = dense.positions
        columns = np.arange(0, varying, -(-varying // SAMPLE_COLUMNS))
        seed = np.random.default_rng(0)  # the same rows each time
        some = np.sort(seed.choice(rows, min(rows, SAMPLE_ROWS), replace=False))
        self._bits = _bits(dense.above[np.ix_(some, columns)], self._positions)  # (rows, columns, positions)

    def products(self, groups: Groups) -> int:
        """What `joint_power` spends with these groups, squares included.

        A Horner step of few rows is counted as one of FEWEST: it takes as long.
        """
        rows, columns = self._bits.shape[:2]
        looked_at = Groups.of(columns, groups.window)
        patterns = np.bitwise_or.reduceat(self._bits, looked_at.columns[:, 0], axis=1)
        lookups: float = int(np.count_nonzero(patterns)) / rows * groups.count / looked_at.count
        first: float = int(np.count_nonzero(patterns.any(axis=1))) / rows
        steps = int(self._positions[-1]) + self._positions.size - 1
        horner = max(self._rows, FEWEST) * steps
        return groups.products + horner + round(self._rows * (lookups - first))


def joint_power(backend: Backend, dense: Dense, x: Residues, window: int, most: int) -> Residues:
    """∏_j x[j]^(M[i, j] − least[j]) for every row i, with at most `most` outputs side by side.

    ValueError for a window beyond MAX_WINDOW.
    """
    if not 1 <= window <= MAX_WINDOW:
        raise ValueError(f"groups of {window} columns: 1 to {MAX_WINDOW} have tables")
    rows, varying = dense.above.shape
    groups, positions = Groups.of(varying, window), dense.positions
    one = backend.from_ints(x.modulus, [1])
    bases = backend.concatenate([backend.gather(x, dense.columns), one])
    table = _subset_products(backend, bases, groups.columns)
    laid = positions.size * groups.count * groups.window
    step = max(1, min(most // positions.size, LAID_BITS // laid))
    parts = []
    for start in range(0, rows, step):
        patterns = _patterns(dense.above[start : start + step], groups, positions)
        parts.append(_rows(backend, table, patterns, positions))
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
        column = columns[columns[:, k] < groups.varying, k]
        bits = _bits(above[:, column], positions)
        patterns[:, : column.size] |= bits.astype(np.uint16) << np.uint16(k)
    return np.ascontiguousarray(patterns.transpose(0, 2, 1))


def _subset_products(backend: Backend, bases: Residues, columns: NDArray[np.int64]) -> Residues:
    """Element p·groups + g: ∏_k bases[columns[g, k]]^(bit k of p). The last base is 1.

    A table of half the columns times one of the others; products with 1 cost less than to leave them out.
    """
    groups, window = columns.shape
    if window == 1:
        ones = np.full(groups, len(bases) - 1)
        return backend.gather(bases, np.concatenate([ones, columns[:, 0]]))
    half = window // 2
    lower, upper = (_subset_products(backend, bases, part) for part in np.split(columns, [half], axis=1))
    pattern, group = np.divmod(np.arange(groups << window), groups)
    low, high = pattern & ((1 << half) - 1), pattern >> half
    return backend.mod_mul_at(lower, low * groups + group, upper, high * groups + group)


def _rows(
    backend: Backend, table: Residues, patterns: NDArray[np.uint16], positions: NDArray[np.int64]
) -> Residues:
    """∏_t (∏_g table[g][pattern])^(2^t) for each row of patterns."""
    rows, bits, groups = patterns.shape
    place = np.flatnonzero(patterns)
    indices = patterns.ravel()[place].astype(np.int64) * groups + place % groups
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
