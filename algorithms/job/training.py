"""What a job trains, behind one face: trees and linear models differ in their estimators, not in their jobs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hecore import Meter, PrivateKey
from hecore.algorithms.channel import Channel
from hecore.algorithms.checkpoint import Checkpoints
from hecore.algorithms.data import Table
from hecore.algorithms.gbdt import GBDTConfig, VerticalGBDTClassifier, VerticalGBDTRegressor
from hecore.algorithms.gbdt import Progress as TreeProgress
from hecore.algorithms.gbdt.importance import importances
from hecore.algorithms.gbdt.model import save_share
from hecore.algorithms.job.config import JobFile
from hecore.algorithms.lr import LogisticRegressionConfig, VerticalLogisticRegression
from hecore.algorithms.lr import Progress as LinearProgress

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Round:
    """A tree or an epoch that is done; values of the metric where this party has them."""

    number: int
    rounds: int
    unit: str
    metric: str
    train: float | None
    validation: float | None
    seconds: float


OnRound = Callable[[Round], None]


class Training(Protocol):
    """One party's estimator in a job."""

    meter: Meter
    objective: str

    def fit(self, train: Table, validation: Table | None, on_round: OnRound) -> None:
        """Train with the peers."""

    def predict(self, table: Table) -> Scores | None:
        """Probabilities (rows, classes) or numbers (rows,) at the active party, None elsewhere."""

    def save(self, folder: Path) -> Path:
        """Write this party's share of the model, and return its file."""

    def importances(self) -> dict[str, float]:
        """How often each of this party's own columns counts; empty where the model does not tell."""


def make_training(
    job: JobFile,
    channels: Sequence[Channel],
    key: PrivateKey,
    checkpoints: Checkpoints,
    categorical: Sequence[str],
) -> Training:
    """The estimator that a job file asks for."""
    if isinstance(job.parameters, GBDTConfig):
        return _Trees(job, job.parameters, channels, key, checkpoints, categorical)
    return _Linear(job, job.parameters, channels, key, checkpoints)


class _Trees:
    def __init__(
        self,
        job: JobFile,
        config: GBDTConfig,
        channels: Sequence[Channel],
        key: PrivateKey,
        checkpoints: Checkpoints,
        categorical: Sequence[str],
    ) -> None:
        self.objective = config.objective
        kind = VerticalGBDTRegressor if self.is_regression else VerticalGBDTClassifier
        self._model = kind(channels, config, key=key, backend=job.run.backend, categorical=categorical)
        self.meter = self._model.meter

    @property
    def is_regression(self) -> bool:
        return self.objective in ("reg:squarederror", "count:poisson")

    def fit(self, train: Table, validation: Table | None, on_round: OnRound) -> None:
        def tell(progress: TreeProgress) -> None:
            name, values = progress.metric_name, (progress.train, progress.evaluation)
            on_round(Round(progress.round, progress.rounds, "tree", name, *values, progress.seconds))

        self._model.fit(train, validation, on_progress=tell)

    def predict(self, table: Table) -> Scores | None:
        if isinstance(self._model, VerticalGBDTClassifier):
            return self._model.predict_proba(table)
        return self._model.predict(table)

    def save(self, folder: Path) -> Path:
        path = folder / "model.safetensors"
        share = self._model.share
        assert share is not None  # noqa: S101 - fit came first
        save_share(share, path)
        return path

    def importances(self) -> dict[str, float]:
        share = self._model.share
        return {} if share is None else dict(importances(share))


class _Linear:
    def __init__(
        self,
        job: JobFile,
        config: LogisticRegressionConfig,
        channels: Sequence[Channel],
        key: PrivateKey,
        checkpoints: Checkpoints,
    ) -> None:
        self.objective = "binary:logistic"
        self._model = VerticalLogisticRegression(
            channels[0], config, key=key, backend=job.run.backend, checkpoints=checkpoints
        )
        self.meter = self._model.meter

    def fit(self, train: Table, validation: Table | None, on_round: OnRound) -> None:
        def tell(progress: LinearProgress) -> None:
            if progress.batch == progress.batches:
                at = (progress.epoch + 1, progress.epochs, "epoch", "loss")
                on_round(Round(*at, progress.loss, None, progress.seconds))

        self._model.fit(train, tell)

    def predict(self, table: Table) -> Scores | None:
        return self._model.predict_proba(table)

    def save(self, folder: Path) -> Path:
        path = folder / "model.json"
        self._model.save(path)
        return path

    def importances(self) -> dict[str, float]:
        return {}
