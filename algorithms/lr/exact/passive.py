"""A passive party's driver in mode `exact`: it answers, and learns nothing but when the training ends."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import msgspec

from hecore import CipherBatch, Decryptor, FixedPoint
from hecore.algorithms.built import built
from hecore.algorithms.errors import ProtocolError
from hecore.algorithms.lr import messages as msg
from hecore.algorithms.lr.bounds import Packing
from hecore.algorithms.lr.epochs import Epochs, Places
from hecore.algorithms.lr.exact import steps
from hecore.algorithms.lr.exact.active import BACKWARD, EVALUATION, FORWARD
from hecore.algorithms.lr.exact.masks import CancellingMasks
from hecore.algorithms.lr.exact.messages import SourceStart
from hecore.algorithms.lr.exact.source import PassiveSource, start_share
from hecore.algorithms.lr.exact.widths import Widths, precise
from hecore.algorithms.lr.meeting import other_keys
from hecore.algorithms.lr.messages import Step
from hecore.algorithms.lr.shared import seeds
from hecore.algorithms.lr.side import Arrays, Outcome, Side
from hecore.algorithms.lr.steps import BlockShare, batch_places, split_rows

log = logging.getLogger(__name__)


class Standing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How far a training has come, beside its arrays; `seeds` of masks by the other passive party."""

    random: bool
    seeds: dict[str, bytes]
    epoch: int = 0
    batch: int = 0
    stopped: bool = False


