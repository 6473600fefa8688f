"""Other Paillier libraries as subjects, where they are installed: each as its own users would call it.

Every adapter runs its library in a configuration that is secure at the given key length: fresh noise for
every ciphertext, none shared or used again. What a library does not offer stands in its `lacks`. Results pass
the same checks as hecore's.
"""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Callable, Mapping
from functools import reduce
from importlib import metadata
from operator import add
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hecore import HecoreError

from .subjects import Integers, Pace, Subject

MARK_MASK = (1 << 64) - 1


class PeerUnavailable(HecoreError, RuntimeError):
    """A peer that was asked for cannot run here; the message says why."""


class PheSubject:
    """python-paillier: objects in numpy object arrays; noise r^n for every ciphertext, gmpy2 inside."""

    name = "phe"
    pace: Pace = "slow"
    lacks: frozenset[str] = frozenset({"encrypt-uniform"})

    def __init__(self, key_bits: int) -> None:
        self._library = _load("phe")
        self.key_bits = key_bits
        self._public, self._private = self.new_key()

    def new_key(self) -> Any:
        return self._library.generate_paillier_keypair(n_length=self.key_bits)

    def round_trip(self, key: Any, values: Integers) -> tuple[int, Integers]:
        public, private = key
        answers = [private.decrypt(public.encrypt(value)) for value in values.tolist()]
        return public.n.bit_length(), _objects(answers)

    def encode(self, values: NDArray[np.float64]) -> Any:
        return [self._library.EncodedNumber.encode(self._public, value) for value in values.tolist()]

    def decode(self, plain: Any) -> NDArray[np.float64]:
        return np.array([number.decode() for number in plain], dtype=np.float64)

    def encrypt(self, values: Integers, kind: str = "owner") -> Any:
        return _objects([self._public.encrypt(value) for value in values.tolist()])

    def decrypt(self, cipher: Any) -> Integers:
        cipher = np.asarray(cipher, dtype=object)
        return _objects([self._private.decrypt(c) for c in cipher.ravel()]).reshape(cipher.shape)

    def add(self, a: Any, b: Any) -> Any:
        return a + b

    def add_plain(self, a: Any, values: Integers) -> Any:
        return a + values

    def multiply(self, a: Any, factors: Integers) -> Any:
        return a * factors

    def total(self, a: Any) -> Any:
        return a.sum()

    def matmul(self, matrix: Integers, a: Any) -> Any:
        return matrix.astype(object) @ a

    def histogram(self, a: Any, codes: NDArray[np.uint8], bins: int) -> Any:
        out = np.full((codes.shape[1], bins), None, dtype=object)
        for feature, table in enumerate(out):
            for code, cipher in zip(codes[:, feature].tolist(), a, strict=True):
                table[code] = cipher if table[code] is None else table[code] + cipher
        for place in np.argwhere(out == None):  # noqa: E711 - element by element
            out[tuple(place)] = self._public.encrypt(0)
        return out

    def rerandomize(self, a: Any) -> Any:
        for cipher in a:
            cipher.obfuscate()
        return a

    def take(self, a: Any, places: NDArray[np.int64]) -> Any:
        return a[places]

    def reshape(self, a: Any, shape: tuple[int, ...]) -> Any:
        return a.reshape(shape)

    def size(self, a: Any) -> int:
        return int(np.size(a))

    def marks(self, a: Any) -> NDArray[np.uint64]:
        return np.array([c.ciphertext(be_secure=False) & MARK_MASK for c in a.ravel()], dtype=np.uint64)


