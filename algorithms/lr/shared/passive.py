"""A passive party's driver in mode `shared`."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np

from hecore import CipherBatch, FixedPoint
from hecore.algorithms.errors import ProtocolError
from hecore.algorithms.lr import messages as msg
from hecore.algorithms.lr import steps
from hecore.algorithms.lr.bounds import Packing
from hecore.algorithms.lr.epochs import Places
from hecore.algorithms.lr.meeting import other_keys
from hecore.algorithms.lr.scoring import SCORE_BITS
from hecore.algorithms.lr.shared import link, seeds
from hecore.algorithms.lr.shared.training import (
    BACKWARD,
    EVALUATION,
    FORWARD,
    LINK,
    LOSS,
    OWN,
    SharedTraining,
)
from hecore.algorithms.lr.side import Arrays, Side
from hecore.kernels import limbs as lb

log = logging.getLogger(__name__)

SEEDS = "seeds"


class PassiveTraining(SharedTraining):
    """P_k: it holds a share of its own block, and as P₁ one of the active party's."""

    def __init__(self, side: Side) -> None:
        self._active, self._channel = side.peers[0], side.channels[0]
        self._me = self._channel.me
        self._first = side.terms.passive[0]
        self._is_first = self._me == self._first
        # Asked for again after a restart, it is the same.
        self._seeds = {self._me: side.draws("seed of forward masks")(seeds.SEED_BYTES)}
        super().__init__(side)
        if side.resume is None and len(side.terms.passive) == 1:
            self._make_draws()

    def _block_columns(self) -> Mapping[str, int]:
        own = {OWN: self._features.shape[1]}
        return own | ({self._active.name: self._active.columns} if self._is_first else {})

    def _prepare(self) -> None:
        """Exchange seeds with the other passive parties, by way of the active one."""
        if len(self._terms.passive) == 1:
            return
        keys = other_keys(self._terms, self._me, self._active.name, self._side.key.public)
        for name, key in keys.items():
            told, fingerprint = self._active.name, key.fingerprint.hex()
            log.info("seeds are exchanged with %s, key %s by the word of %s", name, fingerprint, told)
        sealed = seeds.seal_seeds(self._seeds[self._me], keys, self._side.backend)
        self._channel.send(msg.Seeds(parties=tuple(keys), payload=sealed))
        message = self._channel.receive(msg.Seeds)
        if message.parties != tuple(keys) or len(message.payload) != len(keys):
            raise ProtocolError(f"{self._active.name} passed on seeds of {len(message.parties)} parties")
        for name, data in zip(keys, message.payload, strict=True):
            self._seeds[name] = seeds.open_seed(data, self._decryptor, self._side.backend, name)
        self._make_draws()

    def _make_draws(self) -> None:
        self._draws = {
            name: seeds.draws_of(self._seeds[name], self._terms.model, name) for name in self._terms.passive
        }

    def _own_part(self) -> Arrays:
        ordered = [np.frombuffer(self._seeds[name], np.uint8) for name in self._terms.passive]
        return {SEEDS: np.stack(ordered)}

    def _load_part(self, arrays: Arrays) -> None:
        pairs = zip(self._terms.passive, arrays[SEEDS], strict=True)
        self._seeds = {name: seed.tobytes() for name, seed in pairs}
        self._make_draws()

    # --- a batch ------------------------------------------------------------------------------------

    def _step(self, epoch: int, number: int, rows: Places) -> None:
        at = (epoch, number)
        meter = self._side.meter
        features = self._features[rows]
        logits = self._logits((FORWARD, *at), features)
        residual = self._residual((LINK, *at), logits)
        step = (BACKWARD, *at)
        mine = self._packing(self._side.key.public, self._backward)
        if self._is_first:
            self._channel.send(msg.EncryptedShare.at(step, self._encrypt(residual, mine)))
            forward = self._packing(self._side.key.public, self._forward)
            self._ahead.prepare(self._active.columns * forward.groups(residual.shape[1]))  # of weights
        theirs = self._take_share(step, residual.shape, residual.scale_bits, BACKWARD)
        mask = self._own_product(step, features.transpose(), residual, theirs, BACKWARD)
        gradients = {OWN: steps.cut_mask(mask, self._config.feature_bits)}
        if self._is_first:
            shape = (self._active.columns, self._terms.outputs)
            product = self._take_product(self._channel, step, shape, self._product_scales[1], mine)
            gradients[self._active.name] = product.floor_shift(self._config.feature_bits)
        if self._config.loss and self._is_first:
            self._add_loss(at, residual)
        with meter.phase("update"):
            for name, part in gradients.items():
                self._descend(name, part, rows.size, intercept=name == self._active.name)

    def _logits(self, step: msg.Step, features: steps.Matrix) -> FixedPoint:
        """The passive parties' common share of the logits of these rows, (rows, outputs) at weight_bits."""
        meter, config = self._side.meter, self._config
        shape = (features.shape[0], self._terms.outputs)
        mine = self._packing(self._side.key.public, self._forward)
        if self._is_first:
            weights = self._blocks[self._active.name].weights
            self._channel.send(msg.EncryptedShare.at(step, self._encrypt(weights, mine)))
            self._ahead.prepare(features.shape[0] * mine.groups(shape[1]))  # of residuals
        weights = self._blocks[OWN].weights
        theirs = self._take_share(step, weights.shape, weights.scale_bits, FORWARD)
        packing = self._packing(self._active.public, self._forward)
        label = f"{step[0]} {step[1]} {step[2]}"
        with meter.phase("product"):
            reply, mask = steps.masked_product(
                features, weights, theirs, packing, config, self._draws[self._me](label)
            )
        self._channel.send(msg.MaskedProduct.at(step, *reply))
        total = steps.cut_mask(mask, config.feature_bits)
        for name in self._terms.passive:
            if name != self._me:
                other = steps.random_mask(shape, packing.mask_bits, mask.scale_bits, self._draws[name](label))
                total = total + steps.cut_mask(other, config.feature_bits)
        return total + self._of_active(step, shape, mine).floor_shift(config.feature_bits)

    def _of_active(self, step: msg.Step, shape: tuple[int, int], mine: Packing) -> FixedPoint:
        """The passive share of X_A·w_A, uncut: with several passive parties, a number s of a seed."""
        scale = self._product_scales[0]
        product = None
        if self._is_first:
            product = self._take_product(self._channel, step, shape, scale, mine)
            if len(self._terms.passive) == 1:
                return product
        leg, epoch, batch = step
        draw = self._draws[self._first](f"reshared {leg} {epoch} {batch}")
        share = steps.random_mask(shape, mine.mask_bits, scale, draw)
        if product is not None:
            self._channel.send(msg.Reshared.at(step, lb.to_bytes((product - share).limbs)))
        return share

    def _residual(self, step: msg.Step, logits: FixedPoint) -> FixedPoint:
        """The passive share of ω·(P(z) − target)."""
        if not self._bounds.by_link:
            return steps.affine(logits, self._bounds.polynomial, constant=False)
        leg, epoch, batch = step
        packing = Packing.of(self._active.public, self._bounds.link_leg(), self._config, 1)
        draw = self._draws[self._first](f"{leg} {epoch} {batch}")
        mask = steps.random_mask((len(logits.limbs), 1), packing.mask_bits, 0, draw)
        if self._is_first:
            message = self._channel.receive(msg.LinkShare)
            msg.expect_step(message, step)
            with self._side.meter.phase("link"):
                reply = link.masked_link(
                    message.payload,
                    self._active.public,
                    self._side.backend,
                    logits,
                    mask,
                    packing,
                    self._bounds,
                    self._config,
                )
            self._channel.send(msg.MaskedProduct.at(step, reply))
        return -link.at_residual_scale(mask, logits.shape, self._bounds)

    # --- the end of an epoch ------------------------------------------------------------------------

    def _add_loss(self, at: tuple[int, int], residual: FixedPoint) -> None:
        if self._terms.outputs > 1:
            with self._side.meter.phase("loss"):
                alone = Packing.of(self._side.key.public, self._backward, self._config, 1)
                data = self._ahead.encrypt(residual.reshape(-1, 1), alone)
            self._channel.send(msg.EncryptedShare.at((LOSS, *at), data))
        self._sum.add(residual, None)

    def _close_epoch(self, epoch: int) -> msg.EpochEnd:
        if self._config.loss and self._is_first:
            self._answer_loss(epoch)
        if self._evaluation is not None and (epoch + 1) % self._config.evaluate_every == 0:
            self._evaluate(epoch)
        end = self._channel.receive(msg.EpochEnd)
        if end.epoch != epoch or (end.loss is None) == self._config.loss:
            raise ProtocolError(f"{self._active.name} ended epoch {end.epoch} instead of {epoch}")
        return end

    def _answer_loss(self, epoch: int) -> None:
        query = self._channel.receive(msg.LossQuery)
        if query.epoch != epoch or len(query.payload) != 1:
            raise ProtocolError(f"{self._active.name} asked for the loss of epoch {query.epoch}")
        cross = CipherBatch.from_bytes(query.payload[0], self._decryptor.public, self._side.backend)
        draw = self._side.draws(f"blur {epoch} for {self._active.name}")
        rest = self._sum.answer(cross, self._decryptor, self._bounds, draw)
        data = rest.to_bytes(rest.bit_length() // 8 + 1, "little", signed=True)
        self._channel.send(msg.LossShare(epoch=epoch, payload=(data,)))

    def _evaluate(self, epoch: int) -> None:
        """Let the active party read the logits of the evaluation rows, to SCORE_BITS."""
        features = self._evaluation
        if features is None:
            raise ProtocolError("there are no evaluation rows")
        for number, places in enumerate(steps.batch_places(features.shape[0], self._config.batch_size)):
            share = self._logits((EVALUATION, epoch, number), features[places])
            if self._is_first:
                cut = share.floor_shift(share.scale_bits - SCORE_BITS)
                payload = (lb.to_bytes(cut.limbs),)
                self._channel.send(msg.OpenedShare(epoch=epoch, batch=number, payload=payload))

    def _finish(self, weights: Mapping[str, FixedPoint]) -> FixedPoint:
        if self._is_first:
            delivered = steps.delivered(weights[self._active.name], self._config)
            self._channel.send(msg.share_message(delivered))
        final = self._channel.receive(msg.FinalShare)
        own = weights[OWN]
        theirs = msg.read_share(final, own.shape, self._config.output_bits)
        return own + theirs.rescale(self._config.weight_bits)