class PassiveTraining(Epochs):
    """A passive party's side of a training."""

    def __init__(self, side: Side) -> None:
        side = replace(side, config=precise(side.config))
        super().__init__(side)
        (self._channel,), (self._peer,) = side.channels, side.peers
        self._kept: FixedPoint | None = None
        if side.resume is None:
            start = self._channel.receive(SourceStart)
            self._begin(Standing(random=start.random, seeds=self._exchange_seeds()))
        else:
            self._load(*side.resume)

    def _exchange_seeds(self) -> dict[str, bytes]:
        """Seeds with the other passive parties by name: drawn for the later ones, received of the earlier."""
        order, me, side = self._side.terms.passive, self._channel.me, self._side
        if len(order) == 1:
            return {}
        place = order.index(me)
        keys = other_keys(side.terms, me, self._peer.name, side.key.public)
        found = {name: side.draws(f"seed for {name}")(seeds.SEED_BYTES) for name in order[place + 1 :]}
        sealed = tuple(
            seeds.seal_seeds(seed, {name: keys[name]}, side.backend)[0] for name, seed in found.items()
        )
        self._channel.send(msg.Seeds(parties=tuple(found), payload=sealed))
        message = self._channel.receive(msg.Seeds)
        if message.parties != order[:place] or len(message.payload) != place:
            raise ProtocolError(f"{self._peer.name} passed on seeds of {len(message.parties)} parties")
        decryptor = Decryptor(side.key, side.backend)
        for name, data in zip(message.parties, message.payload, strict=True):
            found[name] = seeds.open_seed(data, decryptor, side.backend, name)
        return found

    def _begin(self, start: Standing) -> None:
        side, config, terms = self._side, self._config, self._side.terms
        values = side.training.features
        rows, columns = values.shape
        self._batches = split_rows(rows, columns, terms.columns - columns, config, terms.outputs)
        self._masks = CancellingMasks(start.seeds, terms.passive, self._channel.me, terms.model)
        largest = max(batch.size for batch in self._batches)
        parties = len(terms.passive)
        self._widths = Widths(self._peer.public, config, terms.outputs, largest, parties)
        draw = side.draws("start") if start.random else None
        first = start_share(columns, terms.outputs, config, draw)
        self.source = PassiveSource(self._widths, values, first, side.draws("columns"))
        if side.evaluation is not None:
            self.source.check(side.evaluation.features)
        self._begun = start

    def run(self) -> Outcome:
        """Answer until the active party ends the training; the weights of the own columns."""
        _tell_leak(self._peer.name, self._config.optimizer)
        self._run_epochs()
        if self._kept is not None:
            self.source.block = BlockShare(self._kept, self.source.block.velocity)
        shape = self.source.block.weights.shape
        final = msg.read_share(self._channel.receive(msg.FinalShare), shape, self._config.output_bits)
        return Outcome(self.source.final(final), [], [])

    def _step(self, epoch: int, number: int, rows: Places) -> None:
        self._answer((FORWARD, epoch, number), self._side.training.features[rows])
        step = (BACKWARD, epoch, number)
        encrypted = self._receive(step, rows.size, self._widths.backward)
        with self._side.meter.phase("product"):
            draw = self._side.draws(f"gradient {epoch} {number}")
            payload = self.source.gradient(rows, encrypted, draw, epoch)
        self._channel.send(msg.MaskedProduct.at(step, *payload))

    def _answer(self, step: Step, values: Any) -> None:
        """The logits of some rows, with the weights of the moment."""
        columns, widths = self.source.block.weights.shape[0], self._widths
        encrypted = self._receive(step, columns, widths.forward)
        label = " ".join(map(str, step))
        with self._side.meter.phase("product"):
            shape = (values.shape[0], widths.outputs)
            mask = self._masks.mask(label, *shape, widths.cancelling_bits, widths.scale_bits)
            payload = self.source.logits(values, encrypted, mask, self._side.draws(f"cover {label}"))
        self._channel.send(msg.MaskedProduct.at(step, *payload))

    def _receive(self, step: Step, rows: int, packing: Packing) -> CipherBatch:
        message = self._channel.receive(msg.EncryptedShare)
        msg.expect_step(message, step)
        if len(message.payload) != 1:
            raise ProtocolError(f"{self._peer.name} sent {len(message.payload)} batches instead of one")
        shape, scale = (rows, self._widths.outputs), self._config.weight_bits
        public, name = self._peer.public, self._peer.name
        with self._side.meter.phase("validate"):
            return steps.read_encrypted(
                message.payload[0], public, self._side.backend, shape, scale, packing, name
            )

    def _end_epoch(self, epoch: int) -> None:
        rows = self._side.evaluation
        if rows is not None and (epoch + 1) % self._config.evaluate_every == 0:
            for number, places in enumerate(batch_places(len(rows), self._config.batch_size)):
                self._answer((EVALUATION, epoch, number), rows.features[places])
        end = self._channel.receive(msg.EpochEnd)
        if end.epoch != epoch:
            raise ProtocolError(f"{self._peer.name} ended epoch {end.epoch} instead of {epoch}")
        if end.best:
            self._kept = self.source.block.weights
        self._stopped = end.stop

    # --- checkpoints --------------------------------------------------------------------------------

    def _dump(self) -> tuple[Standing, Arrays]:
        block = self.source.block
        arrays: Arrays = {"weights": block.weights.limbs, "velocity": block.velocity.limbs}
        if self._kept is not None:
            arrays["best"] = self._kept.limbs
        standing = msgspec.structs.replace(
            self._begun, epoch=self._epoch, batch=self._batch, stopped=self._stopped
        )
        return standing, arrays

    def _load(self, state: bytes, arrays: Arrays) -> None:
        standing = msgspec.json.decode(state, type=built(Standing))
        self._begin(standing)
        shape, scale = self.source.block.weights.shape, self._config.weight_bits
        found = {name: FixedPoint(array, shape, scale) for name, array in arrays.items()}
        self.source.block = BlockShare(found["weights"], found["velocity"])
        self._kept = found.get("best")
        self._epoch, self._batch, self._stopped = standing.epoch, standing.batch, standing.stopped


def _tell_leak(active: str, optimizer: str) -> None:
    log.warning(
        'mode = "exact": %s sees the logits of every row of this party in each batch. After about as many'
        " epochs as there are columns, these tell it the values of the rows%s."
        ' mode = "shared" tells nothing per row.',
        active,
        "" if optimizer == "adam" else ", up to a rotation of the columns",
    )
