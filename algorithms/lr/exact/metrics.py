"""What the active party looks at after an epoch: it has the logits, so all of it is exact.

binary:logistic     logloss, auc, accuracy
multi:…             logloss, accuracy
reg:squarederror    mse, rmse      in the label's unit
count:poisson       deviance, rmse
"""

from __future__ import annotations

import numpy as np

from hecore.algorithms.lr.objectives import Floats, Objective

#: Probabilities below are taken as this in a log-loss.
LEAST_PROBABILITY = 1e-15


def measure(
    objective: Objective, logits: Floats, label: Floats, weight: Floats | None = None
) -> dict[str, float]:
    """Metrics of rows by name, the mean loss first; (rows, outputs) logits, (rows,) labels and weights."""
    with np.errstate(over="ignore"):  # too large a mean is found where it is encoded
        predicted = objective.predict(logits)
    if predicted.ndim == 2:
        return _classes(predicted, label, weight)
    square = _mean((predicted - label) ** 2, weight)
    if objective.name == "reg:squarederror":
        return {"mse": square, "rmse": square**0.5}
    from scipy.special import xlogy  # heavy import

    with np.errstate(divide="ignore", invalid="ignore"):
        deviance = 2.0 * (xlogy(label, label / predicted) - label + predicted)
    return {"deviance": _mean(deviance, weight), "rmse": square**0.5}


def _classes(predicted: Floats, label: Floats, weight: Floats | None) -> dict[str, float]:
    place = label.astype(np.int64)
    chosen = predicted[np.arange(len(label)), place]
    out = {"logloss": _mean(-np.log(np.maximum(chosen, LEAST_PROBABILITY)), weight)}
    if predicted.shape[1] == 2 and 0 < place.sum() < place.size:  # of one class alone there is no AUC
        from sklearn.metrics import roc_auc_score  # heavy import

        out["auc"] = float(roc_auc_score(place, predicted[:, 1], sample_weight=weight))
    return out | {"accuracy": _mean((predicted.argmax(axis=1) == place).astype(np.float64), weight)}


def _mean(values: Floats, weight: Floats | None) -> float:
    return float(np.average(values, weights=weight))
