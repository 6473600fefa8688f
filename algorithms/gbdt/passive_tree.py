"""What a passive party knows of a growing tree, and what it answers: pure steps, no channel."""

from __future__ import annotations

import numpy as np

from hecore import CipherBatch
from hecore.algorithms.engine import Engine
from hecore.algorithms.errors import ProtocolError
from hecore.algorithms.gbdt import messages as msg
from hecore.algorithms.gbdt.binning import Binned
from hecore.algorithms.gbdt.candidates import Candidates, Indices, goes_left, list_candidates
from hecore.algorithms.gbdt.config import GBDTConfig
from hecore.algorithms.gbdt.encrypted import (
    RowPartition,
    SumsPlan,
    add_histograms,
    group_columns,
    merged,
    packed_reply,
    secret_order,
)
from hecore.algorithms.gbdt.guards import NodeGuard
from hecore.algorithms.gbdt.histograms import count_histogram
from hecore.algorithms.gbdt.rows import Left, NodeRows, pack_bits, unpack_bits
from hecore.algorithms.gbdt.sampling import draw_columns
from hecore.algorithms.gbdt.sources import OwnSplit
from hecore.kernels.histogram import MAX_JOINT_BINS
from hecore.randomness import Draw, random_bytes

#: Rows of a partition once all blocks are here: many for joint bins, few enough for 1 GB of ciphertexts.
PARTITION_ROWS = 1 << 20


class OpenSums:
    """The answer to a Grow: sums of the open candidates of its nodes, and which are open."""

    def __init__(self, nodes: tuple[int, ...], candidates: int) -> None:
        self._nodes, self._candidates = nodes, candidates
        self._masks: list[Left] = []
        self._sums: list[CipherBatch] = []

    def add(self, here: Left, beside: Left, sums: CipherBatch | None) -> None:
        """One node: its masks in the secret order, and the sums of what is open in either."""
        self._masks += [here, beside]
        if sums is not None:
            self._sums.append(sums)

    def reply(self, tree: int, randomness: str) -> msg.Sums:
        """The message, packed and re-randomised."""
        data = packed_reply(self._sums, randomness) if self._sums else b""
        return msg.Sums(
            tree=tree,
            nodes=self._nodes,
            candidates=self._candidates,
            payload=(pack_bits(self._masks), data),
        )


