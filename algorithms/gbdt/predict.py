"""Joint prediction of many rows: every passive party sends the directions of its splits once, as bits.

Passive parties answer for all their splits and all rows, whatever path a row takes: they do not learn the
paths. The active party learns one bit a split and row, also of splits off the path (see THREAT_MODEL.md).
Rows go in chunks, so that memory stays bounded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from hecore.algorithms.channel import Channel
from hecore.algorithms.errors import ProtocolError
from hecore.algorithms.gbdt import messages as msg
from hecore.algorithms.gbdt.rows import pack_bits, unpack_bits
from hecore.algorithms.gbdt.tables import RowsOf
from hecore.algorithms.gbdt.trees import Forest, SplitTable
from hecore.algorithms.objectives import Floats

#: Rows of a message: 2,000 splits of them are 4 MB, and 32 MB while they are walked.
CHUNK_ROWS = 1 << 14


def chunks(rows: int) -> Iterator[tuple[int, int]]:
    """(start, stop) of each chunk."""
    return ((start, min(rows, start + CHUNK_ROWS)) for start in range(0, rows, CHUNK_ROWS))


def send_directions(channel: Channel, splits: SplitTable, rows: RowsOf) -> None:
    """A passive party's part."""
    for start, stop in chunks(len(rows)):
        directions = splits.directions(rows.codes(start, stop))
        payload = (pack_bits(list(directions)),)
        channel.send(msg.Directions(start=start, rows=stop - start, nodes=len(splits), payload=payload))


def receive_directions(channel: Channel, start: int, rows: int, nodes: int) -> NDArray[np.bool_]:
    """One chunk from one party, bool (nodes, rows). ProtocolError naming the peer where it does not fit."""
    answer = channel.receive(msg.Directions)
    if (answer.start, answer.rows, answer.nodes) != (start, rows, nodes) or len(answer.payload) != 1:
        raise ProtocolError(
            f"{channel.peer} sent directions of {answer.rows} rows at {answer.nodes} nodes from row"
            f" {answer.start} on; {rows} rows at {nodes} nodes from row {start} on were expected"
        )
    try:
        masks = unpack_bits(answer.payload[0], [rows] * nodes)
    except ValueError as error:
        raise ProtocolError(f"{channel.peer} sent directions that cannot be read: {error}") from None
    return np.array(masks, dtype=np.bool_).reshape(nodes, rows)


def joint_margins(
    forest: Forest,
    splits: SplitTable,
    rows: RowsOf,
    channels: Sequence[Channel],
    outputs: int,
    start_margin: float,
) -> Floats:
    """The active party's part: margins (rows, outputs); `channels` in the order of owners 1, 2, …"""
    out = np.empty((len(rows), outputs))
    for start, stop in chunks(len(rows)):
        parts = [splits.directions(rows.codes(start, stop))]
        for party, channel in enumerate(channels, start=1):
            nodes = forest.splits_of(party).size
            parts.append(receive_directions(channel, start, stop - start, nodes))
        out[start:stop] = forest.margins(by_place(forest, parts), stop - start, outputs, start_margin)
    return out


def by_place(forest: Forest, parts: Sequence[NDArray[np.bool_]]) -> dict[int, NDArray[np.bool_]]:
    """Directions of each split by its place in the forest; `parts` by owner, in order of tree and node."""
    return {
        int(place): directions[number]
        for owner, directions in enumerate(parts)
        for number, place in enumerate(forest.splits_of(owner))
    }