class HeuSubject:
    """SecretFlow's HEU, scheme ZPaillier: C++ over arrays, noise by Damgård, Jurik and Nielsen.

    It uses every processor that the process may run on. It has one encryption, which is compared with the
    owner's and the public one, and none by r^n.
    """

    name = "heu"
    pace: Pace = "slow"
    lacks: frozenset[str] = frozenset({"encrypt-uniform", "encrypt-classic", "matmul", "rerandomize"})

    def __init__(self, key_bits: int) -> None:
        self._numpy, self._phe = _load("heu.numpy"), _load("heu.phe")
        self.key_bits = key_bits
        self._kit = self.new_key()
        schema = self._phe.SchemaType.ZPaillier
        self._integers = self._phe.BigintEncoder(schema)
        self._floats = self._phe.FloatEncoder(schema, 1 << 40)
        self._encryptor, self._decryptor = self._kit.encryptor(), self._kit.decryptor()
        self._evaluator = self._kit.evaluator()

    def new_key(self) -> Any:
        return self._numpy.setup(self._phe.SchemaType.ZPaillier, self.key_bits)

    def round_trip(self, key: Any, values: Integers) -> tuple[int, Integers]:
        cipher = key.encryptor().encrypt(key.array(values, self._integers))
        answer = key.decryptor().decrypt(cipher).to_numpy(self._integers)
        modulus = re.search(r"n=([0-9A-F]+)", str(key.public_key()))
        return int(modulus.group(1), 16).bit_length() if modulus else 0, np.asarray(answer)

    def encode(self, values: NDArray[np.float64]) -> Any:
        return self._kit.array(values, self._floats)

    def decode(self, plain: Any) -> NDArray[np.float64]:
        return np.asarray(plain.to_numpy(self._floats), dtype=np.float64)

    def encrypt(self, values: Integers, kind: str = "owner") -> Any:
        return self._encryptor.encrypt(self._plain(values))

    def decrypt(self, cipher: Any) -> Integers:
        plain = self._decryptor.decrypt(cipher)
        if isinstance(plain, self._phe.Plaintext):
            return _objects([int(str(plain))])
        return np.asarray(plain.to_numpy(self._integers))

    def add(self, a: Any, b: Any) -> Any:
        return self._evaluator.add(a, b)

    def add_plain(self, a: Any, values: Integers) -> Any:
        return self._evaluator.add(a, self._plain(values))

    def multiply(self, a: Any, factors: Integers) -> Any:
        return self._evaluator.mul(a, self._plain(factors))

    def total(self, a: Any) -> Any:
        return self._evaluator.sum(a)

    def matmul(self, matrix: Integers, a: Any) -> Any:
        product = self._evaluator.matmul(self._plain(np.atleast_2d(matrix)), a)
        return product if matrix.ndim == 2 else product[0]

    def histogram(self, a: Any, codes: NDArray[np.uint8], bins: int) -> Any:
        everyone = np.ones((1, len(codes)), dtype=np.int8)
        places = np.ascontiguousarray(codes, dtype=np.int8)
        return self._evaluator.feature_wise_bucket_sum(a, everyone, places, bins, False)

    def rerandomize(self, a: Any) -> Any:
        raise NotImplementedError("HEU offers no re-randomisation")

    def take(self, a: Any, places: NDArray[np.int64]) -> Any:
        return a[places.tolist()]

    def reshape(self, a: Any, shape: tuple[int, ...]) -> Any:
        raise NotImplementedError("HEU arrays keep their shape")

    def size(self, a: Any) -> int:
        return int(a.size) if hasattr(a, "size") else 1

    def marks(self, a: Any) -> NDArray[np.uint64]:
        return np.array([int(str(a[i])) & MARK_MASK for i in range(a.size)], dtype=np.uint64)

    def _plain(self, values: Integers) -> Any:
        return self._kit.array(values, self._integers)


