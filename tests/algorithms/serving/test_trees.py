"""Scoring few rows fast gives what the batch code gives; without a party, what is expected of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hecore.algorithms.gbdt.binning import apply_bins
from hecore.algorithms.gbdt.growth import LEAF
from hecore.algorithms.gbdt.tables import binned
from hecore.algorithms.serving.trees import EXPECTED_ROWS, Splits, Trees

from .conftest import Model, make_model, values_of

KINDS = [
    {"label": "binary"},
    {"label": "number"},
    {"label": "classes", "multi_strategy": "multi_output_tree"},
    {"label": "classes", "multi_strategy": "one_output_per_tree"},
]


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: "-".join(kind.values()))
def three(request: pytest.FixtureRequest) -> Model:
    return make_model(("bank", "shop", "clinic"), **request.param)


def parts_of(model: Model) -> list[np.ndarray]:
    return [
        Splits(share.splits, share.bins).directions(values_of(share, table))
        for share, table in zip(model.shares.values(), model.tables.values(), strict=True)
    ]


def trees_of(model: Model) -> Trees:
    objective = model.central.objective
    return Trees(model.central.forest, objective.outputs, objective.start)


def test_directions_are_those_of_the_bins(three: Model) -> None:
    for share, table, part in zip(three.shares.values(), three.tables.values(), parts_of(three), strict=True):
        assert len(share.splits) > 5
        assert np.array_equal(part, share.splits.directions(binned(share.columns, share.bins, [table])))


def test_a_category_that_training_did_not_see_and_a_huge_value(three: Model) -> None:
    share = next(iter(three.shares.values()))
    values = np.array([[1e300, 77.0], [-1e300, 0.0], [np.nan, np.nan]])
    with np.errstate(over="ignore"):
        expected = share.splits.directions(apply_bins(share.bins, values))
    assert np.array_equal(Splits(share.splits, share.bins).directions(values), expected)


@pytest.mark.parametrize("rows", [1, 7, 300])
def test_margins_are_those_of_the_batch_code(three: Model, rows: int) -> None:
    tables = [table.take(np.arange(rows)) for table in three.tables.values()]
    parts = [part[:, :rows] for part in parts_of(three)]
    np.testing.assert_allclose(
        trees_of(three).margins(parts, rows), three.central.margins(tables), rtol=1e-12, atol=1e-12
    )


def test_expected_margins_with_all_parties_are_the_margins(three: Model) -> None:
    parts, rows = parts_of(three), EXPECTED_ROWS + 3
    parts = [part[:, :rows] for part in parts]
    trees = trees_of(three)
    np.testing.assert_allclose(
        trees.expected_margins(dict(enumerate(parts)), rows),
        trees.margins(parts, rows),
        rtol=1e-12,
        atol=1e-12,
    )


def test_a_missing_party_counts_by_what_training_saw(three: Model) -> None:
    """Row by row down each tree, both ways at splits of `shop`."""
    parts, forest = parts_of(three), three.central.forest
    trees, rows = trees_of(three), 5
    got = trees.expected_margins({0: parts[0][:, :rows], 2: parts[2][:, :rows]}, rows)
    place_in = {owner: {int(p): i for i, p in enumerate(forest.splits_of(owner))} for owner in range(3)}

    def walk(tree: int, place: int, row: int) -> np.ndarray:
        base, owner = int(forest.start[tree]), int(forest.owner[place])
        if owner == LEAF:
            return forest.value[place]
        left, right = base + int(forest.left[place]), base + int(forest.right[place])
        if owner != 1:
            return walk(tree, left if parts[owner][place_in[owner][place], row] else right, row)
        share = forest.cover[left] / (forest.cover[left] + forest.cover[right])
        return share * walk(tree, left, row) + (1 - share) * walk(tree, right, row)

    for row in range(rows):
        expected = np.full(three.central.objective.outputs, three.central.objective.start)
        for tree in range(forest.trees):
            value = walk(tree, int(forest.start[tree]), row)
            output = int(forest.output[tree])
            expected += value if output < 0 else value[0] * (np.arange(expected.size) == output)
        np.testing.assert_allclose(got[row], expected, rtol=1e-12, atol=1e-12)


def test_a_forest_without_splits_scores_its_start(three: Model) -> None:
    objective = three.central.objective
    empty = replace(three.central).forest.before(0)
    margins = Trees(empty, objective.outputs, objective.start).margins([], 4)
    assert np.array_equal(margins, np.full((4, objective.outputs), objective.start))
