"""Which rows stand in which node of a growing tree; bits on the wire for which of them go left."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
Left = NDArray[np.bool_]


class NodeRows:
    """The rows of each node, increasing. Nodes are numbered by the active party; 0 is the root."""

    def __init__(self, rows: int) -> None:
        self._rows: dict[int, Rows] = {0: np.arange(rows, dtype=np.int64)}
        self._parent: dict[int, int] = {}
        self._sibling: dict[int, int] = {}

    def __contains__(self, node: int) -> bool:
        return node in self._rows

    def __getitem__(self, node: int) -> Rows:
        return self._rows[node]

    def split(self, node: int, left: int, right: int, goes_left: Left) -> None:
        """Replace a node by two. KeyError for one that is not there, ValueError where the bits do not fit."""
        rows = self._rows[node]
        if goes_left.shape != rows.shape:
            raise ValueError(f"{goes_left.size} bits for the {rows.size} rows of node {node}")
        if left == right or left in self._parent or right in self._parent or 0 in (left, right):
            raise ValueError(f"nodes {left} and {right} are not two new ones")
        del self._rows[node]
        self._rows[left], self._rows[right] = rows[goes_left], rows[~goes_left]
        for child, other in ((left, right), (right, left)):
            self._parent[child], self._sibling[child] = node, other

    def parent(self, node: int) -> int | None:
        """The node that this one came from; None for the root."""
        return self._parent.get(node)

    def sibling(self, node: int) -> int | None:
        """The other node of its parent; None for the root."""
        return self._sibling.get(node)


def pack_bits(masks: list[Left]) -> bytes:
    """Truth values one after another, eight a byte, each mask from a new byte on."""
    return b"".join(np.packbits(mask, bitorder="little").tobytes() for mask in masks)


def unpack_bits(data: bytes, lengths: list[int]) -> list[Left]:
    """The inverse of `pack_bits`. ValueError unless the bytes have these lengths and zeros after each end."""
    sizes = [-(-length // 8) for length in lengths]
    if len(data) != sum(sizes):
        raise ValueError(f"{len(data)} bytes of bits instead of {sum(sizes)}")
    masks, start = [], 0
    for length, size in zip(lengths, sizes, strict=True):
        bits = np.unpackbits(np.frombuffer(data, np.uint8, size, start), bitorder="little").astype(bool)
        if bits[length:].any():
            raise ValueError("bits behind the end of a mask are set")
        masks.append(bits[:length])
        start += size
    return masks
