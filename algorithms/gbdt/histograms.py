"""Histograms in the clear: exact integer sums by column and bin."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]


def histogram(
    codes: NDArray[np.integer],
    rows: Integers,
    columns: Sequence[int] | NDArray[np.int64],
    offsets: Integers,
    values: Integers,
) -> Integers:
    """out[offsets[f] + b] = Σ values[i] over i with codes[rows[i], columns[f]] = b.

    codes    (all rows, all columns) bin codes; `values` (n, k) integers whose sums stay below 2^53
    returns  int64 (offsets[-1], k)
    """
    out = np.empty((int(offsets[-1]), values.shape[1]), dtype=np.int64)
    weights = [np.ascontiguousarray(values[:, place], dtype=np.float64) for place in range(values.shape[1])]
    for place, column in enumerate(columns):
        start, stop = int(offsets[place]), int(offsets[place + 1])
        column_codes = codes[:, column][rows].astype(np.intp)
        for output, weight in enumerate(weights):
            out[start:stop, output] = np.bincount(column_codes, weight, stop - start)
    return out


def count_histogram(
    codes: NDArray[np.integer],
    rows: Integers,
    columns: Sequence[int] | NDArray[np.int64],
    offsets: Integers,
) -> Integers:
    """Rows by column and bin, int64 (offsets[-1],), laid out as in `histogram`."""
    out = np.empty(int(offsets[-1]), dtype=np.int64)
    for place, column in enumerate(columns):
        start, stop = int(offsets[place]), int(offsets[place + 1])
        out[start:stop] = np.bincount(codes[:, column][rows], minlength=stop - start)
    return out
