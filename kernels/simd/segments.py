"""Segments of different lengths laid side by side in lanes, LANES pieces to a block.

step:      0    1    2    3
lane 0    c17  c04  c91  c12      pieces are sorted by length: a block runs as long as its longest
lane 1    c33  c08  c02  c77
lane 2    c54  c10  c29   1       a shorter piece's lane goes on with the spare row, which holds 1
…
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..pieces import cut_segments
from .batch import Indices, blocks_of
from .constants import aligned
from .lanes import LANES

#: Rows that one lane multiplies at least before a segment is cut into more pieces.
SHORTEST_PIECE = 4


@dataclass(frozen=True)
class Arrangement:
    """One level of a segment product.

    chosen        int64[steps of all blocks][8]: rows to multiply; block b's begin at block_start[b]
    steps         of each block
    place         where the product of piece i comes out
    offsets       of the segments in the pieces: the next level's
    """

    chosen: Indices
    steps: Indices
    block_start: Indices
    place: Indices
    offsets: Indices


def arrange(indices: Indices, offsets: Indices, spare: int, threads: int) -> Arrangement:
    """Pieces of segments, short enough that all lanes of all threads have work."""
    longest = max(SHORTEST_PIECE, -(-indices.size // (LANES * threads)))
    pieces = cut_segments(offsets, longest)
    start, length = pieces.start, pieces.length
    blocks = blocks_of(length.size)
    padded = np.zeros(blocks * LANES, dtype=np.int64)
    padded[: length.size] = length
    steps = padded.reshape(blocks, LANES).max(axis=1)
    block_start = np.concatenate([[0], np.cumsum(steps)])

    chosen = aligned(int(block_start[-1]) * LANES).view(np.int64)
    chosen[:] = spare
    piece = np.repeat(np.arange(length.size), length)
    step = np.arange(piece.size) - np.repeat(np.cumsum(length) - length, length)
    chosen[(block_start[piece // LANES] + step) * LANES + piece % LANES] = indices[start[piece] + step]

    return Arrangement(chosen, steps, block_start, pieces.place, pieces.offsets)
