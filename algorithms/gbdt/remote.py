"""The active party's side of a passive one: asks it for sums, decrypts them, and has it split nodes.

What comes in is checked: sizes, layout, and that every sum could be one (0 ≤ Σh ≤ Σh of the node, Σg between
the sums of its negative and of its positive parts). `growth` checks routes against the sums.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hecore import CipherBatch, Decryptor, Encryptor, Meter, SlotLayout
from hecore.algorithms.channel import Channel
from hecore.algorithms.errors import ProtocolError
from hecore.algorithms.gbdt import messages as msg
from hecore.algorithms.gbdt.gradients import encrypted_blocks, row_layout
from hecore.algorithms.gbdt.messages import ChosenSplit, Split
from hecore.algorithms.gbdt.rows import Left, NodeRows, pack_bits, unpack_bits
from hecore.algorithms.gbdt.sources import NodeSums, TreeRows
from hecore.errors import HecoreError
from hecore.kernels import limbs as lb


def send_gradients(
    channels: Sequence[Channel],
    tree: int,
    model: str,
    data: TreeRows,
    encryptor: Encryptor,
    bits: int,
    block_rows: int,
    meter: Meter,
) -> SlotLayout:
    """Begin a tree at all passive parties: drawn rows, then encrypted blocks, the same to each.

    A block goes out while the next is encrypted. Each party gets the same ciphertexts: what they hide is the
    same, too.
    """
    values = data.values[data.drawn]
    layout = row_layout(encryptor.public, bits, len(data.drawn), data.values.shape[1] // 2)
    everything = bool(data.drawn.all())
    start = msg.Round(
        tree=tree,
        outputs=data.values.shape[1] // 2,
        blocks=-(-len(values) // block_rows),
        model=model,
        payload=() if everything else (pack_bits([data.drawn]),),
    )
    for channel in channels:
        channel.send(start)
    blocks = encrypted_blocks(values, encryptor, layout, block_rows)
    for number in range(start.blocks):
        with meter.phase("encrypt"):
            payload = next(blocks).to_bytes()
        for channel in channels:
            channel.send(msg.Block(tree=tree, block=number, payload=(payload,)))
    return layout


class RemoteSource:
    """A SplitSource whose columns stand at the peer of `channel`; they have `most` candidates or fewer."""

    def __init__(
        self,
        channel: Channel,
        decryptor: Decryptor,
        layout: SlotLayout,
        nodes: NodeRows,
        meter: Meter,
        most: int,
    ) -> None:
        self._channel, self._decryptor, self._layout = channel, decryptor, layout
        self._nodes, self._meter, self._most = nodes, meter, most
        self._candidates: int | None = None
        self._build: tuple[int, ...] = ()
        self._chosen: Sequence[ChosenSplit] = ()

    def begin(self, tree: int, data: TreeRows) -> None:
        """See SplitSource; the gradients went out before, to all parties at once (`send_gradients`)."""
        self._tree, self._data = tree, data

    def ask_sums(self, splits: Sequence[tuple[Split, Left]], build: Sequence[int]) -> None:
        """See SplitSource."""
        self._build = tuple(build)
        bits = (pack_bits([left for _, left in splits]),) if splits else ()
        told = tuple(split for split, _ in splits)
        self._channel.send(msg.Grow(tree=self._tree, splits=told, build=self._build, payload=bits))

    def sums(self) -> list[NodeSums]:
        """See SplitSource. ProtocolError naming the peer for an answer that does not fit the question."""
        answer = self._channel.receive(msg.Sums)
        if self._candidates is None:
            if answer.candidates > self._most:
                raise self._wrong(
                    f"has {answer.candidates} candidates, though its columns can have {self._most} at most"
                )
            self._candidates = answer.candidates
        count, nodes = self._candidates, len(self._build)
        if (answer.tree, answer.nodes, answer.candidates) != (self._tree, self._build, count):
            raise self._wrong("answered for other nodes or candidates than asked for")
        if len(answer.payload) != 2:
            raise self._wrong(f"sent {len(answer.payload)} frames of sums instead of 2")
        try:
            masks = unpack_bits(answer.payload[0], [count] * (2 * nodes))
        except ValueError as error:
            raise self._wrong(str(error)) from None
        pairs = list(zip(masks[0::2], masks[1::2], strict=True))
        rows = self._decrypted(answer.payload[1], sum(int((a | b).sum()) for a, b in pairs))
        out, start = [], 0
        for node, (here, beside) in zip(self._build, pairs, strict=True):
            sent = here | beside
            left = np.zeros((count, rows.shape[1]), dtype=np.int64)
            left[sent] = rows[start : start + int(sent.sum())]
            start += int(sent.sum())
            self._check_range(node, left)
            out.append(NodeSums(left, here, beside))
        return out

    def _decrypted(self, data: bytes, rows: int) -> np.ndarray:
        """The sums in a payload, int64 (rows, 2·K)."""
        width = self._data.values.shape[1]
        if rows == 0:
            if data:
                raise self._wrong("sent sums though no candidate is open")
            return np.zeros((0, width), dtype=np.int64)
        with self._meter.phase("decrypt"):
            try:
                batch = CipherBatch.from_bytes(data, self._decryptor.public, self._decryptor.backend)
                if not self._fits(batch, rows, width):
                    raise self._wrong(f"sent sums of shape {batch.shape} in {batch.layout}")
                numbers = self._decryptor.decrypt_fixed(batch)
            except ProtocolError:
                raise
            except HecoreError as error:
                raise self._wrong(f"sent sums that cannot be read: {error}") from error
            return lb.to_int64(numbers.limbs).reshape(rows, width)

    def _fits(self, batch: CipherBatch, rows: int, width: int) -> bool:
        layout = batch.layout
        if layout is None or batch.scale_bits != 0 or batch.size != rows * width:
            return False
        return (layout.slot_bits, layout.value_bits) == (self._layout.slot_bits, self._layout.value_bits)

    def _check_range(self, node: int, left: np.ndarray) -> None:
        values = self._data.values[self._nodes[node]]
        lowest, highest = np.minimum(values, 0).sum(axis=0), np.maximum(values, 0).sum(axis=0)
        if (left < lowest).any() or (left > highest).any():
            raise self._wrong("sent a sum that no choice of rows has")

    def ask_splits(self, splits: Sequence[ChosenSplit]) -> None:
        """See SplitSource."""
        self._chosen = splits
        if splits:
            self._channel.send(msg.Grow(tree=self._tree, choose=tuple(splits)))

    def routes(self) -> list[Left]:
        """See SplitSource. ProtocolError naming the peer for bits that do not fit the nodes."""
        if not self._chosen:
            return []
        answer = self._channel.receive(msg.Routes)
        lengths = [self._nodes[split.node].size for split in self._chosen]
        if answer.tree != self._tree or len(answer.payload) != 1:
            raise self._wrong("sent routes for another tree")
        try:
            return unpack_bits(answer.payload[0], lengths)
        except ValueError as error:
            raise self._wrong(str(error)) from None

    def end(self) -> None:
        """See SplitSource."""
        self._channel.send(msg.Grow(tree=self._tree))

    def _wrong(self, what: str) -> ProtocolError:
        return ProtocolError(f"{self._channel.peer} {what}")
