"""Which sums a passive party shows: none that covers few rows, and none from which such a sum follows.

The active party knows g and h of every row, so a sum over one row names that row, and tells where it stands
in a column. Sums of one column follow from each other by subtraction: left sums of neighbouring thresholds
give the sum of the bins between them, and a node minus one child gives the other. So the guard is on groups
of bins:

    bins of a column    | 0 | 1 | 2 | 3 |
    rows in the left      7   2   9   0
    rows in the right     8   6   1   9      least = 5
    groups              | 0 |  1 2  | 3 |    shown: splits after bins 0 and 2

Bins are joined, for both children of a split alike, until each group has no rows or at least `least` in each
child; only splits between groups are shown, in these nodes and all below. Every sum that follows from the
sums of one column by adding and subtracting nested sets then covers no rows, or at least as many. Missing
values are the last bin: only where they are a group of their own may they change sides.

Of a categorical column, categories with fewer rows in a child are not shown, nor those whose absence would
leave fewer.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hecore.algorithms.gbdt.binning import ColumnBins
from hecore.algorithms.gbdt.candidates import Candidates, Indices, left_sums
from hecore.algorithms.gbdt.rows import Left, NodeRows

Mask = NDArray[np.bool_]


class ShownSplits:
    """The guard for the candidates of some columns.

    columns   the bins of the columns that the candidates are of, in their order
    least     min_samples_bin; 1 shows everything
    """

    def __init__(self, columns: Sequence[ColumnBins], candidates: Candidates, least: int) -> None:
        self._candidates, self._least = candidates, least
        count = len(columns)
        widths = np.array([column.width for column in columns], dtype=np.int64)
        self._width = int(widths.max(initial=1))
        # Codes side by side, one row a column; what is too much stands at an extra place that counts nothing.
        places = candidates.offsets[:-1, None] + np.arange(self._width)
        self._places = np.where(np.arange(self._width) < widths[:, None], places, candidates.offsets[-1])
        self._thresholds = np.array([not column.categorical for column in columns], dtype=np.bool_)
        self._row = np.searchsorted(candidates.offsets, candidates.last, side="right") - 1
        self._last_present = np.array([column.bins - 1 for column in columns], dtype=np.int64)
        self._missing = np.flatnonzero([column.missing for column in columns])
        self._categorical = np.flatnonzero(~self._thresholds)
        self._right = np.full((count, self._width), -1, dtype=np.int64)
        plain = np.flatnonzero(~candidates.missing_left)
        self._right[self._row[plain], candidates.bin[plain]] = plain

    def shown(self, counts: NDArray[np.int64], allowed: Mask) -> Mask:
        """Which candidates may be shown in these nodes, (C,).

        counts    (nodes, codes) rows of each node by column and code: a node, or both children of one
        allowed   (C,) what was shown in the node above
        """
        if self._least <= 1 or not len(self._candidates):
            return allowed.copy()
        padded = np.concatenate([counts, np.zeros((len(counts), 1), dtype=np.int64)], axis=1)
        table = padded[:, self._places]
        may = (self._right >= 0) & allowed[self._right]
        may[self._missing, self._last_present[self._missing]] = True
        between = self._groups(table, may & self._thresholds[:, None])
        for column in self._categorical:
            between[column] = self._categories(table[:, column], may[column])
        shown: Mask = between[self._row, self._candidates.bin]
        alone = between[np.arange(len(between)), self._last_present]
        return np.asarray(shown & allowed & (~self._candidates.missing_left | alone[self._row]))

    def _groups(self, table: NDArray[np.int64], may: Mask) -> Mask:
        """After which bins a group ends, (columns, width); `table` (nodes, columns, width) of rows."""
        ends = np.zeros(may.shape, dtype=np.bool_)
        inside = np.zeros((self._width, *table.shape[:2]), dtype=np.int64)
        run = np.zeros(table.shape[:2], dtype=np.int64)
        for place in range(self._width - 1):
            run = run + table[:, :, place]
            ends[:, place] = may[:, place] & ~self._few(run)
            inside[place] = run
            run = np.where(ends[:, place], 0, run)
        run = run + table[:, :, -1]
        for place in reversed(range(self._width - 1)):  # the last group may be too small: join it with others
            join = self._few(run) & ends[:, place]
            run = np.where(join, run + inside[place], run)
            ends[:, place] &= ~join
        return ends

    def _categories(self, table: NDArray[np.int64], may: Mask) -> Mask:
        """Which categories of one column are shown, (width,); `table` (nodes, width)."""
        shown = may & ~((table > 0) & (table < self._least)).any(axis=0)
        while shown.any():
            rest = table[:, ~shown].sum(axis=1)
            if not ((rest > 0) & (rest < self._least)).any():
                break
            totals = np.where(shown & (table.sum(axis=0) > 0), table.sum(axis=0), np.iinfo(np.int64).max)
            if totals.min() == np.iinfo(np.int64).max:
                break
            shown[int(totals.argmin())] = False
        return shown

    def _few(self, rows: NDArray[np.int64]) -> Mask:
        return np.asarray(((rows > 0) & (rows < self._least)).any(axis=0))


class NodeGuard:
    """What is open in each node of a tree: shown, and with enough rows on either side for two leaves."""

    def __init__(
        self,
        columns: Sequence[ColumnBins],
        candidates: Candidates,
        nodes: NodeRows,
        drawn: Left,
        least_leaf: int,
        least_bin: int,
    ) -> None:
        self._candidates, self._nodes, self._drawn = candidates, nodes, drawn
        self._leaf = least_leaf
        self._splits = ShownSplits(columns, candidates, least_bin)
        self._counts: dict[int, NDArray[np.int64]] = {}
        self._shown: dict[int, Mask] = {}

    def __contains__(self, node: int) -> bool:
        return node in self._counts

    def drawn(self, node: int) -> Indices:
        """The drawn rows of a node."""
        rows = self._nodes[node]
        return rows[self._drawn[rows]]

    def count(self, node: int, counts: NDArray[np.int64]) -> tuple[Mask, Mask]:
        """Take in the drawn rows of a node by column and code; what is open in it, and in its sibling.

        The sibling's counts are those of the node above minus these. KeyError where that was never counted.
        """
        parent, sibling = self._nodes.parent(node), self._nodes.sibling(node)
        if parent is None or sibling is None:
            everything = np.ones(len(self._candidates), dtype=np.bool_)
            self._counts[node] = counts
            self._shown[node] = self._splits.shown(counts[None], everything)
            return self.open(node), np.zeros_like(everything)
        rest = self._counts.pop(parent) - counts
        shown = self._splits.shown(np.stack([counts, rest]), self._shown.pop(parent))
        for child, own in ((node, counts), (sibling, rest)):
            self._counts[child], self._shown[child] = own, shown
        return self.open(node), self.open(sibling)

    def open(self, node: int) -> Mask:
        """The candidates that may split a node."""
        left = left_sums(self._counts[node], self._candidates, len(self._candidates.offsets) - 1)
        right = self.drawn(node).size - left
        return np.asarray(self._shown[node] & (left >= self._leaf) & (right >= self._leaf))
