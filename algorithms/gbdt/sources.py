"""Where splits come from: one source a party, alike for columns at hand and columns elsewhere.

`growth` asks all sources for the sums of a node's candidates, takes the best, and has its owner split the
node. A source in the clear is here; the encrypted one talks to a passive party (`remote`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hecore import Meter
from hecore.algorithms.gbdt.binning import Binned
from hecore.algorithms.gbdt.candidates import goes_left, left_sums, list_candidates
from hecore.algorithms.gbdt.guards import NodeGuard
from hecore.algorithms.gbdt.histograms import Integers, histogram
from hecore.algorithms.gbdt.messages import ChosenSplit, Split
from hecore.algorithms.gbdt.rows import Left, NodeRows


@dataclass(frozen=True)
class NodeSums:
    """The candidates of one built node: left sums (C, 2·K), and which are open in it and in its sibling."""

    left: Integers
    open: NDArray[np.bool_]
    open_sibling: NDArray[np.bool_]


@dataclass(frozen=True)
class TreeRows:
    """What a tree is grown on: integer gradients (rows, 2·K), zero where a row is not drawn."""

    values: Integers
    drawn: NDArray[np.bool_]


class SplitSource(Protocol):
    """One party's columns. Calls come in pairs: ask all sources first, so that they work at the same time."""

    def begin(self, tree: int, data: TreeRows) -> None:
        """Take in the gradients of a tree."""

    def ask_sums(self, splits: Sequence[tuple[Split, Left]], build: Sequence[int]) -> None:
        """Tell of splits by others since the last call, and ask for the sums of nodes."""

    def sums(self) -> list[NodeSums]:
        """The answer, one a node."""

    def ask_splits(self, splits: Sequence[ChosenSplit]) -> None:
        """Have nodes split by the first of the candidates named."""

    def routes(self) -> list[Left]:
        """The answer: which of the rows of each node go left."""

    def end(self) -> None:
        """The tree is finished."""


@dataclass(frozen=True)
class OwnSplit:
    """A split by a column of one's own."""

    node: int
    column: int
    bin: int
    missing_left: bool


class LocalSource:
    """Columns at hand, gradients in the clear: the active party's own, and the centralised run's.

    least_bin   the guard's bound; 1 for own columns, which need none
    """

    def __init__(
        self,
        binned: Binned,
        columns: NDArray[np.int64],
        nodes: NodeRows,
        least_leaf: int,
        least_bin: int,
        meter: Meter,
    ) -> None:
        self._binned, self._columns, self._nodes, self._meter = binned, columns, nodes, meter
        self._least = (least_leaf, least_bin)
        self._candidates = list_candidates(binned.columns, columns)
        self._asked: Sequence[int] = ()
        self._chosen: Sequence[ChosenSplit] = ()
        self.splits: list[OwnSplit] = []

    def begin(self, tree: int, data: TreeRows) -> None:
        """See SplitSource."""
        self._data = data
        bins = [self._binned.columns[column] for column in self._columns]
        self._guard = NodeGuard(bins, self._candidates, self._nodes, data.drawn, *self._least)

    def ask_sums(self, splits: Sequence[tuple[Split, Left]], build: Sequence[int]) -> None:
        """See SplitSource."""
        self._asked = build

    def sums(self) -> list[NodeSums]:
        """See SplitSource."""
        with self._meter.phase("local"):
            return [self._sum_up(node) for node in self._asked]

    def _sum_up(self, node: int) -> NodeSums:
        rows = self._guard.drawn(node)
        values = np.column_stack([self._data.values[rows], np.ones(rows.size, dtype=np.int64)])
        sums = histogram(self._binned.codes, rows, self._columns, self._candidates.offsets, values)
        here, beside = self._guard.count(node, sums[:, -1])
        return NodeSums(left_sums(sums[:, :-1], self._candidates, len(self._columns)), here, beside)

    def ask_splits(self, splits: Sequence[ChosenSplit]) -> None:
        """See SplitSource."""
        self._chosen = splits

    def routes(self) -> list[Left]:
        """See SplitSource."""
        return [self._route(chosen) for chosen in self._chosen]

    def _route(self, chosen: ChosenSplit) -> Left:
        place = min(chosen.candidates)
        column, at = int(self._candidates.column[place]), int(self._candidates.bin[place])
        missing_left = bool(self._candidates.missing_left[place])
        self.splits.append(OwnSplit(chosen.node, column, at, missing_left))
        codes = self._binned.codes[:, column][self._nodes[chosen.node]]
        return goes_left(codes, self._binned.columns[column], at, missing_left)

    def end(self) -> None:
        """See SplitSource."""
