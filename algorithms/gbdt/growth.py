"""One tree: measure leaves, split the best, level by level or leaf by leaf, whoever owns the columns.

Of two children only the one with fewer rows is built; the sums of the other are the node's minus its sums, in
plain integers here. Only splits whose children are to be measured are told to other parties: of a split into
two leaves nobody but the active party and its owner learns the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hecore.algorithms.errors import ProtocolError
from hecore.algorithms.gbdt.config import GBDTConfig
from hecore.algorithms.gbdt.messages import ChosenSplit, Split
from hecore.algorithms.gbdt.rows import Left, NodeRows
from hecore.algorithms.gbdt.sources import NodeSums, SplitSource, TreeRows
from hecore.algorithms.gbdt.splits import BestSplit, Integers, Penalty, best_split

LEAF = -1


@dataclass
class GrowingNode:
    """A node while its tree grows; `owner` and children once it is split."""

    number: int
    depth: int
    total: Integers
    sums: list[Integers] = field(default_factory=list)
    best: BestSplit | None = None
    best_owner: int = LEAF
    owner: int = LEAF
    left: int = LEAF
    right: int = LEAF


@dataclass(frozen=True)
class GrownTree:
    """The finished tree, nodes by number: owner (−1: leaf), children, values, gain of the split, Σh."""

    owner: NDArray[np.int16]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    value: NDArray[np.float64]
    gain: NDArray[np.float64]
    cover: NDArray[np.float64]


class Grower:
    """Grows one tree from the sources of all parties, in their order."""

    def __init__(
        self,
        config: GBDTConfig,
        sources: Sequence[SplitSource],
        names: Sequence[str],
        nodes: NodeRows,
        data: TreeRows,
        penalty: Penalty,
        nodes_at_once: int,
    ) -> None:
        self._config, self._sources, self._names = config, sources, names
        self._rows, self._data, self._penalty = nodes, data, penalty
        self._at_once = nodes_at_once
        root = GrowingNode(0, 0, data.values.sum(axis=0))
        self._nodes = [root]
        self._full = False  # no leaf is left to gain: what is a leaf now stays one, and is not told
        self._told: list[list[tuple[Split, Left]]] = [[] for _ in sources]

    def grow(self) -> GrownTree:
        """The tree; afterwards the rows of each leaf stand in the NodeRows given."""
        leaves = 1
        self._full = leaves == self._config.max_leaves
        if self._may_split(self._nodes[0]):
            self._measure([(self._nodes[0], None)])
        while True:
            chosen = self._next(leaves)
            if not chosen:
                break
            leaves += len(chosen)
            self._full = leaves == self._config.max_leaves
            children = self._split(chosen)
            self._measure([pair for pair in children if any(map(self._may_split, pair))])
        for source in self._sources:
            source.end()
        return self._finished()

    def _next(self, leaves: int) -> list[GrowingNode]:
        """The leaves to split now: a level, or the one of largest gain; within max_leaves."""
        ready = [node for node in self._nodes if node.best is not None and node.owner == LEAF]
        if self._config.grow_policy == "lossguide":
            ready = sorted(ready, key=lambda node: (-node.best.gain if node.best else 0.0, node.number))[:1]
        room = self._config.max_leaves - leaves if self._config.max_leaves else len(ready)
        return ready[: max(0, room)]

    def _drawn(self, node: GrowingNode) -> int:
        return int(self._data.drawn[self._rows[node.number]].sum())

    def _may_split(self, node: GrowingNode) -> bool:
        return (
            not self._full
            and node.depth < self._config.depth_limit
            and self._drawn(node) >= 2 * self._config.min_samples_leaf
            and float((node.total * self._penalty.scales)[1::2].sum()) >= 2 * self._config.min_child_weight
        )

    # --- sums ---------------------------------------------------------------------------------------

    def _measure(self, pairs: Sequence[tuple[GrowingNode, GrowingNode | None]]) -> None:
        """Sums and best split of these nodes: of each pair the smaller is built, the other is the rest."""
        ordered = [self._smaller_first(*pair) for pair in pairs]
        for start in range(0, len(ordered), self._at_once):
            part = ordered[start : start + self._at_once]
            build = [node.number for node, _ in part]
            for place, source in enumerate(self._sources):
                source.ask_sums(self._told[place], build)
                self._told[place] = []
            for place, source in enumerate(self._sources):
                for (node, other), sums in zip(part, source.sums(), strict=True):
                    self._take(place, node, other, sums)
            for node, other in part:
                if other is not None:
                    self._nodes[self._parent(node)].sums = []

    def _smaller_first(
        self, node: GrowingNode, other: GrowingNode | None
    ) -> tuple[GrowingNode, GrowingNode | None]:
        if other is not None and self._drawn(other) < self._drawn(node):
            return other, node
        return node, other

    def _parent(self, node: GrowingNode) -> int:
        parent = self._rows.parent(node.number)
        return 0 if parent is None else parent

    def _take(self, place: int, node: GrowingNode, other: GrowingNode | None, sums: NodeSums) -> None:
        """One source's sums of a built node, and of its sibling by subtraction."""
        self._consider(place, node, sums.left, sums.open)
        if other is not None:
            self._consider(
                place, other, self._nodes[self._parent(node)].sums[place] - sums.left, sums.open_sibling
            )

    def _consider(self, place: int, node: GrowingNode, left: Integers, allowed: NDArray[np.bool_]) -> None:
        node.sums.append(left)
        if not self._may_split(node):
            return
        found = best_split(left, allowed, node.total, self._penalty, self._config)
        if found is not None and (node.best is None or found.gain > node.best.gain):
            node.best, node.best_owner = found, place

    # --- splits -------------------------------------------------------------------------------------

    def _split(self, chosen: Sequence[GrowingNode]) -> list[tuple[GrowingNode, GrowingNode]]:
        """Have the owners split these nodes; the new children."""
        orders: list[list[ChosenSplit]] = [[] for _ in self._sources]
        number = len(self._nodes)
        for node in chosen:
            if node.best is not None:
                orders[node.best_owner].append(ChosenSplit(node.number, number, number + 1, node.best.ties))
                number += 2
        self._nodes += [GrowingNode(new, 0, self._nodes[0].total) for new in range(len(self._nodes), number)]
        for source, order in zip(self._sources, orders, strict=True):
            source.ask_splits(order)
        made = []
        for place, (source, order) in enumerate(zip(self._sources, orders, strict=True)):
            for split, left in zip(order, source.routes(), strict=True):
                made.append((split.node, self._apply(place, split, left)))
        return [pair for _, pair in sorted(made, key=lambda entry: entry[0])]

    def _apply(self, owner: int, split: ChosenSplit, goes_left: Left) -> tuple[GrowingNode, GrowingNode]:
        """Two children in place of a node. ProtocolError where the routes are not those of the sums."""
        node = self._nodes[split.node]
        rows = self._rows[split.node]
        total = self._data.values[rows[goes_left]].sum(axis=0)
        if node.best is None or not (node.best.left == total).all(axis=1).any():
            raise ProtocolError(f"{self._names[owner]} sent routes that do not have the sums it sent before")
        self._rows.split(split.node, split.left, split.right, goes_left)
        node.owner, node.left, node.right = owner, split.left, split.right
        pair = (
            GrowingNode(split.left, node.depth + 1, total),
            GrowingNode(split.right, node.depth + 1, node.total - total),
        )
        self._nodes[split.left], self._nodes[split.right] = pair
        if any(map(self._may_split, pair)):
            for place, told in enumerate(self._told):
                if place != owner:
                    told.append((Split(split.node, split.left, split.right), goes_left))
        return pair

    def _finished(self) -> GrownTree:
        value = self._penalty.value(np.array([node.total for node in self._nodes]))
        _, cover = self._penalty.floats(np.array([node.total for node in self._nodes]))
        return GrownTree(
            owner=np.array([node.owner for node in self._nodes], dtype=np.int16),
            left=np.array([node.left for node in self._nodes], dtype=np.int32),
            right=np.array([node.right for node in self._nodes], dtype=np.int32),
            value=value * self._config.learning_rate,
            gain=np.array(
                [node.best.gain if node.best and node.owner != LEAF else 0.0 for node in self._nodes]
            ),
            cover=cover.sum(axis=1),
        )
