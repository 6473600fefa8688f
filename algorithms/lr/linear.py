"""VerticalLinearModel: what one party's estimators of linear models and networks have in common."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, Self

import msgspec
import numpy as np

from hecore.algorithms.built import built
from hecore.algorithms.channel import Channel
from hecore.algorithms.checkpoint import AnyRun, Checkpoints, NoRun
from hecore.algorithms.data import Table
from hecore.algorithms.errors import (
    ProtocolError,
    TableError,
)
from hecore.algorithms.estimator import Estimator
from hecore.algorithms.lr import messages as msg
from hecore.algorithms.lr import scaling
from hecore.algorithms.lr.config import LinearConfig
from hecore.algorithms.lr.meeting import set_terms, take_terms, with_intercept
from hecore.algorithms.lr.objectives import Objective, row_weights
from hecore.algorithms.lr.saved import Meeting, Saved, SavedMeeting, saver
from hecore.algorithms.lr.scoring import receive_scores, send_scores
from hecore.algorithms.lr.share import FORMAT, VERSION, ActiveSide, ModelRecord, load_share, save_share
from hecore.algorithms.lr.side import Arrays, LabelSide, Outcome, Progress, Rows, Side
from hecore.algorithms.objectives import Floats
from hecore.kernels import Backend
from hecore.keys import PrivateKey
from hecore.wire import dump_key


class VerticalLinearModel(Estimator):
    """A linear model over the columns of two or more parties; all call the same methods in the same order.

    The party whose table has a label is the active one. Nobody learns another's columns, weights or any value
    per row while training in mode `shared`; the active party alone gets scores. See `shared` for the
    protocol and `messages` for who can read what.

    channel       the Channel to the active party; at the active party one, or one to each passive party
    config        parameters; equal at all parties
    key           this party's key pair; None generates a fresh 2048-bit one
    backend       a Backend, its name, or None for automatic choice
    checkpoints   of durable channels: a party that was killed is started again with the same data, and
                  calls the same methods in the same order; it goes on where it was, to the same result
    """

    #: Whether a network stands on the linear part.
    network: ClassVar[bool] = False

    def __init__(
        self,
        channel: Channel | Sequence[Channel],
        config: LinearConfig | None = None,
        *,
        key: PrivateKey | None = None,
        backend: Backend | str | None = None,
        checkpoints: Checkpoints | None = None,
    ) -> None:
        self.config = config or self._default_config()
        super().__init__(
            channel, objective=self.config.objective, key=key, backend=backend, checkpoints=checkpoints
        )
        self._record: ModelRecord | None = None

    def _default_config(self) -> LinearConfig:
        return LinearConfig()

    def fit(
        self,
        table: Table,
        evaluation: Table | None = None,
        sample_weight: Sequence[float] | Floats | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Self:
        """Train with the other parties. Columns are standardised here, by this party's own rows.

        evaluation     rows that are scored every `evaluate_every` epochs; at all parties or at none
        sample_weight  of the training rows, at the active party; nobody else learns them

        Raises HandshakeError where the parties do not match, ConfigurationError for too small batches,
        TableError for labels that do not fit the objective, values that are missing or no numbers, or
        features beyond the limit; on any error the peers are told.
        """
        with self._talking():
            self._check_stopping(self.config.early_stopping_rounds, evaluation)
            table = scaling.usable(table)
            evaluation = None if evaluation is None else scaling.usable(evaluation)
            label = self._label_side(table, evaluation, sample_weight)
            mean, scale = scaling.fit_scaling(table)
            tables = [table] if evaluation is None else [table, evaluation]
            training, *others = (self._rows(part, mean, scale, label) for part in tables)
            run = self._begin(
                f"lr.{self.config.mode}.fit",
                table,
                self.config,
                evaluation="" if evaluation is None else evaluation.digest().hex(),
                weights="" if label is None or label.weight is None else _digest(label.weight.tobytes()),
            )
            found = run.latest()
            saved = None if found is None else msgspec.json.decode(found.state, type=built(Saved))
            if found is not None and saved is not None and saved.record is not None:
                self._record = saved.record
                self._load_extra(found.arrays)
                return self
            meeting = self._meet(tables, label, run) if saved is None else saved.meeting.load()
            run.mix(*meeting.sessions)
            self._agree(table, meeting)
            side = Side(
                config=self.config,
                channels=self.channels,
                peers=meeting.peers,
                terms=meeting.terms,
                training=training,
                evaluation=others[0] if others else None,
                label=label,
                key=self.key,
                backend=self.backend,
                meter=self.meter,
                draws=run.draws,
                on_progress=on_progress,
                save=saver(run, meeting),
                resume=None if found is None or saved is None else (bytes(saved.standing), found.arrays),
            )
            outcome = self._train(side)
            record = self._recorded(table, mean, scale, side, outcome)
            run.finish(Saved(meeting=SavedMeeting.of(meeting), record=record), self._extra())
        self._record = record
        return self

    def _units(self, objective: Objective) -> int:
        """Columns of weights, of the active party."""
        return objective.outputs

    def _extra(self) -> Arrays:
        """What the result has besides its record."""
        return {}

    def _load_extra(self, arrays: Arrays) -> None:
        """Take up what `_extra` gave."""

    def _train(self, side: Side) -> Outcome:
        """The training of the configured mode."""
        if self.config.mode == "exact":
            from hecore.algorithms.lr.exact import train as train_exact

            return train_exact(side)
        from hecore.algorithms.lr.shared import train

        return train(side)

    def _scores(self, table: Table) -> Floats | None:
        """Joint logits (rows, outputs) at the active party, None elsewhere."""
        record = self._fitted()
        with self._talking():
            table = scaling.usable(table)
            if tuple(record.columns) != table.columns:
                raise TableError(f"{table.name}: {_difference(record.columns, table.columns)}")
            features = scaling.standardise(table, np.array(record.mean), np.array(record.scale))
            partial = features @ np.array(record.weights)
            terms = msg.ScoreTerms(model=record.model)
            run = self._begin("lr.predict", table, terms)
            found = run.latest()
            if found is not None:
                others = found.arrays.get("others")
            else:
                others = self._joint_logits(table, terms, partial, run)
                run.finish(arrays={} if others is None else {"others": others})
        if others is None or record.active is None:
            return None
        return np.asarray(partial + np.array(record.active.intercept) + others)

    def _joint_logits(
        self, table: Table, terms: msg.ScoreTerms, partial: Floats, run: AnyRun
    ) -> Floats | None:
        """The other parties' part of the logits, at the active party."""
        active = self._fitted().active
        peers = self._shake_hands(
            task="lr.predict",
            active=active is not None,
            configuration=terms,
            table=table,
            draws=run.draws,
            label="hello lr.predict",
        )
        if active is None:
            send_scores(self.channels[0], peers[0].public, self.backend, partial)
            return None
        return receive_scores(self.channels, self.key, self.backend, len(table), self._fitted().outputs)

    def _predictions(self, table: Table) -> Floats | None:
        logits = self._scores(table)
        active = self._fitted().active
        return None if logits is None or active is None else active.objective.predict(logits)

    # --- the trained share --------------------------------------------------------------------------

    @property
    def coef_(self) -> Floats:
        """Weights of this party's standardised columns: (columns,), or (columns, outputs)."""
        weights = np.array(self._fitted().weights)
        return weights[:, 0] if weights.shape[1] == 1 else weights

    @property
    def intercept_(self) -> float | list[float] | None:
        """The intercept at the active party, or one for each output."""
        active = self._fitted().active
        if active is None:
            return None
        return active.intercept[0] if len(active.intercept) == 1 else list(active.intercept)

    @property
    def loss_(self) -> list[float]:
        """Mean training loss of each epoch; empty with loss = false."""
        return list(self._fitted().loss)

    @property
    def evals_result_(self) -> dict[str, list[float]]:
        """The loss by epoch ("train"), and at the active party the metric of the evaluation rows."""
        record = self._fitted()
        result = {"train": list(record.loss)}
        if record.active is not None and record.active.metrics:
            result["evaluation"] = list(record.active.metrics)
        if record.active is not None:
            result |= {name: list(values) for name, values in record.active.history.items()}
        return result

    @property
    def metric_name(self) -> str | None:
        """What is measured on the evaluation rows, at the active party."""
        active = self._fitted().active
        return None if active is None else active.objective.metric_name

    def digest(self) -> str:
        """SHA-256 of this party's share: equal where a run was killed and resumed, and where it was not."""
        return _digest(msgspec.json.encode(self._fitted()))

    def save(self, path: str | Path) -> None:
        """Write this party's share of the model as JSON."""
        save_share(self._fitted(), path)

    def load(self, path: str | Path) -> Self:
        """Read a share written by `save`. ProtocolError if the file is no such share."""
        self._record = load_share(path)
        return self

    # --- pieces -------------------------------------------------------------------------------------

    def _label_side(
        self, table: Table, evaluation: Table | None, sample_weight: Sequence[float] | Floats | None
    ) -> LabelSide | None:
        if table.label is None:
            if sample_weight is not None:
                raise TableError(f"{table.name}: sample weights are given where the label is")
            return None
        objective = Objective.of(self.config, table)
        if evaluation is not None:
            objective.check_evaluation(evaluation)
        weight = None if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
        return LabelSide(objective, objective.targets(table), row_weights(self.config, table, weight))

    @staticmethod
    def _rows(table: Table, mean: Floats, scale: Floats, label: LabelSide | None) -> Rows:
        features = scaling.standardise(table, mean, scale)
        return Rows(features if label is None else scaling.with_ones(features), table)

    def _recorded(
        self, table: Table, mean: Floats, scale: Floats, side: Side, outcome: Outcome
    ) -> ModelRecord:
        columns = len(table.columns)
        active = None
        if side.label is not None:
            active = ActiveSide(
                objective=side.label.objective,
                intercept=outcome.weights[columns].tolist(),
                metrics=outcome.metrics,
                history=outcome.history,
                network=self.network,
            )
        return ModelRecord(
            format=FORMAT,
            version=VERSION,
            model=side.terms.model,
            party=self.channels[0].me,
            config=self.config,
            outputs=side.terms.outputs,
            columns=list(table.columns),
            weights=outcome.weights[:columns].tolist(),
            mean=mean.tolist(),
            scale=scale.tolist(),
            loss=outcome.loss,
            active=active,
        )

    def _fitted(self) -> ModelRecord:
        if self._record is None:
            raise ProtocolError("there is no model yet: call fit, or load a share")
        return self._record

    def _begin(self, task: str, table: Table, terms: msgspec.Struct, **more: str) -> AnyRun:
        """The next run, bound to all that its messages follow from."""
        if self.checkpoints is None:
            return NoRun()
        binding = {
            "configuration": _digest(msgspec.json.encode(terms, order="sorted")),
            "row ids": table.alignment().hex(),
            "table": table.digest().hex(),
            "key": self.key.public.fingerprint.hex(),
        } | more
        return self.checkpoints.begin(task, binding)

    def _agree(self, table: Table, meeting: Meeting) -> None:
        """What the parties have compared once is compared again whenever their processes meet."""
        if self.checkpoints is not None:
            passive = self.channels[0].me in meeting.terms.passive
            active = dump_key(meeting.peers[0].public if passive else self.key.public)
            terms = {
                "configuration": _digest(msgspec.json.encode(self.config, order="sorted")),
                "row ids": table.alignment().hex(),
                "public keys": _digest(b"".join([active, *meeting.terms.payload])),
            }
            self.checkpoints.agree(terms)

    def _meet(self, tables: Sequence[Table], label: LabelSide | None, run: AnyRun) -> Meeting:
        """Handshakes over training and evaluation rows, and the active party's terms."""
        first = f"lr.{self.config.mode}.fit{' with evaluation' if len(tables) > 1 else ''}"
        met = [
            self._shake_hands(
                task=task,
                active=label is not None,
                configuration=self.config,
                table=table,
                draws=run.draws,
                label=f"hello {task}",
            )
            for task, table in zip((first, "lr.evaluation"), tables, strict=False)
        ]
        peers = met[0]
        columns = len(tables[0].columns)
        if label is None:
            terms = take_terms(self.channels[0], peers[0], columns, self.key.public)
        else:
            weighted = label.weight is not None
            units = self._units(label.objective)
            terms = set_terms(self.channels, peers, columns + 1, units, weighted)
        return Meeting(peers if label is not None else [with_intercept(peer) for peer in peers], terms)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _difference(trained: list[str], given: tuple[str, ...]) -> str:
    missing = [name for name in trained if name not in given]
    extra = [name for name in given if name not in trained]
    if not missing and not extra:
        return "the columns stand in another order than in training"
    return f"columns differ from training (missing: {missing or 'none'}, new: {extra or 'none'})"
