"""The driver of mode `shared`: sends and receives, and leaves the mathematics to `steps` and `loss`.

Both parties run the same sequence on every batch; each leg is an EncryptedShare out, the peer's in, a
MaskedProduct out, the peer's in, so that both compute at the same time:

    forward    shares of w  →  shares of z = X_A·w_A + X_B·w_B
    backward   shares of e  →  shares of g_k = X_kᵀ·e for both blocks
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from hecore import CipherBatch, Decryptor, Encryptor, FixedPoint, Meter
from hecore.algorithms.channel import Channel
from hecore.algorithms.draws import Draws, fresh
from hecore.algorithms.errors import ProtocolError
from hecore.algorithms.lr import messages as msg
from hecore.algorithms.lr import steps
from hecore.algorithms.lr.config import LogisticRegressionConfig
from hecore.algorithms.lr.loss import LossState, LossSum
from hecore.algorithms.party import Peer
from hecore.kernels import Backend
from hecore.keys import PrivateKey

FORWARD, BACKWARD = "forward", "backward"
Arrays: TypeAlias = dict[str, NDArray[Any]]
_PARTS = ("own weights", "own velocity", "others' weights", "others' velocity")
#: A loss share is a number of some 50 bytes.
MAX_LOSS_BYTES = 512


@dataclass(frozen=True)
class Progress:
    """Where a training stands, after a batch; `loss` is that of the last finished epoch, or other `unit`."""

    epoch: int
    epochs: int
    batch: int
    batches: int
    loss: float | None
    seconds: float
    unit: str = "epoch"

    @property
    def done(self) -> float:
        """Fraction of all batches."""
        return ((self.epoch * self.batches) + self.batch) / (self.epochs * self.batches)


class Standing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How far a training has come, beside its arrays: weights and velocities of both blocks, [Σ e_A·e_B]."""

    epoch: int = 0
    batch: int = 0
    stopped: bool = False
    loss: list[float] = []
    sum: LossState = LossState()
    scales: dict[str, int] = {}


