"""No sum over few rows follows from the sums that are shown."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hecore.algorithms.gbdt.binning import ColumnBins
from hecore.algorithms.gbdt.candidates import list_candidates
from hecore.algorithms.gbdt.guards import NodeGuard, ShownSplits
from hecore.algorithms.gbdt.histograms import count_histogram
from hecore.algorithms.gbdt.rows import NodeRows


def numeric(bins: int, missing: bool = False) -> ColumnBins:
    return ColumnBins([float(edge) for edge in range(bins - 1)], missing, categorical=False)


def categorical(bins: int) -> ColumnBins:
    return ColumnBins([float(edge) for edge in range(bins - 1)], missing=False, categorical=True)


def test_the_picture_of_the_docstring() -> None:
    column = [numeric(4)]
    candidates = list_candidates(column, [0])
    guard = ShownSplits(column, candidates, 5)
    counts = np.array([[7, 2, 9, 0], [8, 6, 1, 9]])
    shown = guard.shown(counts, np.ones(len(candidates), dtype=bool))
    assert candidates.bin[shown].tolist() == [0, 2]


def test_few_missing_values_do_not_change_sides() -> None:
    column = [numeric(4, missing=True)]
    candidates = list_candidates(column, [0])
    guard = ShownSplits(column, candidates, 5)
    everything = np.ones(len(candidates), dtype=bool)
    few = guard.shown(np.array([[9, 9, 9, 0, 4]]), everything)
    assert candidates.bin[few].tolist() == [0, 1]
    assert not candidates.missing_left[few].any()
    enough = guard.shown(np.array([[9, 9, 9, 0, 5]]), everything)
    assert enough.all()


@st.composite
def trees(draw: st.DrawFn) -> Any:
    """Columns, codes of some rows, and which rows go left at each split of a random tree."""
    columns = draw(
        st.lists(
            st.builds(numeric, st.integers(1, 6), st.booleans()) | st.builds(categorical, st.integers(1, 6)),
            min_size=1,
            max_size=3,
        )
    )
    rows = draw(st.integers(1, 60))
    seed = draw(st.integers(0, 1 << 16))
    rng = np.random.default_rng(seed)
    codes = np.column_stack([rng.integers(0, rng.integers(1, c.width + 1), rows) for c in columns])
    return columns, codes, rng, draw(st.integers(1, 6))


@settings(max_examples=150)
@given(trees())
def test_differences_of_nested_sums_cover_no_rows_or_enough(case: Any) -> None:
    """Of each column: shown left sums, totals, siblings and differences, at each node of a random tree."""
    columns, codes, rng, least = case
    candidates = list_candidates(columns, range(len(columns)))
    nodes = NodeRows(len(codes))
    drawn = rng.random(len(codes)) < 0.8
    guard = NodeGuard(columns, candidates, nodes, drawn, 1, least)
    offsets = candidates.offsets

    def counts(node: int) -> np.ndarray:
        return count_histogram(codes, guard.drawn(node), range(len(columns)), offsets)

    guard.count(0, counts(0))
    check(guard, nodes, 0, columns, codes, candidates, least)
    frontier, number = [0], 1
    for _ in range(4):
        node = frontier.pop(0)
        nodes.split(node, number, number + 1, rng.random(nodes[node].size) < rng.random())
        guard.count(number, counts(number))
        for child in (number, number + 1):
            check(guard, nodes, child, columns, codes, candidates, least)
            frontier.append(child)
        number += 2


def check(
    guard: NodeGuard, nodes: NodeRows, node: int, columns: Any, codes: Any, candidates: Any, least: int
) -> None:
    """Differences of nested left sets of shown candidates of one column, the node itself among them."""
    rows = guard.drawn(node)
    shown = guard._shown[node]
    for column, bins in enumerate(columns):
        sets = [frozenset(), frozenset(rows.tolist())]
        for place in np.flatnonzero(shown & (candidates.column == column)):
            at, missing_left = candidates.bin[place], candidates.missing_left[place]
            own = codes[rows, column]
            left = own == at if bins.categorical else own <= at
            if not bins.categorical:
                left = left & (own < bins.bins) | (missing_left & (own == bins.bins))
            sets.append(frozenset(rows[left].tolist()))
        for a, b in combinations(sets, 2):
            small, large = sorted((a, b), key=len)
            if small <= large:
                assert len(large - small) == 0 or len(large - small) >= least or rows.size < least
        if bins.categorical:
            rest = set(rows.tolist()).difference(*sets[2:])
            assert len(rest) == 0 or len(rest) >= least or rows.size < least


def test_the_guard_is_off_at_one() -> None:
    columns = [numeric(4)]
    candidates = list_candidates(columns, [0])
    guard = ShownSplits(columns, candidates, 1)
    assert guard.shown(np.array([[1, 0, 1, 1]]), np.ones(3, dtype=bool)).all()
