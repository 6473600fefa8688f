"""Noise: n-th residues of the stated distribution, and what re-randomising hides."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import product

import gmpy2
import numpy as np
import pytest

import hecore
from hecore import evaluator, noise
from hecore.kernels import limbs as lb
from hecore.kernels.gmp import GmpBackend

KINDS = noise.PRIVATE_KINDS
Residues = Callable[[hecore.CipherBatch], list[int]]


@pytest.fixture(scope="module")
def rich_key() -> hecore.PrivateKey:
    """A key where p − 1 or q − 1 has the factor 3, 5 or 7: classes that a wrong generator would miss."""
    while True:
        key = hecore.generate_key(256, insecure_test_key=True)
        if small_factor(key) is not None:
            return key


def small_factor(key: hecore.PrivateKey) -> tuple[int, int] | None:
    """(prime, f) with an odd f < 8 that divides prime − 1."""
    found = [(prime, f) for prime in (key.p, key.q) for f in (3, 5, 7) if (prime - 1) % f == 0]
    return found[0] if found else None


class Draw:
    """Noise as Python integers, from one backend."""

    def __init__(self, backend: hecore.kernels.Backend) -> None:
        self.backend = backend

    def __call__(self, key: hecore.PrivateKey | hecore.PublicKey, kind: str, count: int) -> list[int]:
        return self.backend.to_ints(noise.draw(self.backend, key, kind, count))


@pytest.fixture
def draw(backend: hecore.kernels.Backend) -> Draw:
    return Draw(backend)


def characters(key: hecore.PrivateKey, numbers: list[int]) -> set[tuple[int, int]]:
    """The quadratic characters modulo p and q that occur."""
    return {(gmpy2.legendre(x, key.p), gmpy2.legendre(x, key.q)) for x in numbers}


# --- the distribution -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_noise_is_an_n_th_residue(draw: Draw, test_key: hecore.PrivateKey, kind: str) -> None:
    """x = r^n for a unit r, exactly if x^λ = 1 mod n²: those are the n-th powers."""
    n = test_key.public.n
    order = math.lcm(test_key.p - 1, test_key.q - 1)
    numbers = draw(test_key, kind, 60)
    assert len(set(numbers)) == 60
    for x in numbers:
        assert pow(x, order, n * n) == 1
        assert math.gcd(x, n) == 1
        r = pow(x, pow(n, -1, order), n)
        assert pow(r, n, n * n) == x


@pytest.mark.parametrize("kind", KINDS)
def test_noise_decrypts_to_zero(
    draw: Draw,
    test_key: hecore.PrivateKey,
    decryptor: hecore.Decryptor,
    batch_of: Callable[..., hecore.CipherBatch],
    kind: str,
) -> None:
    assert not decryptor.decrypt(batch_of(test_key.public, draw(test_key, kind, 50))).any()


@pytest.mark.parametrize("kind", ["exact", "uniform", "classic"])
def test_every_class_of_units_occurs(draw: Draw, rich_key: hecore.PrivateKey, kind: str) -> None:
    """All four pairs of quadratic characters, and all f classes of a small odd f that divides p − 1."""
    numbers = draw(rich_key, kind, 400)
    seen = [(gmpy2.legendre(x, rich_key.p), gmpy2.legendre(x, rich_key.q)) for x in numbers]
    assert all(30 < seen.count(pair) < 170 for pair in product((1, -1), (1, -1)))  # 8 standard deviations
    prime, f = small_factor(rich_key) or (0, 0)
    classes = [pow(x, (prime - 1) // f, prime) for x in numbers]
    assert len(set(classes)) == f
    assert all(abs(classes.count(c) - 400 / f) < 76 for c in set(classes))


def test_djn_noise_has_one_symbol(draw: Draw, test_key: hecore.PrivateKey) -> None:
    numbers = draw(test_key, "djn", 200)
    assert {gmpy2.jacobi(x, test_key.public.n) for x in numbers} == {1}
    assert characters(test_key, numbers) == {(1, 1), (-1, -1)}


# --- the formulas ---------------------------------------------------------------------------------


class Recorded:
    """Stands in for a source of random limbs: gives fixed numbers, and notes what was asked."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, name: str, numbers: Callable[[int], list[int]]
    ) -> None:
        self.asked: list[tuple[int, int]] = []
        self._numbers = numbers
        monkeypatch.setattr(noise, name, self._below if name == "random_below" else self._bits)

    def _below(self, bound: int, count: int) -> lb.Limbs:
        self.asked.append((bound, count))
        return lb.from_ints(self._numbers(bound), lb.width_for_bits((bound - 1).bit_length()))

    def _bits(self, count: int, bits: int) -> lb.Limbs:
        self.asked.append((bits, count))
        return lb.from_ints(self._numbers(1 << bits), lb.width_for_bits(bits))


