"""The active party's driver in mode `exact`: sends and receives, and leaves the mathematics to `source` and `top`.

On every batch, with all passive parties P at once:

    SourceWeights → P    SourceLogits ← P     Z = X_A·W_A + Σ_P X_P·W_P
    SourceErrors → P     SourceGradient ← P   while P computes, A steps on its own weights and those of the top
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from hecore import Decryptor, Encryptor, FixedPoint, decode, encode
from hecore.algorithms.errors import ProtocolError
from hecore.algorithms.lr import messages as common
from hecore.algorithms.lr.exact import messages as msg
from hecore.algorithms.lr.exact import steps
from hecore.algorithms.lr.exact.batches import batches_of
from hecore.algorithms.lr.exact.fields import ERROR_LIMIT_BITS
from hecore.algorithms.lr.exact.metrics import measure
from hecore.algorithms.lr.exact.optimizers import Optimizer
from hecore.algorithms.lr.exact.source import ActiveSource, Widths, start_share
from hecore.algorithms.lr.exact.top import Top
from hecore.algorithms.lr.messages import Step
from hecore.algorithms.lr.objectives import Floats
from hecore.algorithms.lr.side import Arrays, LabelSide, Outcome, Progress, Rows, Side, shuffled_epochs
from hecore.algorithms.lr.steps import BlockShare, delivered

log = logging.getLogger(__name__)

TRAIN, EVALUATE = "train", "evaluate"


class Standing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How far a training has come, beside its arrays."""

    epoch: int = 0
    batch: int = 0
    stopped: bool = False
    steps: int = 0
    history: list[dict[str, float]] = []
    metrics: list[float] = []


