"""VerticalGBDTClassifier and VerticalGBDTRegressor: one party's estimator, with scikit-learn's manners."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from hecore import Decryptor, Encryptor, Meter, generate_key
from hecore.algorithms.channel import Channel
from hecore.algorithms.data import Table
from hecore.algorithms.data.table import Matrix
from hecore.algorithms.errors import ConfigurationError, HandshakeError, ProtocolError, TableError
from hecore.algorithms.gbdt.active import ActiveTraining, Block, Progress, TrainingRows
from hecore.algorithms.gbdt.binning import ColumnBins, apply_bins, fit_bins
from hecore.algorithms.gbdt.config import GBDTConfig
from hecore.algorithms.gbdt.importance import importances
from hecore.algorithms.gbdt.messages import PredictTerms
from hecore.algorithms.gbdt.model import ActiveShare, PassiveShare
from hecore.algorithms.gbdt.objectives import Floats, Gradient, Objective, make_objective, transform
from hecore.algorithms.gbdt.passive import PassiveTraining
from hecore.algorithms.gbdt.planner import plan
from hecore.algorithms.gbdt.predict import joint_margins, send_directions
from hecore.algorithms.party import ACTIVE, PASSIVE, Peer, handshake
from hecore.kernels import Backend
from hecore.kernels.select import resolve
from hecore.keys import PrivateKey

FIT_TASK, EVALUATE_TASK, PREDICT_TASK = "gbdt.fit", "gbdt.fit.evaluation", "gbdt.predict"


class VerticalGBDT:
    """Gradient-boosted trees over the columns of two or more parties; all call the same methods in one order.

    The party whose table has a label is the active one. See `messages` for who can read what.

    channel      the Channel to the active party; at the active party one, or one to each passive party
    config       parameters; equal at all parties
    key          this party's key pair; None generates a fresh 2048-bit one
    backend      a Backend, its name, or None for automatic choice
    categorical  names of this party's columns that hold category numbers
    objective    the function of objective = "custom", at the active party
    """

    def __init__(
        self,
        channel: Channel | Sequence[Channel],
        config: GBDTConfig | None = None,
        *,
        key: PrivateKey | None = None,
        backend: Backend | str | None = None,
        categorical: Sequence[str] = (),
        objective: Gradient | None = None,
    ) -> None:
        self.channels = list(channel) if isinstance(channel, Sequence) else [channel]
        peers = [end.peer for end in self.channels]
        if not peers or len(set(peers)) < len(peers):
            raise ConfigurationError(
                f"channels to {', '.join(peers) or 'nobody'}: one to each peer is needed"
            )
        self.config = config or self._default_config()
        self.backend = resolve(backend)
        self.key = key or generate_key()
        self.meter = Meter()
        self._categorical, self._objective = tuple(categorical), objective
        self.share: ActiveShare | PassiveShare | None = None

    def _default_config(self) -> GBDTConfig:
        return GBDTConfig()

    def fit(
        self,
        table: Table,
        evaluation: Table | None = None,
        *,
        sample_weight: Sequence[float] | None = None,
        warm_start: bool = False,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Self:
        """Train with the other parties; all give an evaluation table, or none does.

        sample_weight   of the training rows, at the active party
        warm_start      add trees to the model that is there, with its bins; at all parties or none

        Raises HandshakeError where the parties do not match, ConfigurationError, TableError for labels or
        columns that cannot be used, ProtocolError for a peer that does not follow; peers are told.
        """
        with self._talking():
            table, evaluation = _usable(table), None if evaluation is None else _usable(evaluation)
            active = table.label is not None
            peers = self._meet(FIT_TASK if evaluation is None else EVALUATE_TASK, table, self.config)
            if evaluation is not None:
                _check_evaluation(table, evaluation)
                self._meet(EVALUATE_TASK, evaluation, self.config)
            self.config.check_rows(len(table) + (0 if evaluation is None else len(evaluation)))
            tables = [table] if evaluation is None else [table, evaluation]
            margins = [self._joint_margins(part) for part in tables] if warm_start else []
            if active:
                self.share = self._lead(table, evaluation, sample_weight, peers, margins, on_progress)
            else:
                self.share = self._follow(table, evaluation, peers[0], warm_start)
        return self

    def _lead(
        self,
        table: Table,
        evaluation: Table | None,
        sample_weight: Sequence[float] | None,
        peers: Sequence[Peer],
        margins: Sequence[Floats | None],
        on_progress: Callable[[Progress], None] | None,
    ) -> ActiveShare:
        config = self.config
        rows = training_rows(table, evaluation, sample_weight)
        weight = None if rows.weight is None else rows.weight[rows.training]
        objective = make_objective(config, rows.label[rows.training], weight, self._objective)
        before = self.share if margins and isinstance(self.share, ActiveShare) else None
        if before is not None:
            _check_continued(before, config, objective, [peer.name for peer in peers])
            objective = replace(objective, start=before.start)
        bins = self._bins(table, before)
        binned = apply_bins(bins, _stacked(table, evaluation))
        most = max(peer.columns for peer in peers) * 2 * config.max_bin
        trained = ActiveTraining(
            config,
            objective,
            rows,
            [Block(self.channels[0].me, binned)],
            self.channels,
            encryptor=Encryptor(self.key, self.backend),
            decryptor=Decryptor(self.key, self.backend),
            plan=plan(config, self.key.public, len(table), most),
            meter=self.meter,
            on_progress=on_progress,
            earlier=None if before is None else (before.forest.trees, np.concatenate(_present(margins))),
        ).run()
        splits, forest, metrics = trained.splits[0], trained.forest, trained.metrics
        if before is not None:
            splits, forest = before.splits.joined(splits), before.forest.joined(forest)
            metrics = before.metrics + metrics
        return ActiveShare(
            model=trained.model,
            party=self.channels[0].me,
            config=config,
            peers=tuple(peer.name for peer in peers),
            columns=table.columns,
            bins=bins,
            objective=objective.name,
            outputs=objective.outputs,
            start=objective.start,
            metric_name=objective.metric_name,
            metrics=metrics,
            splits=splits,
            forest=forest,
        )

    def _follow(self, table: Table, evaluation: Table | None, peer: Peer, warm_start: bool) -> PassiveShare:
        config = self.config
        before = self.share if warm_start and isinstance(self.share, PassiveShare) else None
        bins = self._bins(table, before)
        model, splits = PassiveTraining(
            self.channels[0],
            config,
            apply_bins(bins, _stacked(table, evaluation)),
            len(table),
            peer.public,
            backend=self.backend,
            meter=self.meter,
            earlier=None if before is None else before.splits,
        ).run()
        return PassiveShare(
            model=model,
            party=self.channels[0].me,
            config=config,
            columns=table.columns,
            bins=bins,
            splits=splits,
        )

    # --- prediction ---------------------------------------------------------------------------------

    def margins(self, table: Table) -> Floats | None:
        """Joint margins of the rows of `table`, (rows, outputs), at the active party; None elsewhere."""
        with self._talking():
            return self._joint_margins(_usable(table))

    def _joint_margins(self, table: Table) -> Floats | None:
        share = self._fitted()
        if share.columns != table.columns:
            raise TableError(f"{table.name}: the columns are not those of the training, in their order")
        terms = PredictTerms(model=share.model)
        self._meet(PREDICT_TASK, table, terms, ACTIVE if isinstance(share, ActiveShare) else PASSIVE)
        if isinstance(share, PassiveShare):
            send_directions(self.channels[0], share.splits, share.bins, table.values)
            return None
        return joint_margins(
            share.forest,
            share.splits,
            share.bins,
            table.values,
            self.channels,
            share.outputs,
            share.start,
        )

    def _predictions(self, table: Table) -> Floats | None:
        margins = self.margins(table)
        share = self._fitted()
        if margins is None or not isinstance(share, ActiveShare):
            return None
        return transform(share.objective, margins)

    @property
    def evals_result_(self) -> dict[str, list[float]]:
        """The metric by round, of training rows ("train") and evaluation rows ("evaluation")."""
        share = self._fitted()
        if not isinstance(share, ActiveShare):
            return {}
        result = {"train": [train for train, _ in share.metrics]}
        evaluation = [value for _, value in share.metrics if value is not None]
        return result | ({"evaluation": evaluation} if evaluation else {})

    @property
    def feature_importances_(self) -> Floats:
        """Share of each of this party's own columns in its splits; see `importance` for gains."""
        counts = np.array(list(importances(self._fitted()).values()))
        return np.asarray(counts / max(1.0, counts.sum()))

    @property
    def loss_(self) -> list[float]:
        """The metric of the training rows by round; empty at a passive party."""
        return self.evals_result_.get("train", [])

    # --- pieces -------------------------------------------------------------------------------------

    def _bins(self, table: Table, before: ActiveShare | PassiveShare | None) -> tuple[ColumnBins, ...]:
        """The bins of this party's columns: those of the model that is continued, or new ones."""
        if before is not None:
            return before.bins
        config = self.config
        return fit_bins(
            table.columns, table.values, config.max_bin, config.min_samples_bin, self._categorical
        )

    def _fitted(self) -> ActiveShare | PassiveShare:
        if self.share is None:
            raise ProtocolError("there is no model yet: call fit, or load a share")
        return self.share

    def _meet(
        self, task: str, table: Table, terms: GBDTConfig | PredictTerms, role: str | None = None
    ) -> list[Peer]:
        role = role or (PASSIVE if table.label is None else ACTIVE)
        if role == PASSIVE and len(self.channels) != 1:
            raise ConfigurationError(f"a passive party has one channel, not {len(self.channels)}")
        public = self.key.public
        return [
            handshake(channel, task=task, role=role, configuration=terms, table=table, public=public)
            for channel in self.channels
        ]

    @contextmanager
    def _talking(self) -> Iterator[None]:
        """Count into the meter; on an error tell all peers what kind, never a value of the data.

        A text may be about one party, so it goes to a single peer only.
        """
        try:
            with self.meter.activate():
                yield
        except Exception as error:
            told = isinstance(error, HandshakeError | ConfigurationError) and len(self.channels) == 1
            for channel in self.channels:
                channel.abort(str(error) if told else type(error).__name__)
            raise


