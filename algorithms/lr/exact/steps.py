"""The steps of a source layer: pure functions on weights, ciphertexts and masks.

A is the active party, with the key; P a passive one with rows X. The weights of P's block are W = U + V,
(columns, K): P holds U, A holds V. dZ is dL/dZ of a batch, summed, not averaged.

    forward     A  [V]_A ─────────────────►  P    [W] = [V] + U,   reply = [X·W + s + c]
                A  X·W + s  ◄─ re-randomised  P    s = 0 for one passive party; Σ_P s_P = 0 for several
    backward    A  [dZ]_A ────────────────►  P    [G] = Xᵀ·[dZ],   reply = [G + r]
                A  G + r    ◄─ re-randomised  P
    shares of G, cut by f bits:  A ⌊(G + r)/2^f⌋      P −⌊r/2^f⌋

c is random below 2^−READ_BITS: A reads no digits beyond. With Adam r is so, too, and G is opened to A (see
`source`). Replies are those of `lr.steps`.
"""

from __future__ import annotations

from hecore import CipherBatch, Encryptor, FixedPoint
from hecore.algorithms.errors import ProtocolError
from hecore.algorithms.lr.bounds import Packing
from hecore.algorithms.lr.exact.widths import join
from hecore.algorithms.lr.steps import random_mask
from hecore.kernels import Backend
from hecore.kernels import limbs as lb
from hecore.keys import PublicKey
from hecore.randomness import Draw


def encrypt(encryptor: Encryptor, values: FixedPoint, packing: Packing) -> bytes:
    """(rows, K) numbers as (rows, groups) ciphertexts, the outputs of a group joined."""
    return encryptor.encrypt(join(values, packing)).to_bytes()


def read_encrypted(
    data: bytes,
    public: PublicKey,
    backend: Backend,
    shape: tuple[int, int],
    scale_bits: int,
    packing: Packing,
    sender: str,
) -> CipherBatch:
    """What `encrypt` made of `shape` numbers, validated. ProtocolError for another shape or scale."""
    batch = CipherBatch.from_bytes(data, public, backend)
    wanted = (shape[0], packing.groups(shape[1])), scale_bits, None
    if (batch.shape, batch.scale_bits, batch.layout) != wanted:
        raise ProtocolError(
            f"{sender} sent a batch of shape {batch.shape} at {batch.scale_bits} bits; {wanted[0]} at"
            f" {scale_bits} was expected"
        )
    return batch


def random_matrix(rows: int, columns: int, bits: int, scale_bits: int, draw: Draw) -> FixedPoint:
    """(rows, columns) integers uniform in [0, 2^bits); zeros for 0 bits."""
    if bits == 0:
        return FixedPoint.zeros((rows, columns), scale_bits)
    return random_mask((rows, columns), bits, scale_bits, draw)


def check_below(values: FixedPoint, bound: int) -> FixedPoint:
    """The numbers, or ProtocolError unless every |integer| < bound."""
    if lb.first_not_below(lb.absolute(values.limbs), bound) is not None:
        raise ProtocolError(
            "a logit has outgrown its bound: training diverges; lower learning_rate, or agree on a larger"
            " logit_limit_bits"
        )
    return values
