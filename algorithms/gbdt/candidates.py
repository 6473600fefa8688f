"""The splits that a party can offer for its columns, in an order that both its sums and its records use.

For column f with bins 0 … B−1, and a bin B of missing values where training had such:

    threshold    left = bins 0 … b          b = 0 … B−2    (missing values to the right)
                 left = bins 0 … b and B    b = 0 … B−2    only with missing values
    category     left = bin b               b = 0 … B−1 (one against all others)

The natural order is by column, then bin, then missing right before left: it decides between equal gains.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hecore.algorithms.gbdt.binning import ColumnBins

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Candidates:
    """All splits of some columns, as arrays of equal length C.

    column        place of the column in the party's table
    bin           b
    missing_left  whether missing values go left
    category      whether it is one category against all others

    For the sums, columns are laid out one after another, `width` codes each:

    last          place of bin b in that layout: its running total, or for a category the bin itself
    missing       place of the missing bin to be added, −1 for none
    """

    column: Indices
    bin: Indices
    missing_left: NDArray[np.bool_]
    category: NDArray[np.bool_]
    last: Indices
    missing: Indices
    offsets: Indices

    def __len__(self) -> int:
        return self.column.size


def list_candidates(bins: Sequence[ColumnBins], columns: Sequence[int] | Indices) -> Candidates:
    """The candidates of the given columns, in natural order; `columns` increasing."""
    offsets = np.cumsum([0, *(bins[column].width for column in columns)]).astype(np.int64)
    parts = [
        _of_column(bins[column], int(column), int(offset))
        for column, offset in zip(columns, offsets, strict=False)
    ]
    table = np.concatenate(parts) if parts else np.empty((0, 6), dtype=np.int64)
    column, place, left, category, last, missing = table.T
    return Candidates(column, place, left.astype(bool), category.astype(bool), last, missing, offsets)


def _of_column(bins: ColumnBins, column: int, offset: int) -> Indices:
    """Rows (column, bin, missing_left, category, last, missing) of one column."""
    directions = 2 if bins.missing else 1
    count = bins.bins if bins.categorical and bins.bins > 1 else bins.bins - 1
    place = np.repeat(np.arange(count, dtype=np.int64), directions)
    left = np.tile(np.arange(directions, dtype=np.int64), count)
    missing = np.where(left == 1, offset + bins.bins, -1)
    same = np.ones(place.size, dtype=np.int64)
    return np.column_stack([same * column, place, left, same * bins.categorical, offset + place, missing])


def goes_left(
    codes: NDArray[np.integer], bins: ColumnBins, place: int, missing_left: bool
) -> NDArray[np.bool_]:
    """Which rows a split at bin `place` of one column sends to the left."""
    if bins.categorical:
        return np.asarray(codes == place)
    left = codes <= place
    return np.asarray(left | (codes == bins.bins) if missing_left else left)


def left_sums(histogram: NDArray[np.int64], candidates: Candidates, columns: int) -> NDArray[np.int64]:
    """Sums over the left rows of every candidate, (C, …), from a histogram in the layout of `Candidates`."""
    running = np.empty_like(histogram)
    for place in range(columns):
        inside = slice(int(candidates.offsets[place]), int(candidates.offsets[place + 1]))
        np.cumsum(histogram[inside], axis=0, out=running[inside])
    shape = (-1,) + (1,) * (histogram.ndim - 1)
    out = np.where(candidates.category.reshape(shape), histogram[candidates.last], running[candidates.last])
    with_missing = candidates.missing >= 0
    out[with_missing] += histogram[candidates.missing[with_missing]]
    return out
