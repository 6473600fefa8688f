"""Randomness: ranges hit exactly and everywhere, and one source only."""

from __future__ import annotations

import ast
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

import hecore
from hecore.kernels import limbs as lb
from hecore.randomness import DIRECT_BYTES, random_below, random_bits, random_bytes, random_integer

BOUNDS = [1, 2, 3, 5, 255, 256, 257, 2**64 - 1, 2**64, 2**64 + 1, 2**128, 3**100, 2**2047 + 1]


@pytest.mark.parametrize("size", [0, 1, 31, DIRECT_BYTES, DIRECT_BYTES + 1, 200_003])
def test_bytes(size: int) -> None:
    data = random_bytes(size)
    assert len(data) == size
    if size > 30:
        assert data != random_bytes(size)
        assert len(set(data)) > 16


def test_large_amounts_are_aes_ctr_under_a_fresh_key(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def source(size: int) -> bytes:
        asked.append(size)
        return bytes([len(asked)]) * size

    monkeypatch.setattr(os, "urandom", source)
    size = DIRECT_BYTES + 5
    first, second = random_bytes(size), random_bytes(size)
    assert asked == [32, 32]
    for key, data in ((b"\x01", first), (b"\x02", second)):
        blocks = b"".join(i.to_bytes(16, "big") for i in range(size // 16 + 1))
        cipher = Cipher(algorithms.AES256(key * 32), modes.ECB()).encryptor()  # noqa: S305 - CTR, spelled out
        assert data == cipher.update(blocks)[:size]


def test_everything_comes_from_the_operating_system(
    monkeypatch: pytest.MonkeyPatch, test_key: hecore.PrivateKey
) -> None:
    """With a constant source, everything that is drawn is constant."""
    monkeypatch.setattr(os, "urandom", lambda size: b"\x5a" * size)
    draws: list[Callable[[], object]] = [
        lambda: random_bits(9, 70).tolist(),
        lambda: random_below(3**80, 9).tolist(),
        lambda: random_integer(200),
        lambda: hecore.Encryptor(test_key).encrypt([1, 2]).to_bytes(),
        lambda: hecore.Encryptor(test_key.public).encrypt([1, 2]).to_bytes(),
        lambda: hecore.Encryptor(test_key.public, randomness="uniform").encrypt([1, 2]).to_bytes(),
        lambda: hecore.Encryptor(test_key.public, randomness="classic").encrypt([1, 2]).to_bytes(),
    ]
    for draw in draws:
        assert draw() == draw()


def test_no_module_imports_another_generator() -> None:
    folder = Path(hecore.errors.__file__).parent
    barred = {"random", "secrets", "numpy.random", "uuid"}
    for path in sorted(folder.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                assert barred.isdisjoint(alias.name for alias in node.names), path.name
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                assert node.module not in barred, path.name
            elif isinstance(node, ast.Attribute):
                assert not (node.attr == "random" and ast.unparse(node.value) in ("np", "numpy")), path.name


@pytest.mark.parametrize("bits", [1, 5, 8, 63, 64, 65, 127, 128, 1000])
def test_bits_fill_their_range(bits: int) -> None:
    numbers = lb.to_ints(random_bits(400, bits))
    assert random_bits(400, bits).shape == (400, -(-bits // 64))
    assert max(numbers) < 1 << bits
    for place in {0, bits // 2, bits - 1}:
        ones = sum(number >> place & 1 for number in numbers)
        assert 100 < ones < 300  # 10 standard deviations


def test_no_draw_is_empty() -> None:
    assert random_bits(0, 100).shape == (0, 2)
    assert random_below(2**64 + 1, 0).shape == (0, 2)


@pytest.mark.parametrize("bound", BOUNDS)
def test_below_stays_below(bound: int) -> None:
    numbers = lb.to_ints(random_below(bound, 300))
    assert len(numbers) == 300
    assert 0 <= min(numbers) <= max(numbers) < bound
    if bound > 2**60:
        assert len(set(numbers)) == 300
        assert max(numbers) > bound // 2 > min(numbers)


@pytest.mark.parametrize("bound", [1, 2, 3, 5, 6, 7, 16, 17])
def test_below_is_uniform(bound: int) -> None:
    """Exactly: no value is more likely than another, as it would be for a remainder modulo the bound."""
    count = 20_000
    seen = Counter(lb.to_ints(random_below(bound, count)))
    assert set(seen) == set(range(bound))
    expected = count / bound
    assert all(abs(times - expected) < 7 * np.sqrt(expected) for times in seen.values())


def test_integers() -> None:
    numbers = [random_integer(100) for _ in range(50)]
    assert len(set(numbers)) == 50
    assert max(numbers).bit_length() in range(90, 101)
