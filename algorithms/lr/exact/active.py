"""The active party's driver in mode `exact`: it sends and receives; the mathematics is in `source` and `top`.

On every batch, with all passive parties P at once:

    forward    [V] → P          [X_P·W_P] ← P       Z = X_A·W_A + Σ_P X_P·W_P
    backward   [dL/dZ] → P      [gradient] ← P      while P computes, A finds its own and the top's
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from hecore import Decryptor, Encryptor, FixedPoint, decode, encode
from hecore.algorithms.built import built
from hecore.algorithms.channel import Channel
from hecore.algorithms.errors import ProtocolError
from hecore.algorithms.lr import messages as msg
from hecore.algorithms.lr.config import LinearConfig
from hecore.algorithms.lr.epochs import Epochs, Places
from hecore.algorithms.lr.exact import steps
from hecore.algorithms.lr.exact.messages import SourceStart
from hecore.algorithms.lr.exact.metrics import measure
from hecore.algorithms.lr.exact.optimizers import Optimizer
from hecore.algorithms.lr.exact.source import ActiveSource, start_share
from hecore.algorithms.lr.exact.top import Top
from hecore.algorithms.lr.exact.widths import ERROR_LIMIT_BITS, Widths, precise
from hecore.algorithms.lr.messages import Step
from hecore.algorithms.lr.side import Arrays, LabelSide, Outcome, Rows, Side
from hecore.algorithms.lr.steps import BlockShare, batch_places, delivered, split_rows
from hecore.algorithms.objectives import Floats

log = logging.getLogger(__name__)

FORWARD, BACKWARD, EVALUATION = "forward", "backward", "evaluation"


class Standing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How far a training has come, beside its arrays."""

    epoch: int = 0
    batch: int = 0
    stopped: bool = False
    steps: int = 0
    history: list[dict[str, float]] = []
    metrics: list[float] = []


