"""Encrypted histograms: sums of encrypted values by plain bin codes, for many features at once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import ShapeMismatch
from .evaluator import checked_terms, map_columns
from .kernels import histogram as kernel_histogram
from .kernels.histogram import MAX_JOINT_BINS
from .meter import count

if TYPE_CHECKING:
    from .ciphertext import CipherBatch


def histogram(batch: CipherBatch, codes: Any, bins: int) -> CipherBatch:
    """Sums of the rows of `batch` by bin: out[f, b] = Σ batch[i] over rows i with codes[i, f] = b.

    batch    shape (n,), or (n, k) where k values share a row (packed, for instance (g, h) pairs)
    codes    integers (n, features) in [0, bins)
    returns  shape (features, bins) or (features, bins, k); an empty bin encrypts 0

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
    residues = map_columns(batch, lambda x: kernel_histogram(backend, x, codes, bins))
    shape = (features, bins, *batch.shape[1:])
    return replace(batch, residues=residues, shape=shape, terms=terms, fresh=False)
