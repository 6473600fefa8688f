"""What both roles do in mode `shared`: keys, bounds, the end of an epoch, checkpoints, the final weights."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import msgspec
import numpy as np

from hecore import CipherBatch, Decryptor, Encryptor, FixedPoint, decode
from hecore.algorithms.built import built
from hecore.algorithms.channel import Channel
from hecore.algorithms.lr import messages as msg
from hecore.algorithms.lr import steps
from hecore.algorithms.lr.bounds import Bounds, Leg, Packing
from hecore.algorithms.lr.epochs import Epochs
from hecore.algorithms.lr.polynomials import polynomial_of
from hecore.algorithms.lr.shared.ahead import AheadEncryptor
from hecore.algorithms.lr.shared.loss import LossState, LossSum, check_room
from hecore.algorithms.lr.side import Arrays, Outcome, Side
from hecore.keys import PublicKey

FORWARD, BACKWARD, LINK, EVALUATION, LOSS = "forward", "backward", "link", "evaluation", "loss"
#: The block of this party's columns; others are named after their owner.
OWN = "own"
#: Blocks in a checkpoint that are kept from the best epoch.
BEST = "best "

Blocks = dict[str, steps.BlockShare]


class Standing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How far a training has come, beside its arrays: shares of blocks, seeds, [Σ e_A·e_P]."""

    epoch: int = 0
    batch: int = 0
    stopped: bool = False
    loss: list[float] = []
    metrics: list[float] = []
    stalled: int = 0
    sum: LossState = LossState()
    scales: dict[str, int] = {}


