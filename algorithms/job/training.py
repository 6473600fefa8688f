"""What a job trains, behind one face: trees and linear models differ in their estimators alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from hecore import Meter, PrivateKey
from hecore.algorithms.channel import Channel
from hecore.algorithms.checkpoint import Checkpoints
from hecore.algorithms.data import Table
from hecore.algorithms.gbdt import GBDTConfig, VerticalGBDTClassifier, VerticalGBDTRegressor
from hecore.algorithms.gbdt import Progress as TreeProgress
from hecore.algorithms.gbdt.importance import GAIN, WEIGHT, importances
from hecore.algorithms.gbdt.model import ActiveShare, save_share
from hecore.algorithms.job.config import JobFile
from hecore.algorithms.job.records import Importance, ranked
from hecore.algorithms.lr import (
    LinearConfig,
    VerticalLinearRegression,
    VerticalLogisticRegression,
    VerticalPoissonRegression,
)
from hecore.algorithms.lr import Progress as LinearProgress
from hecore.algorithms.objectives import CLASSES

Scores = NDArray[np.float64]
Trees: TypeAlias = VerticalGBDTClassifier | VerticalGBDTRegressor
Linear: TypeAlias = VerticalLogisticRegression | VerticalLinearRegression | VerticalPoissonRegression
Model = TypeVar("Model", bound=Trees | Linear)


@dataclass(frozen=True)
class Round:
    """Where a training stands: in or after a tree or an epoch; metrics where this party has them.

    is_whole  the round is over; before that, metrics are those of the round before
    done      share of all rounds
    step      share of all rounds by which `done` grows at a time
    seconds   that the training has run
    """

    number: int
    rounds: int
    unit: str
    done: float
    step: float
    seconds: float
    metric: str = ""
    train: float | None = None
    validation: float | None = None
    is_whole: bool = True


@dataclass(frozen=True)
class Measured:
    """A metric after a round."""

    number: int
    metric: str
    train: float | None
    validation: float | None


OnRound = Callable[[Round], None]


class Training(Protocol):
    """One party's estimator in a job."""

    objective: str
    backend: str

    def fit(self, train: Table, validation: Table | None, on_round: OnRound) -> None:
        """Train with the peers."""

    def measured(self) -> list[Measured]:
        """What a training tells of its rounds only when it is over, where this party has it."""

    def predict(self, table: Table) -> Scores | None:
        """Probabilities (rows, classes) or numbers (rows,) at the active party, None elsewhere."""

    def save(self, folder: Path) -> Path:
        """Write this party's share of the model, and return its file."""

    def importances(self) -> list[Importance]:
        """How much each of this party's own columns counts, the largest first."""


def make_training(
    job: JobFile,
    channels: Sequence[Channel],
    key: PrivateKey | None,
    checkpoints: Checkpoints,
    meter: Meter,
) -> Training:
    """The estimator that a job file asks for; it counts into `meter`. `key` as `JobFile.needs_key` says."""
    config = job.parameters
    if not isinstance(config, GBDTConfig):
        linear = _linear_kind(config)(
            channels, config, key=key, backend=job.run.backend, checkpoints=checkpoints
        )
        return _Linear(linear, meter)
    trees = (VerticalGBDTClassifier if config.objective in CLASSES else VerticalGBDTRegressor)(
        channels,
        config,
        key=key,
        backend=job.run.backend,
        categorical=job.data.categorical,
        checkpoints=checkpoints,
    )
    return _Trees(trees, meter)


class _Adaptor(Generic[Model]):
    def __init__(self, model: Model, meter: Meter) -> None:
        self._model = model
        model.meter = meter
        self.objective: str = model.config.objective
        self.backend = model.backend.name

    def predict(self, table: Table) -> Scores | None:
        if isinstance(self._model, VerticalGBDTClassifier | VerticalLogisticRegression):
            return self._model.predict_proba(table)
        return self._model.predict(table)


