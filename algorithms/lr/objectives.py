"""What is minimised, and what the active party makes of its labels, logits and scores.

    objective          residual e            mean μ of a row           score of evaluation rows
    binary:logistic    σ(z) − y              σ(z)                      area under the ROC curve
    multi:logistic     σ(z_c) − [y = c]      σ(z_c) / Σ_c σ(z_c)       accuracy
    multi:softprob     p_c − [y = c]         p_c = e^z_c / Σ_c e^z_c   accuracy          mode `exact` only
    reg:squarederror   z − (y − ȳ)/s         ȳ + s·z                   root of the mean square error
    count:poisson      exp(z) − y/ȳ          ȳ·exp(z)                  mean deviance

ȳ and s are mean and deviation of the training labels, known to the active party only. They keep logits small,
so that bounds and polynomials hold whatever unit the label has; the gradient of count:poisson is that of the
likelihood divided by ȳ.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from hecore.algorithms.data import Table
from hecore.algorithms.errors import TableError
from hecore.algorithms.lr.config import LinearConfig, ObjectiveName

Floats = NDArray[np.float64]

MOST_CLASSES = 1000


class Objective(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An objective with what it has taken from the training labels; the active party's own.

    outputs      logits a row: the classes of multi:logistic, else 1
    mean, scale  ȳ and s of reg:squarederror; ȳ and 1 of count:poisson; else 0 and 1
    """

    name: ObjectiveName
    outputs: int = 1
    mean: float = 0.0
    scale: float = 1.0

    @classmethod
    def of(cls, config: LinearConfig, table: Table) -> Objective:
        """The objective of a training. TableError for labels that do not fit it, naming the first."""
        label = _label(table)
        _CHECKS[config.objective](table, label)
        match config.objective:
            case "multi:logistic" | "multi:softprob":
                return cls(name=config.objective, outputs=int(label.max()) + 1)
            case "reg:squarederror":
                return cls(name=config.objective, mean=float(label.mean()), scale=float(label.std()))
            case "count:poisson":
                return cls(name=config.objective, mean=float(label.mean()))
        return cls(name=config.objective)

    def targets(self, table: Table) -> Floats:
        """(rows, outputs): what the mean is compared with in the residual."""
        label = _label(table)
        match self.name:
            case "multi:logistic" | "multi:softprob":
                return np.asarray(label[:, None] == np.arange(self.outputs), dtype=np.float64)
            case "reg:squarederror":
                return np.asarray((label - self.mean) / self.scale)[:, None]
            case "count:poisson":
                return np.asarray(label / self.mean)[:, None]
        return np.asarray(label[:, None])

    def residual(self, logits: Floats, targets: Floats) -> Floats:
        """The exact residuals, of (rows, outputs) each: for training in the clear and mode `exact`."""
        if self.name == "reg:squarederror":
            return logits - targets
        if self.name == "count:poisson":
            return np.exp(logits) - targets
        if self.name == "multi:softprob":
            return softmax(logits) - targets
        return logistic(logits) - targets

    def predict(self, logits: Floats) -> Floats:
        """(rows, classes) probabilities of classes, or (rows,) means."""
        match self.name:
            case "binary:logistic":
                positive = logistic(logits[:, 0])
                return np.column_stack([1.0 - positive, positive])
            case "multi:logistic":
                each = logistic(logits)
                return np.asarray(each / each.sum(axis=1, keepdims=True))
            case "multi:softprob":
                return softmax(logits)
            case "reg:squarederror":
                return self.mean + self.scale * logits[:, 0]
        return self.mean * np.exp(logits[:, 0])

    @property
    def metric_name(self) -> str:
        """What `metric` gives."""
        return _METRICS[self.name]

    @property
    def higher_is_better(self) -> bool:
        """Of the metric."""
        return self.name in ("binary:logistic", "multi:logistic", "multi:softprob")

    def metric(self, table: Table, logits: Floats) -> float:
        """The score of rows with labels."""
        from sklearn import metrics  # heavy import

        label, predicted = _label(table), self.predict(logits)
        match self.name:
            case "binary:logistic":
                return float(metrics.roc_auc_score(label, predicted[:, 1]))
            case "multi:logistic" | "multi:softprob":
                return float(np.mean(np.argmax(logits, axis=1) == label))
            case "reg:squarederror":
                return float(np.sqrt(np.mean((predicted - label) ** 2)))
        return float(metrics.mean_poisson_deviance(label, predicted))

    def check_evaluation(self, table: Table) -> None:
        """TableError for labels of evaluation rows that the metric cannot use."""
        label = _label(table)
        if self.name in ("multi:logistic", "multi:softprob") and (label >= self.outputs).any():
            raise TableError(
                f"{table.name}: label {label.max():g} of an evaluation row is no class of the training,"
                f" which has 0 … {self.outputs - 1}"
            )
        _CHECKS[self.name](table, label)


