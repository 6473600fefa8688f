"""Encrypted histograms: sums of encrypted values by plain bin codes, for many features at once."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import ShapeMismatch
from .evaluator import checked_terms, map_columns
from .kernels import histogram as kernel_histogram
from .kernels.histogram import MAX_JOINT_BINS
from .meter import count

if TYPE_CHECKING:
    from .ciphertext import CipherBatch
    from .kernels.backend import Residues


def histogram(batch: CipherBatch, codes: Any, bins: int, *, table_bins: int = MAX_JOINT_BINS) -> CipherBatch:
    """Sums of the rows of `batch` by bin: out[f, b] = Σ batch[i] over rows i with codes[i, f] = b.

    batch       shape (n,), or (n, k) where k values share a row (packed, for instance (g, h) pairs)
    codes       integers (n, features) in [0, bins)
    table_bins  the largest joint table (kernels/histogram), in ciphertexts: less takes less memory
    returns     shape (features, bins) or (features, bins, k); an empty bin encrypts 0

    Joint and default bins (kernels/histogram) save most of the n·features products. Raises ShapeMismatch for
    other shapes, codes or numbers of bins, SlotOverflow when n terms do not fit a slot.
    """
    codes = np.asarray(codes)
    if not batch.lead_shape or codes.ndim != 2 or codes.shape[0] != batch.shape[0]:
        raise ShapeMismatch(
            f"codes of shape {codes.shape} for a batch of shape {batch.shape}: codes are (rows, features)"
        )
    if not 1 <= bins <= MAX_JOINT_BINS:
        raise ShapeMismatch(f"bins={bins} is not in 1 … {MAX_JOINT_BINS}")
    if codes.dtype.kind not in "iu" or (codes.size and not 0 <= codes.min() <= codes.max() < bins):
        raise ShapeMismatch(f"codes must be integers in 0 … {bins - 1}")
    rows, features = codes.shape
    terms = checked_terms(batch.layout, batch.terms * max(1, rows))
    count("histogram_entries", features * len(batch.residues))
    backend = batch.backend
    residues = map_columns(batch, lambda x: kernel_histogram(backend, x, codes, bins, table_bins))
    shape = (features, bins, *batch.shape[1:])
    return replace(batch, residues=residues, shape=shape, terms=terms, fresh=False)


def prefix_sums(sums: CipherBatch) -> CipherBatch:
    """Running totals over the bins of a histogram: out[f, b] = Σ sums[f, b'] over b' ≤ b, of the same shape.

    sums   what `histogram` returned, or sums of such: (features, bins) or (features, bins, k). Bins share no
           row, so the headroom that `sums` has used covers the union of any of its bins.

    One product a bin and feature, in steps that take all features at once.
    """
    if sums.ndim not in (2, 3) or len(sums.lead_shape) < 2:
        raise ShapeMismatch(f"prefix_sums takes the (features, bins) of a histogram, not shape {sums.shape}")
    features, bins, width = sums.shape[0], sums.shape[1], prod(sums.grid[2:])
    places = np.arange(features * bins * width, dtype=np.int64).reshape(features, bins, width)
    backend = sums.backend
    steps: list[Residues] = []
    for place in range(bins):
        column = backend.gather(sums.residues, places[:, place].ravel())
        steps.append(backend.mod_mul(steps[-1], column) if steps else column)
    if not steps:
        return sums
    joined = backend.concatenate(steps)
    order = np.arange(len(joined), dtype=np.int64).reshape(bins, features, width).swapaxes(0, 1)
    count("add", len(joined))
    return replace(sums, residues=backend.gather(joined, order.ravel()), fresh=False)
