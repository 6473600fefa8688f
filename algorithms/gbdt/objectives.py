"""What is minimised: gradients and second derivatives by row, start value, prediction and metric.

Margins are (rows, outputs): one output, or one a class. With p the prediction of a row and y its label:

    binary:logistic    p = σ(z)        g = p − y        h = p·(1 − p)
    multi:softprob     p = softmax(z)  g_k = p_k − [y = k]   h_k = 2·p_k·(1 − p_k)
    reg:squarederror   p = z           g = z − y        h = 1
    count:poisson      p = exp(z)      g = p − y        h = exp(z + max_delta_step)

as XGBoost has them. Sample weights multiply g and h. A custom objective has one output, starts at 0 and is
measured by the rmse of its margins.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hecore.algorithms import metrics
from hecore.algorithms.errors import ConfigurationError, TableError
from hecore.algorithms.gbdt.config import GBDTConfig
from hecore.algorithms.objectives import (
    Floats,
    check_labels,
    check_varied,
    count_classes,
    sigmoid,
    softmax,
)

#: margins (rows, outputs), label (rows,) → g, h (rows, outputs)
Gradient = Callable[[Floats, Floats], tuple[Floats, Floats]]

#: Least second derivative, as in XGBoost: a sure row keeps some weight.
LEAST_HESSIAN = 1e-16
POISSON_MAX_DELTA_STEP = 0.7


@dataclass(frozen=True)
class Objective:
    """One of the objectives above, for a label.

    outputs         columns of the margins
    gradient        g and h
    start           the margin before the first tree, one for all outputs
    transform       margins to predictions: (rows,) or (rows, classes)
    metric          predictions, label, weights → a number, smaller is better; `metric_name` says which
    max_delta_step  of leaf values, 0 for none
    """

    name: str
    outputs: int
    gradient: Gradient
    start: float
    metric_name: str
    max_delta_step: float = 0.0

    def transform(self, margins: Floats) -> Floats:
        """Predictions of margins: probabilities, means."""
        return transform(self.name, margins)

    def check(self, label: Floats) -> None:
        """TableError for labels of evaluation rows that training cannot have had."""
        check_labels(self.name, label, "evaluation rows", self.outputs)

    def metric(self, margins: Floats, label: Floats, weight: Floats | None = None) -> float:
        """Mean loss: logloss, mlogloss, rmse, poisson-nloglik."""
        if self.name == "multi:softprob":
            return metrics.log_loss(label, softmax(margins), weight)
        return _LOSSES.get(self.name, metrics.rmse)(label, margins[:, 0], weight)


_LOSSES = {"binary:logistic": metrics.log_loss_of_margins, "count:poisson": metrics.poisson_nloglik}


def make_objective(
    config: GBDTConfig, label: Floats, weight: Floats | None = None, custom: Gradient | None = None
) -> Objective:
    """The objective of `config` for this label. TableError for a label that it cannot have."""
    if (config.objective == "custom") != (custom is not None):
        raise ConfigurationError('objective = "custom" and a custom objective belong together')
    if config.objective == "binary:logistic":
        if (classes := _classes(label)) > 2:
            raise TableError(f"{classes} classes of labels: binary:logistic takes 2; use multi:softprob")
        mean = float(np.average(label, weights=weight))
        if not 0 < mean < 1:
            raise TableError("all labels of rows with weight are equal: there is nothing to learn")
        start = float(np.log(mean / (1 - mean)))
        return Objective("binary:logistic", 1, _logistic, start, "logloss", config.max_delta_step)
    if config.objective == "multi:softprob":
        step = config.max_delta_step
        return Objective("multi:softprob", _classes(label), _softmax_gradient, 0.0, "mlogloss", step)
    if config.objective == "count:poisson":
        return _poisson(config, label, weight)
    if config.objective == "custom" and custom is not None:
        return Objective("custom", 1, custom, 0.0, "rmse", config.max_delta_step)
    start = float(np.average(label, weights=weight))
    return Objective("reg:squarederror", 1, _squared, start, "rmse", config.max_delta_step)


def transform(name: str, margins: Floats) -> Floats:
    """Predictions of an objective by its name: (rows,), or (rows, classes) for several."""
    if name == "multi:softprob":
        return softmax(margins)
    flat = margins[:, 0]
    if name == "binary:logistic":
        return sigmoid(flat)
    return np.exp(flat) if name == "count:poisson" else flat


def _logistic(margins: Floats, label: Floats) -> tuple[Floats, Floats]:
    p = sigmoid(margins)
    return p - label[:, None], np.maximum(p * (1.0 - p), LEAST_HESSIAN)


def _softmax_gradient(margins: Floats, label: Floats) -> tuple[Floats, Floats]:
    p = softmax(margins)
    truth = np.zeros_like(p)
    truth[np.arange(len(p)), label.astype(np.int64)] = 1.0
    return p - truth, np.maximum(2.0 * p * (1.0 - p), LEAST_HESSIAN)


def _squared(margins: Floats, label: Floats) -> tuple[Floats, Floats]:
    return margins - label[:, None], np.ones_like(margins)


def _poisson(config: GBDTConfig, label: Floats, weight: Floats | None) -> Objective:
    check_labels(config.objective, label, "training rows")
    mean = float(np.average(label, weights=weight))
    if mean == 0:
        raise TableError("all labels are 0: there is nothing to learn")
    step = config.max_delta_step or POISSON_MAX_DELTA_STEP

    def gradient(margins: Floats, label: Floats) -> tuple[Floats, Floats]:
        p = np.exp(margins)
        return p - label[:, None], p * np.exp(step)

    return Objective("count:poisson", 1, gradient, float(np.log(mean)), "poisson-nloglik", step)


def _classes(label: Floats) -> int:
    check_varied(label, "training rows")
    return count_classes(label, "training rows")
