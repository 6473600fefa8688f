"""The active party's driver in mode `exact`: sends and receives, and leaves the mathematics to `source` and `top`.

On every batch, with all passive parties P at once:

    SourceWeights → P    SourceLogits ← P     Z = X_A·W_A + Σ_P X_P·W_P
    SourceErrors → P     SourceGradient ← P   while P computes, A steps on its own weights and those of the top
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from hecore import Decryptor, Encryptor, FixedPoint, Meter, decode, encode
from hecore.algorithms.channel import Channel
from hecore.algorithms.draws import Draws, fresh
from hecore.algorithms.errors import ProtocolError
from hecore.algorithms.lr import messages as shared
from hecore.algorithms.lr.config import LinearConfig
from hecore.algorithms.lr.exact import messages as msg
from hecore.algorithms.lr.exact import steps
from hecore.algorithms.lr.exact.fields import ERROR_LIMIT_BITS
from hecore.algorithms.lr.exact.optimizers import Optimizer
from hecore.algorithms.lr.exact.source import ActiveSource, Widths, start_share
from hecore.algorithms.lr.exact.top import Top
from hecore.algorithms.lr.progress import Progress
from hecore.algorithms.lr.steps import BlockShare, delivered
from hecore.algorithms.party import Peer
from hecore.kernels import Backend
from hecore.keys import PrivateKey

log = logging.getLogger(__name__)

Floats = NDArray[np.float64]
Arrays = dict[str, NDArray[Any]]
TRAIN, EVALUATE = "train", "evaluate"


class Standing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How far a training has come, beside its arrays."""

    epoch: int = 0
    batch: int = 0
    stopped: bool = False
    steps: int = 0
    history: list[dict[str, float]] = []
    best: int = -1
    scales: dict[str, int] = {}


@dataclass(frozen=True)
class Rows:
    """Rows of the active party: its standardised columns with a last column 1, label, weights of rows."""

    values: Any
    label: Floats
    weight: Floats

    def __len__(self) -> int:
        return len(self.label)


