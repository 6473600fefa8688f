"""What the name of an objective says of labels and predictions; trees and linear models share it.

    binary:logistic                  labels 0 and 1, predictions σ(z)
    multi:softprob, multi:logistic   labels 0, 1, 2, …, predictions by class
    reg:squarederror                 any number
    count:poisson                    numbers of at least 0
    custom                           any number; of trees

The names are XGBoost's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hecore.algorithms.checks import counted
from hecore.algorithms.data import Table
from hecore.algorithms.errors import TableError

Floats = NDArray[np.float64]

TreeObjective = Literal["binary:logistic", "multi:softprob", "reg:squarederror", "count:poisson", "custom"]
LinearObjective = Literal[
    "binary:logistic", "multi:logistic", "multi:softprob", "reg:squarederror", "count:poisson"
]
BINARY = "binary:logistic"
COUNTS = "count:poisson"
MULTICLASS = ("multi:logistic", "multi:softprob")
#: Objectives whose labels are classes, and whose predictions are probabilities.
CLASSES = (BINARY, *MULTICLASS)


# --- labels and weights ---------------------------------------------------------------------------------


def label_of(table: Table) -> Floats:
    """The labels. TableError for a table without."""
    if table.label is None:
        raise TableError(f"{table.name} has no label")
    return table.label


def read_weights(table: Table, sample_weight: Sequence[float] | Floats) -> Floats:
    """Weights of the rows. TableError unless they are numbers of at least 0, one a row, and not all 0."""
    weight = np.asarray(sample_weight, dtype=np.float64)
    if weight.shape != (len(table),) or not np.isfinite(weight).all() or (weight < 0).any():
        raise TableError(
            f"{table.name}: sample weights must be {counted(len(table), 'number')} of at least 0"
        )
    if not weight.any():
        raise TableError(f"{table.name}: all sample weights are 0: there is nothing to learn")
    return weight


def misfits(objective: str, label: Floats, classes: int | None = None) -> NDArray[np.intp]:
    """Rows whose label the objective cannot take; of `multi:…`, labels from `classes` on are such, too."""
    bad = np.zeros(label.shape, np.bool_)
    if objective == BINARY:
        bad = (label != 0) & (label != 1)
    elif objective in MULTICLASS:
        bad = (label < 0) | (label != np.floor(label)) | (label >= (np.inf if classes is None else classes))
    elif objective == COUNTS:
        bad = label < 0
    return np.flatnonzero(bad)


def check_labels(objective: str, label: Floats, where: str, classes: int | None = None) -> None:
    """TableError naming the first label that the objective cannot take; see `misfits`."""
    bad = misfits(objective, label, classes)
    if not bad.size:
        return
    if objective == BINARY:
        wrong = "is not 0 or 1"
    elif objective == COUNTS:
        wrong = "is no count of at least 0"
    else:
        wrong = "is no class " + ("0, 1, …" if classes is None else f"0 … {classes - 1}")
    raise TableError(f"{where}: label {label[bad[0]]:g} at row {bad[0]} {wrong}")


def check_varied(label: Floats, where: str) -> None:
    """TableError where all labels are equal."""
    if label.min() == label.max():
        raise TableError(f"{where}: all labels are {label[0]:g}: there is nothing to learn")


def count_classes(label: Floats, where: str) -> int:
    """The number of classes of labels 0, 1, …. TableError unless each of them is present."""
    present = np.unique(label)
    if not np.array_equal(present, np.arange(present.size)):
        shown = ", ".join(f"{value:g}" for value in present[:5]) + (", …" if present.size > 5 else "")
        raise TableError(f"{where}: labels must be 0, 1, …, each of them present; these hold {shown}")
    return int(present.size)


# --- predictions ----------------------------------------------------------------------------------------


def sigmoid(z: Floats) -> Floats:
    """σ(z) = 1 / (1 + e^−z), without overflow."""
    small = np.exp(-np.abs(z))
    return np.asarray(np.where(z >= 0, 1.0, small) / (1.0 + small))


def softmax(z: Floats) -> Floats:
    """e^z_c / Σ_c e^z_c by row, without overflow."""
    powers = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
