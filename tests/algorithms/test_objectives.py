"""Which labels and weights an objective takes, and the functions from margins to predictions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit

from hecore.algorithms.data import Table
from hecore.algorithms.errors import TableError
from hecore.algorithms.objectives import (
    check_labels,
    check_varied,
    count_classes,
    label_of,
    read_weights,
    sigmoid,
    softmax,
)

TABLE = Table("people.csv", ["a", "b", "c"], ("x",), np.ones((3, 1)), np.array([0.0, 1.0, 2.0]))


@pytest.mark.parametrize(
    ("objective", "label", "text"),
    [
        ("binary:logistic", [0, 1, 2], "t: label 2 at row 2 is not 0 or 1"),
        ("multi:softprob", [0, 0.5, 1], "t: label 0.5 at row 1 is no class 0 … 2"),
        ("multi:logistic", [0, 3, 1], "t: label 3 at row 1 is no class 0 … 2"),
        ("multi:logistic", [-1, 1, 0], "t: label -1 at row 0 is no class"),
        ("count:poisson", [0, 1, -0.5], "t: label -0.5 at row 2 is no count of at least 0"),
    ],
)
def test_labels_that_an_objective_cannot_take(objective, label, text):
    with pytest.raises(TableError, match=text):
        check_labels(objective, np.array(label, dtype=float), "t", 3)


def test_labels_that_an_objective_takes():
    for objective, label in [
        ("binary:logistic", [0, 1]),
        ("multi:softprob", [0, 4]),
        ("reg:squarederror", [-1.5, 2]),
        ("custom", [-1, 0.5]),
        ("count:poisson", [0, 2.5]),
    ]:
        check_labels(objective, np.array(label, dtype=float), "t")


def test_labels_of_one_value_or_with_gaps():
    with pytest.raises(TableError, match="t: all labels are 2: there is nothing to learn"):
        check_varied(np.full(3, 2.0), "t")
    assert count_classes(np.array([2.0, 0.0, 1.0, 1.0]), "t") == 3
    with pytest.raises(TableError, match=r"each of them present; these hold 1, 2$"):
        count_classes(np.array([1.0, 2.0]), "t")
    with pytest.raises(TableError, match=r"people\.csv has no label"):
        label_of(replace(TABLE, label=None))


@pytest.mark.parametrize("weight", [[1.0, 2.0], [1.0, -1.0, 1.0], [1.0, np.nan, 1.0], [0.0, 0.0, 0.0]])
def test_weights_that_cannot_be_used(weight):
    with pytest.raises(TableError, match=r"people\.csv: .*sample weights"):
        read_weights(TABLE, weight)


def test_margins_become_probabilities_without_overflow():
    z = np.array([-1000.0, -40.0, -1.0, 0.0, 30.0, 1000.0])
    np.testing.assert_allclose(sigmoid(z), expit(z), rtol=1e-15)
    np.testing.assert_allclose(softmax(np.stack([z, 0 * z], axis=1))[:, 0], expit(z), rtol=1e-15)