class ActiveTraining(Epochs):
    """The active party's side of a training, with `top` on the source layer."""

    def __init__(self, side: Side, label: LabelSide, top: Top) -> None:
        side = replace(side, config=precise(side.config))
        super().__init__(side)
        self._label, self._top = label, top
        rows = side.training
        self._weight = np.ones(len(rows)) if label.weight is None else label.weight
        columns = rows.features.shape[1]
        others, outputs = side.terms.columns - columns, top.columns
        self._batches = split_rows(len(rows), columns, others, side.config, outputs)
        self._encryptor = Encryptor(side.key, side.backend)
        self._decryptor = Decryptor(side.key, side.backend)
        largest = max(batch.size for batch in self._batches)
        self._widths = Widths(side.key.public, side.config, top.columns, largest, len(side.peers))
        self._sources = {peer.name: self._source(peer.name, peer.columns) for peer in side.peers}
        own = self._start_share("own", columns)
        #: Everything that one optimiser steps on, changed in place.
        self.weights: Arrays = {"own": np.array(decode(own), dtype=np.float64).reshape(own.shape)}
        self.weights |= {f"top {name}": array for name, array in top.weights.items()}
        if not self._widths.shared:
            self.weights |= {f"source {name}": source.opened for name, source in self._sources.items()}
        self._optimizer = Optimizer(side.config)
        self.history: list[dict[str, float]] = []
        self._metrics: list[float] = []
        self._seen = np.zeros((len(rows), top.objective.outputs))
        self._kept: Arrays = {}
        if side.resume is not None:
            self._load(*side.resume)

    def _source(self, name: str, columns: int) -> ActiveSource:
        start = self._start_share(name, columns)
        return ActiveSource(name, self._widths, self._encryptor, self._decryptor, start)

    def _start_share(self, name: str, columns: int) -> FixedPoint:
        draw = self._side.draws(f"start {name}") if self._top.random_start else None
        return start_share(columns, self._top.columns, self._config, draw)

    # --- the run ------------------------------------------------------------------------------------

    def run(self) -> Outcome:
        """Train, and deliver the passive parties' weights."""
        _tell_leak([peer.name for peer in self._side.peers], self._config)
        self._run_epochs()
        if self._kept:
            self._restore(self._kept)
        for channel, source in zip(self._side.channels, self._sources.values(), strict=True):
            channel.send(msg.share_message(delivered(source.share(), self._config)))
        loss = [next(iter(record.values())) for record in self.history]
        names = dict.fromkeys(name for record in self.history for name in record)
        by_name = {name: [record[name] for record in self.history if name in record] for name in names}
        return Outcome(self.weights["own"], loss, self._metrics, by_name)

    def _prepare(self) -> None:
        """Say how the layers start, and pass seeds on: each pair of passive parties has one."""
        start = SourceStart(random=self._top.random_start)
        for channel in self._side.channels:
            channel.send(start)
        order = self._side.terms.passive
        seeds: dict[tuple[str, str], bytes] = {}
        if len(order) == 1:
            return
        for place, channel in enumerate(self._side.channels):
            message = channel.receive(msg.Seeds)
            if message.parties != order[place + 1 :] or len(message.payload) != len(message.parties):
                raise ProtocolError(f"{channel.peer} sent seeds for {len(message.parties)} other parties")
            for other, sealed in zip(message.parties, message.payload, strict=True):
                seeds[channel.peer, other] = sealed
        for place, channel in enumerate(self._side.channels):
            payload = tuple(seeds[other, channel.peer] for other in order[:place])
            channel.send(msg.Seeds(parties=order[:place], payload=payload))

    def _step(self, epoch: int, number: int, rows: Places) -> None:
        """One batch: logits, loss, and a step of all weights."""
        meter, values = self._side.meter, self._side.training.features[rows]
        z = values @ self.weights["own"] + self._others_logits((FORWARD, epoch, number), rows.size)
        with meter.phase("loss"):
            targets, weight = self._label.targets[rows], self._weight[rows]
            logits, errors, by_top = self._top.backward(z, targets, weight, self.steps)
        self._seen[rows] = logits
        step = (BACKWARD, epoch, number)
        self._send_errors(step, errors)
        gradients = {f"top {name}": gradient / rows.size for name, gradient in by_top.items()}
        gradients["own"] = values.T @ errors / rows.size + self._penalty()
        for channel, (name, source) in self._pairs():
            payload = self._receive(channel, step)
            with meter.phase("decrypt"):
                if self._widths.shared:
                    source.descend(payload, rows.size, epoch)
                else:
                    mean = source.gradient(payload) / rows.size
                    gradients[f"source {name}"] = mean + self._config.alpha * source.opened
        self._optimizer.step(self.weights, gradients, self._config.rate(epoch))

    def _pairs(self) -> Iterator[tuple[Channel, tuple[str, ActiveSource]]]:
        return zip(self._side.channels, self._sources.items(), strict=True)

    def _penalty(self) -> Floats:
        penalty = self._config.alpha * self.weights["own"]
        penalty[-1] = 0.0  # the intercept
        return np.asarray(penalty)

    def _others_logits(self, step: Step, rows: int) -> Floats:
        """Σ_P X_P·W_P of some rows. The parts of several parties are masked; their sum is not."""
        for channel, (_, source) in self._pairs():
            with self._side.meter.phase("encrypt"):
                payload = source.encrypted()
            channel.send(msg.EncryptedShare.at(step, payload))
        shape, scale = (rows, self._widths.outputs), self._widths.scale_bits
        total = FixedPoint.zeros(shape, scale)
        for channel, (_, source) in self._pairs():
            payloads = self._receive(channel, step)
            with self._side.meter.phase("decrypt"):
                total = total + source.logits(payloads, rows)
        read = steps.check_below(total, self._widths.parties << (self._widths.forward_bits + 1))
        cut = read.floor_shift(self._widths.covered_bits)
        return np.asarray(decode(cut), dtype=np.float64).reshape(shape)

    def _send_errors(self, step: Step, errors: Floats) -> None:
        """The same ciphertexts to all: what they hide is the same, too."""
        if not np.isfinite(errors).all() or np.abs(errors).max() >= 2.0**ERROR_LIMIT_BITS:
            raise ProtocolError(f"dL/dZ has become {np.abs(errors).max():.3g}: lower learning_rate")
        with self._side.meter.phase("encrypt"):
            encoded = encode(errors, self._config.weight_bits)
            payload = steps.encrypt(self._encryptor, encoded, self._widths.backward)
        for channel in self._side.channels:
            channel.send(msg.EncryptedShare.at(step, payload))

    @staticmethod
    def _receive(channel: Channel, step: Step) -> tuple[bytes, ...]:
        message = channel.receive(msg.MaskedProduct)
        msg.expect_step(message, step)
        return message.payload

    # --- the end of an epoch ------------------------------------------------------------------------

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
            channel.send(msg.EpochEnd(epoch=epoch, loss=None, stop=self._stopped, best=best))

    def _evaluate(self, epoch: int, rows: Rows) -> Floats:
        """Logits of the evaluation rows, with the weights at the end of an epoch."""
        parts = []
        for number, places in enumerate(batch_places(len(rows), self._config.batch_size)):
            own = rows.features[places] @ self.weights["own"]
            parts.append(own + self._others_logits((EVALUATION, epoch, number), places.size))
        return self._top.outputs(np.concatenate(parts))

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
            config.tolerance > 0
            and len(recent) == config.patience
            and bool((recent < config.tolerance).all())
        )

    def _last_loss(self) -> float | None:
        return next(iter(self.history[-1].values())) if self.history else None

    # --- checkpoints --------------------------------------------------------------------------------

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
        standing = msgspec.json.decode(state, type=built(Standing))
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
    log.warning(
        'mode = "exact": this party sees the logits of every row of %s in each batch. After about as many'
        " epochs as they have columns, these tell the values of their rows%s.",
        " and ".join(names),
        "" if config.optimizer == "adam" else ", up to a rotation of the columns",
    )
