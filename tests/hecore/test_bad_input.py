"""Every bad input on one page: a typed error, and a message that a person can act on.

Rows 17 (ciphertexts), 18 (public keys) and 22 (values) of the list of faults, with 2048-bit keys as in use.
The files beside this one test each of them at length.
"""

from __future__ import annotations

import inspect
import pickle
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import gmpy2
import numpy as np
import pytest

import hecore
from hecore import errors, wire


@dataclass(frozen=True)
class World:
    """One honest party's view: its keys, another party's, and bytes that came over the wire."""

    key: hecore.PrivateKey
    other: hecore.PrivateKey
    batch: hecore.CipherBatch
    data: bytes
    folder: Path

    def read(self, data: bytes) -> hecore.CipherBatch:
        return hecore.CipherBatch.from_bytes(data, self.key.public)

    def with_ciphertext(self, c: int) -> bytes:
        """The batch with its second ciphertext replaced."""
        return self.data[:-512] + c.to_bytes(512, "little")

    def decrypt(self, c: int) -> object:
        """What a caller gets who skips the wire's checks."""
        values = self.batch.backend.from_ints(self.key.public.square, [1, c])
        batch = hecore.CipherBatch(self.key.public, self.batch.backend, values, (2,), 40)
        return hecore.Decryptor(self.key).decrypt(batch)


@pytest.fixture(scope="module")
def world(
    key: hecore.PrivateKey, vector_key: hecore.PrivateKey, tmp_path_factory: pytest.TempPathFactory
) -> World:
    batch = hecore.Encryptor(key.public).encrypt([1.5, -2.5])
    return World(key, vector_key, batch, batch.to_bytes(), tmp_path_factory.mktemp("keys"))


Fail = Callable[[World], object]
encryptor: Callable[[World], hecore.Encryptor] = lambda w: hecore.Encryptor(w.key.public)  # noqa: E731