class PassiveTree:
    """One tree at a passive party: partitions of encrypted rows, its nodes, its secret order.

    drawn       which of all rows are drawn; `binned` has the codes of all
    names       this party's, which seeds the drawing of columns, and the active party's, for errors
    table_bins  the largest joint table (`planner`)
    draw        what the secret order is made of

    Every method raises ProtocolError naming the active party where a message does not fit the tree.
    """

    def __init__(
        self,
        tree: int,
        config: GBDTConfig,
        binned: Binned,
        drawn: Left,
        names: tuple[str, str],
        engine: Engine,
        table_bins: int = MAX_JOINT_BINS,
        draw: Draw = random_bytes,
    ) -> None:
        self._config, self._binned, self._engine = config, binned, engine
        self._me, self._peer = names
        self._table_bins = table_bins
        self._drawn_rows = np.flatnonzero(drawn)
        self._number = np.cumsum(drawn) - 1  # of a drawn row among all drawn ones
        self._nodes = NodeRows(drawn.size)
        self._partitions: list[RowPartition] = []
        self._arrived = 0
        self._root: list[CipherBatch] | None = None
        self.splits: list[OwnSplit] = []
        self._columns = draw_columns(config, tree, self._me, len(binned.columns))
        self._candidates: Candidates = list_candidates(binned.columns, self._columns)
        self._order: Indices = secret_order(len(self._candidates), draw)
        bins = [binned.columns[column] for column in self._columns]
        least = (config.min_samples_leaf, config.min_samples_bin)
        self._guard = NodeGuard(bins, self._candidates, self._nodes, drawn, *least)
        self._groups = group_columns(binned, self._columns)
        self._plan = SumsPlan.of(self._groups, self._candidates)

    def take(self, batch: CipherBatch) -> None:
        """A block of encrypted gradients: it goes into the root's histograms while the next is on its way."""
        rows = self._drawn_rows[self._arrived : self._arrived + len(batch)]
        if rows.size != len(batch):
            raise self._wrong("sent more gradients than rows are drawn")
        codes = np.ascontiguousarray(self._binned.codes.T[:, rows]).T
        partition = RowPartition(batch, codes, self._arrived)
        everything = np.arange(self._arrived, self._arrived + rows.size)
        sums = partition.histograms(everything, self._groups, self._table_bins)
        self._root = sums if self._root is None else add_histograms(self._root, sums)
        self._partitions.append(partition)
        self._arrived += rows.size

    def complete(self) -> None:
        """All blocks are here: they become few large partitions."""
        if self._arrived != self._drawn_rows.size or not self._partitions:
            raise self._wrong(
                f"sent gradients of {self._arrived} rows for {self._drawn_rows.size} drawn ones"
            )
        self._partitions = merged(self._partitions, PARTITION_ROWS)

    def apply(self, step: msg.Grow) -> None:
        """Splits that others made."""
        try:
            lengths = [self._nodes[split.node].size for split in step.splits]
            masks = unpack_bits(b"".join(step.payload), lengths)
            for split, left in zip(step.splits, masks, strict=True):
                self._nodes.split(split.node, split.left, split.right, left)
        except (KeyError, ValueError) as error:
            raise self._wrong(f"split a node that is not there, or wrongly: {error}") from None

    def choose(self, splits: tuple[msg.ChosenSplit, ...]) -> bytes:
        """Split nodes by this party's columns; the bits of their rows."""
        masks = []
        for split in splits:
            if split.node not in self._nodes or split.node not in self._guard:
                raise self._wrong(f"chose a split of node {split.node}, whose sums it does not have")
            if max(split.candidates) >= len(self._candidates):
                raise self._wrong("chose a candidate that is not there")
            place = int(self._order[list(split.candidates)].min())
            rows = self._nodes[split.node]
            if not self._guard.open(split.node)[place]:
                raise self._wrong("chose a candidate that is not open")
            column, at = int(self._candidates.column[place]), int(self._candidates.bin[place])
            missing_left = bool(self._candidates.missing_left[place])
            left = goes_left(
                self._binned.codes[:, column][rows], self._binned.columns[column], at, missing_left
            )
            self.splits.append(OwnSplit(split.node, column, at, missing_left))
            try:
                self._nodes.split(split.node, split.left, split.right, left)
            except ValueError as error:
                raise self._wrong(str(error)) from None
            masks.append(left)
        return pack_bits(masks)

    def sums(self, build: tuple[int, ...]) -> OpenSums:
        """Counts and encrypted left sums of these nodes."""
        answer = OpenSums(build, len(self._candidates))
        for node in build:
            if node not in self._nodes or node in self._guard:
                raise self._wrong(f"asked for node {node}, which is not there or was summed up before")
            counts = count_histogram(
                self._binned.codes, self._guard.drawn(node), self._columns, self._candidates.offsets
            )
            try:
                here, beside = self._guard.count(node, counts)
            except KeyError:
                raise self._wrong(f"asked for node {node} before the node it came from") from None
            chosen = self._order[(here | beside)[self._order]]
            sums = self._plan.left_sums(self._histograms(node), chosen) if chosen.size else None
            answer.add(here[self._order], beside[self._order], sums)
        return answer

    def _histograms(self, node: int) -> list[CipherBatch]:
        if node == 0 and self._root is not None:
            root, self._root = self._root, None
            return root
        drawn = self._number[self._guard.drawn(node)]
        return self._engine.reduce(
            lambda partition: partition.histograms(drawn, self._groups, self._table_bins),
            self._partitions,
            add_histograms,
        )

    def _wrong(self, what: str) -> ProtocolError:
        return ProtocolError(f"{self._peer} {what}")
