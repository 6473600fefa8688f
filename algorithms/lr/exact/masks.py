"""Masks of several passive parties that cancel: the active party sees the sum of their logits, not the parts.

Each pair of passive parties has a secret of its own, by X25519 over public keys that the active party passes on,
and draws from it one stream of masks for each label:

    s_P = Σ_Q ± m_PQ        + at the party whose public key is smaller, − at the other:   Σ_P s_P = 0

As in secure aggregation (Bonawitz et al., CCS'17), without drop-outs: here nobody can be missing. The active
party follows the protocol; one that passed on keys of its own would see the parts.
"""

from __future__ import annotations

from collections.abc import Sequence

from hecore import FixedPoint
from hecore.algorithms.draws import RepeatableDraws
from hecore.algorithms.errors import ProtocolError
from hecore.algorithms.lr.steps import random_mask
from hecore.randomness import Draw

KEY_BYTES = 32


class CancellingMasks:
    """One passive party's part.

    draw  gives the 32 secret bytes of this party's key: the same again in a restarted run
    """

    def __init__(self, draw: Draw) -> None:
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey  # heavy import

        self._key = X25519PrivateKey.from_private_bytes(draw(KEY_BYTES))
        self.public: bytes = self._key.public_key().public_bytes_raw()
        self._pairs: list[tuple[RepeatableDraws, bool]] = []

    def meet(self, others: Sequence[bytes], context: str) -> None:
        """Take the public keys of all other passive parties. ProtocolError for one that is no other's."""
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

        if len({self.public, *others}) != len(others) + 1:
            raise ProtocolError("the mask keys of the passive parties are not all different")
        for other in others:
            try:
                secret = self._key.exchange(X25519PublicKey.from_public_bytes(other))
            except ValueError as error:
                raise ProtocolError(f"a mask key of another passive party is none: {error}") from None
            self._pairs.append((RepeatableDraws(secret, f"cancelling {context}"), self.public < other))

    @property
    def others(self) -> int:
        """How many other passive parties there are."""
        return len(self._pairs)

    def mask(self, label: str, rows: int, outputs: int, bits: int, scale_bits: int) -> FixedPoint | None:
        """s_P of shape (rows, outputs): a sum of integers below 2^bits, or None for the only passive party.

        The other parties ask for the same labels, once each, with the same numbers.
        """
        total = None
        for draws, first in self._pairs:
            part = random_mask(rows * outputs, bits, scale_bits, draws(label)).reshape(rows, outputs)
            signed = part if first else -part
            total = signed if total is None else total + signed
        return total
