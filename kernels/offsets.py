"""Offsets of segments, int64[segments + 1], as `segment_product` takes them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def even_offsets(segments: int, length: int) -> NDArray[np.int64]:
    """Of segments that all have `length` items."""
    return np.arange(segments + 1, dtype=np.int64) * length


def counted_offsets(segment: NDArray[np.int64], segments: int) -> NDArray[np.int64]:
    """Of items that are sorted by their segment; `segment` has each item's, in any order."""
    offsets = np.zeros(segments + 1, dtype=np.int64)
    np.cumsum(np.bincount(segment, minlength=segments), out=offsets[1:])
    return offsets
