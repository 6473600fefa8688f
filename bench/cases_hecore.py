"""The cases that only hecore has: packing, the wire form, products in the backend's own form."""

from __future__ import annotations

from typing import Any

import numpy as np

from hecore import CipherBatch, InvalidCiphertext, SlotLayout
from hecore.kernels.backend import Residues

from .cases import Batch, CaseList, Work, derived, draw_values, generator
from .cases_common import check_floats
from .checks import WrongResult, check_cipher, check_equal
from .subjects import HecoreSubject, Integers, Subject

PACKED_BITS = 24
PACKED_TERMS = 1024
#: Numbers of a message that are decrypted and compared.
WIRE_SAMPLES = 256
#: Products a call: enough to hide the call itself.
PRODUCT_ROUNDS = 8
#: Of them compared with Python's integers.
PRODUCT_SAMPLES = 1024

CASES = CaseList()


def own(subject: Subject) -> HecoreSubject:
    """The subject as hecore's; TypeError for a peer."""
    if not isinstance(subject, HecoreSubject):
        raise TypeError(f"this case measures hecore only, not {subject.name}")
    return subject


# --- packing --------------------------------------------------------------------------------------


def layout_for(subject: HecoreSubject) -> SlotLayout:
    """24-bit values with room for sums of 1024."""
    return SlotLayout.for_key(subject.key.public, PACKED_BITS, PACKED_TERMS)


@CASES.define(
    "encrypt-packed", "packing", "packed, then by the key holder", Batch(4096, 65_536, 1_048_576), own=True
)
def encrypt_packed(subject: Subject, batch: int) -> Work:
    """Integers packed and encrypted by the key holder."""
    mine = own(subject)
    values, layout, encryptor = draw_values(batch, PACKED_BITS), layout_for(mine), mine.encryptor("owner")
    return Work(
        lambda: mine.settle(encryptor.encrypt(values, layout=layout)),
        batch,
        lambda got: _check_packed(mine, got, layout, values),
    )


@CASES.define("pack", "packing", "single ciphertexts into slots", Batch(512, 8192, 262_144), own=True)
def pack(subject: Subject, batch: int) -> Work:
    """Single ciphertexts into slots, by shift and add, without the private key."""
    mine = own(subject)
    layout = layout_for(mine)
    cipher, values = derived(mine, batch, PACKED_BITS - 1)
    return Work(
        lambda: mine.settle(cipher.pack(layout)),
        batch,
        lambda got: _check_packed(mine, got, layout, values),
    )


@CASES.define(
    "decrypt-packed", "packing", "decrypted, then unpacked", Batch(2048, 65_536, 1_048_576), own=True
)
def decrypt_packed(subject: Subject, batch: int) -> Work:
    """Packed ciphertexts decrypted and unpacked."""
    mine = own(subject)
    values = draw_values(batch, PACKED_BITS)
    cipher = mine.encryptor("owner").encrypt(values, layout=layout_for(mine))
    return Work(lambda: mine.decrypt(cipher), batch, lambda got: check_equal(got, values))


def _check_packed(subject: HecoreSubject, got: CipherBatch, layout: SlotLayout, values: Integers) -> None:
    check_equal(len(got.residues), layout.ciphertexts(values.size), "numbers of ciphertexts")
    check_equal(subject.decrypt(got), values)


# --- wire -----------------------------------------------------------------------------------------


@CASES.define("to-bytes", "wire", "a fresh batch to bytes", Batch(512, 8192, 131_072), own=True)
def to_bytes(subject: Subject, batch: int) -> Work:
    """A fresh batch to bytes: nothing is re-randomised."""
    mine = own(subject)
    values = draw_values(batch)
    cipher = mine.encryptor("owner").encrypt(values)

    def check(data: bytes) -> None:
        restored = CipherBatch.from_bytes(data, mine.key.public, mine.backend)
        check_cipher(mine, restored, values)
        if not np.array_equal(mine.marks(restored), mine.marks(cipher)):
            raise WrongResult("the ciphertexts of a fresh batch changed on their way")

    return Work(cipher.to_bytes, batch, check)


@CASES.define(
    "encrypt-to-wire", "wire", "floats to the bytes of a message", Batch(128, 4096, 1_048_576), own=True
)
def encrypt_to_wire(subject: Subject, batch: int) -> Work:
    """An array of floats to wire bytes by the key holder: encoding, noise, transfers, everything."""
    mine = own(subject)
    values, encryptor = generator(batch).normal(0.0, 1000.0, batch), mine.encryptor("owner")

    def check(data: bytes) -> None:
        restored = CipherBatch.from_bytes(data, mine.key.public, mine.backend)
        places = np.unique(np.linspace(0, batch - 1, WIRE_SAMPLES).astype(np.int64))
        check_floats(mine.decrypt(mine.take(restored, places)), values[places])

    return Work(lambda: encryptor.encrypt(values).to_bytes(), batch, check)


@CASES.define("from-bytes", "wire", "bytes to a batch, validated", Batch(2000, 10_000, 131_072), own=True)
def from_bytes(subject: Subject, batch: int) -> Work:
    """Bytes to a batch, every ciphertext validated."""
    mine = own(subject)
    public, backend = mine.key.public, mine.backend
    cipher, values = derived(mine, batch)
    data = cipher.to_bytes(rerandomize=False)

    def check(got: CipherBatch) -> None:
        check_cipher(mine, got, values)
        forged = data[: -public.square.nbytes] + bytes(public.square.nbytes)
        try:
            CipherBatch.from_bytes(forged, public, backend)
        except InvalidCiphertext:
            return
        raise WrongResult("a ciphertext of 0 was accepted")

    return Work(lambda: mine.settle(CipherBatch.from_bytes(data, public, backend)), batch, check)


# --- kernel ---------------------------------------------------------------------------------------


@CASES.define("products", "kernel", "eight in a row, no conversions", Batch(2000, 10_000, 262_144), own=True)
def products(subject: Subject, batch: int) -> Work:
    """Products modulo n² of batches that stay in the backend's form: x·y^8."""
    mine = own(subject)
    cipher, _ = derived(mine, batch)
    backend, square = mine.backend, mine.key.public.square.value
    x: Residues = cipher.residues
    y = backend.gather(x, np.arange(batch, dtype=np.int64)[::-1].copy())

    def run() -> Residues:
        product: Residues = x
        for _ in range(PRODUCT_ROUNDS):
            product = backend.mod_mul(product, y)
        mine.settle_residues(product)
        return product

    def check(got: Any) -> None:
        places = np.unique(np.linspace(0, batch - 1, PRODUCT_SAMPLES).astype(np.int64))
        left, right, out = (backend.to_ints(backend.gather(part, places)) for part in (x, y, got))
        pairs = zip(left, right, strict=True)
        check_equal(out, [a * pow(b, PRODUCT_ROUNDS, square) % square for a, b in pairs])

    return Work(run, batch * PRODUCT_ROUNDS, check)
