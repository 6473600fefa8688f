"""Standardising columns: each party its own, by its own rows.

dense    x → (x − mean)/deviation
sparse   x → x/max|x|: zeros stay zeros, so that products can leave them out
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from hecore.algorithms.data import Table
from hecore.algorithms.errors import TableError
from hecore.algorithms.objectives import Floats


def usable(table: Table) -> Table:
    """The table, for a model of finite numbers; it may be sparse. TableError naming what does not fit."""
    if table.is_sparse and not table.categories:
        return replace(table, missing=False) if table.missing else table
    return table.require_numbers()


def fit_scaling(table: Table) -> tuple[Floats, Floats]:
    """(mean, scale) of each column; a constant column has scale 1."""
    if table.is_sparse:
        largest = abs(table.values).max(axis=0)
        scale = np.asarray(largest.toarray() if hasattr(largest, "toarray") else largest).ravel()
        return np.zeros(scale.size), np.where(scale > 0, scale, 1.0)
    from sklearn.preprocessing import StandardScaler  # heavy import

    scaler = StandardScaler().fit(table.values)
    return np.asarray(scaler.mean_), np.asarray(scaler.scale_)


def standardise(table: Table, mean: Floats, scale: Floats) -> Any:
    """float64 (rows, columns), or a CSR array for a sparse table whose means are 0.

    TableError for a sparse table where the columns were centred: it would not stay sparse.
    """
    if not table.is_sparse:
        return (table.values - mean) / scale
    if mean.any():
        raise TableError(
            f"{table.name} is sparse, but the model was trained on a dense table: take table.dense()"
        )
    scaled = table.values.copy()
    scaled.data = scaled.data / scale[scaled.indices]
    return scaled


def with_ones(features: Any) -> Any:
    """A last column of ones: the intercept's."""
    ones = np.ones((features.shape[0], 1))
    if isinstance(features, np.ndarray):
        return np.hstack([features, ones])
    from scipy.sparse import csr_array, hstack  # heavy import

    return csr_array(hstack([features, csr_array(ones)], format="csr"))
