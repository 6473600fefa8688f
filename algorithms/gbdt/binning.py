"""Columns as bins: thresholds from quantiles, a code a value, a bin of its own for missing values.

    x < t₀ → 0,   t₀ ≤ x < t₁ → 1,   …,   t_{B−2} ≤ x → B−1,   missing → B

A split at bin b sends x < t_b to the left. Values are taken as float32 and thresholds are float32 numbers, so
that an exported model compares exactly what was compared here. A bin holds at least `min_samples_bin`
training rows (a guard: a sum over a bin must not be a sum over a few rows); smaller ones join a neighbour.

A categorical column holds category numbers 0, 1, …; each frequent one is a bin, all others share bin 0:

    rest → 0,   category k₁ → 1,   …,   category k_{B−1} → B−1

A split at category bin b sends that category to the left and everything else, missing and unseen included, to
the right.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from hecore.algorithms.data.table import Matrix
from hecore.algorithms.errors import TableError

Codes = NDArray[np.unsignedinteger]
#: Categories are exported as 32-bit integers, and must be exact in float32.
MAX_CATEGORY = 1 << 24


class ColumnBins(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The bins of one column.

    edges        thresholds, increasing; or the category of bins 1, 2, … of a categorical column
    missing      whether the training rows have missing values: only then a split has a learned direction
    categorical  as above
    """

    edges: list[float]
    missing: bool
    categorical: bool

    @property
    def bins(self) -> int:
        """B, without the missing one."""
        return len(self.edges) + 1

    @property
    def width(self) -> int:
        """Codes in use: B, and one more if the training rows have missing values."""
        return self.bins + self.missing

    def codes(self, values: Matrix) -> NDArray[np.int64]:
        """The bin of each value; B for missing ones (bin 0 of a categorical column: the rest)."""
        single = values.astype(np.float32)
        edges = np.array(self.edges, dtype=np.float32)
        if not self.categorical:
            codes = np.searchsorted(edges, single, side="right").astype(np.int64)
            codes[np.isnan(single)] = self.bins
            return codes
        if not edges.size:
            return np.zeros(len(single), dtype=np.int64)
        place = np.minimum(np.searchsorted(edges, single), edges.size - 1)
        return np.where(edges[place] == single, place + 1, 0)


@dataclass(frozen=True)
class Binned:
    """A party's rows as codes, uint8 or uint16 (rows, columns), with the bins of each column."""

    codes: Codes
    columns: tuple[ColumnBins, ...]


def fit_bins(
    names: Sequence[str],
    values: Matrix,
    max_bin: int,
    min_samples_bin: int,
    categorical: Collection[str] = (),
) -> tuple[ColumnBins, ...]:
    """The bins of each column of the training rows. TableError naming a column that cannot be binned."""
    unknown = [name for name in categorical if name not in names]
    if unknown:
        raise TableError(f"there is no column {unknown[0]!r} to be taken as categorical")
    return tuple(
        _fit_categories(name, values[:, place], max_bin, min_samples_bin)
        if name in categorical
        else _fit_thresholds(name, values[:, place], max_bin, min_samples_bin)
        for place, name in enumerate(names)
    )


def apply_bins(columns: Sequence[ColumnBins], values: Matrix) -> Binned:
    """The codes of all values."""
    widest = max(column.bins for column in columns)
    codes = np.empty(values.shape, dtype=np.uint8 if widest < 256 else np.uint16, order="F")
    for place, column in enumerate(columns):
        codes[:, place] = column.codes(values[:, place])
    return Binned(codes, tuple(columns))


def _fit_thresholds(name: str, values: Matrix, max_bin: int, least: int) -> ColumnBins:
    with np.errstate(over="ignore"):
        single = values.astype(np.float32)
    if np.isinf(single).any():
        raise TableError(f"column {name!r} has a value beyond float32: scale it down")
    present = single[~np.isnan(single)]
    missing = present.size < single.size
    distinct, counts = np.unique(present, return_counts=True)
    last = _last_of_bins(counts, max_bin, least)
    edges = [_between(distinct[place], distinct[place + 1]) for place in last[:-1]]
    if missing and distinct.size:  # one more, so that all present values can stand against the missing ones
        edges.append(np.nextafter(distinct[-1], np.float32(np.inf)))
    return ColumnBins([float(edge) for edge in edges], missing, categorical=False)


def _last_of_bins(counts: NDArray[np.int64], max_bin: int, least: int) -> list[int]:
    """The place of the last distinct value of each bin: at most `max_bin` bins, each of `least` rows or more.

    Where the distinct values fit, each has a bin, but for those with too few rows. Else each bin is closed at
    the value where it reaches an even share of what is left, so that a frequent value does not empty others.
    """
    if counts.size <= 1:
        return list(range(counts.size))
    until = np.cumsum(counts)
    total = int(until[-1])
    every_value = counts.size <= max_bin
    last: list[int] = []
    before = 0
    while before < total and len(last) < max_bin:
        share = 0 if every_value else -(-(total - before) // (max_bin - len(last)))
        place = int(np.searchsorted(until, before + max(least, share, 1)))
        if place >= counts.size:  # too few rows are left for a bin: they join the one before
            last = last[:-1]
            place = counts.size - 1
        last.append(place)
        before = int(until[place])
    last[-1] = counts.size - 1
    return last


def _between(low: np.float32, high: np.float32) -> np.float32:
    """A float32 t with low < t ≤ high, near the middle."""
    middle = np.float32((float(low) + float(high)) / 2)
    return middle if low < middle <= high else high


def _fit_categories(name: str, values: Matrix, max_bin: int, least: int) -> ColumnBins:
    present = values[~np.isnan(values)]
    bad = present[(present < 0) | (present >= MAX_CATEGORY) | (present != np.rint(present))]
    if bad.size:
        raise TableError(f"column {name!r} is categorical, but holds {bad[0]:g}: categories are 0, 1, 2, …")
    distinct, counts = np.unique(present, return_counts=True)
    frequent = np.flatnonzero(counts >= least)
    chosen = frequent[np.argsort(-counts[frequent], kind="stable")][: max_bin - 1]
    return ColumnBins([float(category) for category in sorted(distinct[chosen])], False, categorical=True)
