"""What is minimised in mode `exact`, on logits in the clear: losses, their derivatives, predictions, metrics.

Logits Z are (rows, outputs): one output, or one a class. With p the prediction of a row and y its label:

    binary:logistic    p = σ(z)        loss −log p_y                    dL/dz = p − y
    multi:logistic     p = softmax(z)  loss −log p_y                    dL/dz_k = p_k − [y = k]
    reg:squarederror   p = z           loss (z − y)²/2                  dL/dz = z − y
    count:poisson      p = exp(z)      loss exp(z) − y·z                dL/dz = p − y

dL/dZ is of the sum over rows; sample weights multiply it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hecore.algorithms.gbdt.objectives import sigmoid, softmax

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Objective:
    """One of the objectives above; `outputs` is 1, or the number of classes."""

    name: str
    outputs: int

    def errors(self, logits: Floats, label: Floats) -> Floats:
        """dL/dZ, (rows, outputs)."""
        prediction = self.predict(logits)
        if self.name != "multi:logistic":
            return np.asarray(prediction - label[:, None])
        prediction[np.arange(len(label)), label.astype(np.int64)] -= 1.0
        return prediction

    def predict(self, logits: Floats) -> Floats:
        """p, (rows, outputs)."""
        if self.name == "binary:logistic":
            return sigmoid(logits)
        if self.name == "multi:logistic":
            return softmax(logits)
        if self.name == "count:poisson":
            with np.errstate(over="ignore"):  # too large a mean is found where it is encoded
                return np.asarray(np.exp(logits))
        return logits.copy()

    def metrics(self, logits: Floats, label: Floats, weight: Floats | None = None) -> dict[str, float]:
        """The mean loss first, and what else one looks at.

        binary: logloss, auc, accuracy;  classes: logloss, accuracy;  squares: mse, rmse;  counts: deviance, rmse
        """
        p = self.predict(logits)
        if self.name == "binary:logistic":
            return self._binary(logits[:, 0], p[:, 0], label, weight)
        if self.name == "multi:logistic":
            place = label.astype(np.int64)
            top = logits.max(axis=1)
            partition = top + np.log(np.exp(logits - top[:, None]).sum(axis=1))
            loss = partition - logits[np.arange(len(label)), place]
            right = (logits.argmax(axis=1) == place).astype(np.float64)
            return {"logloss": _mean(loss, weight), "accuracy": _mean(right, weight)}
        square = _mean((p[:, 0] - label) ** 2, weight)
        if self.name == "reg:squarederror":
            return {"mse": square, "rmse": square**0.5}
        from scipy.special import xlogy  # heavy import

        with np.errstate(divide="ignore", over="ignore"):
            ratio = xlogy(label, label) - label * logits[:, 0]
        return {"deviance": _mean(2.0 * (ratio - label + p[:, 0]), weight), "rmse": square**0.5}

    def _binary(self, z: Floats, p: Floats, label: Floats, weight: Floats | None) -> dict[str, float]:
        from sklearn.metrics import roc_auc_score  # heavy import

        out = {"logloss": _mean(np.logaddexp(0.0, z) - label * z, weight)}
        if label.min() < label.max():  # with one class there is no AUC
            out["auc"] = float(roc_auc_score(label, z, sample_weight=weight))
        return out | {"accuracy": _mean(((p > 0.5) == (label > 0.5)).astype(np.float64), weight)}


def _mean(values: Floats, weight: Floats | None) -> float:
    return float(np.average(values, weights=weight))
