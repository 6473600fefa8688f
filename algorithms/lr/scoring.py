"""Joint scores of rows by a trained model: the active party gets logits, the others nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hecore import CipherBatch, Decryptor, Encryptor, SlotLayout
from hecore.algorithms.channel import Channel
from hecore.algorithms.errors import ProtocolError
from hecore.algorithms.lr.messages import ScoreShare
from hecore.algorithms.objectives import Floats
from hecore.kernels import Backend
from hecore.keys import PrivateKey, PublicKey

#: Partial logits on their way to the active party: 16 fractional bits, |z| < 2^20. More digits would tell
#: more of the columns behind them than a score needs.
SCORE_BITS, SCORE_LIMIT_BITS = 16, 20


def send_scores(channel: Channel, public: PublicKey, backend: Backend, partial: Floats) -> None:
    """Send the partial logits (rows, outputs) of a passive party under the active party's key."""
    encryptor = Encryptor(public, backend)
    batch = encryptor.encrypt(partial.ravel(), scale_bits=SCORE_BITS, layout=_layout(public))
    channel.send(ScoreShare(rows=len(partial), payload=(batch.to_bytes(),)))


def receive_scores(
    channels: Sequence[Channel], key: PrivateKey, backend: Backend, rows: int, outputs: int
) -> Floats:
    """The sum of the passive parties' partial logits. ProtocolError for scores of another shape."""
    total, layout = np.zeros((rows, outputs)), _layout(key.public)
    for channel in channels:
        message = channel.receive(ScoreShare)
        if message.rows != rows or len(message.payload) != 1:
            raise ProtocolError(f"{channel.peer} scored {message.rows} rows instead of {rows}")
        batch = CipherBatch.from_bytes(message.payload[0], key.public, backend)
        if (batch.shape, batch.layout, batch.scale_bits) != ((rows * outputs,), layout, SCORE_BITS):
            raise ProtocolError(f"{channel.peer} sent scores of shape {batch.shape}")
        total += Decryptor(key, backend).decrypt(batch).reshape(rows, outputs)
    return total


def _layout(public: PublicKey) -> SlotLayout:
    return SlotLayout.for_key(public, SCORE_BITS + SCORE_LIMIT_BITS)
