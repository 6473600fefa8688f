"""The steps of joint logistic regression, mode `shared`: pure functions on shares and ciphertexts.

Every secret vector s is held as s = s_own + s_peer, exact integers over ℤ at an agreed scale, each share
within 2^−mask_bits of independent of s. The one building block is the masked product of a party's own matrix
M (its features) and a shared vector s, where the peer sends its share encrypted under the peer's key:

    peer     [s_peer] ───────────────►  owner of M
                                        [s] = [s_peer] + s_own,  [p] = M·[s],  r uniform, reply = [p + r]
    peer     p + r  ◄── re-randomised ─ owner
    share of p, cut by f bits:  peer ⌊(p + r)/2^f⌋             owner −⌊r/2^f⌋

The owner adds its share *before* the product, so p is the true value and its bound is known; shares therefore
do not grow from step to step, need no ring to wrap in, and the cut is exact up to one unit in the last place.
(CAESAR, KDD'21, multiplies its own share in the clear in Z_2^128 instead; this form saves the wide matrix
product and the wrap-around error.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hecore import CipherBatch, Decryptor, FixedPoint, SlotLayout, encode
from hecore.algorithms.errors import ConfigurationError, ProtocolError, TableError
from hecore.algorithms.lr.config import LogisticRegressionConfig
from hecore.evaluator import rerandomize
from hecore.kernels import limbs as lb
from hecore.keys import PublicKey
from hecore.linalg import matmul_packed
from hecore.randomness import Draw, random_bits, random_bytes

#: Fractional bits of the public constants (rates, 1/rows) that shares are multiplied by.
CONSTANT_BITS = 40


@dataclass(frozen=True)
class BlockShare:
    """This party's share of the weights and the velocity of one party's feature block."""

    weights: FixedPoint
    velocity: FixedPoint

    @classmethod
    def zeros(cls, columns: int, scale_bits: int) -> BlockShare:
        """The public start: all weights zero."""
        zero = FixedPoint.zeros((columns,), scale_bits)
        return cls(zero, zero)


def encode_features(values: NDArray[np.float64], config: LogisticRegressionConfig) -> FixedPoint:
    """Standardised features as integers; TableError naming the first beyond the agreed limit."""
    limit = float(1 << config.feature_limit_bits)
    bad = np.argwhere(np.abs(values) >= limit)
    if bad.size:
        row, column = bad[0]
        raise TableError(
            f"the standardised feature in row {row}, column {column} is {values[row, column]:.6g}, beyond"
            f" ±{limit:g}: clip outliers, or agree on a larger feature_limit_bits"
        )
    return encode(values, config.feature_bits)


def split_rows(rows: int, own: int, others: int, config: LogisticRegressionConfig) -> list[NDArray[np.int64]]:
    """Places of each batch in an epoch's order: round(rows / batch_size) batches of even size.

    ConfigurationError where the result could give rows away: a batch with no more rows than both parties'
    columns (its gradients determine its residuals), or fewer rows in all than the delivered weights of a
    block have bits (lattice reduction then finds the labels).
    """
    count = max(1, round(rows / config.batch_size))
    batches = np.array_split(np.arange(rows, dtype=np.int64), count)
    if config.allow_small_data:
        return batches
    smallest = min(batch.size for batch in batches)
    if smallest <= own + others:
        raise ConfigurationError(
            f"batch_size = {config.batch_size} gives batches of {smallest} rows for {own + others} columns:"
            " take more rows than columns, or set allow_small_data = true"
        )
    needed = config.least_rows(max(own, others))
    if rows < needed:
        raise ConfigurationError(
            f"{rows} rows are too few for a block of {max(own, others)} columns and output_bits ="
            f" {config.output_bits}: its weights could give the labels away; {needed} rows are enough,"
            " or lower output_bits, or set allow_small_data = true"
        )
    return batches


def masked_layout(public: PublicKey, bound_bits: int, mask_bits: int) -> SlotLayout:
    """Slots for product + mask: |p| < 2^bound_bits and 0 ≤ r < 2^(bound_bits + mask_bits), two terms."""
    return SlotLayout.for_key(public, bound_bits + mask_bits, terms=2)


def masked_product(
    matrix: FixedPoint,
    own: FixedPoint,
    peer: CipherBatch,
    bound_bits: int,
    config: LogisticRegressionConfig,
    draw: Draw = random_bytes,
) -> tuple[CipherBatch, FixedPoint]:
    """([M·s + r], r): the reply for the peer, and the mask that stays here, made of `draw`.

    matrix      (R, C) own features, own (C,) this party's share of s, peer (C,) the other's, encrypted
    bound_bits  |(M·s)_i| < 2^bound_bits as an integer
    returns     a packed, re-randomised batch of shape (R,), and r of shape (R,), both at the summed scale
    """
    layout = masked_layout(peer.public, bound_bits, config.mask_bits)
    product = matmul_packed(matrix, peer + own, layout)
    mask = random_mask(matrix.shape[0], bound_bits + config.mask_bits, product.scale_bits, draw)
    return rerandomize(product + mask, config.reply_randomness), mask


def random_mask(count: int, bits: int, scale_bits: int, draw: Draw = random_bytes) -> FixedPoint:
    """`count` integers uniform in [0, 2^bits) at a scale."""
    signed = lb.widen(random_bits(count, bits, draw), FixedPoint.width_for(bits))
    return FixedPoint(signed, (count,), scale_bits)


def cut_mask(mask: FixedPoint, bits: int) -> FixedPoint:
    """The matrix owner's share of the product, cut by `bits`: −⌊r / 2^bits⌋."""
    return -mask.floor_shift(bits)


