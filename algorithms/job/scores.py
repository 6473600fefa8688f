"""How good predictions are, by the metrics that people expect of an objective."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hecore.algorithms.data import Ids, Table
from hecore.algorithms.job.home import open_private

PREDICTIONS = "predictions.parquet"
Floats = NDArray[np.float64]


def evaluate(objective: str, label: Floats, scores: Floats) -> dict[str, float]:
    """Metrics of scores (rows, classes) or (rows,) against labels (rows,): name → value.

    binary    AUC, KS (largest distance of the two classes' distributions), accuracy, log loss
    classes   accuracy, log loss
    numbers   RMSE, MAE, R²; of counts the mean Poisson deviance as well

    What cannot be told (AUC of a single class) is left out.
    """
    from sklearn import metrics

    if scores.ndim == 2 and scores.shape[1] == 2:
        return _binary(label, scores[:, 1])
    if scores.ndim == 2:
        classes = np.arange(scores.shape[1])
        return {
            "accuracy": float(metrics.accuracy_score(label, scores.argmax(1))),
            "log loss": float(metrics.log_loss(label, scores, labels=classes)),
        }
    found = {
        "RMSE": float(metrics.root_mean_squared_error(label, scores)),
        "MAE": float(metrics.mean_absolute_error(label, scores)),
    }
    if label.size > 1:
        found["R²"] = float(metrics.r2_score(label, scores))
    if objective == "count:poisson" and (scores > 0).all():
        found["Poisson deviance"] = float(metrics.mean_poisson_deviance(label, scores))
    return found


def _binary(label: Floats, positive: Floats) -> dict[str, float]:
    from sklearn import metrics

    found = {}
    if label.min() != label.max():
        false, true, _ = metrics.roc_curve(label, positive)
        found = {"AUC": float(metrics.roc_auc_score(label, positive)), "KS": float((true - false).max())}
    return found | {
        "accuracy": float(metrics.accuracy_score(label, positive > 0.5)),
        "log loss": float(metrics.log_loss(label, positive, labels=[0, 1])),
    }


def write_predictions(path: Path, table: Table, scores: Floats) -> None:
    """A Parquet file with a row for each of `table`: id, label, and score, or score_0, score_1, … by class.

    Of two classes the score is that of class 1.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {"id": Ids(table.ids).array, "label": pa.array(table.label)}
    if scores.ndim == 2 and scores.shape[1] == 2:
        scores = scores[:, 1]
    if scores.ndim == 1:
        columns["score"] = pa.array(scores)
    else:
        columns |= {f"score_{place}": pa.array(column) for place, column in enumerate(scores.T)}
    with open_private(path) as file:
        pq.write_table(pa.table(columns), file)
