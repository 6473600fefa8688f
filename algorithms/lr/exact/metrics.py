"""What the active party looks at after an epoch: it has the logits, so all of it is exact.

binary:logistic     logloss, auc, accuracy
multi:…             logloss, accuracy
reg:squarederror    mse, rmse      in the label's unit
count:poisson       deviance, rmse
"""

from __future__ import annotations

import math

import numpy as np

from hecore.algorithms import metrics
from hecore.algorithms.lr.objectives import Objective
from hecore.algorithms.objectives import Floats


def measure(
    objective: Objective, logits: Floats, label: Floats, weight: Floats | None = None
) -> dict[str, float]:
    """Metrics of rows by name, the mean loss first; (rows, outputs) logits, (rows,) labels and weights."""
    with np.errstate(over="ignore"):  # too large a mean is found where it is encoded
        predicted = objective.predict(logits)
    if predicted.ndim == 2:
        return _classes(predicted, label, weight)
    if objective.name == "reg:squarederror":
        square = metrics.mse(label, predicted, weight)
        return {"mse": square, "rmse": math.sqrt(square)}
    usable = ((predicted > 0) & np.isfinite(predicted)).all()
    deviance = metrics.poisson_deviance(label, predicted, weight) if usable else math.inf
    return {"deviance": deviance, "rmse": metrics.rmse(label, predicted, weight)}


def _classes(predicted: Floats, label: Floats, weight: Floats | None) -> dict[str, float]:
    found = {"logloss": metrics.log_loss(label, predicted, weight)}
    if predicted.shape[1] == 2 and label.min() != label.max():  # of one class alone there is no AUC
        found["auc"] = metrics.auc(label, predicted[:, 1], weight)
    return found | {"accuracy": metrics.accuracy(label, predicted, weight)}