class IpclSubject:
    """Intel's ipcl-python: vectors in C++, eight powers at a time by AVX512-IFMA.

    The package index does not have it: its figures are those of a local build. Encryption by Damgård, Jurik
    and Nielsen, h_s^r with r of half the key's length, is compared with the owner's and the public one; the
    other, r^n under the same n, with the classic one.

    Loaded with IPCL_PREFER_RDRAND it draws from RDRAND; without, from RDSEED, even where the kernel has
    withdrawn that, or else from a generator that is seeded with 32 bits.

    Its vectors are flat; a matrix lies in one row by row. `sum` fails in its latest sources, where it calls a
    method of another class: `total` adds halves, which takes fewer products than that method meant to.
    """

    name = "ipcl"
    pace: Pace = "slow"
    lacks: frozenset[str] = frozenset({"encrypt-uniform"})
    longest_key = 2048

    def __init__(self, key_bits: int) -> None:
        if key_bits > self.longest_key:
            raise PeerUnavailable(f"its keys have at most {self.longest_key} bits")
        if "rdrand" not in Path("/proc/cpuinfo").read_text(encoding="utf-8").split():
            raise PeerUnavailable("without the instruction RDRAND its keys and noise are not random enough")
        self._library = _load("ipcl_python")
        self._bindings = _load("ipcl_python.bindings.ipcl_bindings")
        self._encode = _load("ipcl_python.bindings.fixedpoint").FixedPointNumber.encode
        self.key_bits = key_bits
        self._public, self._private = self.new_key()
        self._classic = self._library.PaillierPublicKey(self._public.n, key_bits, False)

    def new_key(self) -> Any:
        return self._library.PaillierKeypair.generate_keypair(self.key_bits, True)

    def round_trip(self, key: Any, values: Integers) -> tuple[int, Integers]:
        public, private = key
        return public.n.bit_length(), _objects(private.decrypt(public.encrypt(values.tolist())))

    def encode(self, values: NDArray[np.float64]) -> Any:
        n, largest = self._public.n, self._public.max_int
        return [self._encode(value, n, largest) for value in values.tolist()]

    def decode(self, plain: Any) -> NDArray[np.float64]:
        return np.array([number.decode() for number in plain], dtype=np.float64)

    def encrypt(self, values: Integers, kind: str = "owner") -> Any:
        public = self._classic if kind == "classic" else self._public
        return public.encrypt(values.tolist())

    def decrypt(self, cipher: Any) -> Integers:
        answer = self._private.decrypt(cipher)
        return _objects(answer if len(cipher) > 1 else [answer])

    def add(self, a: Any, b: Any) -> Any:
        return a + b

    def add_plain(self, a: Any, values: Integers) -> Any:
        return a + values.tolist()

    def multiply(self, a: Any, factors: Integers) -> Any:
        return a * factors.tolist()

    def total(self, a: Any) -> Any:
        odd = []
        while half := len(a) // 2:
            if len(a) % 2:
                odd.append(a[len(a) - 1])
            a = a[0:half] + a[half : 2 * half]
        return reduce(add, odd, a)

    def matmul(self, matrix: Integers, a: Any) -> Any:
        return matrix.tolist() @ a  # a list: an array would take `a` apart

    def histogram(self, a: Any, codes: NDArray[np.uint8], bins: int) -> Any:
        numbers, out = a.ciphertextBN(), []
        for feature in codes.T:
            for code in range(bins):
                places = np.flatnonzero(feature == code).tolist()
                chosen = self._vector([numbers[i] for i in places]) if places else self._public.encrypt(0)
                out += self.total(chosen).ciphertextBN()
        return self._vector(out)

    def rerandomize(self, a: Any) -> Any:
        a.apply_obfuscator()
        return a

    def take(self, a: Any, places: NDArray[np.int64]) -> Any:
        numbers = a.ciphertextBN()
        return self._vector([numbers[i] for i in places.tolist()])

    def reshape(self, a: Any, shape: tuple[int, ...]) -> Any:
        return a

    def size(self, a: Any) -> int:
        return len(a)

    def marks(self, a: Any) -> NDArray[np.uint64]:
        low = [int.from_bytes(number.to_bytes()[:8], "little") for number in a.ciphertextBN()]
        return np.array(low, dtype=np.uint64)

    def _vector(self, numbers: list[Any]) -> Any:
        """Ciphertexts of integers (exponent 0) as one vector."""
        texts = self._bindings.ipclCipherText(self._public.pubkey, numbers)
        exponents = [0] * len(numbers)
        return self._library.PaillierEncryptedNumber(self._public, texts, exponents, len(numbers))


class Peer(NamedTuple):
    """How to get at a peer.

    adapter        its subject
    distribution   the distribution that pip knows
    module         what it imports
    install        how to get it, other than by the name of the distribution
    variables      the environment without which it is not secure; read when it is loaded
    """

    adapter: Callable[[int], Subject]
    distribution: str
    module: str
    install: str = ""
    variables: Mapping[str, str] = MappingProxyType({})


PEERS = {
    "phe": Peer(PheSubject, "phe", "phe"),
    "heu": Peer(HeuSubject, "sf-heu", "heu.numpy"),
    "ipcl": Peer(
        IpclSubject,
        "ipcl-python",
        "ipcl_python",
        "build https://github.com/intel/pailliercryptolib_python",
        {"IPCL_PREFER_RDRAND": "1"},
    ),
}


def make_peer(name: str, key_bits: int) -> Subject:
    """The peer called `name` with a fresh key. PeerUnavailable says why it cannot be had."""
    check_peer(name)
    return PEERS[name].adapter(key_bits)


def check_peer(name: str) -> str:
    """The version of the peer called `name`; PeerUnavailable unless it is known, installed and importable."""
    if name not in PEERS:
        raise PeerUnavailable(f"no adapter for {name!r} (there are {', '.join(PEERS)})")
    peer = PEERS[name]
    try:
        version = metadata.version(peer.distribution)
    except metadata.PackageNotFoundError:
        how = peer.install or f"pip install {peer.distribution}"
        raise PeerUnavailable(f"not installed here: {how}") from None
    os.environ.update(peer.variables)
    _load(peer.module)
    return version


def _load(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise PeerUnavailable(f"cannot be imported: {error}") from None


def _objects(values: list[Any]) -> Integers:
    """An object array of these Python objects, whatever they are."""
    out = np.empty(len(values), dtype=object)
    out[:] = values
    return out