_METRICS: dict[str, str] = {
    "binary:logistic": "auc",
    "multi:logistic": "accuracy",
    "multi:softprob": "accuracy",
    "reg:squarederror": "rmse",
    "count:poisson": "deviance",
}


def logistic(z: Floats) -> Floats:
    """σ(z), without overflow."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * z)))


def softmax(z: Floats) -> Floats:
    """e^z_c / Σ_c e^z_c by row, without overflow."""
    powers = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def row_weights(config: LinearConfig, table: Table, sample_weight: Floats | None) -> Floats | None:
    """Weights of the training rows with mean 1, or None where all are 1; of the active party.

    TableError for weights that are no numbers of at least 0, of another length, or all 0.
    """
    label, weight = _label(table), np.ones(len(table))
    if sample_weight is not None:
        weight = np.asarray(sample_weight, dtype=np.float64)
        if weight.shape != (len(table),) or not np.isfinite(weight).all() or (weight < 0).any():
            raise TableError(f"{table.name}: sample weights must be {len(table)} numbers of at least 0")
    if config.class_weight == "balanced":
        classes, place, count = np.unique(label, return_inverse=True, return_counts=True)
        weight = weight * (len(table) / (classes.size * count))[place]
    if not weight.any():
        raise TableError(f"{table.name}: all sample weights are 0: there is nothing to learn")
    weight = weight / weight.mean()
    return None if (weight == 1.0).all() else weight


def _label(table: Table) -> Floats:
    if table.label is None:
        raise TableError(f"{table.name} has no label")
    return table.label


def _check_binary(table: Table, label: Floats) -> None:
    bad = np.flatnonzero((label != 0) & (label != 1))
    if bad.size:
        raise TableError(f"{table.name}: label {label[bad[0]]:g} at row {bad[0]} is not 0 or 1")
    _check_varies(table, label)


def _check_classes(table: Table, label: Floats) -> None:
    bad = np.flatnonzero((label < 0) | (label >= MOST_CLASSES) | (label != np.floor(label)))
    if bad.size:
        raise TableError(
            f"{table.name}: label {label[bad[0]]:g} at row {bad[0]} is no class 0 … {MOST_CLASSES - 1}"
        )
    _check_varies(table, label)


def _check_varies(table: Table, label: Floats) -> None:
    if label.min() == label.max():
        raise TableError(f"{table.name}: all labels are {label[0]:g}: there is nothing to learn")


def _check_counts(table: Table, label: Floats) -> None:
    bad = np.flatnonzero(label < 0)
    if bad.size:
        raise TableError(f"{table.name}: label {label[bad[0]]:g} at row {bad[0]} is no count of at least 0")
    _check_varies(table, label)


_CHECKS = {
    "binary:logistic": _check_binary,
    "multi:logistic": _check_classes,
    "multi:softprob": _check_classes,
    "reg:squarederror": _check_varies,
    "count:poisson": _check_counts,
}
