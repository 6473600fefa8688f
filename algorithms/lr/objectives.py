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

from hecore.algorithms import metrics
from hecore.algorithms.data import Table
from hecore.algorithms.lr.config import LinearConfig
from hecore.algorithms.objectives import (
    CLASSES,
    Floats,
    LinearObjective,
    check_labels,
    check_varied,
    label_of,
    read_weights,
    sigmoid,
    softmax,
)

MOST_CLASSES = 1000


class Objective(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An objective with what it has taken from the training labels; the active party's own.

    outputs      logits a row: the classes of multi:logistic, else 1
    mean, scale  ȳ and s of reg:squarederror; ȳ and 1 of count:poisson; else 0 and 1
    """

    name: LinearObjective
    outputs: int = 1
    mean: float = 0.0
    scale: float = 1.0

    @classmethod
    def of(cls, config: LinearConfig, table: Table) -> Objective:
        """The objective of a training. TableError for labels that do not fit it, naming the first."""
        label = label_of(table)
        check_labels(config.objective, label, table.name, MOST_CLASSES)
        check_varied(label, table.name)
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
        label = label_of(table)
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
        return sigmoid(logits) - targets

    def predict(self, logits: Floats) -> Floats:
        """(rows, classes) probabilities of classes, or (rows,) means."""
        match self.name:
            case "binary:logistic":
                positive = sigmoid(logits[:, 0])
                return np.column_stack([1.0 - positive, positive])
            case "multi:logistic":
                each = sigmoid(logits)
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
        return self.name in CLASSES

    def metric(self, table: Table, logits: Floats) -> float:
        """The score of rows with labels."""
        label, predicted = label_of(table), self.predict(logits)
        match self.name:
            case "binary:logistic":
                return metrics.auc(label, predicted[:, 1])
            case "multi:logistic" | "multi:softprob":
                return metrics.accuracy(label, logits)
            case "reg:squarederror":
                return metrics.rmse(label, predicted)
        return metrics.poisson_deviance(label, predicted)

    def check_evaluation(self, table: Table) -> None:
        """TableError for labels of evaluation rows that the metric cannot use."""
        label, where = label_of(table), f"{table.name}, evaluation rows"
        check_labels(self.name, label, where, self.outputs)
        check_varied(label, where)


_METRICS: dict[str, str] = {
    "binary:logistic": "auc",
    "multi:logistic": "accuracy",
    "multi:softprob": "accuracy",
    "reg:squarederror": "rmse",
    "count:poisson": "deviance",
}


def row_weights(config: LinearConfig, table: Table, sample_weight: Floats | None) -> Floats | None:
    """Weights of the training rows with mean 1, or None where all are 1; of the active party.

    TableError for weights that cannot be used.
    """
    weight = np.ones(len(table)) if sample_weight is None else read_weights(table, sample_weight)
    if config.class_weight == "balanced":
        classes, place, count = np.unique(label_of(table), return_inverse=True, return_counts=True)
        weight = weight * (len(table) / (classes.size * count))[place]
    weight = weight / weight.mean()
    return None if (weight == 1.0).all() else weight
