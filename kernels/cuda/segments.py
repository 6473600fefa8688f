"""Products over segments of very different lengths: cut, sorted by length, combined level by level."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import OutOfMemory
from ..pieces import Pieces, cut_segments
from .constants import Constants
from .device import Array
from .engine import Engine
from .shapes import MOST_PLACES, full_grid, shape_for

Indices = NDArray[np.int64]

#: A piece multiplies at least so many rows: below, more groups save less time than another level costs.
SHORTEST_PIECE = 8


def longest_piece(items: int, segments: int, words: int, processors: int) -> int:
    """Items of a piece at most, so that all groups of a full device have about the same work."""
    shape = shape_for(words, max(items, segments), processors)
    return max(SHORTEST_PIECE, -(-items // (full_grid(processors) * shape.groups)))


def segment_product(engine: Engine, k: Constants, rows: Array, indices: Indices, offsets: Indices) -> Array:
    """Rows ∏ rows[indices[i]] over offsets[s] ≤ i < offsets[s + 1], one for each segment s.

    OutOfMemory for more places than a kernel counts.
    """
    device = engine.device
    if max(indices.size, offsets.size) > MOST_PLACES:
        raise OutOfMemory(
            f"GPU {device.index}: {indices.size} factors are too many at once: take fewer rows or columns"
        )
    while True:
        longest = longest_piece(indices.size, offsets.size - 1, k.words, device.processors)
        pieces = cut_segments(offsets, longest, keep_empty=True)
        rows = _multiply_pieces(engine, k, rows, indices, pieces)
        if pieces.place.size == offsets.size - 1:
            return _in_order(engine, rows, pieces.place)
        indices, offsets = pieces.place, pieces.offsets


def _multiply_pieces(engine: Engine, k: Constants, rows: Array, indices: Indices, pieces: Pieces) -> Array:
    count = pieces.place.size
    out = engine.allocate(k, count)
    if count:
        # A null pointer is no array: where there is nothing to multiply, one index stands for all.
        padded = indices if indices.size else np.zeros(1, dtype=np.int64)
        places = [padded, pieces.start, pieces.start + pieces.length]
        uploaded = [engine.device.from_host(array.astype(np.int32)) for array in places]
        engine.call("segment_product_D", k, count, out, rows, *uploaded)
    return out


def _in_order(engine: Engine, rows: Array, place: Indices) -> Array:
    if bool((place == np.arange(place.size)).all()):
        return rows
    return engine.device.xp.take(rows, engine.device.from_host(place), axis=0)
