"""Every objective, two and three parties, weights and polynomials: against the same SGD in the clear."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import linprog

import hecore
from hecore.algorithms.errors import ConfigurationError, TableError
from hecore.algorithms.lr import VerticalLinearRegression, VerticalLogisticRegression, polynomials
from hecore.algorithms.lr.objectives import Objective
from hecore.algorithms.objectives import sigmoid

from .conftest import clear_fit, fit_star, problem, small_config, split_table


@pytest.fixture(scope="module")
def keys():
    """Three short keys, long enough for the wide numbers of polynomials."""
    return [hecore.generate_key(1024, insecure_test_key=True) for _ in range(3)]


def assert_equal_to_clear(models, data, config, tolerance=3e-5, weight=None):
    clear = clear_fit(*data, config=config, weight=weight)
    for model, block in zip(models, clear.blocks, strict=True):
        np.testing.assert_allclose(model.coef_.reshape(block.shape), block, atol=tolerance)
        np.testing.assert_allclose(model.loss_, clear.loss, atol=max(1e-5, tolerance * 3))
    np.testing.assert_allclose(np.ravel(models[0].intercept_), clear.intercept, atol=tolerance)
    assert models[1].intercept_ is None


CASES = [
    ("binary:logistic", {}),
    ("binary:logistic", {"sigmoid": "cubic", "batch_size": 20}),
    ("binary:logistic", {"class_weight": "balanced"}),
    ("multi:logistic", {}),
    ("multi:logistic", {"sigmoid": "quintic", "epochs": 1, "batch_size": 60}),
    ("reg:squarederror", {"schedule": "inverse"}),
    ("count:poisson", {"schedule": "cosine", "learning_rate": 0.02}),
]


@pytest.mark.parametrize(("objective", "options"), CASES)
@pytest.mark.parametrize("widths", [(3, 2), (2, 3, 1)])
def test_joint_weights_and_losses_are_those_of_the_clear_training(keys, objective, options, widths):
    config = small_config(objective=objective, **{"epochs": 2, "batch_size": 30} | options)
    data = split_table(problem(60, sum(widths), objective), widths)
    models, _ = fit_star(data, config, keys[: len(widths)])
    assert_equal_to_clear(models, data, config)


@pytest.mark.parametrize("objective", ["binary:logistic", "reg:squarederror"])
def test_sample_weights_count_as_in_the_clear_training(keys, objective):
    config = small_config(objective=objective, epochs=2, batch_size=30)
    data = split_table(problem(60, 5, objective), (2, 3))
    weight = np.random.default_rng(1).uniform(0, 3, 60)
    models, _ = fit_star(data, config, keys[:2], sample_weight=weight)
    assert_equal_to_clear(models, data, config, weight=weight)
    unweighted = clear_fit(*data, config=config)
    assert np.abs(models[1].coef_ - unweighted.passive).max() > 1e-3


def test_more_classes_than_a_ciphertext_holds(keys):
    """Nine outputs under a key of 1024 bits: groups of them, the last with slots to spare."""
    config = small_config(objective="multi:logistic", epochs=1, batch_size=30)
    table = problem(60, 4)
    table = replace(table, label=np.arange(60) % 9.0)
    data = split_table(table, (2, 2))
    models, _ = fit_star(data, config, keys[:2])
    assert_equal_to_clear(models, data, config)


def test_predictions_are_in_units_of_the_label(small_keys):
    keys = [*small_keys, hecore.generate_key(512, insecure_test_key=True)]
    table = problem(120, 5, "reg:squarederror")
    train, test = (split_table(table.take(rows), (2, 2, 1)) for rows in (np.arange(90), np.arange(90, 120)))
    config = small_config(objective="reg:squarederror", epochs=6, batch_size=30, learning_rate_decay=0.9)
    models, predicted = fit_star(train, config, keys, score=test)
    label = test[0].label
    assert predicted.shape == (30,)
    assert np.sqrt(np.mean((predicted - label) ** 2)) < 0.4 * label.std()
    assert models[0].evals_result_["train"] == models[2].evals_result_["train"]


def test_the_polynomials_are_the_best_of_their_degree_on_their_domain():
    """min t, |P(z) − f(z)| ≤ t on a grid, by linear programming."""

    def best(function, limit, powers):
        z = np.linspace(-limit, limit, 4001)
        terms = np.stack([z**power for power in powers], axis=1)
        one = np.ones((z.size, 1))
        table = np.block([[terms, -one], [-terms, -one]])
        bounds = [(None, None)] * len(powers) + [(0, None)]
        right = np.concatenate([function(z), -function(z)])
        return linprog(np.eye(len(powers) + 1)[-1], table, right, bounds=bounds).x

    cubic = polynomials.CUBIC_SIGMOID
    *found, error = best(lambda z: sigmoid(z) - 0.5, cubic.limit, [1, 3])
    np.testing.assert_allclose([cubic.coefficients[1], cubic.coefficients[3]], found, atol=1e-7)
    assert error < 0.0896
    quintic = polynomials.QUINTIC_SIGMOID
    *found, error = best(lambda z: sigmoid(z) - 0.5, quintic.limit, [1, 3, 5])
    np.testing.assert_allclose(quintic.coefficients[1::2], found, atol=1e-7)
    assert error < 0.0409
    exponential = polynomials.EXPONENTIAL
    *found, error = best(np.exp, exponential.limit, range(6))
    np.testing.assert_allclose(exponential.coefficients, found, atol=1e-7)
    assert error < 0.0454


def test_an_estimator_refuses_another_objective():
    with pytest.raises(ConfigurationError, match="objective = 'binary:logistic' is not one of"):
        VerticalLinearRegression(_channel(), small_config())
    with pytest.raises(ConfigurationError, match="objective = 'count:poisson' is not one of"):
        VerticalLogisticRegression(_channel(), small_config(objective="count:poisson"))


def _channel():
    from hecore.algorithms.channel import loopback_pair

    return loopback_pair()[0]


@pytest.mark.parametrize(
    ("objective", "labels", "text"),
    [
        ("multi:logistic", [0, 1, 2.5], "is no class"),
        ("multi:logistic", [0, 1, -1], "is no class"),
        ("count:poisson", [0, 1, -1], "is no count"),
        ("reg:squarederror", [2, 2, 2], "nothing to learn"),
    ],
)
def test_labels_that_do_not_fit_the_objective_are_named(objective, labels, text):
    table = replace(problem(3, 2), label=np.array(labels, dtype=float))
    with pytest.raises(TableError, match=text):
        Objective.of(small_config(objective=objective), table)
