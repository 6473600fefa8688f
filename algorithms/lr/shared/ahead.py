"""Encryption ahead of time: noise is made while the network is waited for, shares are put in when known.

    [share] = [0] · (1 + share·n)          [0] made by a thread of its own, each used once

Noise is most of an encryption, and does not depend on what is encrypted. One [0] serves one share: the result
has noise that nobody has seen, as if it were encrypted at once.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from hecore import CipherBatch, Encryptor, FixedPoint
from hecore.algorithms.lr.bounds import Packing
from hecore.meter import count


class AheadEncryptor:
    """Encrypts shares under the own key, with noise made before where there was time.

    Noise that was made for more than is needed next is thrown away.
    """

    def __init__(self, encryptor: Encryptor) -> None:
        self._encryptor = encryptor
        self._pool = ThreadPoolExecutor(1, "noise")
        self._ready: Future[CipherBatch] | None = None
        self._count = 0

    def prepare(self, count: int) -> None:
        """Begin to make noise for `count` ciphertexts, unless some is left or on its way."""
        if self._ready is None and count > 0:
            zeros = np.zeros(count, dtype=np.int64)
            self._ready, self._count = self._pool.submit(self._encryptor.encrypt, zeros), count

    def encrypt(self, share: FixedPoint, packing: Packing) -> bytes:
        """A share (rows, outputs): a ciphertext a row while the outputs fit into one.

        EncodingOverflow for a share beyond its slot.
        """
        alone = packing.outputs == 1 and share.shape[1] == 1
        plain = share.reshape(-1) if alone else share
        layout = None if alone else packing.of_row
        needed = len(plain.limbs) if layout is None else share.shape[0] * packing.groups(share.shape[1])
        ready, self._ready = self._ready, None
        if ready is None or self._count < needed:
            return self._encryptor.encrypt(plain, layout=layout).to_bytes()
        zeros = ready.result()[:needed]
        count("encrypt", needed)
        shaped = replace(zeros, shape=plain.shape, layout=layout, scale_bits=plain.scale_bits)
        return replace(shaped + plain, fresh=True, terms=1).to_bytes()

    def close(self) -> None:
        """End the thread."""
        self._pool.shutdown(wait=True, cancel_futures=True)
