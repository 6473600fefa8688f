"""What is measured: a library with one key, behind the verbs that the cases use.

A subject takes and returns numpy arrays of integers; what a ciphertext is, is its own affair. `HecoreSubject`
is hecore on one backend, through its public API; other libraries stand in `peers`.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

import hecore
from hecore import CipherBatch, Encryptor, FixedPoint, PrivateKey
from hecore.kernels import Backend
from hecore.kernels.backend import Residues

#: An array of integers: int64, or Python integers in an object array.
Integers = NDArray[Any]
#: How many elements a call takes to show what the subject can do: see `cases.Batch`.
Pace = Literal["slow", "fast", "device"]

#: Encryption as a user chooses it → the key's form and `Encryptor`'s randomness.
ENCRYPTION_KINDS = {"owner": "exact", "public": "djn", "uniform": "uniform", "classic": "classic"}
PACES: dict[str, Pace] = {"simd": "fast", "cuda": "device"}


class Subject(Protocol):
    """A library under test, with a key of its own.

    name       as it stands in tables and records
    key_bits   length of n
    pace       which batch size of a case suits it
    lacks      the cases that the library has nothing for
    """

    name: str
    key_bits: int
    pace: Pace
    lacks: frozenset[str]

    def new_key(self) -> Any:
        """A fresh key pair of `key_bits` bits."""
        ...

    def round_trip(self, key: Any, values: Integers) -> tuple[int, Integers]:
        """The length of a key pair, and `values` encrypted and decrypted under it."""
        ...

    def encode(self, values: NDArray[np.float64]) -> Any:
        """Floats as the library's plaintexts, steps of 2^−40 or finer."""
        ...

    def decode(self, plain: Any) -> NDArray[np.float64]:
        """The inverse of `encode`."""
        ...

    def encrypt(self, values: Integers, kind: str = "owner") -> Any:
        """Integers to ciphertexts; `kind` is one of ENCRYPTION_KINDS."""
        ...

    def decrypt(self, cipher: Any) -> Integers:
        """Ciphertexts to integers of the same shape."""
        ...

    def add(self, a: Any, b: Any) -> Any:
        """Encrypted a + b."""
        ...

    def add_plain(self, a: Any, values: Integers) -> Any:
        """Encrypted a + values."""
        ...

    def multiply(self, a: Any, factors: Integers) -> Any:
        """Encrypted a · factors, element by element."""
        ...

    def total(self, a: Any) -> Any:
        """The encrypted sum of all elements."""
        ...

    def matmul(self, matrix: Integers, a: Any) -> Any:
        """matrix @ a for a plain vector or matrix."""
        ...

    def histogram(self, a: Any, codes: NDArray[np.uint8], bins: int) -> Any:
        """Sums of a by code: (features, bins)."""
        ...

    def rerandomize(self, a: Any) -> Any:
        """The same numbers under new noise."""
        ...

    def take(self, a: Any, places: NDArray[np.int64]) -> Any:
        """a[places] for a one-dimensional a."""
        ...

    def reshape(self, a: Any, shape: tuple[int, ...]) -> Any:
        """The same ciphertexts in another shape."""
        ...

    def size(self, a: Any) -> int:
        """Number of encrypted numbers."""
        ...

    def marks(self, a: Any) -> NDArray[np.uint64]:
        """The low 64 bits of every ciphertext: equal marks mean equal ciphertexts."""
        ...


class HecoreSubject:
    """hecore on one backend, with one key pair.

    A backend may queue work on a device. So that none is left in flight when the clock stops, every verb that
    returns a batch ends by reading one ciphertext of it back (`settle`).
    """

    lacks: frozenset[str] = frozenset()

    def __init__(self, key: PrivateKey, backend: Backend) -> None:
        self.key = key
        self.backend = backend
        self.name = backend.name
        self.key_bits = key.public.bits
        self.pace: Pace = PACES.get(backend.name, "slow")
        self._decryptor = hecore.Decryptor(key, backend)
        self._encryptors = {
            kind: Encryptor(key if kind == "owner" else key.public, backend, randomness)
            for kind, randomness in ENCRYPTION_KINDS.items()
        }

    def encryptor(self, kind: str) -> Encryptor:
        """The encryptor of one of ENCRYPTION_KINDS."""
        return self._encryptors[kind]

    def settle(self, batch: CipherBatch) -> CipherBatch:
        """The batch, once its last ciphertext has arrived on the host."""
        self.settle_residues(batch.residues)
        return batch

    def settle_residues(self, residues: Residues) -> None:
        """Wait until the last residue has arrived on the host."""
        if len(residues):
            last = np.array([len(residues) - 1], dtype=np.int64)
            self.backend.to_limbs(self.backend.gather(residues, last))

    def new_key(self) -> PrivateKey:
        return hecore.generate_key(self.key_bits, insecure_test_key=self.key.insecure_test_key)

    def round_trip(self, key: Any, values: Integers) -> tuple[int, Integers]:
        batch = Encryptor(key, self.backend).encrypt(values)
        return key.public.bits, np.asarray(hecore.Decryptor(key, self.backend).decrypt(batch))

    def encode(self, values: NDArray[np.float64]) -> FixedPoint:
        return hecore.encode(values)

    def decode(self, plain: Any) -> NDArray[np.float64]:
        return np.asarray(hecore.decode(plain), dtype=np.float64)

    def encrypt(self, values: Integers, kind: str = "owner") -> CipherBatch:
        return self.settle(self._encryptors[kind].encrypt(values))

    def decrypt(self, cipher: Any) -> Integers:
        return np.asarray(self._decryptor.decrypt(cipher))

    def add(self, a: Any, b: Any) -> CipherBatch:
        return self.settle(a + b)

    def add_plain(self, a: Any, values: Integers) -> CipherBatch:
        return self.settle(a + values)

    def multiply(self, a: Any, factors: Integers) -> CipherBatch:
        return self.settle(a * factors)

    def total(self, a: Any) -> CipherBatch:
        return self.settle(a.sum())

    def matmul(self, matrix: Integers, a: Any) -> CipherBatch:
        return self.settle(matrix @ a)

    def histogram(self, a: Any, codes: NDArray[np.uint8], bins: int) -> CipherBatch:
        return self.settle(hecore.histogram(a, codes, bins))

    def rerandomize(self, a: Any) -> CipherBatch:
        return self.settle(a.rerandomize())

    def take(self, a: Any, places: NDArray[np.int64]) -> CipherBatch:
        return self.settle(a[places])

    def reshape(self, a: Any, shape: tuple[int, ...]) -> CipherBatch:
        return self.settle(a.reshape(shape))

    def size(self, a: Any) -> int:
        return int(a.size)

    def marks(self, a: Any) -> NDArray[np.uint64]:
        return self.backend.to_limbs(a.residues)[:, 0]
