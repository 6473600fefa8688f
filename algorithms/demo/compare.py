"""The joint model beside trainings in the clear, on the rows that the job kept for testing.

All of it is read from the parties' folders, both of them at once: what no party could do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.parquet

from hecore.algorithms.data import Table
from hecore.algorithms.gbdt import GBDTConfig
from hecore.algorithms.gbdt.central import train_centrally
from hecore.algorithms.gbdt.tables import training_rows
from hecore.algorithms.job.config import JobFile
from hecore.algorithms.job.data import JobData
from hecore.algorithms.job.scores import PREDICTIONS, evaluate
from hecore.algorithms.objectives import BINARY, Floats, label_of


@dataclass(frozen=True)
class Comparison:
    """Metrics of the test rows.

    metrics      model → metric → value, the joint one first
    common       rows that all parties have; `tested` of them were kept for testing
    difference   the largest between a joint score and that of the same trees on all columns in one place;
                 None where no trees were trained
    """

    metrics: dict[str, dict[str, float]]
    common: int
    tested: int
    difference: float | None


def compare(jobs: Sequence[JobFile]) -> Comparison:
    """Compare a finished job of two classes with models of all its files, the active party's first."""
    files = [JobData(job) for job in jobs]
    joint = pyarrow.parquet.read_table(jobs[0].folder / PREDICTIONS)
    tested = joint["id"].to_pylist()
    common = set.intersection(*(set(file.ids) for file in files))
    train = [_rows(file, sorted(common.difference(tested))) for file in files]
    test = [_rows(file, tested) for file in files]
    truth = label_of(test[0])

    def judge(scores: Floats) -> dict[str, float]:
        return evaluate(BINARY, truth, np.column_stack([1 - scores, scores]))

    scores = np.asarray(joint["score"], np.float64)
    metrics = {"joint, nobody shows data": judge(scores)}
    difference = None
    config = jobs[0].parameters
    if isinstance(config, GBDTConfig):
        parties = [(job.party.name, table) for job, table in zip(jobs, train, strict=True)]
        central = train_centrally(config, parties, training_rows(train[:1], None))
        same = central.predict(test)
        difference = float(np.abs(same - scores).max())
        metrics["the same trees on all columns in one place"] = judge(same)
    alone = f"at the {jobs[0].party.name} alone"
    for what, count in (("on all columns in one place", len(jobs)), (alone, 1)):
        model = _in_the_clear(config).fit(_columns(train[:count]), label_of(train[0]))
        metrics[f"scikit-learn {what}"] = judge(model.predict_proba(_columns(test[:count]))[:, 1])
    return Comparison(metrics, len(common), len(tested), difference)


def _rows(file: JobData, ids: Sequence[str]) -> Table:
    """The rows of these ids, in this order."""
    places = {one: place for place, one in enumerate(file.ids)}
    return file.rows(np.array([places[one] for one in ids], np.int64))


def _columns(tables: Sequence[Table]) -> Floats:
    return np.column_stack([table.values for table in tables])


def _in_the_clear(config: Any) -> Any:
    """scikit-learn's model of the same kind."""
    if isinstance(config, GBDTConfig):
        from sklearn.ensemble import HistGradientBoostingClassifier

        return HistGradientBoostingClassifier(
            max_iter=config.n_estimators,
            max_depth=config.max_depth,
            max_bins=config.max_bin,
            learning_rate=config.learning_rate,
            min_samples_leaf=config.min_samples_leaf,
            early_stopping=False,
        )
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
