"""The same key in `phe`, an independent implementation: each decrypts what the other encrypts."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from phe import paillier

import hecore

NUMBERS = [0, 1, -1, 42, -(2**63), 2**200, -(2**200) + 1]

BatchOf = Callable[..., hecore.CipherBatch]
Residues = Callable[[hecore.CipherBatch], list[int]]


@pytest.fixture(scope="module", params=["test_key", "key"])
def pair(request: pytest.FixtureRequest) -> tuple[hecore.PrivateKey, paillier.PaillierPrivateKey]:
    key: hecore.PrivateKey = request.getfixturevalue(request.param)
    return key, paillier.PaillierPrivateKey(paillier.PaillierPublicKey(key.public.n), key.p, key.q)


Pair = tuple[hecore.PrivateKey, paillier.PaillierPrivateKey]


def signed(m: int, n: int) -> int:
    return m if m <= n // 2 else m - n


@pytest.mark.parametrize("randomness", ["exact", "djn", "uniform", "classic"])
def test_phe_decrypts_ours(pair: Pair, residues: Residues, randomness: str) -> None:
    ours, theirs = pair
    batch = hecore.Encryptor(ours, randomness=randomness).encrypt(NUMBERS)
    n = ours.public.n
    assert [signed(theirs.raw_decrypt(c), n) for c in residues(batch)] == NUMBERS


def test_we_decrypt_theirs(pair: Pair, batch_of: BatchOf) -> None:
    ours, theirs = pair
    n = ours.public.n
    batch = batch_of(ours.public, [theirs.public_key.raw_encrypt(m % n) for m in NUMBERS])
    assert hecore.Decryptor(ours).decrypt(batch).tolist() == NUMBERS


def test_operations_on_both_sides_agree(pair: Pair, residues: Residues) -> None:
    ours, theirs = pair
    x = hecore.Encryptor(ours.public).encrypt([5, -7, 11])
    a, b, c = (paillier.EncryptedNumber(theirs.public_key, value, 0) for value in residues(x))
    for mine, other in (
        (x[0] + x[1], a + b),
        (x[0] - x[2], a - c),
        (x[1] * 13, b * 13),
        (x[2] * -3, c * -3),
        (x[0] + 100, a + 100),
        (x.sum(), a + b + c),
        ([2, -1, 3] @ x, a * 2 - b + c * 3),
    ):
        number = hecore.Decryptor(ours).decrypt(mine)
        assert theirs.decrypt(other) == number
        assert [signed(theirs.raw_decrypt(c), ours.public.n) for c in residues(mine)] == [number]


def test_packed_plaintexts_are_plain_sums(pair: Pair, residues: Residues) -> None:
    ours, theirs = pair
    layout = hecore.SlotLayout(4, 50, 30)
    batch = hecore.Encryptor(ours.public).encrypt([1, -2, 3, -4], layout=layout)
    expected = sum(value << 50 * i for i, value in enumerate([1, -2, 3, -4]))
    assert [signed(theirs.raw_decrypt(c), ours.public.n) for c in residues(batch)] == [expected]