def cut_reply(
    decryptor: Decryptor, reply: CipherBatch, bound_bits: int, config: LogisticRegressionConfig
) -> FixedPoint:
    """The peer's share of the product, cut by the features' scale: ⌊(p + r) / 2^f⌋.

    ProtocolError unless the reply has the layout that both sides derive from the configuration, and every
    number lies in −2^b ≤ p + r < 2^(b + mask_bits) + 2^b, where it must while |p| < 2^b. A product that
    outgrows its mask is caught here with at least the probability with which it could be told apart.
    """
    layout = masked_layout(decryptor.public, bound_bits, config.mask_bits)
    if reply.layout != layout:
        raise ProtocolError(f"a masked product came in layout {reply.layout}, expected {layout}")
    masked = decryptor.decrypt_fixed(reply)
    width = masked.limbs.shape[1] + 1
    raised = lb.add(lb.resize(masked.limbs, width), lb.from_ints([1 << bound_bits], width))
    top = lb.from_ints([(1 << (bound_bits + config.mask_bits)) + (2 << bound_bits)], width)
    if lb.is_negative(raised).any() or not lb.less(raised, top).all():
        raise ProtocolError(
            "a product has outgrown its bound: training diverges; lower learning_rate, or agree on a larger"
            " weight_limit_bits"
        )
    return masked.floor_shift(config.feature_bits)


def residual_share(logits: FixedPoint, label: NDArray[np.float64] | None) -> FixedPoint:
    """This party's share of e = σ(z) − y with σ(z) ≈ ½ + ¼·z; the active party's carries ½ − y.

    ¼ is exact: the same integers at a scale two bits larger.
    """
    quarter = FixedPoint(logits.limbs, logits.shape, logits.scale_bits + 2)
    return quarter if label is None else quarter + encode(0.5 - label, quarter.scale_bits)


def descend(
    block: BlockShare,
    gradient: FixedPoint,
    rows: int,
    epoch: int,
    config: LogisticRegressionConfig,
    *,
    intercept: bool,
) -> BlockShare:
    """One step of SGD on shares, linear in each: v ← μ·v + g/rows + α·w, w ← w − rate·v.

    `intercept`: the last weight is one, and has no penalty. Each product with a constant is cut to the
    weights' scale, at most one unit in the last place off.
    """
    scale = config.weight_bits
    penalised = block.weights
    if intercept:
        keep = np.ones((len(penalised.limbs), 1), dtype=penalised.limbs.dtype)
        keep[-1] = 0
        penalised = FixedPoint(penalised.limbs * keep, penalised.shape, penalised.scale_bits)
    velocity = (
        times_constant(block.velocity, config.momentum, scale)
        + times_constant(gradient, 1.0 / rows, scale)
        + times_constant(penalised, config.alpha, scale)
    )
    weights = block.weights - times_constant(velocity, config.rate(epoch), scale)
    return BlockShare(weights, velocity)


def times_constant(share: FixedPoint, constant: float, scale_bits: int) -> FixedPoint:
    """share · constant at `scale_bits`, the constant rounded to 2^−40."""
    product = share.times_integer(round(constant * 2.0**CONSTANT_BITS))
    wide = FixedPoint(product.limbs, product.shape, product.scale_bits + CONSTANT_BITS)
    return wide.floor_shift(wide.scale_bits - scale_bits)


def delivered(share: FixedPoint, config: LogisticRegressionConfig) -> FixedPoint:
    """What the owner of a block receives of the other share of its weights: cut to output_bits.

    With all bits, each weight would be an exact equation on the labels of all rows.
    """
    return share.floor_shift(share.scale_bits - config.output_bits)


def square_sum(share: FixedPoint) -> int:
    """Σ s_i² of the share's integers."""
    integers = share.to_integers()
    return int((integers * integers).sum())
