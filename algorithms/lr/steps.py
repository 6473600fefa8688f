"""The steps of joint linear models on shares: pure functions on shares and ciphertexts.

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
product and the wrap-around error.) With several outputs s and p have a column each, side by side in the slots
of a ciphertext (`bounds.Packing`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

from hecore import CipherBatch, Decryptor, FixedPoint, encode
from hecore.algorithms.errors import ConfigurationError, ProtocolError, TableError
from hecore.algorithms.lr.bounds import Packing
from hecore.algorithms.lr.config import LinearConfig
from hecore.algorithms.lr.polynomials import Polynomial
from hecore.evaluator import rerandomize
from hecore.kernels import Backend
from hecore.kernels import limbs as lb
from hecore.keys import PublicKey
from hecore.linalg import matmul_packed
from hecore.randomness import Draw, random_bits, random_bytes
from hecore.sparse import SparseNumbers, encode_sparse

Matrix: TypeAlias = FixedPoint | SparseNumbers

#: Fractional bits of the public constants (rates, 1/rows) that shares are multiplied by.
CONSTANT_BITS = 40


@dataclass(frozen=True)
class BlockShare:
    """This party's share of the weights and the velocity of one party's block, (columns, outputs) each."""

    weights: FixedPoint
    velocity: FixedPoint

    @classmethod
    def zeros(cls, columns: int, outputs: int, scale_bits: int) -> BlockShare:
        """The public start: all weights zero."""
        zero = FixedPoint.zeros((columns, outputs), scale_bits)
        return cls(zero, zero)


@overload
def encode_features(values: NDArray[np.float64], config: LinearConfig) -> FixedPoint: ...
@overload
def encode_features(values: Any, config: LinearConfig) -> Matrix: ...
def encode_features(values: Any, config: LinearConfig) -> Matrix:
    """Standardised features as integers; TableError naming the first beyond the agreed limit.

    values   float64 (rows, columns), or a scipy CSR array
    """
    limit = float(1 << config.feature_limit_bits)
    dense = isinstance(values, np.ndarray)
    outside = np.abs(values if dense else values.data) >= limit
    if outside.any():
        row, column = np.argwhere(outside)[0] if dense else _place_stored(values, int(np.argmax(outside)))
        raise TableError(
            f"the standardised feature in row {row}, column {column} is {values[row, column]:.6g}, beyond"
            f" ±{limit:g}: clip outliers, or agree on a larger feature_limit_bits"
        )
    return encode(values, config.feature_bits) if dense else encode_sparse(values, config.feature_bits)


def _place_stored(values: Any, place: int) -> tuple[int, int]:
    """Row and column of a stored value of a CSR array."""
    return int(np.searchsorted(values.indptr, place, side="right")) - 1, int(values.indices[place])


def batch_places(rows: int, batch_size: int) -> list[NDArray[np.int64]]:
    """Places of each batch in an epoch's order: round(rows / batch_size) batches of even size."""
    return np.array_split(np.arange(rows, dtype=np.int64), max(1, round(rows / batch_size)))


def split_rows(
    rows: int, own: int, others: int, config: LinearConfig, outputs: int = 1
) -> list[NDArray[np.int64]]:
    """`batch_places`, refused where the result could give rows away.

    own, others   columns of this party, and of all others
    ConfigurationError for a batch with no more rows than all parties' columns (its gradients determine its
    residuals), or fewer rows in all than the delivered weights of a block have bits (lattice reduction then
    finds the labels).
    """
    batches = batch_places(rows, config.batch_size)
    if config.allow_small_data:
        return batches
    smallest = min(batch.size for batch in batches)
    if smallest <= own + others:
        raise ConfigurationError(
            f"batch_size = {config.batch_size} gives batches of {smallest} rows for {own + others} columns:"
            " take more rows than columns, or set allow_small_data = true"
        )
    needed = config.least_rows(max(own, others), outputs)
    if rows < needed:
        raise ConfigurationError(
            f"{rows} rows are too few for a block of {max(own, others)} columns and output_bits ="
            f" {config.output_bits}: its weights could give the labels away; {needed} rows are enough,"
            " or lower output_bits, or set allow_small_data = true"
        )
    return batches


# --- shares on the way --------------------------------------------------------------------------------