class VerticalGBDTClassifier(VerticalGBDT):
    """Trees for classes 0, 1, …: objective "binary:logistic" or "multi:softprob"."""

    def predict_proba(self, table: Table) -> Floats | None:
        """Probabilities (rows, classes) at the active party, None elsewhere."""
        scores = self._predictions(table)
        if scores is None:
            return None
        return np.column_stack([1.0 - scores, scores]) if scores.ndim == 1 else scores

    def predict(self, table: Table) -> NDArray[np.int64] | None:
        """The most probable class at the active party, None elsewhere."""
        scores = self.predict_proba(table)
        return None if scores is None else np.argmax(scores, axis=1).astype(np.int64)


class VerticalGBDTRegressor(VerticalGBDT):
    """Trees for numbers: objective "reg:squarederror", "count:poisson" or "custom"."""

    def _default_config(self) -> GBDTConfig:
        return GBDTConfig(objective="reg:squarederror")

    def predict(self, table: Table) -> Floats | None:
        """Predicted numbers at the active party, None elsewhere; margins for a custom objective."""
        return self._predictions(table)


def training_rows(
    table: Table, evaluation: Table | None, sample_weight: Sequence[float] | None
) -> TrainingRows:
    """Labels and weights of training and evaluation rows. TableError for weights that cannot be used."""
    label = table.label if evaluation is None else np.concatenate([_label(table), _label(evaluation)])
    if label is None:
        raise TableError(f"{table.name} has no label")
    training = np.arange(label.size) < len(table)
    if sample_weight is None:
        return TrainingRows(label, training)
    weight = np.asarray(sample_weight, dtype=np.float64)
    if (
        weight.shape != (len(table),)
        or not np.isfinite(weight).all()
        or (weight < 0).any()
        or not weight.any()
    ):
        raise TableError(f"{table.name}: sample weights must be {len(table)} numbers of at least 0")
    return TrainingRows(label, training, np.concatenate([weight, np.ones(label.size - len(table))]))


