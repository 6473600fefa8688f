"""hecore against vectors that were computed without it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gmpy2
import pytest

import hecore

FOLDER = Path(__file__).resolve().parent.parent / "vectors"

Vectors = Callable[[str], Any]
BatchOf = Callable[..., hecore.CipherBatch]
Residues = Callable[[hecore.CipherBatch], list[int]]


def numbers(items: list[dict[str, Any]], field: str, base: int = 16) -> list[int]:
    return [int(item[field], base) for item in items]


def test_the_script_writes_these_files(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-I", FOLDER / "generate.py", tmp_path], check=True)
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    published = {path.name: path.read_bytes() for path in FOLDER.glob("*.json")}
    assert written == published
    assert len(published) == 3


def test_the_script_knows_nothing_of_hecore() -> None:
    lines = (FOLDER / "generate.py").read_text(encoding="utf-8").splitlines()
    imported = {line.split()[1] for line in lines if line.startswith(("import ", "from "))}
    assert imported == {"__future__", "hashlib", "json", "struct", "sys", "pathlib", "typing"}


def test_what_is_derived_from_the_key(vectors: Vectors, vector_key: hecore.PrivateKey) -> None:
    given = vectors("paillier_valid")["key"]
    public = vector_key.public
    assert public.n == int(given["n"], 16)
    assert public.fingerprint.hex() == given["fingerprint"]
    assert public.generator == int(given["generator"], 16)
    assert public.generator_power == int(given["generator_power"], 16)
    assert public.flip_power == int(given["flip_power"], 16)


def test_decryptions(
    vectors: Vectors, vector_key: hecore.PrivateKey, batch_of: BatchOf, backend: hecore.kernels.Backend
) -> None:
    given = vectors("paillier_valid")["encryptions"]
    batch = batch_of(vector_key.public, numbers(given, "c"))
    decrypted = hecore.Decryptor(vector_key, backend).decrypt(batch)
    assert decrypted.tolist() == numbers(given, "m", 10)


def test_fresh_encryptions_carry_one_n_th_power(vectors: Vectors, vector_key: hecore.PrivateKey) -> None:
    """c = (1 + m·n)·r^n with r = c^(n⁻¹ mod λ) mod n, found again with the factors."""
    given = vectors("paillier_valid")
    n, p, q = (int(given["key"][name], 16) for name in "npq")
    exponent = pow(n, -1, (p - 1) * (q - 1) // 2)
    for item in given["encryptions"]:
        assert gmpy2.powmod(int(item["c"], 16), exponent, n) == int(item["r"], 16)
    messages = numbers(given["encryptions"], "m", 10)[-3:]
    for who in (vector_key, vector_key.public):
        batch = hecore.Encryptor(who).encrypt(messages)
        for message, c in zip(messages, batch.backend.to_ints(batch.residues), strict=True):
            r = gmpy2.powmod(c, exponent, n)
            assert c == (1 + message % n * n) * gmpy2.powmod(r, n, n * n) % n**2


@pytest.mark.parametrize(
    ("name", "compute"),
    [
        ("additions", lambda batch, item: batch[item["a"]] + batch[item["b"]]),
        ("plain_additions", lambda batch, item: batch[item["a"]] + int(item["k"])),
        ("plain_additions", lambda batch, item: batch[item["a"]] - -int(item["k"])),
        ("multiplications", lambda batch, item: batch[item["a"]] * int(item["k"])),
    ],
)
def test_operations(
    vectors: Vectors,
    vector_key: hecore.PrivateKey,
    batch_of: BatchOf,
    residues: Residues,
    name: str,
    compute: Callable[[hecore.CipherBatch, dict[str, Any]], hecore.CipherBatch],
) -> None:
    given = vectors("paillier_valid")
    batch = batch_of(vector_key.public, numbers(given["encryptions"], "c"))
    for item in given[name]:
        result = compute(batch, item)
        assert residues(result) == [int(item["c"], 16)]
        assert hecore.Decryptor(vector_key).decrypt(result) == int(item["m"])


def test_sum_and_matrix_product(
    vectors: Vectors, vector_key: hecore.PrivateKey, batch_of: BatchOf, residues: Residues
) -> None:
    given = vectors("paillier_valid")["encryptions"][:6]
    ciphertexts, n = numbers(given, "c"), vector_key.public.n
    batch = batch_of(vector_key.public, ciphertexts)
    product = 1
    for c in ciphertexts:
        product = product * c % n**2
    assert residues(batch.sum()) == [product]
    row = [3, 0, -1, 2**40, 1, -7]
    combined = 1
    for c, k in zip(ciphertexts, row, strict=True):
        combined = combined * pow(c, k, n**2) % n**2
    assert residues([row] @ batch) == [combined]


def test_invalid_ciphertexts_are_refused(vectors: Vectors, vector_key: hecore.PrivateKey) -> None:
    given = vectors("paillier_invalid")
    public = vector_key.public
    assert int(given["n"], 16) == public.n
    data = hecore.Encryptor(public).encrypt([1, 2, 3]).to_bytes()
    start, size = len(data) - 3 * public.square.nbytes, public.square.nbytes
    for place, case in ((i % 3, case) for i, case in enumerate(given["cases"])):
        changed = bytearray(data)
        changed[start + place * size : start + (place + 1) * size] = int(case["c"], 16).to_bytes(
            size, "little"
        )
        with pytest.raises(hecore.InvalidCiphertext, match=case["reason"]) as caught:
            hecore.CipherBatch.from_bytes(changed, public)
        assert caught.value.index == place
        assert f"ciphertext {place} is invalid" in str(caught.value)
