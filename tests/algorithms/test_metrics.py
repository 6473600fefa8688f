"""The metrics against scikit-learn's, with weights and without."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import gammaln
from sklearn import metrics as expected

from hecore.algorithms import metrics
from hecore.algorithms.objectives import sigmoid, softmax

ROWS = 50
RNG = np.random.default_rng(4)
MARGINS = RNG.normal(size=(ROWS, 3)) * 2
CLASSES = np.arange(ROWS) % 3.0
BINARY = np.arange(ROWS) % 2.0
COUNTS = RNG.poisson(2.0, ROWS).astype(float)
WEIGHTS = [None, RNG.uniform(0, 3, ROWS)]


@pytest.mark.parametrize("weight", WEIGHTS, ids=["unweighted", "weighted"])
def test_metrics_are_those_of_scikit_learn(weight):
    z, by_class = MARGINS[:, 0], softmax(MARGINS)
    means, more = np.exp(z), {"sample_weight": weight}
    pairs = [
        (metrics.auc(BINARY, z, weight), expected.roc_auc_score(BINARY, z, **more)),
        (
            metrics.accuracy(CLASSES, MARGINS, weight),
            expected.accuracy_score(CLASSES, MARGINS.argmax(1), **more),
        ),
        (metrics.log_loss(CLASSES, by_class, weight), expected.log_loss(CLASSES, by_class, **more)),
        (metrics.log_loss_of_margins(BINARY, z, weight), expected.log_loss(BINARY, sigmoid(z), **more)),
        (metrics.mse(COUNTS, means, weight), expected.mean_squared_error(COUNTS, means, **more)),
        (metrics.rmse(COUNTS, means, weight), expected.root_mean_squared_error(COUNTS, means, **more)),
        (
            metrics.poisson_deviance(COUNTS, means, weight),
            expected.mean_poisson_deviance(COUNTS, means, **more),
        ),
    ]
    for found, wanted in pairs:
        assert found == pytest.approx(wanted, rel=1e-12)


def test_poisson_likelihood():
    z = MARGINS[:, 1]
    loss = np.exp(z) - COUNTS * z + gammaln(COUNTS + 1)
    assert metrics.poisson_nloglik(COUNTS, z) == pytest.approx(loss.mean(), rel=1e-12)


def test_losses_of_sure_predictions_are_finite():
    sure = np.array([[1.0, 0.0], [1.0, 0.0]])
    label = np.array([0.0, 1.0])
    assert metrics.log_loss(label, sure) == pytest.approx(-np.log(metrics.LEAST_PROBABILITY) / 2)
    margins = np.array([-1000.0, -1000.0])
    assert metrics.log_loss_of_margins(label, margins) == 500.0
