"""The loss of an epoch, opened as one number: pure steps on shares and one masked ciphertext.

    objective                     loss of a row and output, e its residual (with ω: ω·e)
    logistic, linear sigmoid      2·e² + log 2 − ½  ≈  log(1 + e^(−y'z)) to second order, y' = ±1
    squared error                 ½·e²              in units of the labels' variance
    otherwise                     e²                the squared error of the mean

A   [Σ e_A·e_P + r]_P₁  ──►  P₁  reads a masked number, adds its squares and a blur
A   the loss            ◄──  P₁  Σ e_P² + 2·(Σ e_A·e_P + r) + blur,      Σ e² = Σ e_A² + 2·Σ e_A·e_P + Σ e_P²
"""

from __future__ import annotations

import math

import msgspec

from hecore import CipherBatch, Decryptor, FixedPoint
from hecore.algorithms.errors import ConfigurationError, ProtocolError
from hecore.algorithms.lr.bounds import Bounds
from hecore.algorithms.lr.steps import random_mask, square_sum
from hecore.evaluator import rerandomize
from hecore.kernels import Backend
from hecore.keys import PublicKey
from hecore.randomness import Draw, random_bytes, random_integer

#: The mean of e² is opened to about 2^−20.
LOSS_BITS = 20
#: A loss that grows beyond this many times its first value, or 1, is of a training that diverges.
ABSURD_GROWTH = 100.0


class LossState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A LossSum as it stands in a checkpoint; `own` is a decimal of any length."""

    own: str = "0"
    terms: int = 0


class LossSum:
    """One party's part of Σ e² over an epoch: Σ e_own², and at the active party [Σ e_own·e_peer]."""

    def __init__(self) -> None:
        self.own = 0
        self._cross: CipherBatch | None = None
        self._terms = 0

    def dump(self) -> tuple[LossState, bytes]:
        """The sum so far; bytes: the encrypted part, re-randomised like all that becomes bytes."""
        cross = b"" if self._cross is None else self._cross.to_bytes()
        return LossState(own=str(self.own), terms=self._terms), cross

    @classmethod
    def load(cls, state: LossState, cross: bytes, public: PublicKey, backend: Backend) -> LossSum:
        """What `dump` gave; `public` is the peer's key."""
        loss = cls()
        loss.own, loss._terms = int(state.own), state.terms
        loss._cross = CipherBatch.from_bytes(cross, public, backend) if cross else None
        return loss

    def add(self, residual: FixedPoint, peer: CipherBatch | None) -> None:
        """Add one batch; `peer` is the other's share, encrypted, where this party collects them."""
        self.own += square_sum(residual)
        self._terms += len(residual.limbs)
        if peer is not None:
            product = residual.reshape(-1) @ peer
            self._cross = product if self._cross is None else self._cross + product

    def query(self, bounds: Bounds, draw: Draw = random_bytes) -> tuple[CipherBatch, int]:
        """([Σ e_A·e_P + r], r) of the active party, re-randomised."""
        if self._cross is None:
            raise ProtocolError("an epoch without batches has no loss")
        bits = cross_bits(bounds, self._terms) + bounds.config.mask_bits
        mask = random_mask((1, 1), bits, self._cross.scale_bits, draw).reshape()
        masked = rerandomize(self._cross + mask, bounds.config.reply_randomness)
        return masked, int(mask.to_integers())

    def answer(
        self, query: CipherBatch, decryptor: Decryptor, bounds: Bounds, draw: Draw = random_bytes
    ) -> int:
        """Σ e_P² + 2·(Σ e_A·e_P + r) + blur of the first passive party.

        Only the leading digits are the loss; the others of an exact sum would be an equation on the rows, so
        a random number below 2^(2·residual_scale − LOSS_BITS)·terms covers them.
        """
        masked = int(decryptor.decrypt_fixed(query).to_integers())
        blur_bits = 2 * bounds.residual_scale - LOSS_BITS + self._terms.bit_length() - 1
        return self.own + 2 * masked + random_integer(blur_bits, draw)

    def open(self, answer: int, mask: int, rows: int, bounds: Bounds, first: float | None) -> float:
        """The mean loss; ProtocolError if no training that converges could have it."""
        squares = self.own + answer - 2 * mask
        factor, offset = _form(bounds)
        mean = squares / (1 << (2 * bounds.residual_scale)) / rows
        value = factor * mean + offset * self._terms / rows
        if mean < 0 or value > ABSURD_GROWTH * max(1.0, first or 1.0, self._terms / rows):
            raise ProtocolError(f"the training loss has become {value:.3g}: lower learning_rate")
        return value


def cross_bits(bounds: Bounds, terms: int) -> int:
    """|Σ e_A·e_P| over so many terms."""
    return 2 * bounds.residual_share_bits + terms.bit_length()


def check_room(bounds: Bounds, rows: int, public: PublicKey) -> None:
    """ConfigurationError where the masked cross term of an epoch does not fit the key."""
    needed = cross_bits(bounds, rows * bounds.terms.outputs) + bounds.config.mask_bits + 3
    if needed > public.bits - 1:
        raise ConfigurationError(
            f"the loss needs numbers of {needed} bits, but a key of {public.bits} bits has room for"
            f" {public.bits - 1}: take a longer key, or set loss = false"
        )


def _form(bounds: Bounds) -> tuple[float, float]:
    """(factor of the mean of e², offset a term)."""
    if bounds.config.objective == "reg:squarederror":
        return 0.5, 0.0
    if bounds.polynomial.is_quarter and not bounds.by_link:
        return 2.0, math.log(2.0) - 0.5
    return 1.0, 0.0
