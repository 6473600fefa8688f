"""A grown tree as a model keeps it: the active party's half, and each owner's own splits.

Training works on `growth.GrowingNode`; what stays is arrays. A passive party's half has no gain, no Σg and no
Σh: nothing of the label.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hecore.algorithms.gbdt.binning import Binned
from hecore.algorithms.gbdt.candidates import goes_left
from hecore.algorithms.gbdt.growth import LEAF, GrownTree
from hecore.algorithms.gbdt.sources import OwnSplit
from hecore.algorithms.objectives import Floats


@dataclass(frozen=True)
class SplitTable:
    """A party's splits of a whole model, by tree and node: four arrays and a flag, each of length S."""

    tree: NDArray[np.int32]
    node: NDArray[np.int32]
    column: NDArray[np.int32]
    bin: NDArray[np.int32]
    missing_left: NDArray[np.bool_]

    def __len__(self) -> int:
        return self.tree.size

    @classmethod
    def of(cls, trees: Iterable[tuple[int, Sequence[OwnSplit]]]) -> SplitTable:
        """The splits of (tree, splits) pairs, sorted by tree and node."""
        flat = sorted(
            (tree, split.node, split.column, split.bin, split.missing_left)
            for tree, splits in trees
            for split in splits
        )
        table = np.array(flat, dtype=np.int32).reshape(-1, 5)
        return cls(table[:, 0], table[:, 1], table[:, 2], table[:, 3], table[:, 4].astype(bool))

    def before(self, tree: int) -> SplitTable:
        """The splits of trees 0 … tree − 1."""
        stop = int(np.searchsorted(self.tree, tree))
        return SplitTable(
            self.tree[:stop], self.node[:stop], self.column[:stop], self.bin[:stop], self.missing_left[:stop]
        )

    def joined(self, later: SplitTable) -> SplitTable:
        """These splits and those of later trees."""
        return SplitTable(
            np.concatenate([self.tree, later.tree]),
            np.concatenate([self.node, later.node]),
            np.concatenate([self.column, later.column]),
            np.concatenate([self.bin, later.bin]),
            np.concatenate([self.missing_left, later.missing_left]),
        )

    def parts(self) -> tuple[NDArray[np.generic], ...]:
        """The five arrays."""
        return self.tree, self.node, self.column, self.bin, self.missing_left

    def directions(self, binned: Binned) -> NDArray[np.bool_]:
        """Which rows go left at each split, whatever their path: bool (S, rows)."""
        out = np.empty((len(self), binned.codes.shape[0]), dtype=np.bool_)
        for place in range(len(self)):
            column = int(self.column[place])
            out[place] = goes_left(
                binned.codes[:, column],
                binned.columns[column],
                int(self.bin[place]),
                bool(self.missing_left[place]),
            )
        return out


@dataclass(frozen=True)
class Forest:
    """All trees of a model as the active party knows them, node after node.

    start    (trees + 1,) place of each tree's root
    output   (trees,) the output that a tree adds to; −1: all of them, a value each
    owner    (nodes,) number of the party that splits the node, −1 at a leaf
    left     (nodes,) number of the left child in its tree, right likewise
    value    (nodes, K) leaf values, K = 1 where each tree has one output
    gain     (nodes,) of splits; cover (nodes,) Σh
    """

    start: NDArray[np.int64]
    output: NDArray[np.int32]
    owner: NDArray[np.int16]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    value: Floats
    gain: Floats
    cover: Floats

    @property
    def trees(self) -> int:
        """Number of trees."""
        return self.output.size

    @classmethod
    def of(cls, trees: Sequence[GrownTree], outputs: Sequence[int], width: int) -> Forest:
        """The trees one after another; `outputs` their output, `width` the K of `value`."""
        start = np.cumsum([0, *(tree.owner.size for tree in trees)]).astype(np.int64)
        if not trees:
            none = np.empty(0)
            return cls(
                start,
                np.empty(0, np.int32),
                np.empty(0, np.int16),
                np.empty(0, np.int32),
                np.empty(0, np.int32),
                np.empty((0, width)),
                none,
                none,
            )
        return cls(
            start,
            np.array(outputs, dtype=np.int32),
            np.concatenate([tree.owner for tree in trees]),
            np.concatenate([tree.left for tree in trees]),
            np.concatenate([tree.right for tree in trees]),
            np.concatenate([tree.value for tree in trees]),
            np.concatenate([tree.gain for tree in trees]),
            np.concatenate([tree.cover for tree in trees]),
        )

    def grown(self) -> list[GrownTree]:
        """The trees one by one."""
        places = map(slice, self.start[:-1].tolist(), self.start[1:].tolist())
        return [
            GrownTree(
                owner=self.owner[at],
                left=self.left[at],
                right=self.right[at],
                value=self.value[at],
                gain=self.gain[at],
                cover=self.cover[at],
            )
            for at in places
        ]

    def before(self, tree: int) -> Forest:
        """The first `tree` trees."""
        stop = int(self.start[tree])
        return Forest(
            self.start[: tree + 1],
            self.output[:tree],
            self.owner[:stop],
            self.left[:stop],
            self.right[:stop],
            self.value[:stop],
            self.gain[:stop],
            self.cover[:stop],
        )

    def joined(self, later: Forest) -> Forest:
        """These trees and later ones."""
        return Forest(
            np.concatenate([self.start, self.start[-1] + later.start[1:]]),
            np.concatenate([self.output, later.output]),
            np.concatenate([self.owner, later.owner]),
            np.concatenate([self.left, later.left]),
            np.concatenate([self.right, later.right]),
            np.concatenate([self.value, later.value]),
            np.concatenate([self.gain, later.gain]),
            np.concatenate([self.cover, later.cover]),
        )

    def splits_of(self, owner: int) -> NDArray[np.int64]:
        """Places of the nodes that a party splits, by tree and node."""
        return np.flatnonzero(self.owner == owner)

    def leaves(self, tree: int, goes_left: dict[int, NDArray[np.bool_]], rows: int) -> NDArray[np.int64]:
        """The place of the leaf that each row reaches; `goes_left` by place of the node."""
        base = int(self.start[tree])
        at = np.full(rows, base, dtype=np.int64)
        places = range(base, int(self.start[tree + 1]))
        for place in places:  # children stand behind their parents
            if self.owner[place] == LEAF:
                continue
            here = np.flatnonzero(at == place)
            left = goes_left[place][here]
            at[here] = base + np.where(left, self.left[place], self.right[place])
        return at

    def margins(
        self, goes_left: dict[int, NDArray[np.bool_]], rows: int, outputs: int, start: float
    ) -> Floats:
        """start + Σ leaf values, (rows, outputs)."""
        out = np.full((rows, outputs), start)
        for tree in range(self.trees):
            values = self.value[self.leaves(tree, goes_left, rows)]
            if self.output[tree] < 0:
                out += values
            else:
                out[:, self.output[tree]] += values[:, 0]
        return out