class SharedTraining(Epochs):
    """One party's side of a training; the roles fill in what they send and receive."""

    def __init__(self, side: Side) -> None:
        super().__init__(side)
        self._terms, config = side.terms, side.config
        self._encryptor = Encryptor(side.key, side.backend)
        self._ahead = AheadEncryptor(self._encryptor)
        self._decryptor = Decryptor(side.key, side.backend)
        self._features = steps.encode_features(side.training.features, config)
        rows, columns = self._features.shape
        outputs = side.terms.outputs
        self._batches = steps.split_rows(rows, columns, side.terms.columns - columns, config, outputs)
        self._bounds = Bounds(config, side.terms, polynomial_of(config), max(b.size for b in self._batches))
        self._forward = self._bounds.forward_leg(config.epochs * len(self._batches))
        self._backward = self._bounds.backward_leg()
        for public in (side.key.public, *(peer.public for peer in side.peers)):
            self._check_key(public)
        self._evaluation = None
        if side.evaluation is not None:
            self._evaluation = steps.encode_features(side.evaluation.features, config)
        self._blocks: Blocks = {
            name: steps.BlockShare.zeros(count, outputs, config.weight_bits)
            for name, count in self._block_columns().items()
        }
        self._best: Blocks = {}
        self._loss: list[float] = []
        self._metrics: list[float] = []
        self._stalled = 0
        self._sum = LossSum()
        if side.resume is not None:
            self._load(msgspec.json.decode(side.resume[0], type=built(Standing)), side.resume[1])

    def run(self) -> Outcome:
        """Train, exchange the final shares, and return the weights of the own block."""
        try:
            self._run_epochs()
            kept = self._best or self._blocks
            weights = self._finish({name: block.weights for name, block in kept.items()})
        finally:
            self._ahead.close()
        return Outcome(decode(weights), self._loss, self._metrics)

    # --- the roles' parts ---------------------------------------------------------------------------

    @abstractmethod
    def _block_columns(self) -> Mapping[str, int]:
        """The blocks of which this party holds a share, its own first, and their columns."""

    @abstractmethod
    def _close_epoch(self, epoch: int) -> msg.EpochEnd:
        """Open the loss, score the evaluation rows, and agree on whether to go on."""

    @abstractmethod
    def _finish(self, weights: Mapping[str, FixedPoint]) -> FixedPoint:
        """Exchange the final shares; the weights of the own block."""

    def _own_part(self) -> Arrays:
        """What else of this role belongs into a checkpoint."""
        return {}

    def _load_part(self, arrays: Arrays) -> None:
        """Take up what `_own_part` gave."""

    # --- pieces for the roles -----------------------------------------------------------------------

    def _check_key(self, public: PublicKey) -> None:
        """ConfigurationError where a number of the training does not fit the key."""
        for leg in (self._forward, self._backward):
            self._packing(public, leg)
        if self._bounds.by_link:
            Packing.of(public, self._bounds.link_leg(), self._config, 1)
        if self._config.loss:
            check_room(self._bounds, self._features.shape[0], public)

    def _packing(self, public: PublicKey, leg: Leg) -> Packing:
        return Packing.of(public, leg, self._config, self._terms.outputs)

    def _encrypt(self, share: FixedPoint, packing: Packing) -> bytes:
        with self._side.meter.phase("encrypt"):
            return self._ahead.encrypt(share, packing)

    def _take_product(
        self, channel: Channel, step: msg.Step, shape: tuple[int, int], scale_bits: int, packing: Packing
    ) -> FixedPoint:
        """p + r of a reply under the own key."""
        message = channel.receive(msg.MaskedProduct)
        msg.expect_step(message, step)
        with self._side.meter.phase("decrypt"):
            return steps.read_reply(
                self._decryptor, self._side.backend, message.payload, shape, scale_bits, packing, channel.peer
            )

    def _take_share(self, step: msg.Step, shape: tuple[int, ...], scale_bits: int, leg: str) -> CipherBatch:
        """The share of P₁ at the active party, of the active party elsewhere: under the sender's key."""
        (channel, *_), (peer, *_) = self._side.channels, self._side.peers
        data = msg.expect_one(channel.receive(msg.EncryptedShare), step)
        packing = self._packing_of(leg, peer.public)
        with self._side.meter.phase("validate"):
            return steps.read_share(
                data, peer.public, self._side.backend, shape, scale_bits, packing, peer.name
            )

    def _own_product(
        self, step: msg.Step, matrix: steps.Matrix, own: FixedPoint, theirs: CipherBatch, leg: str
    ) -> FixedPoint:
        """Send the sender of `theirs` the masked product of the own matrix; its mask."""
        (channel, *_), (peer, *_) = self._side.channels, self._side.peers
        packing = self._packing_of(leg, peer.public)
        draw = self._side.draws(f"{step[0]} {step[1]} {step[2]} for {peer.name}")
        with self._side.meter.phase("product"):
            reply, mask = steps.masked_product(matrix, own, theirs, packing, self._config, draw)
        channel.send(msg.MaskedProduct.at(step, *reply))
        return mask

    def _packing_of(self, leg: str, public: PublicKey) -> Packing:
        return self._packing(public, self._forward if leg == FORWARD else self._backward)

    def _descend(self, name: str, gradient: FixedPoint, rows: int, *, intercept: bool) -> None:
        block = self._blocks[name]
        self._blocks[name] = steps.descend(
            block, gradient, rows, self._epoch, self._config, intercept=intercept
        )

    @property
    def _product_scales(self) -> tuple[int, int]:
        """Scales of X·w and of Xᵀ·e."""
        feature = self._config.feature_bits
        return feature + self._config.weight_bits, feature + self._bounds.residual_scale

    # --- the sequence -------------------------------------------------------------------------------

    def _last_loss(self) -> float | None:
        return self._loss[-1] if self._loss else None

    def _end_epoch(self, epoch: int) -> None:
        end = self._close_epoch(epoch)
        if end.loss is not None:
            self._loss.append(end.loss)
        if end.best:
            self._best = dict(self._blocks)
        self._stopped = end.stop
        self._sum = LossSum()

    # --- checkpoints --------------------------------------------------------------------------------

    def _dump(self) -> tuple[Standing, Arrays]:
        named = {**self._blocks, **{BEST + name: block for name, block in self._best.items()}}
        parts = {
            f"{name}.{kind}": part
            for name, block in named.items()
            for kind, part in (("weights", block.weights), ("velocity", block.velocity))
        }
        state, cross = self._sum.dump()
        arrays: Arrays = {name: part.limbs for name, part in parts.items()}
        arrays |= self._own_part() | {"cross": np.frombuffer(cross, np.uint8)}
        standing = Standing(
            epoch=self._epoch,
            batch=self._batch,
            stopped=self._stopped,
            loss=list(self._loss),
            metrics=list(self._metrics),
            stalled=self._stalled,
            sum=state,
            scales={name: part.scale_bits for name, part in parts.items()},
        )
        return standing, arrays

    def _load(self, standing: Standing, arrays: Arrays) -> None:
        def block(name: str, columns: int) -> steps.BlockShare:
            shape = (columns, self._terms.outputs)
            parts = [f"{name}.{kind}" for kind in ("weights", "velocity")]
            return steps.BlockShare(
                *(FixedPoint(arrays[part], shape, standing.scales[part]) for part in parts)
            )

        columns = self._block_columns()
        self._blocks = {name: block(name, count) for name, count in columns.items()}
        if f"{BEST}{OWN}.weights" in arrays:
            self._best = {name: block(BEST + name, count) for name, count in columns.items()}
        self._epoch, self._batch, self._stopped = standing.epoch, standing.batch, standing.stopped
        self._loss, self._metrics = list(standing.loss), list(standing.metrics)
        self._stalled = standing.stalled
        partner = self._side.peers[0].public  # of P₁ at the active party, the only one that has a cross term
        self._sum = LossSum.load(standing.sum, arrays["cross"].tobytes(), partner, self._side.backend)
        self._load_part(arrays)
