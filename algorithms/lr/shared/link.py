"""ω·P(z) on shares of z: the residual's leg of polynomials beyond degree 1, and of rows with weights.

A logit is z = a + s, a at the active party A, s at the passive ones. With P(z) = Σ c_i·z^i,

    ω·P(a + s)  =  Σ_j ω·a^j · q_j(s)          q_j(s) = Σ_{i ≥ j} c_i·(i over j)·s^(i−j)

    A     [ω·a^j]_A, j = 0 … d  ───►  P₁    computes ∏_j [ω·a^j]^q_j(s) = [ω·P(z)], exact over ℤ
    A     ω·P(z) + r            ◄───  P₁    r of a seed that all passive parties know: their share is −r

All is integer: z has LINK_BITS fractional bits, c_i COEFFICIENT_BITS, ω ROW_WEIGHT_BITS. Shares are wide
(95 bits) and their powers wider; ω·P(z) is small: the wide terms cancel in the plaintext. P₁ reads nothing, A
reads a masked number. ω = 1 for all rows needs no [ω·a^0].
"""

from __future__ import annotations

from math import comb
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hecore import CipherBatch, Encryptor, FixedPoint
from hecore.algorithms.errors import ProtocolError
from hecore.algorithms.lr.bounds import COEFFICIENT_BITS, LINK_BITS, ROW_WEIGHT_BITS, Bounds, Packing
from hecore.algorithms.lr.config import LinearConfig
from hecore.algorithms.lr.steps import masked
from hecore.algorithms.objectives import Floats
from hecore.kernels import Backend
from hecore.keys import PublicKey

Integers = NDArray[Any]


def powers_wanted(bounds: Bounds) -> range:
    """The j of [ω·a^j] that A sends."""
    return range(0 if bounds.terms.weighted else 1, bounds.polynomial.degree + 1)


def link_share(logits: FixedPoint) -> Integers:
    """A share of the logits as integers at LINK_BITS, one for each row and output."""
    return logits.floor_shift(logits.scale_bits - LINK_BITS).to_integers().ravel()


def encrypt_powers(
    encryptor: Encryptor, logits: FixedPoint, weights: Integers | None, bounds: Bounds
) -> tuple[bytes, ...]:
    """A's message: [ω·a^j]_A for all rows and outputs; `weights` integers of each of them, or None."""
    share = link_share(logits)
    scaled = np.ones_like(share) if weights is None else weights
    return tuple(
        encryptor.encrypt(FixedPoint.from_integers(scaled * share**power)).to_bytes()
        for power in powers_wanted(bounds)
    )


def masked_link(
    payload: tuple[bytes, ...],
    public: PublicKey,
    backend: Backend,
    logits: FixedPoint,
    mask: FixedPoint,
    packing: Packing,
    bounds: Bounds,
    config: LinearConfig,
) -> bytes:
    """P₁'s reply [ω·P(z) + r]_A. ProtocolError for a message of another shape than agreed."""
    share = link_share(logits)
    wanted = powers_wanted(bounds)
    if len(payload) != len(wanted):
        raise ProtocolError(f"{len(payload)} powers of a share came; {len(wanted)} were expected")
    total: CipherBatch | None = None
    for power, data in zip(wanted, payload, strict=True):
        batch = CipherBatch.from_bytes(data, public, backend)
        if (batch.shape, batch.scale_bits, batch.layout) != (share.shape, 0, None):
            raise ProtocolError(f"a power of a share came in shape {batch.shape}, not {share.shape}")
        term = batch * FixedPoint.from_integers(cofactor(share, power, bounds))
        total = term if total is None else total + term
    if total is None:
        raise ProtocolError("a polynomial of degree 0 has no link")
    if not bounds.terms.weighted:
        total = total + FixedPoint.from_integers(cofactor(share, 0, bounds))
    return masked(total.pack(packing.of_reply), mask, config)


def cofactor(share: Integers, power: int, bounds: Bounds) -> Integers:
    """q_j(s) at the scale that makes all terms alike: COEFFICIENT_BITS + LINK_BITS·(degree − j)."""
    degree = bounds.polynomial.degree
    total = np.zeros_like(share)
    for i in range(power, degree + 1):
        coefficient = round(bounds.polynomial.coefficients[i] * 2.0**COEFFICIENT_BITS)
        total = total + (coefficient * comb(i, power) << (LINK_BITS * (degree - i))) * share ** (i - power)
    return np.asarray(total)


def at_residual_scale(numbers: FixedPoint, shape: tuple[int, ...], bounds: Bounds) -> FixedPoint:
    """What came out of the ciphertexts, or its mask, (rows·outputs, 1) at scale 0, cut to a residual's."""
    wide = FixedPoint(numbers.limbs, shape, bounds.link_scale)
    return wide.floor_shift(bounds.link_scale - bounds.residual_scale)


def integer_weights(weight: Floats, outputs: int) -> Integers:
    """ω of each row and output as integers at ROW_WEIGHT_BITS."""
    rounded = np.rint(weight * 2.0**ROW_WEIGHT_BITS).astype(np.int64).astype(object)
    return np.asarray(np.repeat(rounded, outputs))
