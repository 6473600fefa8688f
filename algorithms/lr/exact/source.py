"""The source layer of BlindFL (SIGMOD'22): Z = X_A·W_A + Σ_P X_P·W_P with K columns, for any loss on top.

One layer joins the active party A with each passive party P. A gets Z in the clear and gives back dL/dZ
encrypted; P never gets a number that it could read. `ActiveSource` and `PassiveSource` are the two sides:
state and steps, no channel.

Who holds what:

    P's weights   W = U + V: P holds U, A holds V
    A's weights   A alone. It knows dL/dZ and its own rows, hence every change of W_A. A share of it at P
                  would hide a constant, and that only until A gets its own weights at the end. (BlindFL
                  keeps models shared for good, and so splits W_A, too.)
    sgd           the gradient of W comes as shares, so momentum, penalty and steps are on shares: neither
                  party knows W, its gradient or its velocity
    adam          divides by the root of each weight's second moment, which shares cannot. A gets P's gradient
                  in the clear and keeps both moments; U stays P's start. P puts its columns in a secret order
                  under secret signs first: A sees neither which column a gradient is of nor its sign. More
                  cannot be hidden: Adam treats each column by itself, so the logits alone, over many steps,
                  determine P's columns up to order and sign

What Z tells, with sgd from zero: W is a known combination of P's rows, so Z − X_A·W_A are known combinations
of the inner products of P's rows, and about columns/K epochs determine all of them: X up to a rotation. A
rotated X gives the same Z, so that is all; but few columns look natural after a rotation, and one finds it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hecore import CipherBatch, Decryptor, Encryptor, FixedPoint, SlotOverflow, decode, encode
from hecore.algorithms.errors import ProtocolError
from hecore.algorithms.lr import steps as common
from hecore.algorithms.lr.bounds import Packing
from hecore.algorithms.lr.config import LinearConfig
from hecore.algorithms.lr.exact import steps
from hecore.algorithms.lr.exact.widths import Widths, join
from hecore.algorithms.lr.steps import BlockShare, cut_mask, descend, encode_features
from hecore.algorithms.objectives import Floats
from hecore.randomness import Draw


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
        self, name: str, widths: Widths, encryptor: Encryptor, decryptor: Decryptor, start: FixedPoint
    ) -> None:
        self._name, self._widths, self._config = name, widths, widths.config
        self._encryptor, self._decryptor = encryptor, decryptor
        self.block = BlockShare(start, FixedPoint.zeros(start.shape, start.scale_bits))
        #: With Adam, what A has added to P's start: the optimiser changes it in place.
        self.opened: Floats = _floats(start)

    def share(self) -> FixedPoint:
        """V, at weight_bits."""
        return self.block.weights if self._widths.shared else encode(self.opened, self._config.weight_bits)

    def encrypted(self) -> bytes:
        """[V] for a step forward."""
        return steps.encrypt(self._encryptor, self.share(), self._widths.forward)

    def logits(self, payload: tuple[bytes, ...], rows: int) -> FixedPoint:
        """X·W + s + c, (rows, K) at the products' scale."""
        return self._read(payload, rows, self._widths.forward)

    def descend(self, payload: tuple[bytes, ...], rows: int, epoch: int) -> None:
        """A step of SGD on this share, by the masked gradient of a batch."""
        masked = self._read(payload, self.block.weights.shape[0], self._widths.backward)
        cut = masked.floor_shift(self._config.feature_bits)
        self.block = descend(self.block, cut, rows, epoch, self._config, intercept=False)

    def gradient(self, payload: tuple[bytes, ...]) -> Floats:
        """The gradient of a batch, summed, where it is opened; to READ_BITS."""
        read = self._read(payload, self.block.weights.shape[0], self._widths.backward)
        return _floats(read.floor_shift(self._widths.covered_bits))

    def _read(self, payload: tuple[bytes, ...], rows: int, packing: Packing) -> FixedPoint:
        shape, backend = (rows, self._widths.outputs), self._decryptor.backend
        scale = self._widths.scale_bits
        try:
            return common.read_reply(self._decryptor, backend, payload, shape, scale, packing, self._name)
        except SlotOverflow:
            raise ProtocolError(
                "a product has outgrown its slots: training diverges; lower learning_rate, or agree on a"
                " larger logit_limit_bits"
            ) from None


