"""Encryption: c = (1 + m·n) · noise mod n², every ciphertext with noise of its own."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np

from . import noise, packing
from .ciphertext import CipherBatch
from .encoding import Shape, encode
from .evaluator import check_range, import_plain, on_backend
from .kernels import Backend
from .kernels.backend import Residues
from .kernels.fallback import despite_loss
from .kernels.select import resolve
from .keys import PrivateKey, PublicKey
from .machine_numbers import import_direct
from .meter import count
from .packing import SlotLayout


class Encryptor:
    """Encrypts arrays under one key.

    key         a PublicKey, or a PrivateKey for the owner's path (about 1.5 times as fast, no assumption)
    backend     a Backend, its name, or None for $HECORE_BACKEND, else automatic: batches live on the fastest
                here, and a few values are encrypted where that is faster
    randomness  where the noise comes from (see `noise`): None takes "exact" for a private key and "djn" for a
                public one; "uniform" and "classic" need no short-exponent assumption and cost 2 and 16 times
    """

    def __init__(
        self,
        key: PublicKey | PrivateKey,
        backend: Backend | str | None = None,
        randomness: str | None = None,
    ) -> None:
        if not isinstance(key, PublicKey | PrivateKey):
            raise TypeError(f"an Encryptor takes a PublicKey or a PrivateKey, not {type(key).__name__}")
        owner = isinstance(key, PrivateKey)
        self._key = key
        self.public = key.public if isinstance(key, PrivateKey) else key
        self._wanted = backend
        self.backend = resolve(backend)
        self.randomness = randomness or ("exact" if owner else "djn")
        kinds = noise.PRIVATE_KINDS if owner else noise.PUBLIC_KINDS
        if self.randomness not in kinds:
            raise ValueError(
                f"randomness={randomness!r}: with a {type(key).__name__} choose one of {', '.join(kinds)}"
            )

    def __reduce__(self) -> NoReturn:
        # The backend may hold tables made from a private key: pickling it along would give the key away.
        raise TypeError("an Encryptor is not pickled: make one from the PublicKey where it is needed")

    def encrypt(
        self, values: Any, *, scale_bits: int | None = None, layout: SlotLayout | None = None
    ) -> CipherBatch:
        """Encrypt numbers of any shape.

        values      a number, list, array or FixedPoint; see `encoding.encode`
        scale_bits  fractional bits: None takes 0 for integers, 40 for floats
        layout      pack the last axis into slots, or None for one number a ciphertext

        Raises EncodingError for NaN and infinity, EncodingOverflow for values too large for the key or slot,
        each naming the place.
        """
        batch = despite_loss(lambda: self._encrypt(values, scale_bits, layout))
        count("encrypt", len(batch.residues))
        return batch

    def _encrypt(self, values: Any, scale_bits: int | None, layout: SlotLayout | None) -> CipherBatch:
        worker, messages, shape, scale = self._import_direct(
            values, scale_bits, layout
        ) or self._import_encoded(values, scale_bits, layout)
        powers = noise.draw(worker, self._key, self.randomness, len(messages))
        residues = worker.mul_one_plus(powers, messages)
        batch = CipherBatch(self.public, worker, residues, shape, scale, layout, fresh=True)
        return on_backend(batch, self.backend)

    def _import_direct(
        self, values: Any, scale_bits: int | None, layout: SlotLayout | None
    ) -> tuple[Backend, Residues, Shape, int] | None:
        """The messages of an array that the backend takes as it is, unless others are faster for so few."""
        if not isinstance(values, np.ndarray):
            return None
        number = values.size if layout is None else layout.ciphertexts(values.size)
        if resolve(self._wanted, count=number) is not self.backend:
            return None
        taken = import_direct(self.backend, values, scale_bits, layout, self.public)
        return None if taken is None else (self.backend, *taken)

    def _import_encoded(
        self, values: Any, scale_bits: int | None, layout: SlotLayout | None
    ) -> tuple[Backend, Residues, Shape, int]:
        """The messages by way of limbs on the host, which also finds what cannot be encoded."""
        numbers = encode(values, scale_bits)
        plain = numbers
        if layout is None:
            check_range(numbers, self.public)
        else:
            layout.check_key(self.public)
            plain = packing.pack(numbers, layout)
        worker = resolve(self._wanted, count=len(plain.limbs))
        return worker, import_plain(worker, plain, self.public), numbers.shape, numbers.scale_bits
