"""The steps of a source layer: pure functions on weights, ciphertexts and masks.

A is the active party, with the key; P a passive one with rows X. The weights of P's block are W = U + V,
(columns, K): P holds U, A holds V. dZ is dL/dZ of a batch, summed, not averaged.

    forward     A  [V]_A ─────────────────►  P    [W] = [V] + U,   reply = [X·W + s + c]
                A  X·W + s  ◄─ re-randomised  P    s = 0 for one passive party; Σ_P s_P = 0 for several
    backward    A  [dZ]_A ────────────────►  P    [G] = Xᵀ·[dZ],   reply = [G + r]
                A  G + r    ◄─ re-randomised  P
    shares of G, cut by f bits:  A ⌊(G + r)/2^f⌋      P −⌊r/2^f⌋

c is random below 2^−READ_BITS: A reads no digits beyond. With Adam r is so, too, and G is opened to A (see
`source`).
"""

from __future__ import annotations

from collections.abc import Sequence

from hecore import CipherBatch, Decryptor, Encryptor, FixedPoint
from hecore.algorithms.errors import ProtocolError
from hecore.algorithms.lr.exact.fields import Fields, stack
from hecore.algorithms.lr.steps import random_mask
from hecore.evaluator import rerandomize
from hecore.kernels import limbs as lb
from hecore.linalg import matmul_packed
from hecore.randomness import Draw


def encrypt(encryptor: Encryptor, values: FixedPoint, fields: Fields) -> CipherBatch:
    """(rows, K) numbers as (rows, groups) ciphertexts, the outputs of a group joined."""
    joined = [fields.join(values[:, group]).reshape(-1, 1) for group in fields.groups]
    return encryptor.encrypt(stack(joined))


def product(
    matrix: FixedPoint,
    encrypted: CipherBatch,
    fields: Fields,
    *,
    own: FixedPoint | None = None,
    mask: FixedPoint | None = None,
    randomness: str = "uniform",
) -> list[CipherBatch]:
    """matrix · (encrypted + own) + mask, packed and re-randomised, one batch a group of outputs.

    matrix (R, C), encrypted (C, groups) as `encrypt` made it, own (C, K) at its scale, mask (R, K) at the
    result's. Whoever calls answers for |product| and mask below 2^value_bits.
    """
    replies = []
    for number, group in enumerate(fields.groups):
        vector = encrypted[:, number]
        if own is not None:
            vector = vector + fields.join(own[:, group])
        layout = fields.layout(encrypted.public, group.stop - group.start)
        result = matmul_packed(matrix, vector, layout)
        if mask is not None:
            result = result + fields.join(mask[:, group])
        replies.append(rerandomize(result, randomness))
    return replies


def opened(
    decryptor: Decryptor, replies: Sequence[CipherBatch], rows: int, fields: Fields, scale_bits: int
) -> FixedPoint:
    """The (rows, K) numbers of `product`'s replies; ProtocolError for any other shape, scale or layout."""
    groups = fields.groups
    if len(replies) != len(groups):
        raise ProtocolError(f"a product came in {len(replies)} parts instead of {len(groups)}")
    parts = []
    for group, reply in zip(groups, replies, strict=True):
        count = group.stop - group.start
        layout = fields.layout(decryptor.public, count)
        if (reply.shape, reply.scale_bits, reply.layout) != ((rows,), scale_bits, layout):
            raise ProtocolError(
                f"a product came in shape {reply.shape} at {reply.scale_bits} bits in layout {reply.layout};"
                f" {(rows,)} at {scale_bits} in {layout} was expected"
            )
        parts.append(fields.split(decryptor.decrypt_fixed(reply), count))
    return stack(parts)


def check_between(values: FixedPoint, lowest: int, highest: int) -> FixedPoint:
    """The numbers, or ProtocolError unless every integer is in lowest … highest: a product outgrew its bound."""
    width = FixedPoint.width_for(max(lb.signed_bits(values.limbs), abs(lowest).bit_length(), highest.bit_length()) + 1)
    wide = lb.resize(values.limbs, width)
    low = lb.subtract(wide, lb.from_signed_ints([lowest], width))
    high = lb.subtract(lb.from_signed_ints([highest], width), wide)
    if lb.is_negative(low).any() or lb.is_negative(high).any():
        raise ProtocolError(
            "a product has outgrown its bound: training diverges; lower learning_rate, scale the label, or agree"
            " on a larger logit_limit_bits"
        )
    return values


def random_matrix(rows: int, columns: int, bits: int, scale_bits: int, draw: Draw) -> FixedPoint:
    """(rows, columns) integers uniform in [0, 2^bits); zeros for 0 bits."""
    if bits == 0:
        return FixedPoint.zeros((rows, columns), scale_bits)
    return random_mask(rows * columns, bits, scale_bits, draw).reshape(rows, columns)
