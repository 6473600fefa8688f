"""Plain sparse matrices of fixed-point numbers: what is not stored is 0 and costs no product.

rows in CSR form:   indptr[i] ≤ k < indptr[i + 1]  →  (i, indices[k]) = limbs[k] · 2^(−scale_bits)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .encoding import FixedPoint, encode
from .errors import ShapeMismatch
from .kernels.limbs import Limbs
from .kernels.multiexp import Entries


@dataclass(frozen=True)
class SparseNumbers:
    """Exact signed numbers of a sparse matrix; made by `encode_sparse`, not by hand."""

    indptr: NDArray[np.int64]
    indices: NDArray[np.int64]
    limbs: Limbs
    shape: tuple[int, int]
    scale_bits: int

    def __getitem__(self, rows: NDArray[np.int64]) -> SparseNumbers:
        """The rows at these places, in that order."""
        counts = np.diff(self.indptr)[rows]
        indptr = np.concatenate([[0], np.cumsum(counts)])
        entry = np.repeat(self.indptr[rows] - indptr[:-1], counts) + np.arange(indptr[-1])
        shape = (len(rows), self.shape[1])
        return SparseNumbers(indptr, self.indices[entry], self.limbs[entry], shape, self.scale_bits)

    def transpose(self) -> SparseNumbers:
        """Rows and columns exchanged."""
        order = np.argsort(self.indices, kind="stable")
        counts = np.bincount(self.indices, minlength=self.shape[1])
        indptr = np.concatenate([[0], np.cumsum(counts)])
        rows = np.repeat(np.arange(self.shape[0]), np.diff(self.indptr))
        shape = (self.shape[1], self.shape[0])
        return SparseNumbers(indptr, rows[order], self.limbs[order], shape, self.scale_bits)

    def entries(self) -> Entries:
        """What is stored and not zero, as the kernels take it."""
        rows = np.repeat(np.arange(self.shape[0]), np.diff(self.indptr))
        there = np.flatnonzero(self.limbs.any(axis=1))
        return Entries(*self.shape, rows[there], self.indices[there], self.limbs[there])


def encode_sparse(matrix: Any, scale_bits: int) -> SparseNumbers:
    """A scipy CSR array as fixed point; rounding and errors are those of `encode`, on the stored values.

    ShapeMismatch for anything that is no matrix in CSR form.
    """
    if getattr(matrix, "format", "") != "csr" or len(matrix.shape) != 2:
        raise ShapeMismatch(f"a sparse matrix in CSR form is needed, not {type(matrix).__name__}")
    stored: FixedPoint = encode(np.asarray(matrix.data, dtype=np.float64), scale_bits)
    indptr, indices = (np.asarray(part, dtype=np.int64) for part in (matrix.indptr, matrix.indices))
    rows, columns = matrix.shape
    return SparseNumbers(indptr, indices, stored.limbs, (int(rows), int(columns)), scale_bits)