class SharedTraining:
    """One party's side of a training.

    features   this party's standardised columns (rows, columns), for the active party with a last column 1
    label      0/1 at the active party, None at the passive one
    peer       the other party and the columns of its block, its intercept included
    draws      where masks come from: repeatable ones for a run that may be restarted
    save       is given the batches done, a Standing and its arrays: at the start, and after each batch
    resume     a Standing, with its arrays, to go on from
    """

    def __init__(
        self,
        channel: Channel,
        config: LogisticRegressionConfig,
        features: FixedPoint,
        label: NDArray[np.float64] | None,
        key: PrivateKey,
        peer: Peer,
        *,
        backend: Backend,
        meter: Meter,
        on_progress: Callable[[Progress], None] | None = None,
        draws: Draws = fresh,
        save: Callable[[int, Standing, Arrays], None] | None = None,
        resume: tuple[Standing, Arrays] | None = None,
    ) -> None:
        self._channel, self._config, self._peer = channel, config, peer
        self._features, self._label = features, label
        self._encryptor = Encryptor(key, backend)
        self._decryptor = Decryptor(key, backend)
        self._backend, self._meter = backend, meter
        self._on_progress = on_progress
        rows, columns = features.shape
        self._columns = columns + peer.columns
        self._batches = steps.split_rows(rows, columns, peer.columns, config)
        self._own = steps.BlockShare.zeros(columns, config.weight_bits)
        self._others = steps.BlockShare.zeros(peer.columns, config.weight_bits)
        self.loss: list[float] = []
        self._draws, self._save = draws, save
        self._epoch = self._batch = 0  # what comes next
        self._stopped = False
        self._sum = LossSum()
        if resume is not None:
            self._load(*resume)

    def run(self) -> FixedPoint:
        """Train, exchange the final shares, and return the weights of the own block."""
        started = time.perf_counter()
        if self.steps == 0:
            self._keep()
        order_of_rows = np.random.default_rng(self._config.seed)  # public: both parties draw the same
        for epoch in range(self._config.epochs):
            order = order_of_rows.permutation(self._features.shape[0])
            if epoch < self._epoch:
                continue
            while self._epoch == epoch and not self._stopped:
                self._step(epoch, self._batch, order[self._batches[self._batch]], self._sum)
                self._tell(time.perf_counter() - started)
                self._advance()
        self._channel.send(msg.share_message(steps.delivered(self._others.weights, self._config)))
        columns, scale = self._own.weights.shape[0], self._config.output_bits
        final = self._channel.receive(msg.FinalShare)
        theirs = msg.read_share(final, columns, scale)
        return self._own.weights + theirs.rescale(self._config.weight_bits)

    def _tell(self, seconds: float) -> None:
        if self._on_progress:
            last = self.loss[-1] if self.loss else None
            at = (self._epoch, self._config.epochs, self._batch + 1, len(self._batches))
            self._on_progress(Progress(*at, last, seconds))

    def _advance(self) -> None:
        """A batch is done, and with the last one its epoch; what is reached may be saved."""
        self._batch += 1
        if self._batch == len(self._batches):
            if self._config.loss:
                self._stopped = self._open_loss(self._epoch, self._sum)
            self._epoch, self._batch, self._sum = self._epoch + 1, 0, LossSum()
        self._keep()

    def _keep(self) -> None:
        if self._save:
            self._save(self.steps, *self._dump())

    # --- checkpoints --------------------------------------------------------------------------------

    @property
    def steps(self) -> int:
        """Batches that are done."""
        return self._epoch * len(self._batches) + self._batch

    def _dump(self) -> tuple[Standing, Arrays]:
        """All that the rest of the training follows from, besides what never changes in it."""
        parts = dict(zip(_PARTS, (*_both(self._own), *_both(self._others)), strict=True))
        state, cross = self._sum.dump()
        scales = {name: part.scale_bits for name, part in parts.items()}
        arrays: Arrays = {name: part.limbs for name, part in parts.items()}
        arrays["cross"] = np.frombuffer(cross, np.uint8)
        standing = Standing(
            epoch=self._epoch,
            batch=self._batch,
            stopped=self._stopped,
            loss=list(self.loss),
            sum=state,
            scales=scales,
        )
        return standing, arrays

    def _load(self, standing: Standing, arrays: Arrays) -> None:
        columns = (*self._own.weights.shape * 2, *self._others.weights.shape * 2)
        parts = [
            FixedPoint(arrays[name], (count,), standing.scales[name])
            for name, count in zip(_PARTS, columns, strict=True)
        ]
        self._own, self._others = steps.BlockShare(*parts[:2]), steps.BlockShare(*parts[2:])
        self._epoch, self._batch, self._stopped = standing.epoch, standing.batch, standing.stopped
        self.loss = list(standing.loss)
        cross = arrays["cross"].tobytes()
        self._sum = LossSum.load(standing.sum, cross, self._peer.public, self._backend)

    def _step(self, epoch: int, number: int, rows: NDArray[np.int64], loss: LossSum) -> None:
        """One batch: logits, residuals, gradients and the step of both blocks, all on shares."""
        config, features = self._config, self._features[rows]
        intercept_here = self._label is not None

        forward = config.forward_bits(self._columns)
        shared = self._exchange((FORWARD, epoch, number), self._others.weights, self._own.weights.shape)
        mine, theirs = self._product(
            (FORWARD, epoch, number), features, self._own.weights, shared, forward, rows.size
        )
        label = None if self._label is None else self._label[rows]
        residual = steps.residual_share(mine + theirs, label)

        backward = config.backward_bits(self._columns, rows.size)
        shared = self._exchange((BACKWARD, epoch, number), residual, residual.shape)
        mine, theirs = self._product(
            (BACKWARD, epoch, number),
            features.transpose(),
            residual,
            shared,
            backward,
            self._others.weights.shape[0],
        )
        if config.loss:
            with self._meter.phase("loss"):
                loss.add(residual, shared if self._label is not None else None)
        with self._meter.phase("update"):
            self._own = steps.descend(self._own, mine, rows.size, epoch, config, intercept=intercept_here)
            self._others = steps.descend(
                self._others, theirs, rows.size, epoch, config, intercept=not intercept_here
            )

    def _exchange(
        self, step: tuple[str, int, int], share: FixedPoint, expected: tuple[int, ...]
    ) -> CipherBatch:
        """Send the own share encrypted under the own key, return the peer's."""
        leg, epoch, batch = step
        with self._meter.phase("encrypt"):
            payload = self._encryptor.encrypt(share).to_bytes()
        self._channel.send(msg.EncryptedShare(leg=leg, epoch=epoch, batch=batch, payload=(payload,)))
        message = self._channel.receive(msg.EncryptedShare)
        msg.expect_step(message, *step)
        with self._meter.phase("validate"):
            theirs = CipherBatch.from_bytes(message.payload[0], self._peer.public, self._backend)
        if (theirs.shape, theirs.scale_bits, theirs.layout) != (expected, share.scale_bits, None):
            raise ProtocolError(
                f"{self._peer.name} sent a share of shape {theirs.shape} at {theirs.scale_bits} bits;"
                f" {expected} at {share.scale_bits} was expected"
            )
        return theirs

    def _product(
        self,
        step: tuple[str, int, int],
        matrix: FixedPoint,
        own: FixedPoint,
        shared: CipherBatch,
        bound_bits: int,
        peer_length: int,
    ) -> tuple[FixedPoint, FixedPoint]:
        """Both masked products of a leg: the shares of (own matrix · s) and of (the peer's matrix · s')."""
        leg, epoch, batch = step
        config = self._config
        with self._meter.phase("product"):
            draw = self._draws(f"{leg} {epoch} {batch}")
            reply, mask = steps.masked_product(matrix, own, shared, bound_bits, config, draw)
            payload = reply.to_bytes()
        self._channel.send(msg.MaskedProduct(leg=leg, epoch=epoch, batch=batch, payload=(payload,)))
        message = self._channel.receive(msg.MaskedProduct)
        msg.expect_step(message, *step)
        with self._meter.phase("decrypt"):
            public = self._decryptor.public
            theirs = CipherBatch.from_bytes(message.payload[0], public, self._backend)
            if theirs.shape != (peer_length,) or theirs.scale_bits != mask.scale_bits:
                raise ProtocolError(
                    f"{self._peer.name} sent a product of shape {theirs.shape} at {theirs.scale_bits} bits;"
                    f" {(peer_length,)} at {mask.scale_bits} was expected"
                )
            share = steps.cut_reply(self._decryptor, theirs, bound_bits, config)
        return steps.cut_mask(mask, config.feature_bits), share

    # --- the loss of an epoch -----------------------------------------------------------------------

    def _open_loss(self, epoch: int, loss: LossSum) -> bool:
        """Open the mean loss of the epoch to both; whether training ends with it."""
        opened = self._ask_loss(epoch, loss) if self._label is not None else self._tell_loss(epoch, loss)
        self.loss.append(opened.loss)
        return opened.stop

    def _ask_loss(self, epoch: int, loss: LossSum) -> msg.LossOpened:
        """The active side."""
        query, mask = loss.query(self._config, self._draws(f"loss {epoch}"))
        self._channel.send(msg.LossQuery(epoch=epoch, payload=(query.to_bytes(),)))
        answer = self._channel.receive(msg.LossShare)
        if answer.epoch != epoch or len(answer.payload) != 1 or len(answer.payload[0]) > MAX_LOSS_BYTES:
            raise ProtocolError(f"{self._peer.name} answered for the loss of epoch {answer.epoch}")
        rest = int.from_bytes(answer.payload[0], "little", signed=True)
        value = loss.open(rest, mask, self._features.shape[0], self._config)
        fall = self.loss[-1] - value if self.loss else math.inf
        stop = self._config.tolerance > 0 and fall < self._config.tolerance
        opened = msg.LossOpened(epoch=epoch, loss=value, stop=stop)
        self._channel.send(opened)
        return opened

    def _tell_loss(self, epoch: int, loss: LossSum) -> msg.LossOpened:
        """The passive side."""
        query = self._channel.receive(msg.LossQuery)
        if query.epoch != epoch or len(query.payload) != 1:
            raise ProtocolError(f"{self._peer.name} asked for the loss of epoch {query.epoch}")
        cross = CipherBatch.from_bytes(query.payload[0], self._decryptor.public, self._backend)
        rows, draw = self._features.shape[0], self._draws(f"blur {epoch}")
        rest = loss.answer(cross, self._decryptor, rows, self._config, draw)
        data = rest.to_bytes(rest.bit_length() // 8 + 1, "little", signed=True)
        self._channel.send(msg.LossShare(epoch=epoch, payload=(data,)))
        return self._channel.receive(msg.LossOpened)


def _both(block: steps.BlockShare) -> tuple[FixedPoint, FixedPoint]:
    return block.weights, block.velocity
