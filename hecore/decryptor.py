"""Decryption by the Chinese remainder theorem: the only verb that holds a PrivateKey's secrets.

    m_p = L_p(c^(p−1) mod p²) · f_p mod p,  likewise m_q;  m = CRT(m_p, m_q) mod n, read as −n/2 < m < n/2

L_p(x) = (x − 1)/p is the high digit of x in base p (Paillier 1999, section 7); f_p is the key's `p_factor`.
"""

from __future__ import annotations

from typing import Any, NoReturn

from . import packing, wire
from .ciphertext import CipherBatch, check_key
from .encoding import FixedPoint, at_place, decode
from .errors import EncodingOverflow
from .evaluator import on_backend
from .kernels import Backend, Modulus
from .kernels import limbs as lb
from .kernels.backend import Residues
from .kernels.select import resolve
from .keys import PrivateKey
from .machine_numbers import export_direct
from .meter import count


class Decryptor:
    """Decrypts batches under one private key.

    backend   a Backend, its name, or None for $HECORE_BACKEND, else the fastest for the size of each batch
    """

    def __init__(self, key: PrivateKey, backend: Backend | str | None = None) -> None:
        if not isinstance(key, PrivateKey):
            raise TypeError(f"a Decryptor takes a PrivateKey, not {type(key).__name__}")
        self._key = key
        self.public = key.public
        self._wanted = backend
        self.backend = resolve(backend)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Decryptor is not pickled: use hecore.save_key and hecore.load_key for its key")

    def decrypt(self, batch: CipherBatch) -> Any:
        """The numbers: int64 (or Python integers) at scale 0, else float64; a scalar for shape ().

        Raises KeyMismatch for another key's batch, InvalidCiphertext for a c that is no ciphertext (and
        answers nothing), EncodingOverflow for a result beyond n/3, which may have wrapped, SlotOverflow for
        one outside its slots.
        """
        return decode(self.decrypt_fixed(batch))

    def decrypt_fixed(self, batch: CipherBatch) -> FixedPoint:
        """The numbers as exact integers with their scale; errors as in `decrypt`."""
        if not isinstance(batch, CipherBatch):
            raise TypeError(
                f"decrypt takes a CipherBatch, not {type(batch).__name__}: CipherBatch.from_bytes reads bytes"
            )
        check_key(batch, self.public)
        worker = resolve(self._wanted, count=len(batch.residues))
        batch = on_backend(batch, worker)
        wire.validate(worker, batch.residues, self.public)
        count("decrypt", len(batch.residues))
        messages = worker.crt_combine(
            _half(worker, batch.residues, self._key.p_square, self._key.p_factor),
            _half(worker, batch.residues, self._key.q_square, self._key.q_factor),
            self.public.modulus,
        )
        direct = export_direct(worker, messages, batch.layout, batch.shape, batch.scale_bits)
        if direct is not None:
            return direct
        plain = FixedPoint(worker.to_signed(messages), batch.grid, batch.scale_bits)
        if batch.layout is not None:
            return packing.unpack(plain, batch.layout, batch.shape[-1])
        self._check_wrap(plain)
        width = FixedPoint.width_for(lb.signed_bits(plain.limbs))
        return FixedPoint(lb.resize(plain.limbs, width), plain.shape, plain.scale_bits)

    def _check_wrap(self, plain: FixedPoint) -> None:
        """A result in the outer third of the plaintext space has wrapped, or is about to."""
        outside = lb.first_not_below(lb.absolute(plain.limbs), self.public.n // 3)
        if outside is not None:
            raise EncodingOverflow(
                f"the result{at_place(outside, plain.shape)} is beyond n/3 and may have"
                " wrapped: use smaller scales, or decrypt and encrypt between multiplications; a damaged"
                " ciphertext looks like this too"
            )


def _half(backend: Backend, ciphertexts: Residues, square: Modulus, factor: int) -> Residues:
    """L(c^(r−1) mod r²) · factor mod r for a prime r."""
    assert square.root is not None  # noqa: S101 - the key's squares know their roots
    reduced = backend.reduce(ciphertexts, square)
    powers = backend.mod_pow(reduced, square.root.value - 1)
    scale = backend.from_ints(square.root, [factor])
    return backend.mod_mul(backend.high_digit(powers), scale)
