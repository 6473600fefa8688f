"""The source layer of BlindFL (SIGMOD'22): Z = X_A·W_A + Σ_P X_P·W_P with K columns, for any loss on top.

One layer joins the active party A with each passive party P. A gets Z in the clear and gives back dL/dZ
encrypted; P never gets a number it could read. `ActiveSource` and `PassiveSource` are the two sides: state and
steps, no channel.

Who holds what:

    P's weights     W = U + V: P holds U, A holds V
    A's weights     A alone. It knows dL/dZ and its own rows, hence every change of W_A; a share of it at P would
                    hide a constant, until A gets its own weights at the end. BlindFL keeps models shared for good,
                    and so splits it; here each owner gets its block, and the products for that are saved
    sgd             the gradient of W comes as shares, so momentum, penalty and steps are on shares: neither party
                    knows W, its gradient or its velocity
    adam            divides by the root of each weight's second moment, which shares cannot. A gets P's gradient
                    in the clear and keeps both moments; U stays P's start. P puts its columns in a secret order
                    under secret signs first, so that A sees neither which column a gradient is of nor its sign.
                    More cannot be hidden: Adam treats each column by itself, so the logits alone, over many
                    steps, determine P's columns up to order and sign
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hecore import CipherBatch, Decryptor, Encryptor, FixedPoint, decode, encode
from hecore.algorithms.errors import ProtocolError
from hecore.algorithms.lr.config import LinearConfig
from hecore.algorithms.lr.exact import fields, steps
from hecore.algorithms.lr.exact.fields import Fields
from hecore.algorithms.lr.steps import BlockShare, cut_mask, descend, encode_features
from hecore.keys import PublicKey
from hecore.randomness import Draw

Floats = NDArray[np.float64]


class Widths:
    """What both sides of a layer derive alike: scales, fields, bounds.

    outputs  K columns of weights;  rows  of the largest batch;  parties  passive ones in all
    """

    def __init__(self, public: PublicKey, config: LinearConfig, outputs: int, rows: int, parties: int) -> None:
        self.config, self.outputs, self.parties = config, outputs, parties
        self.shared = config.optimizer == "sgd"
        self.forward = fields.forward_fields(public, outputs, config, rows, parties, shared=self.shared)
        self.backward = fields.backward_fields(public, outputs, config, rows, shared=self.shared)
        self.forward_bits = fields.forward_bits(config)
        self.backward_bits = fields.backward_bits(config, rows)
        self.covered_bits = fields.covered_bits(config)
        self.scale_bits = config.feature_bits + config.weight_bits


def start_share(columns: int, outputs: int, config: LinearConfig, draw: Draw | None) -> FixedPoint:
    """A party's share of the first weights: zeros, or uniform in ±2^−⌈½·log2(columns) + 1⌉ from `draw`.

    With random shares of both parties neither knows where the layer starts.
    """
    if draw is None:
        return FixedPoint.zeros((columns, outputs), config.weight_bits)
    bits = max(1, config.weight_bits - (columns.bit_length() + 1) // 2)
    drawn = steps.random_matrix(columns, outputs, bits, config.weight_bits, draw)
    half = FixedPoint.from_integers([[1 << (bits - 1)]], config.weight_bits)
    return drawn - half


class ActiveSource:
    """A's side of the layer with one passive party of `columns` columns."""

    def __init__(
        self, widths: Widths, columns: int, encryptor: Encryptor, decryptor: Decryptor, start: FixedPoint
    ) -> None:
        self.widths, self._config = widths, widths.config
        self._encryptor, self._decryptor = encryptor, decryptor
        self._columns = columns
        self.block = BlockShare(start, FixedPoint.zeros(start.shape, start.scale_bits))
        #: With Adam, what A has added to P's start: the optimiser changes it in place.
        self.opened: Floats = np.asarray(decode(start), dtype=np.float64).reshape(start.shape)

    def share(self) -> FixedPoint:
        """V, at weight_bits."""
        return self.block.weights if self.widths.shared else encode(self.opened, self._config.weight_bits)

    def weights(self) -> bytes:
        """[V] for a SourceWeights."""
        return steps.encrypt(self._encryptor, self.share(), self.widths.forward).to_bytes()

    def logits(self, payload: Sequence[bytes], rows: int) -> FixedPoint:
        """X·W + s of a SourceLogits, (rows, K) at the products' scale."""
        return self._open(payload, rows, self.widths.forward)

    def gradient(self, payload: Sequence[bytes]) -> FixedPoint:
        """XᵀdL/dZ + r of a SourceGradient, (columns, K). ProtocolError where it has outgrown its bound."""
        bound = 1 << self.widths.backward_bits
        top = bound << (self._config.mask_bits if self.widths.shared else 0)
        masked = self._open(payload, self._columns, self.widths.backward)
        return steps.check_between(masked, -bound, top + bound)

    def opened_gradient(self, payload: Sequence[bytes]) -> Floats:
        """XᵀdL/dZ where it is opened, to READ_BITS."""
        gradient = self.gradient(payload).floor_shift(self.widths.covered_bits)
        return np.asarray(decode(gradient), dtype=np.float64).reshape(gradient.shape)

    def descend(self, gradient: FixedPoint, rows: int, epoch: int) -> None:
        """A step of SGD on this share."""
        cut = gradient.floor_shift(self._config.feature_bits)
        self.block = descend(self.block, cut, rows, epoch, self._config, intercept=False)

    def _open(self, payload: Sequence[bytes], rows: int, layout: Fields) -> FixedPoint:
        public, backend = self._decryptor.public, self._decryptor.backend
        batches = [CipherBatch.from_bytes(frame, public, backend) for frame in payload]
        return steps.opened(self._decryptor, batches, rows, layout, self.widths.scale_bits)