def read_share(
    data: bytes,
    public: PublicKey,
    backend: Backend,
    shape: tuple[int, ...],
    scale_bits: int,
    packing: Packing,
    sender: str,
) -> CipherBatch:
    """The peer's share, validated. ProtocolError for another shape, scale or layout than agreed."""
    batch = CipherBatch.from_bytes(data, public, backend)
    alone = packing.outputs == 1 and shape[1] == 1
    wanted = ((shape[0],), scale_bits, None) if alone else (shape, scale_bits, packing.of_row)
    if (batch.shape, batch.scale_bits, batch.layout) != wanted:
        raise ProtocolError(
            f"{sender} sent a share of shape {batch.shape} at {batch.scale_bits} bits; {wanted[0]} at"
            f" {scale_bits} was expected"
        )
    return batch


def masked_product(
    matrix: Matrix,
    own: FixedPoint,
    peer: CipherBatch,
    packing: Packing,
    config: LinearConfig,
    draw: Draw = random_bytes,
) -> tuple[tuple[bytes, ...], FixedPoint]:
    """([M·s + r], r): the reply for the peer, and the mask that stays here, made of `draw`.

    matrix      (R, C) own features, own (C, K) this party's share of s, peer the other's, encrypted
    packing     of the peer's key and this leg, whose bound every |(M·s)_ik| keeps
    returns     packed, re-randomised batches, one for each group of outputs, and r (R, K) at the summed scale
    """
    columns, outputs = own.shape
    groups = packing.groups(outputs)
    # Slots are combined all alike: a row's ciphertext is one wide number, whose slots keep their bounds.
    total = peer + (own.reshape(-1) if peer.layout is None else own)
    numbers = replace(total, layout=None, shape=(columns, groups), terms=1)
    scale_bits = matrix.scale_bits + own.scale_bits
    mask = random_mask((matrix.shape[0], outputs), packing.mask_bits, scale_bits, draw)
    return covered_product(matrix, numbers, mask, packing, config), mask


def covered_product(
    matrix: Matrix, numbers: CipherBatch, mask: FixedPoint, packing: Packing, config: LinearConfig
) -> tuple[bytes, ...]:
    """[M·s + r] for a given r (R, K), |r_ik| < 2^(slot_bits − 2).

    numbers   (C, groups): the outputs of a group side by side in one wide number
    """
    rows, replies = matrix.shape[0], []
    for group in range(numbers.shape[1]):
        product = matmul_packed(matrix, numbers[:, group], packing.as_one)
        narrow = replace(product, layout=packing.of_reply, shape=(rows * packing.outputs,), terms=1)
        replies.append(masked(narrow, group_of(mask, group, packing), config))
    return tuple(replies)


def masked(product: CipherBatch, mask: FixedPoint, config: LinearConfig) -> bytes:
    """[p + r] under new noise, as bytes."""
    return rerandomize(product + mask.reshape(-1), config.reply_randomness).to_bytes()


def group_of(numbers: FixedPoint, group: int, packing: Packing) -> FixedPoint:
    """The outputs of one group of ciphertexts, (rows, packing.outputs); slots without an output are 0."""
    rows = numbers.shape[0]
    chosen = numbers[:, group * packing.outputs : (group + 1) * packing.outputs]
    missing = packing.outputs - chosen.shape[1]
    if missing == 0:
        return chosen
    width = chosen.limbs.shape[1]
    padded = np.zeros((rows, packing.outputs, width), dtype=chosen.limbs.dtype)
    padded[:, : chosen.shape[1]] = chosen.limbs.reshape(rows, -1, width)
    return FixedPoint(padded.reshape(-1, width), (rows, packing.outputs), numbers.scale_bits)


def random_mask(shape: tuple[int, ...], bits: int, scale_bits: int, draw: Draw = random_bytes) -> FixedPoint:
    """Integers uniform in [0, 2^bits) at a scale."""
    signed = lb.widen(random_bits(shape[0] * shape[1], bits, draw), FixedPoint.width_for(bits))
    return FixedPoint(signed, shape, scale_bits)


def cut_mask(mask: FixedPoint, bits: int) -> FixedPoint:
    """The masking party's share of the product, cut by `bits`: −⌊r / 2^bits⌋."""
    return -mask.floor_shift(bits)


