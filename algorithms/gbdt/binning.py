"""Columns as bins: thresholds from quantiles, a code a value, a bin of its own for missing values.

    x < t₀ → 0,   t₀ ≤ x < t₁ → 1,   …,   t_{B−2} ≤ x → B−1,   missing → B

A split at bin b sends x < t_b to the left. Values are taken as float32 and thresholds are float32 numbers, so
that an exported model compares exactly what was compared here. A bin holds at least `min_samples_bin`
training rows (a guard: a sum over a bin must not be a sum over a few rows); smaller ones join a neighbour.

A categorical column holds category numbers 0, 1, …; each frequent one is a bin, all others share bin 0:

    rest → 0,   category k₁ → 1,   …,   category k_{B−1} → B−1

A split at category bin b sends that category to the left and everything else, missing and unseen included, to
the right. Where the table gives its categories texts, each bin keeps its category's text (a rare one's is not
kept): another table may number the same texts in another way, and a text that has no bin belongs to the rest.

Of a sparse table only what is stored is looked at; all else is in the bin of 0. The codes are dense: a byte a
value, or two.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

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
    texts        of the categories in `edges`; None for a column of numbers, categories by number among them
    """

    edges: list[float]
    missing: bool
    categorical: bool
    texts: list[str] | None = None

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

    def numbers(self, texts: Sequence[str]) -> Matrix:
        """The categories of texts as this column numbers them, NaN for those without a bin."""
        known = dict(zip(self.texts or (), self.edges, strict=True))
        return np.array([known.get(text, np.nan) for text in texts], dtype=np.float64)


@dataclass(frozen=True)
class Binned:
    """A party's rows as codes, uint8 or uint16 (rows, columns), with the bins of each column."""

    codes: Codes
    columns: tuple[ColumnBins, ...]


@dataclass(frozen=True)
class Cells:
    """What is stored of one column: values, their `rows` (None: all), and how many zeros are not stored."""

    values: Matrix
    rows: NDArray[np.integer] | None = None
    zeros: int = 0


def each_column(values: Any) -> Iterator[Cells]:
    """The columns of a dense matrix, or of a sparse one, without a dense copy."""
    if isinstance(values, np.ndarray):
        for column in values.T:
            yield Cells(column)
        return
    by_column = values.tocsc()
    for start, stop in pairwise(by_column.indptr.tolist()):
        yield Cells(by_column.data[start:stop], by_column.indices[start:stop], values.shape[0] - stop + start)


def fit_bins(
    names: Sequence[str],
    values: Any,
    max_bin: int,
    min_samples_bin: int,
    categorical: Collection[str] = (),
    texts: Mapping[str, Sequence[str]] | None = None,
) -> tuple[ColumnBins, ...]:
    """The bins of each column of the training rows. TableError naming a column that cannot be binned.

    values       dense or sparse
    categorical  names of columns that hold category numbers
    texts        of the categories of columns that have such, by name: these are categorical as well
    """
    texts = texts or {}
    unknown = [name for name in categorical if name not in names]
    if unknown:
        raise TableError(f"there is no column {unknown[0]!r} to be taken as categorical")
    return tuple(
        _fit_categories(name, cells, max_bin, min_samples_bin, texts.get(name))
        if name in categorical or name in texts
        else _fit_thresholds(name, cells, max_bin, min_samples_bin)
        for name, cells in zip(names, each_column(values), strict=True)
    )


def apply_bins(
    columns: Sequence[ColumnBins], values: Any, texts: Mapping[int, Sequence[str]] | None = None
) -> Binned:
    """The codes of all values, dense or sparse.

    texts   of the categories of `values` by the place of their column, where the bins have texts
    """
    codes = np.empty(values.shape, dtype=_code_type(columns), order="F")
    for place, (bins, cells) in enumerate(zip(columns, each_column(values), strict=True)):
        own = None if texts is None else texts.get(place)
        if cells.rows is None:
            codes[:, place] = _codes(bins, cells.values, own)
        else:
            codes[:, place] = _codes(bins, np.zeros(1), own)[0]
            codes[cells.rows, place] = _codes(bins, cells.values, own)
    return Binned(codes, tuple(columns))


def stack(parts: Sequence[Binned]) -> Binned:
    """Rows of several tables with the same bins, one after another."""
    if len(parts) == 1:
        return parts[0]
    return Binned(np.concatenate([part.codes.T for part in parts], axis=1).T, parts[0].columns)


def _code_type(columns: Sequence[ColumnBins]) -> type[np.uint8] | type[np.uint16]:
    return np.uint8 if max(column.bins for column in columns) < 256 else np.uint16


def _codes(bins: ColumnBins, values: Matrix, texts: Sequence[str] | None) -> NDArray[np.int64]:
    """The bin of each value; with `texts`, of the text that it is the place of."""
    if texts is None:
        return bins.codes(values)
    of_text = np.append(bins.codes(bins.numbers(texts)), 0)  # at the end: missing
    return np.asarray(of_text[np.where(np.isnan(values), len(texts), values).astype(np.intp)])


def _counted(values: NDArray[Any], zeros: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Distinct values, increasing, and how often each occurs, `zeros` more zeros among them."""
    distinct, counts = np.unique(values, return_counts=True)
    if zeros:
        place = int(np.searchsorted(distinct, 0))
        if place == distinct.size or distinct[place] != 0:
            distinct, counts = np.insert(distinct, place, 0), np.insert(counts, place, 0)
        counts[place] += zeros
    return distinct, counts.astype(np.int64)


def _fit_thresholds(name: str, cells: Cells, max_bin: int, least: int) -> ColumnBins:
    with np.errstate(over="ignore"):
        single = cells.values.astype(np.float32)
    if np.isinf(single).any():
        raise TableError(f"column {name!r} has a value beyond float32: scale it down")
    present = single[~np.isnan(single)]
    missing = present.size < single.size
    distinct, counts = _counted(present, cells.zeros)
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


def _fit_categories(
    name: str, cells: Cells, max_bin: int, least: int, texts: Sequence[str] | None
) -> ColumnBins:
    present = cells.values[~np.isnan(cells.values)]
    bad = present[(present < 0) | (present >= MAX_CATEGORY) | (present != np.rint(present))]
    if bad.size:
        raise TableError(f"column {name!r} is categorical, but holds {bad[0]:g}: categories are 0, 1, 2, …")
    distinct, counts = _counted(present, cells.zeros)
    frequent = np.flatnonzero(counts >= least)
    chosen = frequent[np.argsort(-counts[frequent], kind="stable")][: max_bin - 1]
    edges = np.sort(distinct[chosen])
    kept = None if texts is None else [texts[int(edge)] for edge in edges]
    return ColumnBins([float(edge) for edge in edges], False, categorical=True, texts=kept)