class PassiveSource:
    """P's side.

    values  P's standardised columns, (rows, columns), dense or scipy CSR

    TableError naming the first value beyond feature_limit_bits.
    """

    def __init__(self, widths: Widths, values: Any, start: FixedPoint, draw_order: Draw) -> None:
        self._widths, self._config = widths, widths.config
        self.check(values)
        self._values = values
        columns = values.shape[1]
        self._order, self._signs = np.arange(columns), np.ones(columns)
        if not widths.shared:
            self._order, self._signs = secret_order(columns, draw_order)
        self.block = BlockShare(start, FixedPoint.zeros(start.shape, start.scale_bits))

    def check(self, values: Any) -> None:
        """TableError where a value of these rows is beyond the limit: before any of them is used."""
        if abs(values).max() >= 1 << self._config.feature_limit_bits:
            encode_features(values, self._config)

    def matrix(self, values: Any) -> common.Matrix:
        """Rows as they enter products: in the secret order and signs if there are any, encoded."""
        if not self._widths.shared:
            values = values[:, self._order]
            if isinstance(values, np.ndarray):
                values = values * self._signs
            else:
                values.data = values.data * self._signs[values.indices]
        encoded: common.Matrix = encode_features(values, self._config)
        return encoded

    def logits(self, values: Any, encrypted: CipherBatch, mask: FixedPoint, draw: Draw) -> tuple[bytes, ...]:
        """[X·W + s + c] of some rows: s is `mask`, c of `draw`."""
        packing, cover = self._widths.forward, self._cover(values.shape[0], draw)
        numbers = encrypted + join(self.block.weights, packing)
        return common.covered_product(self.matrix(values), numbers, mask + cover, packing, self._config)

    def gradient(
        self, rows: NDArray[np.int64], encrypted: CipherBatch, draw: Draw, epoch: int
    ) -> tuple[bytes, ...]:
        """[XᵀdL/dZ + r] of a batch; where the gradient is shared, this share takes its step."""
        config, widths = self._config, self._widths
        matrix = self.matrix(self._values[rows]).transpose()
        columns = matrix.shape[0]
        if widths.shared:
            bits = widths.backward.mask_bits
            mask = steps.random_matrix(columns, widths.outputs, bits, widths.scale_bits, draw)
            cut = cut_mask(mask, config.feature_bits)
            self.block = descend(self.block, cut, rows.size, epoch, config, intercept=False)
        else:
            mask = self._cover(columns, draw) + self._penalty(rows.size)
        return common.covered_product(matrix, encrypted, mask, widths.backward, config)

    def _cover(self, rows: int, draw: Draw) -> FixedPoint:
        widths = self._widths
        return steps.random_matrix(rows, widths.outputs, widths.covered_bits, widths.scale_bits, draw)

    def _penalty(self, rows: int) -> FixedPoint:
        """rows·α·U, P's part of the penalty's gradient, where Adam steps on W and P has a start."""
        return encode(rows * self._config.alpha * _floats(self.block.weights), self._widths.scale_bits)

    def final(self, share: FixedPoint) -> Floats:
        """W with A's share, (columns, K), in the order of P's columns."""
        whole = _floats(self.block.weights + share.rescale(self._config.weight_bits))
        weights = np.empty(share.shape)
        weights[self._order] = whole * self._signs[:, None]
        return weights


def secret_order(columns: int, draw: Draw) -> tuple[NDArray[np.int64], Floats]:
    """A uniform permutation and uniform signs from `draw`."""
    keys = np.frombuffer(draw(8 * columns), np.uint64)
    if np.unique(keys).size < columns:  # once in 2^64 / columns²
        raise ProtocolError("the draw of a secret order had two equal keys: start again")
    signs = np.where(np.frombuffer(draw(columns), np.uint8) & 1, 1.0, -1.0)
    return np.argsort(keys), signs


def _floats(numbers: FixedPoint) -> Floats:
    return np.array(decode(numbers), dtype=np.float64).reshape(numbers.shape)