def read_reply(
    decryptor: Decryptor,
    backend: Backend,
    payload: tuple[bytes, ...],
    shape: tuple[int, ...],
    scale_bits: int,
    packing: Packing,
    sender: str,
) -> FixedPoint:
    """p + r of a reply, (rows, outputs).

    ProtocolError unless it has the shape and layout that both sides derive from the configuration, and every
    number lies in −2^b ≤ p + r < 2^(b + mask_bits) + 2^b, where it must while |p| < 2^b. A product that
    outgrows its mask is caught here with at least the probability with which it could be told apart.
    """
    rows, outputs = shape
    groups = packing.groups(outputs)
    if len(payload) != groups:
        raise ProtocolError(f"{sender} sent a product in {len(payload)} parts; {groups} were expected")
    parts = []
    for data in payload:
        reply = CipherBatch.from_bytes(data, decryptor.public, backend)
        if (reply.shape, reply.scale_bits, reply.layout) != (
            (rows * packing.outputs,),
            scale_bits,
            packing.of_reply,
        ):
            raise ProtocolError(
                f"{sender} sent a product of shape {reply.shape} at {reply.scale_bits} bits, layout"
                f" {reply.layout}; {rows} · {packing.outputs} at {scale_bits} was expected"
            )
        parts.append(decryptor.decrypt_fixed(reply).reshape(rows, packing.outputs))
    numbers = _side_by_side(parts, outputs)
    _check_grown(numbers, packing)
    return numbers


def _side_by_side(parts: list[FixedPoint], outputs: int) -> FixedPoint:
    """Groups of outputs next to each other; those that only filled up a ciphertext fall away."""
    if len(parts) == 1 and parts[0].shape[1] == outputs:
        return parts[0]
    rows = parts[0].shape[0]
    width = max(part.limbs.shape[1] for part in parts)
    grids = [lb.resize(part.limbs, width).reshape(rows, part.shape[1], width) for part in parts]
    joined = np.concatenate(grids, axis=1)[:, :outputs].reshape(rows * outputs, width)
    return FixedPoint(joined, (rows, outputs), parts[0].scale_bits)


def _check_grown(numbers: FixedPoint, packing: Packing) -> None:
    bound, mask = 1 << packing.bound_bits, 1 << packing.mask_bits
    width = max(numbers.limbs.shape[1], lb.width_for_bits(packing.mask_bits + 1)) + 1
    raised = lb.add(lb.resize(numbers.limbs, width), lb.from_ints([bound], width))
    if lb.is_negative(raised).any() or not lb.less(raised, lb.from_ints([mask + 2 * bound], width)).all():
        raise ProtocolError(
            "a product has outgrown its bound: training diverges; lower learning_rate, or agree on a larger"
            " weight_limit_bits or logit_limit_bits"
        )


# --- on shares alone ----------------------------------------------------------------------------------


def affine(logits: FixedPoint, polynomial: Polynomial, *, constant: bool = True) -> FixedPoint:
    """A share of P(z) for P = z or ½ + z/4, exactly: ¼ is the same integers at a scale two bits larger.

    constant   whether this share carries the ½; one of the two does
    """
    if not polynomial.is_quarter:
        return logits
    quarter = FixedPoint(logits.limbs, logits.shape, logits.scale_bits + 2)
    return quarter + encode(np.full(logits.shape, 0.5), quarter.scale_bits) if constant else quarter


def descend(
    block: BlockShare,
    gradient: FixedPoint,
    rows: int,
    epoch: int,
    config: LinearConfig,
    *,
    intercept: bool,
) -> BlockShare:
    """One step of SGD on shares, linear in each: v ← μ·v + g/rows + α·w, w ← w − rate·v.

    `intercept`: the last weights are one, and have no penalty. Each product with a constant is cut to the
    weights' scale, at most one unit in the last place off.
    """
    scale = config.weight_bits
    penalised = block.weights
    if intercept:
        keep = np.ones(block.weights.shape, dtype=penalised.limbs.dtype)
        keep[-1] = 0
        limbs = penalised.limbs * keep.reshape(-1, 1)
        penalised = FixedPoint(limbs, penalised.shape, penalised.scale_bits)
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


def delivered(share: FixedPoint, config: LinearConfig) -> FixedPoint:
    """What the owner of a block receives of the other share of its weights: cut to output_bits.

    With all bits, each weight would be an exact equation on the labels of all rows.
    """
    return share.floor_shift(share.scale_bits - config.output_bits)


def square_sum(share: FixedPoint) -> int:
    """Σ s_i² of the share's integers."""
    integers = share.to_integers()
    return int((integers * integers).sum())
