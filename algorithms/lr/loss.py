"""The loss of an epoch, opened as one number: pure steps on shares and one masked ciphertext.

σ(z) ≈ ½ + ¼·z and e = σ(z) − y give, to second order, log(1 + e^(−y'z)) ≈ 2·e² + log 2 − ½, y' = ±1

Σ e²  =  Σ e_A² + 2·Σ e_A·e_B + Σ e_B²

A   [Σ e_A·e_B + r]_B  ──►  B   reads a masked number, adds its squares and a blur
A   the loss           ◄──  B   Σ e_B² + 2·(Σ e_A·e_B + r) + blur
"""

from __future__ import annotations

import math

import msgspec

from hecore import CipherBatch, Decryptor, FixedPoint
from hecore.algorithms.errors import ProtocolError
from hecore.algorithms.lr.config import LogisticRegressionConfig
from hecore.algorithms.lr.steps import random_mask, square_sum
from hecore.evaluator import rerandomize
from hecore.kernels import Backend
from hecore.keys import PublicKey
from hecore.randomness import Draw, random_bytes, random_integer

#: The mean loss is opened to about 2 · 2^−20.
LOSS_BITS = 20
#: It starts at log 2 = 0.69; a training that comes here diverges.
ABSURD_LOSS = 100.0


class LossState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A LossSum as it stands in a checkpoint; `own` is a decimal of any length."""

    own: str = "0"
    share_bits: int = 0
    rows: int = 0


class LossSum:
    """One party's part of Σ e² over an epoch: Σ e_own², and at the active party [Σ e_own·e_peer]."""

    def __init__(self) -> None:
        self.own = 0
        self._cross: CipherBatch | None = None
        self._share_bits = 0
        self._rows = 0

    def dump(self) -> tuple[LossState, bytes]:
        """The sum so far; bytes: the encrypted part, re-randomised like all that becomes bytes."""
        cross = b"" if self._cross is None else self._cross.to_bytes()
        return LossState(own=str(self.own), share_bits=self._share_bits, rows=self._rows), cross

    @classmethod
    def load(cls, state: LossState, cross: bytes, public: PublicKey, backend: Backend) -> LossSum:
        """What `dump` gave; `public` is the peer's key."""
        loss = cls()
        loss.own, loss._share_bits, loss._rows = int(state.own), state.share_bits, state.rows
        loss._cross = CipherBatch.from_bytes(cross, public, backend) if cross else None
        return loss

    def add(self, residual: FixedPoint, peer: CipherBatch | None) -> None:
        """Add one batch; `peer` is the other's share, encrypted, where this party collects them."""
        self.own += square_sum(residual)
        if peer is None:
            return
        product = residual @ peer
        self._cross = product if self._cross is None else self._cross + product
        self._share_bits = max(self._share_bits, residual.limbs.shape[1] * 64)
        self._rows += len(residual.limbs)

    def query(self, config: LogisticRegressionConfig, draw: Draw = random_bytes) -> tuple[CipherBatch, int]:
        """([Σ e_A·e_B + r], r) of the active party, re-randomised.

        The cross term is below 2^(2·share_bits + 64)·rows: both shares are of one size within a limb.
        """
        if self._cross is None:
            raise ProtocolError("an epoch without batches has no loss")
        bound_bits = 2 * self._share_bits + 64 + self._rows.bit_length()
        mask = random_mask(1, bound_bits + config.mask_bits, self._cross.scale_bits, draw).reshape()
        return rerandomize(self._cross + mask, config.reply_randomness), int(mask.to_integers())

    def answer(
        self,
        query: CipherBatch,
        decryptor: Decryptor,
        rows: int,
        config: LogisticRegressionConfig,
        draw: Draw = random_bytes,
    ) -> int:
        """Σ e_B² + 2·(Σ e_A·e_B + r) + blur of the passive party.

        Only the leading digits are the loss; the others of an exact sum would be an equation on the rows, so
        a random number below 2^(2·residual_bits − LOSS_BITS)·rows covers them.
        """
        masked = int(decryptor.decrypt_fixed(query).to_integers())
        blur_bits = 2 * config.residual_bits - LOSS_BITS + rows.bit_length() - 1
        return self.own + 2 * masked + random_integer(blur_bits, draw)

    def open(self, answer: int, mask: int, rows: int, config: LogisticRegressionConfig) -> float:
        """The mean loss; ProtocolError if no training that converges could have it."""
        squares = self.own + answer - 2 * mask
        value = 2.0 * (squares / (1 << (2 * config.residual_bits))) / rows + math.log(2.0) - 0.5
        if not 0 <= value < ABSURD_LOSS:
            raise ProtocolError(f"the training loss has become {value:.3g}: lower learning_rate")
        return value
