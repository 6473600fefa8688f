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
LAID_BITS = 1 << 24


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


def spread(matrix: Entries) -> Dense | None:
    """The matrix with its zeros; None if it is sparse, or has exponents of more than MAX_BITS bits."""
    rows, columns = matrix.rows, matrix.columns
    if SPARSEST * len(matrix.row) < rows * columns or lb.signed_bits(matrix.exponents) > MAX_BITS:
        return None
    exponents = np.zeros((rows, columns), dtype=np.int64)
    exponents[matrix.row, matrix.column] = lb.to_int64(matrix.exponents)
    least = exponents.min(axis=0)
    above = (exponents - least).astype(np.uint64)
    largest = above.max(axis=0)
    varying = np.flatnonzero(largest)
    varying = varying[np.argsort(largest[varying], kind="stable")]
    return Dense(least, np.ascontiguousarray(above[:, varying]), varying)


def products(dense: Dense, window: int) -> int:
    """What `joint_power` spends, squares included; how many patterns are zero is estimated from some rows."""
    rows, varying = dense.above.shape
    if varying == 0:
        return 0
    groups, positions = Groups.of(varying, window), dense.positions
    some = np.random.default_rng(SAMPLE_ROWS).choice(rows, min(rows, SAMPLE_ROWS), replace=False)
    laid = _patterns(dense.above[some], groups, positions) != 0
    lookups = np.count_nonzero(laid) - np.count_nonzero(laid.any(axis=2))
    horner = int(positions[-1]) + positions.size - 1
    return groups.products + round(rows * (lookups / some.size + horner))


def joint_power(backend: Backend, dense: Dense, x: Residues, window: int, most: int) -> Residues:
    """∏_j x[j]^(M[i, j] − least[j]) for every row i, with at most `most` outputs side by side."""
    rows, varying = dense.above.shape
    groups, positions = Groups.of(varying, window), dense.positions
    table = _tables(backend, backend.gather(x, dense.columns), groups)
    laid = positions.size * groups.count * 16
    step = max(1, min(most // positions.size, LAID_BITS // laid))
    parts = []
    for start in range(0, rows, step):
        patterns = _patterns(dense.above[start : start + step], groups, positions)
        parts.append(_rows(backend, table, patterns, positions, groups))
    return backend.concatenate(parts)


def _patterns(above: NDArray[np.uint64], groups: Groups, positions: NDArray[np.int64]) -> NDArray[np.uint16]:
    """uint16[rows, positions, groups]: bit k is the bit at the position of the group's column k."""
    rows = above.shape[0]
    padded = np.concatenate([above, np.zeros((rows, 1), dtype=np.uint64)], axis=1)
    grouped = np.ascontiguousarray(padded[:, groups.columns], dtype="<u8")
    octets = int(positions[-1]) // 8 + 1
    bytes_of = grouped.view(np.uint8).reshape(rows, groups.count, groups.window, 8)[..., :octets]
    bits = np.unpackbits(bytes_of, axis=-1, bitorder="little")[..., positions]
    laid = np.zeros((rows, positions.size, groups.count, 16), dtype=np.uint8)
    laid[..., : groups.window] = bits.transpose(0, 3, 1, 2)
    return np.packbits(laid, axis=-1, bitorder="little").view("<u2")[..., 0]


def _tables(backend: Backend, bases: Residues, groups: Groups) -> Residues:
    """Pattern p ≠ 0 of group g at (p − 1)·groups + g; from 2^(window − 1) on, of the full groups alone."""
    columns = groups.columns
    levels: list[Residues] = []
    for k in range(groups.window):
        width = groups.count if k + 1 < groups.window else groups.full
        base = backend.gather(bases, columns[:width, k])
        if not levels:
            levels.append(base)
            continue
        below = backend.concatenate(levels)
        patterns = (1 << k) - 1
        place = np.arange(patterns)[:, None] * groups.count + np.arange(width)
        factors = backend.gather(base, np.tile(np.arange(width), patterns))
        levels += [base, backend.mod_mul(backend.gather(below, place.ravel()), factors)]
    return backend.concatenate(levels)


def _rows(
    backend: Backend,
    table: Residues,
    patterns: NDArray[np.uint16],
    positions: NDArray[np.int64],
    groups: Groups,
) -> Residues:
    """∏_t (∏_g table[g][pattern])^(2^t) for each row of patterns."""
    rows, bits, _ = patterns.shape
    row, place, group = np.nonzero(patterns)
    pattern = patterns[row, place, group].astype(np.int64)
    half = 1 << (groups.window - 1)
    low = (pattern - 1) * groups.count
    high = (half - 1) * groups.count + (pattern - half) * groups.full
    indices = np.where(pattern < half, low, high) + group
    offsets = np.zeros(rows * bits + 1, dtype=np.int64)
    np.cumsum(np.count_nonzero(patterns, axis=2).ravel(), out=offsets[1:])
    outputs = backend.segment_product(table, indices, offsets)

    by_row = np.arange(rows, dtype=np.int64) * bits
    result = backend.gather(outputs, by_row + bits - 1)
    for t in range(bits - 2, -1, -1):
        raised = backend.mod_pow(result, 1 << int(positions[t + 1] - positions[t]))
        result = backend.mod_mul(raised, backend.gather(outputs, by_row + t))
    return backend.mod_pow(result, 1 << int(positions[0])) if positions[0] else result
