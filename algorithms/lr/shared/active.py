"""The active party's driver in mode `shared`."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from hecore import CipherBatch, FixedPoint, decode, encode
from hecore.algorithms.errors import ProtocolError, TableError
from hecore.algorithms.lr import messages as msg
from hecore.algorithms.lr import steps
from hecore.algorithms.lr.bounds import ROW_WEIGHT_BITS, ROW_WEIGHT_LIMIT_BITS, Packing
from hecore.algorithms.lr.epochs import Places
from hecore.algorithms.lr.scoring import SCORE_BITS
from hecore.algorithms.lr.shared import link
from hecore.algorithms.lr.shared.training import (
    BACKWARD,
    EVALUATION,
    FORWARD,
    LINK,
    LOSS,
    OWN,
    SharedTraining,
)
from hecore.algorithms.lr.side import LabelSide, Side
from hecore.algorithms.objectives import Floats

#: A loss share is a number of some 100 bytes.
MAX_LOSS_BYTES = 512


class ActiveTraining(SharedTraining):
    """A: it holds the labels, and a share of every block."""

    def __init__(self, side: Side) -> None:
        super().__init__(side)
        if side.label is None:
            raise TableError("the active party needs labels")
        self._label: LabelSide = side.label
        self._partner = side.peers[0]
        outputs = side.terms.outputs
        self._weights = None
        targets = self._label.targets
        if self._label.weight is not None:
            self._check_weights(self._label.weight)
            self._weights = link.integer_weights(self._label.weight, outputs).reshape(-1, outputs)
            # The same rounded weights for both terms of ω·P(z) − ω·target.
            targets = targets * self._weights.astype(np.float64) * 2.0**-ROW_WEIGHT_BITS
        limit = float(1 << side.config.logit_limit_bits)
        if (np.abs(self._label.targets) >= limit).any():
            row = int(np.argmax(np.abs(self._label.targets).max(axis=1)))
            raise TableError(
                f"the label at row {row} is beyond ±{limit:g} of its unit (see `objectives`): clip outliers,"
                " or agree on a larger logit_limit_bits"
            )
        self._targets = encode(targets, self._bounds.residual_scale)

    def _block_columns(self) -> Mapping[str, int]:
        return {OWN: self._features.shape[1]} | {peer.name: peer.columns for peer in self._side.peers}

    def _check_weights(self, weight: Floats) -> None:
        """Weights that rest on a few rows tell of them, as a small table does."""
        if weight.max() >= 1 << ROW_WEIGHT_LIMIT_BITS:
            raise TableError(
                f"the largest row weight is {weight.max():.6g} times the mean; less than"
                f" {1 << ROW_WEIGHT_LIMIT_BITS} is allowed"
            )
        effective = float(weight.sum() ** 2 / (weight**2).sum())
        columns = self._features.shape[1]
        largest = max(columns, self._terms.columns - columns)
        needed = self._config.least_rows(largest, self._terms.outputs)
        if effective < needed and not self._config.allow_small_data:
            raise TableError(  # its text stays here: it is about the labels, with balanced classes
                f"the row weights rest on {effective:.1f} rows, (Σω)²/Σω²; {needed} are needed for a block"
                f" of {largest} columns: even them out, or set allow_small_data = true"
            )

    def _prepare(self) -> None:
        """Pass the passive parties' seeds on."""
        if len(self._side.channels) == 1:
            return
        sealed: dict[str, dict[str, bytes]] = {name: {} for name in self._terms.passive}
        for channel in self._side.channels:
            message = channel.receive(msg.Seeds)
            others = tuple(name for name in self._terms.passive if name != channel.peer)
            if message.parties != others or len(message.payload) != len(others):
                raise ProtocolError(f"{channel.peer} sent seeds for {len(message.parties)} other parties")
            for name, data in zip(others, message.payload, strict=True):
                sealed[name][channel.peer] = data
        for channel in self._side.channels:
            mine = sealed[channel.peer]
            channel.send(msg.Seeds(parties=tuple(mine), payload=tuple(mine.values())))

    # --- a batch ------------------------------------------------------------------------------------

    def _step(self, epoch: int, number: int, rows: Places) -> None:
        at = (epoch, number)
        meter = self._side.meter
        features = self._features[rows]
        logits = self._logits((FORWARD, *at), features)
        residual = self._residual((LINK, *at), logits, rows)
        step = (BACKWARD, *at)
        own = self._packing(self._side.key.public, self._backward)
        share = self._encrypt(residual, own)
        for channel in self._side.channels:
            channel.send(msg.EncryptedShare.at(step, share))
        first = self._side.peers[0].columns  # whose weights come first in the next batch
        self._ahead.prepare(
            first * self._packing(self._side.key.public, self._forward).groups(residual.shape[1])
        )
        theirs = self._take_share(step, residual.shape, residual.scale_bits, BACKWARD)
        gradient = self._own_product(step, features.transpose(), residual, theirs, BACKWARD)
        gradients = {OWN: steps.cut_mask(gradient, self._config.feature_bits)}
        scale = self._product_scales[1]
        for channel, peer in zip(self._side.channels, self._side.peers, strict=True):
            shape = (peer.columns, self._terms.outputs)
            product = self._take_product(channel, step, shape, scale, own)
            gradients[peer.name] = product.floor_shift(self._config.feature_bits)
        if self._config.loss:
            self._add_loss(at, residual, theirs)
        with meter.phase("update"):
            for name, part in gradients.items():
                self._descend(name, part, rows.size, intercept=name == OWN)

    def _logits(self, step: msg.Step, features: steps.Matrix) -> FixedPoint:
        """A's share of the logits of these rows, (rows, outputs) at weight_bits."""
        config = self._config
        own = self._packing(self._side.key.public, self._forward)
        for channel in self._side.channels:
            share = self._encrypt(self._blocks[channel.peer].weights, own)
            channel.send(msg.EncryptedShare.at(step, share))
        self._ahead.prepare(features.shape[0] * own.groups(self._terms.outputs))  # of residuals
        weights = self._blocks[OWN].weights
        theirs = self._take_share(step, weights.shape, weights.scale_bits, FORWARD)
        mask = self._own_product(step, features, weights, theirs, FORWARD)
        shape = (features.shape[0], self._terms.outputs)
        scale = self._product_scales[0]
        total: FixedPoint | None = None
        for channel in self._side.channels:
            product = self._take_product(channel, step, shape, scale, own).floor_shift(config.feature_bits)
            total = product if total is None else total + product
        if len(self._side.channels) == 1:
            mine = steps.cut_mask(mask, config.feature_bits)
        else:
            mine = (self._take_reshared(step, shape, scale) - mask).floor_shift(config.feature_bits)
        return mine if total is None else mine + total

    def _residual(self, step: msg.Step, logits: FixedPoint, rows: Places) -> FixedPoint:
        """A's share of ω·(P(z) − target)."""
        targets = self._targets[rows]
        if not self._bounds.by_link:
            return steps.affine(logits, self._bounds.polynomial) - targets
        weights = None if self._weights is None else self._weights[rows].ravel()
        with self._side.meter.phase("link"):
            powers = link.encrypt_powers(self._encryptor, logits, weights, self._bounds)
        channel = self._side.channels[0]
        channel.send(msg.LinkShare.at(step, *powers))
        packing = Packing.of(self._side.key.public, self._bounds.link_leg(), self._config, 1)
        product = self._take_product(channel, step, (len(logits.limbs), 1), 0, packing)
        return link.at_residual_scale(product, logits.shape, self._bounds) - targets

    def _take_reshared(self, step: msg.Step, shape: tuple[int, int], scale_bits: int) -> FixedPoint:
        message = self._side.channels[0].receive(msg.Reshared)
        msg.expect_step(message, step)
        return msg.read_numbers(message.payload, shape, scale_bits)

    # --- the end of an epoch ------------------------------------------------------------------------

    def _add_loss(self, at: tuple[int, int], residual: FixedPoint, theirs: CipherBatch) -> None:
        """Several outputs come packed, and once more one by one: Σ e_A·e_P needs them apart."""
        if self._terms.outputs > 1:
            message = self._side.channels[0].receive(msg.EncryptedShare)
            data = msg.expect_one(message, (LOSS, *at))
            shape = (len(residual.limbs), 1)
            alone = Packing.of(self._partner.public, self._backward, self._config, 1)
            theirs = steps.read_share(
                data,
                self._partner.public,
                self._side.backend,
                shape,
                residual.scale_bits,
                alone,
                self._partner.name,
            )
        with self._side.meter.phase("loss"):
            self._sum.add(residual, theirs)

    def _close_epoch(self, epoch: int) -> msg.EpochEnd:
        config = self._config
        loss = self._open_loss(epoch) if config.loss else None
        stop = self._loss_stalls(loss)
        best = False
        if self._evaluation is not None and (epoch + 1) % config.evaluate_every == 0:
            self._metrics.append(self._evaluate(epoch))
            if config.early_stopping_rounds:
                sign = 1.0 if self._label.objective.higher_is_better else -1.0
                place = int(np.argmax(sign * np.array(self._metrics)))
                best = place == len(self._metrics) - 1
                stop = stop or len(self._metrics) - 1 - place >= config.early_stopping_rounds
        end = msg.EpochEnd(epoch=epoch, loss=loss, stop=stop, best=best)
        for channel in self._side.channels:
            channel.send(end)
        return end

    def _loss_stalls(self, loss: float | None) -> bool:
        if loss is None or self._config.tolerance == 0:
            return False
        fall = self._loss[-1] - loss if self._loss else math.inf
        self._stalled = self._stalled + 1 if fall < self._config.tolerance else 0
        return self._stalled >= self._config.patience

    def _open_loss(self, epoch: int) -> float:
        channel = self._side.channels[0]
        query, mask = self._sum.query(self._bounds, self._side.draws(f"loss {epoch} for {channel.peer}"))
        channel.send(msg.LossQuery(epoch=epoch, payload=(query.to_bytes(),)))
        answer = channel.receive(msg.LossShare)
        if answer.epoch != epoch or len(answer.payload) != 1 or len(answer.payload[0]) > MAX_LOSS_BYTES:
            raise ProtocolError(f"{channel.peer} answered for the loss of epoch {answer.epoch}")
        rest = int.from_bytes(answer.payload[0], "little", signed=True)
        first = self._loss[0] if self._loss else None
        return self._sum.open(rest, mask, self._features.shape[0], self._bounds, first)

    def _evaluate(self, epoch: int) -> float:
        """The metric of the evaluation rows, whose logits A learns."""
        features, evaluation = self._evaluation, self._side.evaluation
        if features is None or evaluation is None:
            raise ProtocolError("there are no evaluation rows")
        parts = []
        for number, places in enumerate(steps.batch_places(len(evaluation), self._config.batch_size)):
            step = (EVALUATION, epoch, number)
            mine = self._logits(step, features[places])
            message = self._side.channels[0].receive(msg.OpenedShare)
            if (message.epoch, message.batch) != (epoch, number):
                raise ProtocolError(f"{self._partner.name} opened logits of another epoch than {epoch}")
            theirs = msg.read_numbers(message.payload, mine.shape, SCORE_BITS)
            parts.append(decode(mine + theirs.rescale(mine.scale_bits)))
        return self._label.objective.metric(evaluation.table, np.concatenate(parts))

    def _finish(self, weights: Mapping[str, FixedPoint]) -> FixedPoint:
        for channel in self._side.channels:
            channel.send(msg.share_message(steps.delivered(weights[channel.peer], self._config)))
        final = self._side.channels[0].receive(msg.FinalShare)
        own = weights[OWN]
        theirs = msg.read_share(final, own.shape, self._config.output_bits)
        return own + theirs.rescale(self._config.weight_bits)
