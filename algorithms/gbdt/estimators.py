"""VerticalGBDTClassifier and VerticalGBDTRegressor: one party's estimator, with scikit-learn's manners."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from hecore.algorithms.channel import Channel
from hecore.algorithms.checkpoint import Checkpoints, NoRun
from hecore.algorithms.data import Table
from hecore.algorithms.errors import ProtocolError
from hecore.algorithms.estimator import Estimator
from hecore.algorithms.gbdt.active import Progress
from hecore.algorithms.gbdt.config import GBDTConfig
from hecore.algorithms.gbdt.fitting import Fitting
from hecore.algorithms.gbdt.importance import importances
from hecore.algorithms.gbdt.messages import PredictTerms
from hecore.algorithms.gbdt.model import ActiveShare, PassiveShare, digest, parts_of
from hecore.algorithms.gbdt.objectives import Gradient, transform
from hecore.algorithms.gbdt.predict import joint_margins, send_directions
from hecore.algorithms.gbdt.standing import Finished, Journal, Scored
from hecore.algorithms.gbdt.tables import RowsOf, binding, check_evaluation, terms_of_all, weights_hash
from hecore.algorithms.objectives import BINARY, COUNTS, Floats
from hecore.algorithms.party import Peer
from hecore.kernels import Backend
from hecore.keys import PrivateKey

FIT_TASK, EVALUATE_TASK, PREDICT_TASK = "gbdt.fit", "gbdt.fit.evaluation", "gbdt.predict"


class VerticalGBDT(Estimator):
    """Gradient-boosted trees over the columns of two or more parties; all call the same methods in one order.

    The party whose table has a label is the active one. See `messages` for who can read what.

    channel      the Channel to the active party; at the active party one, or one to each passive party
    config       parameters; equal at all parties
    key          this party's key pair; None generates a fresh 2048-bit one at the active party. A passive one
                 needs none
    backend      a Backend, its name, or None for automatic choice
    categorical  names of this party's columns that hold category numbers; those with texts are it anyway
    objective    the function of objective = "custom", at the active party
    checkpoints  of the store and all channels: a party that was killed is started again with the same data,
                 and calls the same methods in the same order; it goes on where it was, to the same result.
                 A custom objective must give the same numbers again
    """

    keys_of_passive = False

    def __init__(
        self,
        channel: Channel | Sequence[Channel],
        config: GBDTConfig | None = None,
        *,
        key: PrivateKey | None = None,
        backend: Backend | str | None = None,
        categorical: Sequence[str] = (),
        objective: Gradient | None = None,
        checkpoints: Checkpoints | None = None,
    ) -> None:
        self.config = config or self._default_config()
        super().__init__(
            channel, objective=self.config.objective, key=key, backend=backend, checkpoints=checkpoints
        )
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
        on_progress     is told of each round, without a metric at a passive party; a party that goes on
                        from a checkpoint tells of those behind it

        Raises HandshakeError where the parties do not match, ConfigurationError, TableError for labels or
        columns that cannot be used, ProtocolError for a peer that does not follow; peers are told.
        CheckpointError where the checkpoints are of other data or parameters.
        """
        with self._talking():
            self._check_stopping(self.config.early_stopping_rounds, evaluation)
            tables = [table] if evaluation is None else [table, evaluation]
            before = self._fitted() if warm_start else None
            journal = self._journal(
                FIT_TASK if evaluation is None else EVALUATE_TASK,
                tables,
                self.config,
                active=table.label is not None,
                categories=sorted(self._categorical),
                weights=None if sample_weight is None else weights_hash(sample_weight),
                earlier_share=None if before is None else digest(before),
            )
            self.share = journal.finished() or self._train(
                tables, sample_weight, before, on_progress, journal
            )
        return self

    def _train(
        self,
        tables: Sequence[Table],
        sample_weight: Sequence[float] | None,
        before: ActiveShare | PassiveShare | None,
        on_progress: Callable[[Progress], None] | None,
        journal: Journal,
    ) -> ActiveShare | PassiveShare:
        """The share of a training, begun or gone on with; `before` is the share that is continued."""
        self.config.check_rows(sum(map(len, tables)))
        peers: list[Peer] = []
        margins: list[Floats | None] = []
        if journal.state is None:
            peers = self._meet(FIT_TASK if len(tables) == 1 else EVALUATE_TASK, tables[0], journal)
            if len(tables) > 1:
                check_evaluation(*tables)
                self._meet(EVALUATE_TASK, tables[1], journal, "evaluation ")
            if before is not None:
                margins = [
                    self._joint_margins(part, journal, f"earlier margins {place} ")
                    for place, part in enumerate(tables)
                ]
            journal.run.mix(*(peer.session for peer in peers))
        fitting = Fitting(
            self.channels, self.config, self.backend, self._categorical, tables, journal, self.meter
        )
        active = tables[0].label is not None
        key = self.key.public if active else fitting.active_key(peers)
        if self.checkpoints is not None:
            self.checkpoints.agree(terms_of_all(tables, self.config, key))
        if active:
            share: ActiveShare | PassiveShare = fitting.lead(
                self.key, sample_weight, peers, self._objective, on_progress, before, margins
            )
        else:
            share = fitting.follow(key, on_progress, before)
        header, arrays = parts_of(share)
        journal.run.finish(Finished(share=header), arrays)
        return share

    # --- prediction ---------------------------------------------------------------------------------

    def margins(self, table: Table) -> Floats | None:
        """Joint margins of the rows of `table`, (rows, outputs), at the active party; None elsewhere."""
        with self._talking():
            share = self._fitted()
            terms = PredictTerms(model=share.model)
            journal = self._journal(
                PREDICT_TASK, [table], terms, active=isinstance(share, ActiveShare), share=digest(share)
            )
            state = journal.state
            if isinstance(state, Scored):
                return journal.arrays["margins"] if state.told else None
            margins = self._joint_margins(table, journal)
            arrays = {} if margins is None else {"margins": margins}
            journal.run.finish(Scored(told=margins is not None), arrays)
        return margins

    def _joint_margins(self, table: Table, journal: Journal, label: str = "") -> Floats | None:
        share = self._fitted()
        rows = RowsOf(share.columns, share.bins, table)
        self._meet(PREDICT_TASK, table, journal, label, share)
        if isinstance(share, PassiveShare):
            send_directions(self.channels[0], share.splits, rows)
            return None
        return joint_margins(share.forest, share.splits, rows, self.channels, share.outputs, share.start)

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

    def digest(self) -> str:
        """SHA-256 of this party's share: equal where a run was killed and resumed, and where it was not."""
        return digest(self._fitted())

    # --- pieces -------------------------------------------------------------------------------------

    def _fitted(self) -> ActiveShare | PassiveShare:
        if self.share is None:
            raise ProtocolError("there is no model yet: call fit, or load a share")
        return self.share

    def _meet(
        self,
        task: str,
        table: Table,
        journal: Journal,
        label: str = "",
        share: ActiveShare | PassiveShare | None = None,
    ) -> list[Peer]:
        """Handshakes of a training, or of a prediction with `share`; `label` tells those of a run apart."""
        terms = self.config if share is None else PredictTerms(model=share.model)
        active = table.label is not None if share is None else isinstance(share, ActiveShare)
        return self._shake_hands(
            task=task,
            active=active,
            configuration=terms,
            table=table,
            draws=journal.run.draws,
            label=f"{label}hello to",
        )

    def _journal(
        self, task: str, tables: Sequence[Table], terms: msgspec.Struct, *, active: bool, **more: object
    ) -> Journal:
        """The next run of a party, bound to all that its messages follow from."""
        if self.checkpoints is None:
            return Journal(NoRun())
        public = self._public(active=active)
        return Journal(self.checkpoints.begin(task, binding(tables, terms, public, **more)))


class VerticalGBDTClassifier(VerticalGBDT):
    """Trees for classes 0, 1, …: objective "binary:logistic" or "multi:softprob"."""

    objectives = (BINARY, "multi:softprob")

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

    objectives = ("reg:squarederror", COUNTS, "custom")

    def _default_config(self) -> GBDTConfig:
        return GBDTConfig(objective="reg:squarederror")

    def predict(self, table: Table) -> Floats | None:
        """Predicted numbers at the active party, None elsewhere; margins for a custom objective."""
        return self._predictions(table)