class ActiveTraining:
    """The active party's side of a training, with `top` on the source layer."""

    def __init__(self, side: Side, label: LabelSide, top: Top) -> None:
        self._side, self._config, self._label, self._top = side, side.config, label, top
        rows = side.training
        self._weight = np.ones(len(rows)) if label.weight is None else label.weight
        self._batches = batches_of(side)
        self._encryptor = Encryptor(side.key, side.backend)
        self._decryptor = Decryptor(side.key, side.backend)
        largest = max(batch.size for batch in self._batches)
        self._widths = Widths(side.key.public, side.config, top.columns, largest, len(side.peers))
        self._sources = {peer.name: self._source(peer.name, peer.columns) for peer in side.peers}
        own = self._start_share("own", rows.features.shape[1])
        #: Everything that one optimiser steps on, changed in place.
        self.weights: Arrays = {"own": np.array(decode(own), dtype=np.float64).reshape(own.shape)}
        self.weights |= {f"top {name}": array for name, array in top.weights.items()}
        if not self._widths.shared:
            self.weights |= {f"source {name}": source.opened for name, source in self._sources.items()}
        self._optimizer = Optimizer(side.config)
        self.history: list[dict[str, float]] = []
        self._metrics: list[float] = []
        self._seen = np.zeros((len(rows), top.objective.outputs))
        self._epoch = self._batch = 0
        self._stopped = False
        self._kept: Arrays = {}
        if side.resume is not None:
            self._load(*side.resume)

    def _source(self, name: str, columns: int) -> ActiveSource:
        start = self._start_share(name, columns)
        return ActiveSource(self._widths, columns, self._encryptor, self._decryptor, start)

    def _start_share(self, name: str, columns: int) -> FixedPoint:
        draw = self._side.draws(f"start {name}") if self._top.random_start else None
        return start_share(columns, self._top.columns, self._config, draw)

    # --- the run ------------------------------------------------------------------------------------

    def run(self) -> Outcome:
        """Train, and deliver the passive parties' weights."""
        _tell_leak([peer.name for peer in self._side.peers], self._config)
        if self._side.resume is None:
            self._start()
            self._keep()
        started = time.perf_counter()
        orders = shuffled_epochs(self._config.seed, len(self._side.training))
        for epoch, order in zip(range(self._config.epochs), orders, strict=False):
            if epoch < self._epoch:
                continue
            while self._epoch == epoch and not self._stopped:
                self._step(epoch, self._batch, order[self._batches[self._batch]])
                self._tell(time.perf_counter() - started)
                self._advance()
        if self._kept:
            self._restore(self._kept)
        for channel, source in zip(self._side.channels, self._sources.values(), strict=True):
            channel.send(common.share_message(delivered(source.share(), self._config)))
        loss = [next(iter(record.values())) for record in self.history]
        return Outcome(self.weights["own"], loss, self._metrics, self.steps)

    def _start(self) -> None:
        """Pass the mask keys of passive parties on to one another, and say how the layers start."""
        keys = [channel.receive(msg.MaskKey).payload[0] for channel in self._side.channels]
        for place, channel in enumerate(self._side.channels):
            others = tuple(key for number, key in enumerate(keys) if number != place)
            start = msg.SourceStart(
                outputs=self._top.columns, random=self._top.random_start, payload=others
            )
            channel.send(start)

    def _step(self, epoch: int, number: int, rows: NDArray[np.int64]) -> None:
        """One batch: logits, loss, and a step of all weights."""
        step = (TRAIN, epoch, number)
        values = self._side.training.features[rows]
        self._send_weights(step)
        z = values @ self.weights["own"] + self._logits(step, rows.size)
        with self._side.meter.phase("loss"):
            logits, errors, gradients = self._top.backward(
                z, self._label.targets[rows], self._weight[rows], self.steps
            )
        self._seen[rows] = logits
        self._send_errors(step, errors)
        gradients = {f"top {name}": gradient / rows.size for name, gradient in gradients.items()}
        gradients["own"] = values.T @ errors / rows.size + self._penalty()
        for channel, (name, source) in zip(self._side.channels, self._sources.items(), strict=True):
            message = channel.receive(msg.SourceGradient)
            msg.expect_step(message, step)
            with self._side.meter.phase("decrypt"):
                if self._widths.shared:
                    source.descend(source.gradient(message.payload), rows.size, epoch)
                else:
                    mean = source.opened_gradient(message.payload) / rows.size
                    gradients[f"source {name}"] = mean + self._config.alpha * source.opened
        self._optimizer.step(self.weights, gradients, self._config.rate(epoch))

    def _penalty(self) -> Floats:
        penalty = self._config.alpha * self.weights["own"]
        penalty[-1] = 0.0  # the intercept
        return np.asarray(penalty)

    def _send_weights(self, step: Step) -> None:
        leg, epoch, batch = step
        for channel, source in zip(self._side.channels, self._sources.values(), strict=True):
            with self._side.meter.phase("encrypt"):
                payload = (source.weights(),)
            channel.send(msg.SourceWeights(leg=leg, epoch=epoch, batch=batch, payload=payload))

    def _logits(self, step: Step, rows: int) -> Floats:
        """Σ_P X_P·W_P of some rows. The parts of several parties are masked; their sum is not."""
        total: FixedPoint | None = None
        for channel, source in zip(self._side.channels, self._sources.values(), strict=True):
            message = channel.receive(msg.SourceLogits)
            msg.expect_step(message, step)
            with self._side.meter.phase("decrypt"):
                part = source.logits(message.payload, rows)
            total = part if total is None else total + part
        if total is None:
            raise ProtocolError("a source layer needs a passive party")
        bound = self._widths.parties << (self._widths.forward_bits + 1)
        read = steps.check_between(total, -bound, bound).floor_shift(self._widths.covered_bits)
        return np.asarray(decode(read), dtype=np.float64).reshape(read.shape)

    def _send_errors(self, step: Step, errors: Floats) -> None:
        """The same ciphertexts to all: what they hide is the same, too."""
        leg, epoch, batch = step
        if not np.isfinite(errors).all() or np.abs(errors).max() >= 2.0**ERROR_LIMIT_BITS:
            raise ProtocolError(
                f"dL/dZ has become {np.abs(errors).max():.3g}: lower learning_rate, or scale the label"
            )
        with self._side.meter.phase("encrypt"):
            encoded = encode(errors, self._config.weight_bits)
            payload = (steps.encrypt(self._encryptor, encoded, self._widths.backward).to_bytes(),)
        for channel in self._side.channels:
            channel.send(msg.SourceErrors(leg=leg, epoch=epoch, batch=batch, payload=payload))

    # --- the end of an epoch ------------------------------------------------------------------------

    def _advance(self) -> None:
        """A batch is done, and with the last one its epoch; what is reached may be saved."""
        self._batch += 1
        if self._batch == len(self._batches):
            self._end_epoch(self._epoch)
            self._epoch, self._batch = self._epoch + 1, 0
        self._keep()

    def _end_epoch(self, epoch: int) -> None:
        """Metrics of the rows seen and of those that are evaluated; tell whether to go on."""
        objective, table = self._top.objective, self._side.training.table
        label = np.asarray(table.label)
        with self._side.meter.phase("loss"):
            seen = measure(objective, self._seen, label, self._weight)
        record = {f"train {name}": value for name, value in seen.items()}
        evaluation, best = self._side.evaluation, False
        if evaluation is not None and (epoch + 1) % self._config.evaluate_every == 0:
            logits = self._evaluate(epoch, evaluation)
            found = measure(objective, logits, np.asarray(evaluation.table.label))
            record |= {f"evaluation {name}": value for name, value in found.items()}
            self._metrics.append(objective.metric(evaluation.table, logits))
            best = self._is_best()
        self.history.append(record)
        log.info("epoch %d: %s", epoch + 1, ", ".join(f"{k} {v:.6g}" for k, v in record.items()))
        if best:
            self._kept = self._copies()
        self._stopped = self._is_over()
        for channel in self._side.channels:
            channel.send(msg.SourceEpoch(epoch=epoch, best=best, stop=self._stopped))

    def _evaluate(self, epoch: int, rows: Rows) -> Floats:
        """Logits of the evaluation rows, with the weights at the end of an epoch."""
        step = (EVALUATE, epoch, 0)
        self._send_weights(step)
        z = rows.features @ self.weights["own"] + self._logits(step, len(rows))
        return self._top.outputs(z)

    def _since_best(self) -> int:
        """Scorings since the best one, the last of equals."""
        sign = -1.0 if self._top.objective.higher_is_better else 1.0
        return int(np.argmin(sign * np.array(self._metrics[::-1])))

    def _is_best(self) -> bool:
        """Whether these weights are to be kept: only where the evaluation may stop the training."""
        return self._config.early_stopping_rounds > 0 and self._since_best() == 0

    def _is_over(self) -> bool:
        config = self._config
        if self._metrics and 0 < config.early_stopping_rounds <= self._since_best():
            return True
        falls = -np.diff([next(iter(record.values())) for record in self.history])
        recent = falls[-config.patience :]
        return (
            config.tolerance > 0 and len(recent) == config.patience and bool((recent < config.tolerance).all())
        )

    def _tell(self, seconds: float) -> None:
        if self._side.on_progress:
            last = next(iter(self.history[-1].values())) if self.history else None
            at = (self._epoch, self._config.epochs, self._batch + 1, len(self._batches))
            self._side.on_progress(Progress(*at, last, seconds))

    # --- checkpoints --------------------------------------------------------------------------------

    @property
    def steps(self) -> int:
        """Batches that are done."""
        return self._epoch * len(self._batches) + self._batch

    def _keep(self) -> None:
        if self._side.save:
            self._side.save(self.steps, *self._dump())

    def _copies(self) -> Arrays:
        """Copies of all weights, this party's shares of those of others among them."""
        out = {name: array.copy() for name, array in self.weights.items()}
        out |= {f"state {name}": array for name, array in self._top.dump().items()}
        if self._widths.shared:
            for name, source in self._sources.items():
                out[f"share {name}"] = source.block.weights.limbs
        return out

    def _restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        for name, array in self.weights.items():
            array[...] = arrays[name]
        state = {name[6:]: array for name, array in arrays.items() if name.startswith("state ")}
        self._top.load(state)
        if self._widths.shared:
            for name, source in self._sources.items():
                weights = FixedPoint(
                    arrays[f"share {name}"], source.block.weights.shape, self._config.weight_bits
                )
                source.block = BlockShare(weights, source.block.velocity)

    def _dump(self) -> tuple[Standing, Arrays]:
        arrays = self._copies() | self._optimizer.dump() | {"seen": self._seen}
        arrays |= {f"best {name}": array for name, array in self._kept.items()}
        if self._widths.shared:
            for name, source in self._sources.items():
                arrays[f"velocity {name}"] = source.block.velocity.limbs
        standing = Standing(
            epoch=self._epoch,
            batch=self._batch,
            stopped=self._stopped,
            steps=self._optimizer.steps,
            history=list(self.history),
            metrics=list(self._metrics),
        )
        return standing, arrays

    def _load(self, state: bytes, arrays: Arrays) -> None:
        standing = msgspec.json.decode(state, type=Standing)
        self._restore(arrays)
        if self._widths.shared:
            for name, source in self._sources.items():
                velocity = FixedPoint(
                    arrays[f"velocity {name}"], source.block.velocity.shape, self._config.weight_bits
                )
                source.block = BlockShare(source.block.weights, velocity)
        self._optimizer.load(arrays, standing.steps)
        self._seen[...] = arrays["seen"]
        self._kept = {name[5:]: array for name, array in arrays.items() if name.startswith("best ")}
        self._epoch, self._batch, self._stopped = standing.epoch, standing.batch, standing.stopped
        self.history, self._metrics = list(standing.history), list(standing.metrics)


def _tell_leak(names: Sequence[str], config: LinearConfig) -> None:
    form = "up to their order and signs" if config.optimizer == "adam" else "up to a rotation"
    log.warning(
        'mode = "exact": this party sees the logits of every row of %s in each batch. Over about as many epochs'
        " as they have columns, these tell the values of their rows %s.",
        " and ".join(names),
        form,
    )