class _Trees(_Adaptor[Trees]):
    def fit(self, train: Table, validation: Table | None, on_round: OnRound) -> None:
        def tell(progress: TreeProgress) -> None:
            at = (progress.round, progress.rounds, "tree", progress.done, 1 / progress.rounds)
            on_round(Round(*at, progress.seconds, progress.metric_name, progress.train, progress.evaluation))

        self._model.fit(train, validation, on_progress=tell)

    def measured(self) -> list[Measured]:
        return []

    def save(self, folder: Path) -> Path:
        path = folder / "model.safetensors"
        share = self._model.share
        assert share is not None  # noqa: S101 - fit came first
        save_share(share, path)
        return path

    def importances(self) -> list[Importance]:
        share = self._model.share
        if share is None:
            return []
        splits = importances(share, WEIGHT)
        gains = list(importances(share, GAIN).values()) if isinstance(share, ActiveShare) else None
        return ranked(share.columns, list(splits.values()), gains)


class _Linear(_Adaptor[Linear]):
    _columns: tuple[str, ...] = ()

    def fit(self, train: Table, validation: Table | None, on_round: OnRound) -> None:
        told, begun, step, seconds = 0, 0, 1.0, 0.0

        def tell(progress: LinearProgress) -> None:
            nonlocal told, begun, step, seconds
            step, seconds = 1 / (progress.epochs * progress.batches), progress.seconds
            begun = progress.epoch + 1
            done = min(progress.done, 1.0 - step / 2)  # the last epoch is still to be closed
            at = (progress.epochs, "epoch", done, step, seconds, "loss", progress.loss)
            if progress.epoch > told:  # the loss is that of the epoch before, which is over
                told = progress.epoch
                on_round(Round(told, *at))
            on_round(Round(begun, *at, is_whole=False))

        self._model.fit(train, validation, on_progress=tell)
        self._columns, loss = train.columns, self._model.loss_
        ended = max(begun, len(loss))
        if ended > told:
            last = loss[-1] if loss else None
            on_round(Round(ended, ended, "epoch", 1.0, step, seconds, "loss", last))

    def measured(self) -> list[Measured]:
        name = self._model.metric_name
        return (
            [] if name is None else curves(self._model.evals_result_, name, self._model.config.evaluate_every)
        )

    def save(self, folder: Path) -> Path:
        path = folder / "model.json"
        self._model.save(path)
        return path

    def importances(self) -> list[Importance]:
        weights = np.abs(self._model.coef_).reshape(len(self._columns), -1)
        return ranked(self._columns, weights.mean(axis=1).tolist())


def curves(result: Mapping[str, Sequence[float]], metric: str, every: int) -> list[Measured]:
    """The metrics of a linear model by epoch, but for its loss, which was told meanwhile.

    result   as `evals_result_`: "train NAME" of each epoch, "evaluation NAME" of each `every`-th one; NAME is
             `metric` where it is missing
    """
    train: dict[str, Sequence[float]] = {}
    validation: dict[str, Sequence[float]] = {}
    for key, values in result.items():
        part, _, name = key.partition(" ")
        if key != "train":
            (train if part == "train" else validation)[name or metric] = values
    found = []
    for name in {**validation, **train}:
        on_train, on_validation = train.get(name, ()), validation.get(name, ())
        for number in range(1, max(len(on_train), every * len(on_validation)) + 1):
            at, rest = divmod(number, every)
            value = on_train[number - 1] if number <= len(on_train) else None
            other = on_validation[at - 1] if not rest and at <= len(on_validation) else None
            if (value, other) != (None, None):
                found.append(Measured(number, name, value, other))
    return found


def _linear_kind(config: LinearConfig) -> type[Linear]:
    if config.objective == "reg:squarederror":
        return VerticalLinearRegression
    return VerticalPoissonRegression if config.objective == "count:poisson" else VerticalLogisticRegression
