"""Masks between passive parties: the active one reads the sum of their partial sums, and no single one.

Two passive parties that know each other's public CURVE key have a common secret without a message: the
Diffie–Hellman value of their keys on Curve25519. From it both derive the same numbers for a question; the one
whose name sorts first adds them, the other subtracts them, modulo 2^64:

    P1 → A   s₁ + m₁₂ + m₁₃        P2 → A   s₂ − m₁₂ + m₂₃        P3 → A   s₃ − m₁₃ − m₂₃

A question's masks depend on its number, on who asked, on the model and on all its ids: a mask hides one
vector of rows only. A party that asked P1 and P2 for different rows gets sums that mean nothing. Whoever
repeats a question, number and all, after P1's features have changed sees P1's change, as without masks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray
from zmq.utils import z85

from hecore.algorithms.channel import AllowList, CurveKeys
from hecore.algorithms.errors import AuthenticationError
from hecore.algorithms.serving.messages import Question

PERSON = b"hecore serving mask v1 "


class Masks:
    """This party's masks with each of the `others`, passive parties of the same model.

    Raises AuthenticationError for a party without a public key, or with two: they would not know which of the
    two the other party uses.
    """

    def __init__(self, me: str, keys: CurveKeys, allowed: AllowList, others: Sequence[str]) -> None:
        own = X25519PrivateKey.from_private_bytes(z85.decode(keys.secret.encode()))
        self._secrets: dict[str, tuple[bytes, bool]] = {}
        for other in others:
            known = allowed.keys_of(other)
            if len(known) != 1 or other == me:
                raise AuthenticationError(
                    f"masks with {other}: exactly one public key of another party is needed"
                )
            shared = own.exchange(X25519PublicKey.from_public_bytes(z85.decode(known[0].encode())))
            names = "\0".join(sorted([me, other])).encode()
            self._secrets[other] = (_derived(shared, b"secret " + names), me < other)

    def __bool__(self) -> bool:
        return bool(self._secrets)

    def fingerprints(self) -> Mapping[str, str]:
        """Of each other party, a text that is the same at both where they will mask alike."""
        return {other: _derived(secret, b"shown")[:16].hex() for other, (secret, _) in self._secrets.items()}

    def of(self, question: Question, outputs: int) -> NDArray[np.uint64]:
        """What this party adds modulo 2^64: (rows, outputs)."""
        asked = hashlib.sha256()
        for part in (question.process, question.number.to_bytes(8, "little"), question.model.encode()):
            asked.update(part)
        asked.update(question.payload[0])
        total = np.zeros((question.rows, outputs), dtype=np.uint64)
        for secret, adds in self._secrets.values():
            key = _derived(secret, b"question " + asked.digest())
            stream = Cipher(algorithms.AES256(key), modes.CTR(bytes(16))).encryptor()
            numbers = np.frombuffer(stream.update(bytes(total.nbytes)), "<u8").reshape(total.shape)
            total = total + numbers if adds else total - numbers
        return total


def _derived(secret: bytes, use: bytes) -> bytes:
    return HKDF(hashes.SHA256(), 32, salt=None, info=PERSON + use).derive(secret)