def edges(bound: int) -> list[int]:
    return [0, 1, 2, bound // 3, bound - 2, bound - 1]


def test_exact_noise_is_a_power_of_each_generator(
    draw: Draw, test_key: hecore.PrivateKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """≡ G_p^a mod p² and G_q^b mod q², 0 ≤ a < p − 1 and 0 ≤ b < q − 1, the last exponents included."""
    p, q = test_key.p, test_key.q
    source = Recorded(monkeypatch, "random_below", edges)
    numbers = draw(test_key, "exact", 6)
    assert source.asked == [(p - 1, 6), (q - 1, 6)]
    h, n = test_key.public.generator, p * q
    assert [x % p**2 for x in numbers] == [pow(h, n * a, p * p) for a in edges(p - 1)]
    assert [x % q**2 for x in numbers] == [pow(h, n * b, q * q) for b in edges(q - 1)]


def test_djn_noise_is_a_short_power(
    draw: Draw, test_key: hecore.PrivateKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """h_s^a with a of |n|/2 bits."""
    source = Recorded(monkeypatch, "random_bits", edges)
    public = test_key.public
    numbers = draw(public, "djn", 6)
    assert source.asked == [(256, 6)]
    base = pow(public.generator, public.n, public.n**2)
    assert numbers == [pow(base, a, public.n**2) for a in edges(1 << 256)]


def test_uniform_noise_is_a_long_power_times_a_coin(
    draw: Draw, test_key: hecore.PrivateKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """h_s^a·(y^n)^b, a of |n| + 64 bits so that a mod ord(h) is uniform to 2^−64, b a coin of its own."""
    coins = [0, 1, 0, 1, 1, 0]
    source = Recorded(monkeypatch, "random_bits", lambda bound: coins if bound == 2 else edges(bound))
    public = test_key.public
    numbers = draw(public, "uniform", 6)
    assert source.asked == [(512 + 64, 6), (1, 6)]
    square = public.n**2
    base, flip = pow(public.generator, public.n, square), public.flip_power
    expected = [pow(base, a, square) * flip**coin for a, coin in zip(edges(1 << 576), coins, strict=True)]
    assert numbers == [x % square for x in expected]


def test_classic_noise_is_the_definition(
    draw: Draw, test_key: hecore.PrivateKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """r^n; the one r that is no unit for certain, 0, becomes 1."""
    source = Recorded(monkeypatch, "random_below", edges)
    n = test_key.public.n
    numbers = draw(test_key.public, "classic", 6)
    assert source.asked == [(n, 6)]
    assert numbers == [pow(r or 1, n, n * n) for r in edges(n)]


def test_noise_that_cannot_be_drawn(draw: Draw, test_key: hecore.PrivateKey) -> None:
    with pytest.raises(hecore.InvalidKey, match="needs the private key"):
        draw(test_key.public, "exact", 1)
    with pytest.raises(ValueError, match="randomness='fast' is not one of exact, djn, uniform, classic"):
        draw(test_key, "fast", 1)
    for kind in KINDS:
        assert draw(test_key, kind, 0) == []


@pytest.mark.parametrize("kind", ["exact", "djn", "uniform"])
def test_threads_that_start_together_draw_the_same_powers(
    draw: Draw, test_key: hecore.PrivateKey, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """They share one table, which is built while they use it."""
    Recorded(monkeypatch, "random_below", lambda bound: [bound - 1 - i for i in range(30)])
    Recorded(monkeypatch, "random_bits", lambda bound: [bound - 1 - i % bound for i in range(30)])
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(5):
            key = hecore.generate_key(256, insecure_test_key=True)  # without tables yet
            start = threading.Barrier(4)

            def work(key: hecore.PrivateKey = key, start: threading.Barrier = start) -> list[int]:
                start.wait()
                return draw(key, kind, 30)

            with ThreadPoolExecutor(4) as pool:
                drawn = [future.result() for future in [pool.submit(work) for _ in range(4)]]
            assert drawn == [Draw(GmpBackend())(key, kind, 30)] * 4
    finally:
        sys.setswitchinterval(interval)


# --- what re-randomising hides --------------------------------------------------------------------


def test_djn_rerandomisation_would_leak_a_parity(
    draw: Draw, test_key: hecore.PrivateKey, residues: Residues
) -> None:
    """The attack that "uniform" is there for.

    The owner of the key encrypts, and keeps the Jacobi symbols s_j of its ciphertexts. The other party
    returns ∏ c_j^x_j, secret bits x. Multiplied with noise of symbol +1, it shows ∏ s_j^x_j: a parity of x.
    """
    n, backend = test_key.public.n, draw.backend
    owner = hecore.Encryptor(test_key, backend).encrypt(np.arange(40))
    symbols = np.array([gmpy2.jacobi(c, n) for c in residues(owner)])
    assert set(symbols) == {1, -1}
    secrets = np.random.default_rng(5).integers(0, 2, (60, 40))
    parities = [int(np.prod(symbols[row == 1])) for row in secrets]
    assert set(parities) == {1, -1}
    result = secrets @ owner

    blinded = backend.mod_mul(result.residues, noise.draw(backend, test_key.public, "djn", 60))
    assert [gmpy2.jacobi(c, n) for c in backend.to_ints(blinded)] == parities

    hidden = [gmpy2.jacobi(c, n) for c in residues(result.rerandomize())]
    assert hidden != parities  # 2^−60 to be the same by chance
    assert set(hidden) == {1, -1}


@pytest.mark.parametrize(
    "send",
    [
        lambda x: x.rerandomize(),
        lambda x: evaluator.rerandomize(x, "classic"),
        lambda x: type(x).from_bytes(x.to_bytes(), x.public),
    ],
)
def test_rerandomised_results_show_nothing_of_their_origin(
    test_key: hecore.PrivateKey, residues: Residues, send: Callable[[hecore.CipherBatch], hecore.CipherBatch]
) -> None:
    """Whatever the class of the product's noise, all classes come out equally often."""
    encrypted = hecore.Encryptor(test_key).encrypt(np.zeros(150, dtype=int))
    by_class = {
        (gmpy2.legendre(c, test_key.p), gmpy2.legendre(c, test_key.q)): c for c in residues(encrypted)
    }
    assert len(by_class) == 4
    for c in by_class.values():
        place = residues(encrypted).index(c)
        many = send(encrypted[[place] * 300] + 5)
        seen = [(gmpy2.legendre(x, test_key.p), gmpy2.legendre(x, test_key.q)) for x in residues(many)]
        assert all(15 < seen.count(pair) < 135 for pair in by_class)  # 8 standard deviations
        assert len(set(residues(many))) == 300


@pytest.mark.parametrize("randomness", ["djn", "exact", "none"])
def test_noise_that_does_not_hide_is_refused(encryptor: hecore.Encryptor, randomness: str) -> None:
    with pytest.raises(ValueError, match=rf"randomness='{randomness}': choose one of uniform, classic"):
        evaluator.rerandomize(encryptor.encrypt([1]), randomness)
