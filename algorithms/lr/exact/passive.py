"""A passive party's driver in mode `exact`: it answers, and learns nothing but when the training ends."""

from __future__ import annotations

import logging
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from hecore import CipherBatch, FixedPoint
from hecore.algorithms.errors import ProtocolError
from hecore.algorithms.lr import messages as common
from hecore.algorithms.lr.exact import messages as msg
from hecore.algorithms.lr.exact.active import EVALUATE, TRAIN
from hecore.algorithms.lr.exact.batches import batches_of
from hecore.algorithms.lr.exact.fields import Fields
from hecore.algorithms.lr.exact.masks import CancellingMasks
from hecore.algorithms.lr.exact.source import PassiveSource, Widths, start_share
from hecore.algorithms.lr.messages import Step
from hecore.algorithms.lr.side import Arrays, Outcome, Progress, Side, shuffled_epochs
from hecore.algorithms.lr.steps import BlockShare

log = logging.getLogger(__name__)


class Standing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How far a training has come, beside its arrays; `start` is the SourceStart, `keys` its payload."""

    outputs: int
    random: bool
    keys: list[bytes]
    epoch: int = 0
    batch: int = 0
    stopped: bool = False


class PassiveTraining:
    """A passive party's side of a training."""

    def __init__(self, side: Side) -> None:
        self._side, self._config = side, side.config
        (self._channel,), (self._peer,) = side.channels, side.peers
        self._batches = batches_of(side)
        self._masks = CancellingMasks(side.draws("mask key"))
        self._epoch = self._batch = 0
        self._stopped = False
        self._kept: FixedPoint | None = None
        if side.resume is None:
            self._start()
        else:
            self._load(*side.resume)

    def _start(self) -> None:
        self._channel.send(msg.MaskKey(payload=(self._masks.public,)))
        start = self._channel.receive(msg.SourceStart)
        self._begin(Standing(outputs=start.outputs, random=start.random, keys=list(start.payload)))

    def _begin(self, start: Standing) -> None:
        side, config = self._side, self._config
        if len(start.keys) + 1 != len(side.terms.passive):
            raise ProtocolError(
                f"{self._peer.name} passed on {len(start.keys)} mask keys of {len(side.terms.passive)} parties"
            )
        self._masks.meet(start.keys, side.terms.model)
        largest = max(batch.size for batch in self._batches)
        parties = len(side.terms.passive)
        self._widths = Widths(self._peer.public, config, start.outputs, largest, parties)
        values = side.training.features
        draw = side.draws("start") if start.random else None
        first = start_share(values.shape[1], start.outputs, config, draw)
        self.source = PassiveSource(self._widths, values, first, side.draws("columns"))
        self._begun = start

    def run(self) -> Outcome:
        """Answer until the active party ends the training; the weights of the own columns."""
        _tell_leak(self._peer.name, self._config.optimizer)
        if self._side.resume is None:
            self._keep()
        orders = shuffled_epochs(self._config.seed, len(self._side.training))
        for epoch, order in zip(range(self._config.epochs), orders, strict=False):
            if epoch < self._epoch:
                continue
            while self._epoch == epoch and not self._stopped:
                self._step(epoch, self._batch, order[self._batches[self._batch]])
                self._advance()
        if self._kept is not None:
            self.source.block = BlockShare(self._kept, self.source.block.velocity)
        shape = self.source.block.weights.shape
        final = common.read_share(self._channel.receive(common.FinalShare), shape, self._config.output_bits)
        return Outcome(self.source.final(final), [], [], self.steps)

    def _step(self, epoch: int, number: int, rows: NDArray[np.int64]) -> None:
        step = (TRAIN, epoch, number)
        self._answer(step, self._side.training.features[rows])
        errors = self._channel.receive(msg.SourceErrors)
        msg.expect_step(errors, step)
        encrypted = self._read(errors.payload, rows.size, self._widths.backward)
        with self._side.meter.phase("product"):
            draw = self._side.draws(f"gradient {epoch} {number}")
            payload = self.source.gradient(rows, encrypted, draw, epoch)
        self._channel.send(msg.SourceGradient(leg=TRAIN, epoch=epoch, batch=number, payload=payload))

    def _answer(self, step: Step, values: Any) -> None:
        """The logits of some rows, with the weights of the moment."""
        leg, epoch, batch = step
        message = self._channel.receive(msg.SourceWeights)
        msg.expect_step(message, step)
        encrypted = self._read(message.payload, self.source.block.weights.shape[0], self._widths.forward)
        widths, label = self._widths, f"{leg} {epoch} {batch}"
        bits = widths.forward_bits + self._config.mask_bits
        mask = self._masks.mask(label, values.shape[0], widths.outputs, bits, widths.scale_bits)
        with self._side.meter.phase("product"):
            draw = self._side.draws(f"cover {label}")
            payload = self.source.logits(values, encrypted, mask, draw)
        self._channel.send(msg.SourceLogits(leg=leg, epoch=epoch, batch=batch, payload=payload))

    def _read(self, payload: tuple[bytes, ...], rows: int, fields: Fields) -> CipherBatch:
        with self._side.meter.phase("validate"):
            batch = CipherBatch.from_bytes(payload[0], self._peer.public, self._side.backend)
        expected = (rows, len(fields.groups)), self._config.weight_bits, None
        if (batch.shape, batch.scale_bits, batch.layout) != expected or len(payload) != 1:
            raise ProtocolError(
                f"{self._peer.name} sent a batch of shape {batch.shape} at {batch.scale_bits} bits;"
                f" {expected[0]} at {expected[1]} was expected"
            )
        return batch

    def _advance(self) -> None:
        self._batch += 1
        on_progress = self._side.on_progress
        if on_progress:
            at = (self._epoch, self._config.epochs, self._batch, len(self._batches))
            on_progress(Progress(*at, None, 0.0))
        if self._batch == len(self._batches):
            self._end_epoch(self._epoch)
            self._epoch, self._batch = self._epoch + 1, 0
        self._keep()

    def _end_epoch(self, epoch: int) -> None:
        rows = self._side.evaluation
        if rows is not None and (epoch + 1) % self._config.evaluate_every == 0:
            self._answer((EVALUATE, epoch, 0), rows.features)
        end = self._channel.receive(msg.SourceEpoch)
        if end.epoch != epoch:
            raise ProtocolError(f"{self._peer.name} ended epoch {end.epoch} instead of {epoch}")
        if end.best:
            self._kept = self.source.block.weights
        self._stopped = end.stop

    # --- checkpoints --------------------------------------------------------------------------------

    @property
    def steps(self) -> int:
        """Batches that are done."""
        return self._epoch * len(self._batches) + self._batch

    def _keep(self) -> None:
        if self._side.save is None:
            return
        block = self.source.block
        arrays: Arrays = {"weights": block.weights.limbs, "velocity": block.velocity.limbs}
        if self._kept is not None:
            arrays["best"] = self._kept.limbs
        standing = msgspec.structs.replace(
            self._begun, epoch=self._epoch, batch=self._batch, stopped=self._stopped
        )
        self._side.save(self.steps, standing, arrays)

    def _load(self, state: bytes, arrays: Arrays) -> None:
        standing = msgspec.json.decode(state, type=Standing)
        self._begin(standing)
        shape, scale = self.source.block.weights.shape, self._config.weight_bits
        found = {name: FixedPoint(array, shape, scale) for name, array in arrays.items()}
        self.source.block = BlockShare(found["weights"], found["velocity"])
        self._kept = found.get("best")
        self._epoch, self._batch, self._stopped = standing.epoch, standing.batch, standing.stopped


def _tell_leak(active: str, optimizer: str) -> None:
    form = "up to their order and signs" if optimizer == "adam" else "up to a rotation"
    log.warning(
        'mode = "exact": %s sees the logits of every row of this party in each batch. Over about as many epochs as'
        ' there are columns, these tell it the values of the rows %s. mode = "shared" tells nothing per row.',
        active,
        form,
    )
