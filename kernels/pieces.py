"""Segments cut into pieces of like lengths, for backends that work on many segments side by side.

Lanes (or threads) that go in step run as long as the longest of them: so long segments are cut, and pieces
are worked on in the order of their length. The products of a segment's pieces are a segment of the next
level.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Pieces:
    """One level of a segment product.

    start     where each piece begins in the array of indices, the longest piece first
    length    of each piece
    place     where piece i, counted in the order of the segments, stands in `start` and `length`
    offsets   of the segments in the pieces: the next level's
    """

    start: NDArray[np.int64]
    length: NDArray[np.int64]
    place: NDArray[np.int64]
    offsets: NDArray[np.int64]


def cut_segments(offsets: NDArray[np.int64], longest: int, *, keep_empty: bool = False) -> Pieces:
    """Pieces of at most `longest` items; `keep_empty` gives an empty segment an empty piece, not none."""
    lengths = np.diff(offsets)
    pieces = -(-lengths // longest)
    if keep_empty:
        pieces = np.maximum(pieces, 1)
    next_offsets = np.concatenate([[0], np.cumsum(pieces)])
    segment = np.repeat(np.arange(lengths.size), pieces)
    start = offsets[segment] + (np.arange(segment.size) - next_offsets[segment]) * longest
    length = np.minimum(longest, offsets[segment + 1] - start)

    order = np.argsort(-length, kind="stable")
    place = np.empty(order.size, dtype=np.int64)
    place[order] = np.arange(order.size)
    return Pieces(start[order], length[order], place, next_offsets)
