"""How good predictions are, by the metrics that people expect of an objective."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hecore.algorithms import metrics
from hecore.algorithms.data import Ids, Table
from hecore.algorithms.objectives import COUNTS, Floats
from hecore.algorithms.private_files import open_emptied

PREDICTIONS = "predictions.parquet"


def evaluate(objective: str, label: Floats, scores: Floats) -> dict[str, float]:
    """Metrics of scores (rows, classes) or (rows,) against labels (rows,): name → value.

    binary    AUC, KS (largest distance of the two classes' distributions), accuracy, log loss
    classes   accuracy, log loss
    numbers   RMSE, MAE, R²; of counts the mean Poisson deviance as well

    What cannot be told (AUC of a single class) is left out.
    """
    if scores.ndim == 2:
        found = _separation(label, scores[:, 1]) if scores.shape[1] == 2 else {}
        return found | {
            "accuracy": metrics.accuracy(label, scores),
            "log loss": metrics.log_loss(label, scores),
        }
    found = {"RMSE": metrics.rmse(label, scores), "MAE": float(np.abs(scores - label).mean())}
    if label.size > 1:
        found["R²"] = _r2(label, scores)
    if objective == COUNTS and (scores > 0).all():
        found["Poisson deviance"] = metrics.poisson_deviance(label, scores)
    return found


def _separation(label: Floats, positive: Floats) -> dict[str, float]:
    if label.min() == label.max():
        return {}
    from sklearn.metrics import roc_curve  # heavy import

    false, true, _ = roc_curve(label, positive)
    return {"AUC": metrics.auc(label, positive), "KS": float((true - false).max())}


def _r2(label: Floats, scores: Floats) -> float:
    from sklearn.metrics import r2_score  # heavy import

    return float(r2_score(label, scores))


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
    with open_emptied(path) as file:
        pq.write_table(pa.table(columns), file)
