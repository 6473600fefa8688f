"""Scoring few rows with many trees, fast: all splits of a party at once, all trees at once.

`gbdt.predict` goes split by split over many rows; for a handful of rows that is a Python call a split. Here a
party's splits are columns of one comparison, and the rows go down all trees together, a level at a time:

    x[split's column] < threshold, or missing and missing goes left        (splits, rows)
    place ← left or right child of place                                    (trees, rows), depth times

The margins are those of `Forest.margins`, up to the order in which floats are added.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from hecore.algorithms.data.table import Matrix
from hecore.algorithms.gbdt.binning import ColumnBins
from hecore.algorithms.gbdt.growth import LEAF
from hecore.algorithms.gbdt.trees import Forest, SplitTable
from hecore.algorithms.objectives import Floats

Directions = NDArray[np.bool_]
#: Rows at a time where every node has a number a row.
EXPECTED_ROWS = 64


class Splits:
    """A party's splits, ready to be compared with rows."""

    def __init__(self, splits: SplitTable, bins: Sequence[ColumnBins]) -> None:
        self._bins = tuple(bins)
        self._column = splits.column.astype(np.intp)
        self._bin = splits.bin
        self._missing_left = splits.missing_left[:, None]
        self._learned = bool(splits.missing_left.any())
        categorical = np.array([column.categorical for column in bins], dtype=np.bool_)[self._column]
        edges = [
            np.nan if by_category else self._bins[column].edges[place]
            for column, place, by_category in zip(
                splits.column.tolist(), splits.bin.tolist(), categorical.tolist(), strict=True
            )
        ]
        self._threshold = np.array(edges, dtype=np.float32)[:, None]
        self._categorical = {
            int(column): np.flatnonzero(categorical & (self._column == column))
            for column in np.unique(self._column[categorical])
        }

    def __len__(self) -> int:
        return self._column.size

    def directions(self, values: Matrix) -> Directions:
        """Which rows go left at each split, whatever their path: bool (S, rows)."""
        with np.errstate(over="ignore", invalid="ignore"):
            single = np.ascontiguousarray(values.T, dtype=np.float32)
        gathered = single[self._column]
        left = np.asarray(gathered < self._threshold)
        if self._learned:
            left |= np.isnan(gathered) & self._missing_left
        for column, places in self._categorical.items():
            codes = self._bins[column].codes(values[:, column])
            left[places] = codes[None, :] == self._bin[places, None]
        return left


class Trees:
    """The active party's forest, ready to be walked. Owner 0 is this party, 1, 2, … the passive ones."""

    def __init__(self, forest: Forest, outputs: int, start: float) -> None:
        self._forest, self._outputs, self._start = forest, outputs, start
        inner = forest.owner != LEAF
        base = np.repeat(forest.start[:-1], np.diff(forest.start))
        here = np.arange(forest.owner.size)
        self._left = np.where(inner, base + forest.left, here)  # a leaf leads to itself
        self._right = np.where(inner, base + forest.right, here)
        self._roots = forest.start[:-1]
        self._levels = self._by_level(inner)
        owners = range(int(forest.owner.max(initial=LEAF)) + 1)
        self.splits = [forest.splits_of(owner) for owner in owners]
        self._row = np.zeros(forest.owner.size, dtype=np.intp)  # of each node in the joined directions
        places = np.concatenate(self.splits) if self.splits else np.empty(0, np.int64)
        self._row[places] = np.arange(places.size)
        self._of_output = [np.flatnonzero(forest.output == output) for output in range(outputs)]

    def _by_level(self, inner: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
        """Inner nodes of all trees, level by level from the roots."""
        levels = []
        at = self._roots[inner[self._roots]]
        while at.size:
            levels.append(at)
            children = np.concatenate([self._left[at], self._right[at]])
            at = children[inner[children]]
        return levels

    def needs(self, owner: int) -> int:
        """How many splits a party has."""
        return self.splits[owner].size if owner < len(self.splits) else 0

    def margins(self, parts: Sequence[Directions], rows: int) -> Floats:
        """start + Σ leaf values, (rows, outputs); directions of every owner, in order of tree and node."""
        joined = np.concatenate([part for part in parts if len(part)] or [np.zeros((1, rows), np.bool_)])
        at = np.repeat(self._roots[:, None], rows, axis=1)
        columns = np.arange(rows)
        for _ in self._levels:
            at = np.where(joined[self._row[at], columns], self._left[at], self._right[at])
        out = np.full((rows, self._outputs), self._start)
        shared = self._forest.output < 0
        if shared.any():
            out += self._forest.value[at[shared]].sum(axis=0)
        for output, trees in enumerate(self._of_output):
            if trees.size:
                out[:, output] += self._forest.value[at[trees], 0].sum(axis=0)
        return out

    def expected_margins(self, parts: Mapping[int, Directions], rows: int) -> Floats:
        """As `margins`, where some owners are missing: at their splits a row goes both ways.

        Each way counts by the share of Σh that went there in training.
        """
        out = np.empty((rows, self._outputs))
        for start in range(0, rows, EXPECTED_ROWS):
            part = slice(start, min(rows, start + EXPECTED_ROWS))
            there = {owner: directions[:, part] for owner, directions in parts.items()}
            out[part] = self._expected(there, part.stop - start)
        return out

    def _expected(self, parts: Mapping[int, Directions], rows: int) -> Floats:
        share = np.zeros((self._forest.owner.size, rows))
        share[self._roots] = 1.0
        to_left = self._known_shares(parts, rows)
        for level in self._levels:
            here = share[level] * to_left[level]
            share[self._left[level]] = here
            share[self._right[level]] = share[level] - here
        leaves = np.flatnonzero(self._forest.owner == LEAF)
        tree = np.repeat(np.arange(self._forest.trees), np.diff(self._forest.start))[leaves]
        output = self._forest.output[tree]
        out = np.full((rows, self._outputs), self._start)
        shared = leaves[output < 0]
        if shared.size:
            out += share[shared].T @ self._forest.value[shared]
        for number in range(self._outputs):
            own = leaves[output == number]
            out[:, number] += share[own].T @ self._forest.value[own, 0]
        return out

    def _known_shares(self, parts: Mapping[int, Directions], rows: int) -> Floats:
        """How much of a row goes left at each node: 0 or 1 where it is known."""
        cover = self._forest.cover
        both = cover[self._left] + cover[self._right]
        share = np.divide(cover[self._left], both, out=np.full(both.size, 0.5), where=both > 0)
        out = np.repeat(share[:, None], rows, axis=1)
        for owner, directions in parts.items():
            out[self.splits[owner]] = directions
        return out