CASES: dict[str, tuple[Fail, type[Exception], str]] = {
    # ciphertexts
    "c = 0": (
        lambda w: w.read(w.with_ciphertext(0)),
        errors.InvalidCiphertext,
        "ciphertext 1 .* 0 or a multiple",
    ),
    "c = n": (lambda w: w.read(w.with_ciphertext(w.key.public.n)), errors.InvalidCiphertext, "ciphertext 1 "),
    "c = n²": (
        lambda w: w.read(w.with_ciphertext(w.key.public.n**2)),
        errors.InvalidCiphertext,
        "ciphertext 1 is invalid: it is not below n²; the sender must encrypt under this key again",
    ),
    "c > n²": (
        lambda w: w.read(w.with_ciphertext(w.key.public.n**2 + 1)),
        errors.InvalidCiphertext,
        "not below n²",
    ),
    "c shares p": (
        lambda w: w.read(w.with_ciphertext(w.key.p * 12345)),
        errors.InvalidCiphertext,
        "ciphertext 1 .* shares a factor with n",
    ),
    "0 decrypted": (lambda w: w.decrypt(0), errors.InvalidCiphertext, "ciphertext 1 .* 0 or a multiple"),
    "n decrypted": (lambda w: w.decrypt(w.key.public.n), errors.InvalidCiphertext, "ciphertext 1 "),
    "p decrypted": (
        lambda w: w.decrypt(w.key.p),
        errors.InvalidCiphertext,
        "ciphertext 1 .* shares a factor",
    ),
    "wrong key on the wire": (
        lambda w: hecore.CipherBatch.from_bytes(w.data, w.other.public),
        errors.KeyMismatch,
        r"encrypted under key \w{16}, not under \w{16}",
    ),
    "wrong key to decrypt": (
        lambda w: hecore.Decryptor(w.other).decrypt(w.batch),
        errors.KeyMismatch,
        r"encrypted under key \w{16}, not under \w{16}",
    ),
    "two keys added": (
        lambda w: w.batch + hecore.Encryptor(w.other.public).encrypt([1.0, 2.0]),
        errors.KeyMismatch,
        "under different keys",
    ),
    "truncated": (
        lambda w: w.read(w.data[:-1]),
        errors.WireFormatError,
        "takes 1096 bytes, but 1095 arrived",
    ),
    "cut in the header": (
        lambda w: w.read(w.data[:30]),
        errors.WireFormatError,
        "needs 64 bytes at least, not 30",
    ),
    "foreign": (lambda w: w.read(b"PK\3\4" + w.data[4:]), errors.WireFormatError, "no ciphertext batch"),
    "pickle": (lambda w: w.read(pickle.dumps([1] * 99)), errors.WireFormatError, "no ciphertext batch"),
    "another version": (
        lambda w: w.read(w.data[:4] + b"\2\0" + w.data[6:]),
        errors.WireFormatError,
        "version 2, but this hecore reads version 1: both parties need the same release",
    ),
    "a result that wrapped": (
        lambda w: hecore.Decryptor(w.key).decrypt(encryptor(w).encrypt([w.key.public.n // 3 - 1]) + 1),
        errors.EncodingOverflow,
        "row 0 is beyond n/3 and may have wrapped: use smaller scales",
    ),
    # public keys
    "short key": (
        lambda w: hecore.PublicKey(w.key.public.n >> 1024 | 1),
        errors.InsecureKey,
        "1024 bits can be factored: use 2048 or more",
    ),
    "even key": (lambda w: hecore.PublicKey(w.key.public.n - 1), errors.InvalidKey, "is even"),
    "prime key": (
        lambda w: hecore.PublicKey(int(gmpy2.next_prime(1 << 2047))),
        errors.InvalidKey,
        "is prime",
    ),
    "key with a small factor": (
        lambda w: hecore.PublicKey(3 * int(gmpy2.next_prime(1 << 2046))),
        errors.InvalidKey,
        "prime factor below 65536",
    ),
    "square key": (
        lambda w: hecore.PublicKey(int(gmpy2.next_prime(3 << 1022)) ** 2),
        errors.InvalidKey,
        "perfect power",
    ),
    "truncated key": (
        lambda w: wire.load_key(wire.dump_key(w.key.public)[:-1]),
        errors.WireFormatError,
        "256 bytes in a message of 271",
    ),
    "published key": (
        lambda w: wire.load_key(wire.dump_key(w.other.public)),
        errors.InsecureKey,
        "marked as a test key",
    ),
    # values
    "NaN": (
        lambda w: encryptor(w).encrypt([[1.0, 2.0], [3.0, np.nan]]),
        errors.EncodingError,
        "nan at row 1, column 1 cannot be encoded .*: impute or drop missing values first",
    ),
    "infinity": (
        lambda w: w.batch + np.array([[1.0, -np.inf]]),
        errors.EncodingError,
        "-inf at row 0, column 1",
    ),
    "text": (
        lambda w: encryptor(w).encrypt(["1"]),
        errors.EncodingError,
        "dtype <U1: give integers, or floats",
    ),
    "beyond the slot": (
        lambda w: encryptor(w).encrypt([[1, 2], [3, 1024]], layout=hecore.SlotLayout(2, 20, 10)),
        errors.EncodingOverflow,
        "row 1, column 1 needs more than the 10 value bits .*: lower the scale or widen the slots",
    ),
    "beyond the key": (
        lambda w: encryptor(w).encrypt([[1, 2], [3, 1 << 2047]]),
        errors.EncodingOverflow,
        "row 1, column 1 is beyond n/3.*: lower the scale or use a longer key",
    ),
    "more terms than headroom": (
        lambda w: encryptor(w).encrypt([[1]] * 9, layout=hecore.SlotLayout(2, 14, 10)).sum(0),
        errors.SlotOverflow,
        "9 terms could overflow slots with headroom for 8: use a layout with larger slot_bits, or decrypt",
    ),
    "slots wider than the key": (
        lambda w: encryptor(w).encrypt([1], layout=hecore.SlotLayout(200, 14, 10)),
        errors.LayoutMismatch,
        r"do not fit a plaintext of 2047 bits: use SlotLayout\.for_key",
    ),
    "two scales": (
        lambda w: w.batch + encryptor(w).encrypt([1, 2]),
        errors.ScaleMismatch,
        r"scale_bits 40 and 0: call \.rescale\(40\) on the lower one",
    ),
    "two shapes": (
        lambda w: w.batch + np.ones(3),
        errors.ShapeMismatch,
        r"shapes \(2,\) and \(3,\) cannot be broadcast together",
    ),
    "fraction to integers": (
        lambda w: encryptor(w).encrypt([1, 2]) + 0.5,
        errors.EncodingError,
        "encrypt with scale_bits > 0, or round first",
    ),
    "two secrets multiplied": (lambda w: w.batch * w.batch, errors.EncodingError, "one factor must be plain"),
    # keys at home
    "no passphrase": (
        lambda w: hecore.save_key(w.key, w.folder / "a"),
        errors.KeyFileError,
        "needs a passphrase of at least 8 characters",
    ),
    "an existing file": (
        lambda w: [hecore.save_key(w.key.public, w.folder / "b") for _ in range(2)],
        errors.KeyFileError,
        "keys are not overwritten, choose another name",
    ),
    "a backend that is not there": (
        lambda w: hecore.Encryptor(w.key, "abacus"),
        errors.BackendUnavailable,
        r"no backend 'abacus' \(it has auto",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input(world: World, name: str) -> None:
    fail, error, message = CASES[name]
    with pytest.raises(error, match=message) as caught:
        fail(world)
    assert type(caught.value) is error
    assert isinstance(caught.value, hecore.HecoreError)


# --- the tree of errors ---------------------------------------------------------------------------


def test_the_tree_is_as_drawn() -> None:
    """hecore.errors draws it: name, built-in base in brackets, indented below its parent."""
    assert errors.__doc__ is not None
    drawn = {}
    parents = {0: "HecoreError"}
    for line in errors.__doc__.splitlines():
        match = re.match(r"^( {4}[│ ]*)[├└]── (\w+) +(?:\((\w+)\))?", line)
        if match:
            depth = len(match[1]) // 4 - 1
            parents[depth + 1] = match[2]
            drawn[match[2]] = (parents[depth], match[3])
    assert set(drawn) == set(errors.__all__) - {"HecoreError"}
    for name, (parent, builtin) in drawn.items():
        bases = getattr(errors, name).__bases__
        assert bases[0] is getattr(errors, parent), name
        assert [base.__name__ for base in bases[1:]] == ([builtin] if builtin else []), name


def test_all_errors_are_public() -> None:
    defined = {
        name
        for name, thing in vars(errors).items()
        if inspect.isclass(thing) and issubclass(thing, hecore.HecoreError)
    }
    assert defined == set(errors.__all__)
    assert all(getattr(hecore, name) is getattr(errors, name) for name in defined)
