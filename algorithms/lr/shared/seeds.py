"""Masks that all passive parties know: how their share of a logit is one and the same for all of them.

Each passive party draws its forward masks from a seed, and gives the seed to the other passive ones,
encrypted under their keys by way of the active party. Then each of them can compute −⌊r/2^f⌋ of every block,
and so the passive share of all logits, without another message. The active party never has a seed: its own
share stays uniform. What this costs stands in THREAT_MODEL.md: a passive party that colludes with the active
one gives it the masks of all others.
"""

from __future__ import annotations

from collections.abc import Mapping

from hecore import CipherBatch, Decryptor, Encryptor, FixedPoint
from hecore.algorithms.draws import Draws, RepeatableDraws
from hecore.algorithms.errors import ProtocolError
from hecore.kernels import Backend
from hecore.keys import PublicKey

SEED_BYTES = 32


def draws_of(seed: bytes, model: str, party: str) -> Draws:
    """The masks of one passive party in one training, by label; each label once."""
    return RepeatableDraws(seed, f"shared masks of {party!r} in {model}")


def seal_seeds(seed: bytes, others: Mapping[str, PublicKey], backend: Backend) -> tuple[bytes, ...]:
    """The seed under the key of each other passive party, in their order."""
    number = FixedPoint.from_integers([int.from_bytes(seed, "little")])
    return tuple(Encryptor(key, backend, "uniform").encrypt(number).to_bytes() for key in others.values())


def open_seed(data: bytes, decryptor: Decryptor, backend: Backend, sender: str) -> bytes:
    """A seed that came by way of the active party. ProtocolError for what is no 256-bit number."""
    batch = CipherBatch.from_bytes(data, decryptor.public, backend)
    if (batch.shape, batch.scale_bits, batch.layout) != ((1,), 0, None):
        raise ProtocolError(f"a seed of {sender} came in shape {batch.shape}")
    number = int(decryptor.decrypt_fixed(batch).to_integers()[0])
    if not 0 <= number < 1 << (8 * SEED_BYTES):
        raise ProtocolError(f"{sender} sent a seed that is no number of {8 * SEED_BYTES} bits")
    return number.to_bytes(SEED_BYTES, "little")
