"""What the tests of Paillier share: roles under the short key, every backend that runs here, vectors."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hecore
from hecore.kernels.cuda.backend import CudaBackend
from hecore.kernels.select import LOADERS

from ..kernels.cuda.reference import ReferenceDevice

VECTORS = Path(__file__).resolve().parent.parent / "vectors"


@pytest.fixture(scope="session")
def other_key() -> hecore.PrivateKey:
    """A second short key."""
    return hecore.generate_key(512, insecure_test_key=True)


@pytest.fixture(scope="session")
def encryptor(test_key: hecore.PrivateKey) -> hecore.Encryptor:
    """Whoever has the public key of `test_key`."""
    return hecore.Encryptor(test_key.public)


@pytest.fixture(scope="session")
def decryptor(test_key: hecore.PrivateKey) -> hecore.Decryptor:
    """The owner of `test_key`."""
    return hecore.Decryptor(test_key)


#: The CUDA backend on a device that computes with plain integers.
ON_INTEGERS = "cuda-on-integers"


@pytest.fixture(
    params=[*(pytest.param(n, marks=pytest.mark.gpu if n == "cuda" else ()) for n in LOADERS), ON_INTEGERS]
)
def backend(request: pytest.FixtureRequest) -> hecore.kernels.Backend:
    """Each backend; skipped with its reason where it does not run."""
    if request.param == ON_INTEGERS:
        return CudaBackend([ReferenceDevice()])
    try:
        return hecore.get_backend(request.param)
    except hecore.BackendUnavailable as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def vectors() -> Callable[[str], Any]:
    """The content of a file of published vectors, by name."""

    def load(name: str) -> Any:
        return json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))

    return load


@pytest.fixture(scope="session")
def vector_key(vectors: Callable[[str], Any]) -> hecore.PrivateKey:
    """The key of the published vectors: 2048 bits, and marked as a test key since its primes are known."""
    given = vectors("paillier_valid")["key"]
    return hecore.PrivateKey(int(given["p"], 16), int(given["q"], 16), given["nonce"], insecure_test_key=True)


@pytest.fixture(scope="session")
def residues() -> Callable[[hecore.CipherBatch], list[int]]:
    """The ciphertexts of a batch as Python integers."""
    return lambda batch: batch.backend.to_ints(batch.residues)


@pytest.fixture(scope="session")
def batch_of() -> Callable[..., hecore.CipherBatch]:
    """A batch made of given ciphertexts, without the checks of the wire."""

    def make(public: hecore.PublicKey, ciphertexts: list[int], **fields: Any) -> hecore.CipherBatch:
        backend = hecore.get_backend()
        values = backend.from_ints(public.square, ciphertexts)
        return hecore.CipherBatch(
            public, backend, values, **{"shape": (len(ciphertexts),), "scale_bits": 0} | fields
        )

    return make