class ActiveTraining:
    """The active party's side of a training.

    rows, evaluated  training rows, and rows that are scored after an epoch; None for none
    batches          places of each batch in an epoch's order, as all parties cut them
    peers            the passive parties, one for each channel
    top              what stands on the source layer
    draws, save, resume   as in `lr.training`
    """

    def __init__(
        self,
        channels: Sequence[Channel],
        config: LinearConfig,
        rows: Rows,
        batches: Sequence[NDArray[np.int64]],
        key: PrivateKey,
        peers: Sequence[Peer],
        top: Top,
        *,
        backend: Backend,
        meter: Meter,
        evaluated: Rows | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        draws: Draws = fresh,
        save: Callable[[int, Standing, Arrays], None] | None = None,
        resume: tuple[Standing, Arrays] | None = None,
    ) -> None:
        self._channels, self._config, self._top = list(channels), config, top
        self._rows, self._evaluated, self._batches = rows, evaluated, batches
        self._encryptor, self._decryptor = Encryptor(key, backend), Decryptor(key, backend)
        self._meter, self._on_progress, self._save = meter, on_progress, save
        largest = max(batch.size for batch in batches)
        self._widths = Widths(key.public, config, top.columns, largest, len(peers))
        self._sources: dict[str, ActiveSource] = {}
        for peer in peers:
            draw = draws(f"start {peer.name}") if top.random_start else None
            start = start_share(peer.columns, top.columns, config, draw)
            self._sources[peer.name] = ActiveSource(
                self._widths, peer.columns, self._encryptor, self._decryptor, start
            )
        columns = rows.values.shape[1]
        own = start_share(columns, top.columns, config, draws("start") if top.random_start else None)
        #: Everything that one optimiser steps on, changed in place.
        self.weights: dict[str, NDArray[Any]] = {
            "own": np.array(decode(own), dtype=np.float64).reshape(own.shape)
        }
        self.weights |= {f"top {name}": array for name, array in top.weights.items()}
        if not self._widths.shared:
            self.weights |= {f"source {name}": source.opened for name, source in self._sources.items()}
        self._optimizer = Optimizer(config)
        self.history: list[dict[str, float]] = []
        self._seen = np.zeros((len(rows), top.objective.outputs))
        self._epoch = self._batch = 0
        self._stopped = False
        self._best, self._kept = -1, Arrays()
        if resume is not None:
            self._load(*resume)

    # --- the run ------------------------------------------------------------------------------------

    def run(self) -> Floats:
        """Train, deliver the passive parties' weights, and return the own ones, (columns, K)."""
        _tell_leak([channel.peer for channel in self._channels], self._config)
        if self.steps == 0:
            self._start()
            self._keep()
        started = time.perf_counter()
        order_of_rows = np.random.default_rng(self._config.seed)  # public: all parties draw the same
        for epoch in range(self._config.epochs):
            order = order_of_rows.permutation(len(self._rows))
            if epoch < self._epoch:
                continue
            while self._epoch == epoch and not self._stopped:
                self._step(epoch, self._batch, order[self._batches[self._batch]])
                self._tell(time.perf_counter() - started)
                self._advance()
        if self._kept:
            self._restore(self._kept)
        for channel, source in zip(self._channels, self._sources.values(), strict=True):
            final = delivered(source.share(), self._config).reshape(-1)
            channel.send(shared.share_message(final))
        return self.weights["own"]

    def _start(self) -> None:
        """Pass the mask keys of passive parties on to one another, and say how the layers start."""
        keys = [channel.receive(msg.MaskKey).payload[0] for channel in self._channels]
        for place, channel in enumerate(self._channels):
            others = tuple(key for number, key in enumerate(keys) if number != place)
            evaluated = 0 if self._evaluated is None else len(self._evaluated)
            channel.send(
                msg.SourceStart(
                    outputs=self._top.columns,
                    random=self._top.random_start,
                    evaluated=evaluated,
                    payload=others,
                )
            )

    def _step(self, epoch: int, number: int, rows: NDArray[np.int64]) -> None:
        """One batch: logits, loss, and a step of all weights."""
        step = (TRAIN, epoch, number)
        values, label, weight = self._rows.values[rows], self._rows.label[rows], self._rows.weight[rows]
        self._send_weights(step)
        z = values @ self.weights["own"] + self._logits(step, rows.size)
        with self._meter.phase("loss"):
            logits, errors, gradients = self._top.backward(z, label, weight, self.steps)
        self._seen[rows] = logits
        self._send_errors(step, errors)
        gradients = {f"top {name}": gradient / rows.size for name, gradient in gradients.items()}
        gradients["own"] = values.T @ errors / rows.size + self._penalty()
        for channel, (name, source) in zip(self._channels, self._sources.items(), strict=True):
            message = channel.receive(msg.SourceGradient)
            msg.expect_step(message, *step)
            with self._meter.phase("decrypt"):
                gradient = source.gradient(message.payload)
            with self._meter.phase("update"):
                if self._widths.shared:
                    source.descend(gradient, rows.size, epoch)
                else:
                    mean = np.asarray(decode(gradient)).reshape(gradient.shape) / rows.size
                    gradients[f"source {name}"] = mean + self._config.alpha * source.opened
        self._optimizer.step(self.weights, gradients, self._config.rate(epoch))

    def _penalty(self) -> Floats:
        penalty = self._config.alpha * self.weights["own"]
        penalty[-1] = 0.0  # the intercept
        return np.asarray(penalty)

    def _send_weights(self, step: tuple[str, int, int]) -> None:
        leg, epoch, batch = step
        for channel, source in zip(self._channels, self._sources.values(), strict=True):
            with self._meter.phase("encrypt"):
                payload = (source.weights(),)
            channel.send(msg.SourceWeights(leg=leg, epoch=epoch, batch=batch, payload=payload))

    def _logits(self, step: tuple[str, int, int], rows: int) -> Floats:
        """Σ_P X_P·W_P of some rows. The parts of several parties are masked; their sum is not."""
        total: FixedPoint | None = None
        for channel, source in zip(self._channels, self._sources.values(), strict=True):
            message = channel.receive(msg.SourceLogits)
            msg.expect_step(message, *step)
            with self._meter.phase("decrypt"):
                part = source.logits(message.payload, rows)
            total = part if total is None else total + part
        if total is None:
            raise ProtocolError("a source layer needs a passive party")
        bound = self._widths.parties << self._widths.forward_bits
        return np.asarray(decode(steps.check_between(total, -bound, bound))).reshape(total.shape)

    def _send_errors(self, step: tuple[str, int, int], errors: Floats) -> None:
        """The same ciphertexts to all: what they hide is the same, too."""
        leg, epoch, batch = step
        if not np.isfinite(errors).all() or np.abs(errors).max() >= 2.0**ERROR_LIMIT_BITS:
            raise ProtocolError(
                f"dL/dZ has become {np.abs(errors).max():.3g}: lower learning_rate, or scale the label"
            )
        with self._meter.phase("encrypt"):
            encoded = encode(errors, self._config.weight_bits)
            payload = (steps.encrypt(self._encryptor, encoded, self._widths.backward).to_bytes(),)
        for channel in self._channels:
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
        objective, rows = self._top.objective, self._rows
        with self._meter.phase("loss"):
            seen = objective.metrics(self._seen, rows.label, rows.weight)
        record = {f"train {name}": value for name, value in seen.items()}
        if self._evaluated is not None and (epoch + 1) % self._config.evaluate_every == 0:
            logits = self._evaluate(epoch, self._evaluated)
            found = objective.metrics(logits, self._evaluated.label, self._evaluated.weight)
            record |= {f"evaluated {name}": value for name, value in found.items()}
        self.history.append(record)
        log.info("epoch %d: %s", epoch + 1, ", ".join(f"{k} {v:.6g}" for k, v in record.items()))
        best = self._is_best()
        if best:
            self._best, self._kept = epoch, self._weights()
        self._stopped = self._is_over()
        for channel in self._channels:
            channel.send(msg.EpochEnd(epoch=epoch, best=best, stop=self._stopped))

    def _evaluate(self, epoch: int, rows: Rows) -> Floats:
        """Logits of the evaluation rows, with the weights at the end of an epoch."""
        step = (EVALUATE, epoch, 0)
        self._send_weights(step)
        z = rows.values @ self.weights["own"] + self._logits(step, len(rows))
        return self._top.outputs(z)

    def _evaluations(self) -> list[float]:
        """The evaluation rows' loss of each scoring."""
        loss = next((name for name in self.history[-1] if name.startswith("evaluated ")), None)
        return [] if loss is None else [record[loss] for record in self.history if loss in record]

    def _is_best(self) -> bool:
        """Whether this epoch's weights are to be kept: only where the evaluation may stop the training."""
        losses = self._evaluations()
        return self._config.early_stopping_rounds > 0 and bool(losses) and losses[-1] <= min(losses)

    def _is_over(self) -> bool:
        losses, config = self._evaluations(), self._config
        patience = config.early_stopping_rounds
        if patience and losses and len(losses) - 1 - int(np.argmin(losses)) >= patience:
            return True
        name = next(iter(self.history[-1]))
        falls = -np.diff([record[name] for record in self.history])
        return (
            config.tolerance > 0
            and len(falls) >= config.patience
            and bool((falls[-config.patience :] < config.tolerance).all())
        )

    def _tell(self, seconds: float) -> None:
        if self._on_progress:
            last = next(iter(self.history[-1].values())) if self.history else None
            at = (self._epoch, self._config.epochs, self._batch + 1, len(self._batches))
            self._on_progress(Progress(*at, last, seconds))

    # --- checkpoints --------------------------------------------------------------------------------

    @property
    def steps(self) -> int:
        """Batches that are done."""
        return self._epoch * len(self._batches) + self._batch

    def _keep(self) -> None:
        if self._save:
            self._save(self.steps, *self._dump())

    def _weights(self) -> Arrays:
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
        arrays = self._weights() | self._optimizer.dump() | {"seen": self._seen}
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
            best=self._best,
        )
        return standing, arrays

    def _load(self, standing: Standing, arrays: Arrays) -> None:
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
        self.history, self._best = list(standing.history), standing.best


def _tell_leak(names: Sequence[str], config: LinearConfig) -> None:
    form = "up to their order and signs" if config.optimizer == "adam" else "up to a rotation"
    log.warning(
        'mode = "exact": this party sees the logits of every row of %s in each batch. Over about as many epochs'
        " as they have columns, these tell the values of their rows %s.",
        " and ".join(names),
        form,
    )