class PassiveSource:
    """P's side.

    values  P's standardised columns, (rows, columns), dense or scipy CSR
    """

    def __init__(self, widths: Widths, values: Any, start: FixedPoint, draw_order: Draw) -> None:
        self.widths, self._config = widths, widths.config
        self._values = values
        columns = values.shape[1]
        self._order, self._signs = np.arange(columns), np.ones(columns)
        if not widths.shared:
            self._order, self._signs = secret_order(columns, draw_order)
        self.block = BlockShare(start, FixedPoint.zeros(start.shape, start.scale_bits))

    def matrix(self, values: Any) -> FixedPoint:
        """Rows as they enter products: dense, in the secret order and signs if there are any, encoded."""
        dense = values if isinstance(values, np.ndarray) else values.toarray()
        return encode_features(dense[:, self._order] * self._signs, self._config)

    def logits(
        self, values: Any, encrypted: CipherBatch, mask: FixedPoint | None, draw: Draw
    ) -> tuple[bytes, ...]:
        """[X·W + s + c] of some rows for a SourceLogits; c of `draw`."""
        cover = self._cover(values.shape[0], draw)
        replies = steps.product(
            self.matrix(values),
            encrypted,
            self.widths.forward,
            own=self.block.weights,
            mask=cover if mask is None else mask + cover,
            randomness=self._config.reply_randomness,
        )
        return tuple(reply.to_bytes() for reply in replies)

    def gradient(
        self, rows: NDArray[np.int64], encrypted: CipherBatch, draw: Draw, epoch: int
    ) -> tuple[bytes, ...]:
        """[XᵀdL/dZ + r] of a batch for a SourceGradient; this share takes its step."""
        config, widths = self._config, self.widths
        matrix = self.matrix(self._values[rows]).transpose()
        columns = matrix.shape[0]
        if widths.shared:
            bits = widths.backward.value_bits
            mask = steps.random_matrix(columns, widths.outputs, bits, widths.scale_bits, draw)
        else:
            mask = self._cover(columns, draw) + self._penalty(rows.size)
        replies = steps.product(
            matrix, encrypted, widths.backward, mask=mask, randomness=config.reply_randomness
        )
        if widths.shared:
            cut = cut_mask(mask, config.feature_bits)
            self.block = descend(self.block, cut, rows.size, epoch, config, intercept=False)
        return tuple(reply.to_bytes() for reply in replies)

    def _cover(self, rows: int, draw: Draw) -> FixedPoint:
        widths = self.widths
        return steps.random_matrix(rows, widths.outputs, widths.covered_bits, widths.scale_bits, draw)

    def _penalty(self, rows: int) -> FixedPoint:
        """rows·α·U, P's part of the penalty's gradient, where Adam steps on W and P has a start."""
        start = np.asarray(decode(self.block.weights)).reshape(self.block.weights.shape)
        return encode(rows * self._config.alpha * start, self.widths.scale_bits)

    def final(self, share: FixedPoint) -> Floats:
        """W with A's share, (columns, K), in the order of P's columns."""
        whole = decode(self.block.weights + share.rescale(self._config.weight_bits))
        weights = np.empty(share.shape)
        weights[self._order] = np.asarray(whole) * self._signs[:, None]
        return weights


def secret_order(columns: int, draw: Draw) -> tuple[NDArray[np.int64], Floats]:
    """A uniform permutation and uniform signs from `draw`."""
    keys = np.frombuffer(draw(8 * columns), np.uint64)
    if np.unique(keys).size < columns:  # once in 2^64 / columns²
        raise ProtocolError("the draw of a secret order had two equal keys: start again")
    signs = np.where(np.frombuffer(draw(columns), np.uint8) & 1, 1.0, -1.0)
    return np.argsort(keys), signs
