"""How good predictions are: means over rows, each with its weight where weights are given.

label       float64 (rows,); classes as 0, 1, …
predicted   (rows,) means; `positive` (rows,) scores of class 1; (rows, classes) scores or probabilities
margins     (rows,) values before σ or exp
weight      (rows,), or None for 1 each
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: Probabilities below are taken as this in a log-loss.
LEAST_PROBABILITY = 1e-15


def auc(label: Floats, positive: Floats, weight: Floats | None = None) -> float:
    """Area under the ROC curve; both classes must be present."""
    from sklearn.metrics import roc_auc_score  # heavy import

    return float(roc_auc_score(label, positive, sample_weight=weight))


def accuracy(label: Floats, scores: Floats, weight: Floats | None = None) -> float:
    """Share of the rows whose class has the largest of the scores (rows, classes)."""
    return _mean(scores.argmax(axis=1) == label, weight)


def log_loss(label: Floats, probabilities: Floats, weight: Floats | None = None) -> float:
    """−ln p of each row's class, of probabilities (rows, classes)."""
    chosen = probabilities[np.arange(label.size), label.astype(np.int64)]
    return _mean(-np.log(np.maximum(chosen, LEAST_PROBABILITY)), weight)


def log_loss_of_margins(label: Floats, margins: Floats, weight: Floats | None = None) -> float:
    """ln(1 + e^z) − y·z, the log-loss of σ(z): exact where σ rounds to 0 or 1."""
    return _mean(np.logaddexp(0.0, margins) - label * margins, weight)


def mse(label: Floats, predicted: Floats, weight: Floats | None = None) -> float:
    """Mean square error."""
    return _mean((predicted - label) ** 2, weight)


def rmse(label: Floats, predicted: Floats, weight: Floats | None = None) -> float:
    """Root of the mean square error."""
    return math.sqrt(mse(label, predicted, weight))


def poisson_deviance(label: Floats, predicted: Floats, weight: Floats | None = None) -> float:
    """2·(y·ln(y/μ) − y + μ). ValueError for a mean μ that is not positive and finite."""
    from sklearn.metrics import mean_poisson_deviance  # heavy import

    return float(mean_poisson_deviance(label, predicted, sample_weight=weight))


def poisson_nloglik(label: Floats, margins: Floats, weight: Floats | None = None) -> float:
    """e^z − y·z + ln y!, the negative log-likelihood of the mean e^z."""
    counts, place = np.unique(label, return_inverse=True)
    log_factorials = np.array([math.lgamma(count + 1.0) for count in counts])
    return _mean(np.exp(margins) - label * margins + log_factorials[place], weight)


def _mean(values: NDArray[np.float64] | NDArray[np.bool_], weight: Floats | None) -> float:
    return float(np.average(values, weights=weight))