def _check_continued(
    before: ActiveShare, config: GBDTConfig, objective: Objective, peers: Sequence[str]
) -> None:
    """ConfigurationError where a model cannot be continued like this."""
    had = (before.objective, before.outputs, before.config.multi_strategy, list(before.peers))
    wanted = (objective.name, objective.outputs, config.multi_strategy, list(peers))
    for name, old, new in zip(("objective", "outputs", "multi_strategy", "peers"), had, wanted, strict=True):
        if old != new:
            raise ConfigurationError(f"the model has {name} {old!r}: it cannot be continued with {new!r}")


def _present(margins: Sequence[Floats | None]) -> list[Floats]:
    return [part for part in margins if part is not None]


def _label(table: Table) -> Matrix:
    if table.label is None:
        raise TableError(f"{table.name} has no label")
    return table.label


def _usable(table: Table) -> Table:
    """The table with its values in one array. TableError for categories by their texts.

    A model share does not keep the texts yet: another table may number the same ones in another way.
    """
    if table.categories:
        name = next(iter(table.categories))
        raise TableError(
            f"{table.name}: column {name!r} holds texts: number them alike in all tables, and name the column"
            " in categorical"
        )
    return table.dense()


def _stacked(table: Table, evaluation: Table | None) -> Matrix:
    return table.values if evaluation is None else np.concatenate([table.values, evaluation.values])


def _check_evaluation(table: Table, evaluation: Table) -> None:
    if table.columns != evaluation.columns or (table.label is None) != (evaluation.label is None):
        raise TableError(f"{evaluation.name} has other columns than {table.name}, or lacks its label")
