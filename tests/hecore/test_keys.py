"""Keys: how they are made, which are refused, the group their generators span, and their silence."""

from __future__ import annotations

import copy
import dataclasses
import math
import pickle
import random
import traceback
from collections.abc import Callable

import gmpy2
import numpy as np
import pytest

import hecore
from hecore import InsecureKey, InvalidKey, KeySpec, PrivateKey, PublicKey, generate_key
from hecore.kernels.gmp import GmpBackend

#: A composite that no condition but the one under test can object to.
GOOD_N = int(gmpy2.next_prime(1 << 255)) * int(gmpy2.next_prime((1 << 256) + (1 << 255)))


def structured_prime(bits: int, seed: int, condition: Callable[[int], bool] = lambda p: True) -> int:
    """A prime 2·k·p′ + 1, k odd below 2^15, the same for the same seed."""
    draw = random.Random(seed)
    while True:
        large = int(gmpy2.next_prime(draw.getrandbits(bits - 15) | 1 << (bits - 16)))
        for k in range(3 << 13, 1 << 15):
            p = 2 * (k | 1) * large + 1
            if p.bit_length() == bits and gmpy2.is_prime(p) and condition(p):
                return p


P = structured_prime(256, 1)
Q = structured_prime(256, 2, lambda q: math.gcd(P - 1, q - 1) == 2)


def working_nonce(p: int, q: int) -> int:
    for nonce in range(1000):
        try:
            PrivateKey(p, q, nonce, insecure_test_key=True)
        except InvalidKey:
            continue
        return nonce
    raise AssertionError("no nonce gives a generator")


def parts(prime: int) -> tuple[int, int]:
    """(k, p′) of p − 1 = 2·k·p′, k the part whose prime factors are below 2^16."""
    assert prime % 4 == 3
    large, k = (prime - 1) // 2, 1
    for factor in range(3, 1 << 16, 2):
        while large % factor == 0:
            large //= factor
            k *= factor
    return k, large


# --- generation -----------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [2048, 3072, pytest.param(4096, marks=pytest.mark.slow)])
def test_generated_keys(bits: int) -> None:
    key = generate_key(bits)
    p, q = key.p, key.q
    assert key.public.bits == key.public.n.bit_length() == bits
    assert p.bit_length() == q.bit_length() == bits // 2
    assert p >> (bits // 2 - 2) == q >> (bits // 2 - 2) == 3
    assert key.public.n == p * q
    assert math.gcd(p - 1, q - 1) == 2
    assert math.gcd(p * q, (p - 1) * (q - 1)) == 1
    for prime in (p, q):
        assert gmpy2.is_prime(prime, 30)
        k, large = parts(prime)
        assert k < 1 << 16
        assert large.bit_length() >= bits // 2 - 17
        assert gmpy2.is_prime(large, 30)
    values = [1.5, -2.25, 0.0]
    assert hecore.Decryptor(key).decrypt(hecore.Encryptor(key.public).encrypt(values)).tolist() == values


def test_keys_differ() -> None:
    keys = [generate_key(256, insecure_test_key=True) for _ in range(4)]
    assert len({r for key in keys for r in (key.p, key.q)}) == 8
    assert len({key.public.fingerprint for key in keys}) == 4


def test_the_default_is_2048_bits(key: PrivateKey) -> None:
    assert KeySpec().modulus_bits == key.public.bits == 2048
    assert not key.insecure_test_key
    assert not key.public.insecure_test_key


@pytest.mark.parametrize("bits", [256, 512, 1024, 1920])
def test_short_keys_need_the_mark(bits: int) -> None:
    with pytest.raises(InsecureKey, match=rf"a modulus of {bits} bits can be factored: use 2048 or more"):
        generate_key(bits)
    assert KeySpec(bits, insecure_test_key=True).modulus_bits == bits


def test_a_short_foreign_key_needs_the_mark() -> None:
    with pytest.raises(InsecureKey, match=r"512 bits can be factored.*insecure_test_key=True"):
        PublicKey(GOOD_N)
    assert PublicKey(GOOD_N, insecure_test_key=True).insecure_test_key
    with pytest.raises(InsecureKey, match="512 bits"):
        PrivateKey(P, Q, working_nonce(P, Q))


@pytest.mark.parametrize(
    ("bits", "error", "message"),
    [
        (128, InsecureKey, "too short even for tests"),
        (2049, InvalidKey, "not a multiple of 128: use 2048, 3072 or 4096"),
        (16384, InvalidKey, "longer than the 8192 supported"),
        (2048.0, InvalidKey, "must be an integer"),
        (True, InvalidKey, "must be an integer"),
        ("2048", InvalidKey, "must be an integer"),
    ],
)
def test_lengths_that_do_not_exist(bits: int, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        generate_key(bits, insecure_test_key=True)


# --- foreign keys ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "message"),
    [
        (GOOD_N + 1, "is even"),
        (int(gmpy2.next_prime(1 << 511)), "is prime"),
        (int(gmpy2.next_prime(1 << 255)) ** 2, "perfect power"),
        (int(gmpy2.next_prime(1 << 127)) ** 4, "perfect power"),
        (3 * int(gmpy2.next_prime(1 << 510)), "prime factor below 65536"),
        (65521 * int(gmpy2.next_prime(1 << 500)), "prime factor below 65536"),
        (0, "positive integer"),
        (-GOOD_N, "positive integer"),
        (1, "too short"),
        (float(1 << 511), "positive integer"),
        (str(GOOD_N), "positive integer"),
    ],
)
def test_bad_moduli_are_refused(n: int, message: str) -> None:
    with pytest.raises(InvalidKey, match=message):
        PublicKey(n, insecure_test_key=True)


def test_bad_moduli_of_full_length_are_refused() -> None:
    half = int(gmpy2.next_prime(3 << 1022))
    for n, message in (
        (int(gmpy2.next_prime(1 << 2047)), "is prime"),
        (half * half, "perfect power"),
        ((1 << 2047) + 2, "is even"),
        (1 << 9000, "longer than the 8192"),
    ):
        with pytest.raises(InvalidKey, match=message):
            PublicKey(n)


@pytest.mark.parametrize("nonce", [-1, 1 << 32, 0.5, "0"])
def test_bad_nonces_are_refused(nonce: int) -> None:
    with pytest.raises(InvalidKey, match=r"nonce must be an integer in 0 … 4294967295"):
        PublicKey(GOOD_N, nonce, insecure_test_key=True)


# --- private keys ---------------------------------------------------------------------------------


def smooth_prime(bits: int) -> int:
    """p − 1 = 2·(many small factors)·(a prime of 100 bits): Pollard's p − 1 method finds it soon."""
    large = int(gmpy2.next_prime(1 << 100))
    draw = random.Random(3)
    small = [int(p) for p in range(3, 1000) if gmpy2.is_prime(p)]
    while True:
        p = 2 * large
        while p.bit_length() < bits - 1:
            p *= draw.choice(small)
        if p.bit_length() == bits and gmpy2.is_prime(p + 1):
            return p + 1


SMOOTH = smooth_prime(256)
ONE_MOD_FOUR = next(
    int(p)
    for p in (gmpy2.next_prime(int(gmpy2.next_prime((3 << 254) + (i << 60)))) for i in range(10**6))
    if p % 4 == 1 and gmpy2.gcd(p - 1, Q - 1) == 2
)
SHARES_THREE = structured_prime(256, 4, lambda p: p % 3 == 1)
ALSO_THREE = structured_prime(256, 5, lambda p: p % 3 == 1)


@pytest.mark.timeout(100)
@pytest.mark.parametrize(
    ("p", "q", "message"),
    [
        (P, P, "distinct and of one length"),
        (P, structured_prime(320, 6), "distinct and of one length"),
        (P + 2, Q, "is not prime"),
        (P, 3 << 254, "is not prime"),
        (P, int(gmpy2.next_prime(P)), "too close"),
        (SHARES_THREE, ALSO_THREE, r"gcd\(p − 1, q − 1\) must be 2"),
        (ONE_MOD_FOUR, Q, "not 2·k·p′ with a small odd k: generate the key with hecore"),
        (Q, ONE_MOD_FOUR, "not 2·k·p′ with a small odd k: generate the key with hecore"),
        (SMOOTH, Q, "not 2·k·p′ with a small odd k"),
        (float(P), Q, "must be integers"),
        (-P, -Q, "not prime"),
    ],
)
def test_bad_private_keys_are_refused(p: int, q: int, message: str) -> None:
    with pytest.raises(InvalidKey, match=message):
        PrivateKey(p, q, 0, insecure_test_key=True)


def test_a_nonce_without_a_generator_is_refused() -> None:
    nonces, refused = range(60), 0
    for nonce in nonces:
        h = PublicKey(P * Q, nonce, insecure_test_key=True).generator
        full = all(has_full_order(h, prime) for prime in (P, Q))
        if full:
            assert PrivateKey(P, Q, nonce, insecure_test_key=True).nonce == nonce
        else:
            refused += 1
            with pytest.raises(InvalidKey, match="not full order; use another nonce"):
                PrivateKey(P, Q, nonce, insecure_test_key=True)
    assert 0 < refused < len(nonces)


# --- the group ------------------------------------------------------------------------------------


def has_full_order(element: int, prime: int) -> bool:
    """Whether `element` generates Z_p*, by the definition and the factors of p − 1."""
    k, large = parts(prime)
    factors = {2, large} | {f for f in range(3, k + 1) if k % f == 0 and gmpy2.is_prime(f)}
    return all(pow(element, (prime - 1) // f, prime) != 1 for f in factors)


@pytest.mark.parametrize("bits", [256, 512])
def test_every_unit_is_a_power_of_h_or_y_times_one(bits: int) -> None:
    """h has order lcm(p − 1, q − 1) = φ(n)/2 and Jacobi symbol +1, y has −1.

    So ⟨h⟩ is all of the units with symbol +1 (as many), and y·⟨h⟩ all of the others.
    """
    for _ in range(3):
        key = generate_key(bits, insecure_test_key=True)
        public, p, q = key.public, key.p, key.q
        h, n = public.generator, public.n
        assert has_full_order(h, p)
        assert has_full_order(h, q)
        assert math.lcm(p - 1, q - 1) == (p - 1) * (q - 1) // 2
        assert gmpy2.jacobi(h, n) == 1
        assert gmpy2.legendre(h, p) == gmpy2.legendre(h, q) == -1
        assert public.generator_power == pow(h, n, n * n)
        # The n-th power keeps the symbol (n is odd), and taking it is a bijection of the units.
        assert gmpy2.jacobi(public.flip_power, n) == -1
        assert math.gcd(n, (p - 1) * (q - 1)) == 1
        assert pow(public.flip_power, (p - 1) * (q - 1), n * n) == 1


def test_generators_of_p_th_powers(test_key: PrivateKey) -> None:
    """G_p generates the p-th powers modulo p²: order p − 1, not more, not less."""
    for prime, base, square in (
        (test_key.p, test_key.p_noise_base, test_key.p_square.value),
        (test_key.q, test_key.q_noise_base, test_key.q_square.value),
    ):
        assert square == prime**2
        assert pow(base, prime - 1, square) == 1
        assert has_full_order(base % prime, prime)


def test_generators_depend_on_modulus_and_nonce() -> None:
    one = PublicKey(GOOD_N, 0, insecure_test_key=True)
    two = PublicKey(GOOD_N, 1, insecure_test_key=True)
    three = PublicKey(P * Q, 0, insecure_test_key=True)
    assert len({key.generator for key in (one, two, three)}) == 3
    assert len({key.flip_power for key in (one, two, three)}) == 3
    assert len({key.fingerprint for key in (one, two, three)}) == 3
    assert one == PublicKey(GOOD_N, 0, insecure_test_key=True)
    assert one != two


def test_the_mark_is_no_part_of_the_identity(key: PrivateKey) -> None:
    marked = PublicKey(key.public.n, key.public.nonce, insecure_test_key=True)
    assert marked == key.public
    assert marked.fingerprint == key.public.fingerprint
    assert len(marked.fingerprint) == 32


# --- silence --------------------------------------------------------------------------------------


def secrets_of(key: PrivateKey) -> list[int]:
    p, q = key.p, key.q
    return [p, q, p - 1, q - 1, p * p, q * q, (p - 1) * (q - 1), key.p_factor, key.q_factor, parts(p)[1]]


def assert_silent(text: str, key: PrivateKey) -> None:
    text = text.lower()
    for secret in secrets_of(key):
        for form in (str(secret), f"{secret:x}", secret.to_bytes(256, "little").hex().rstrip("0")):
            # Any run of digits long enough to be no accident.
            assert not any(form[i : i + 16] in text for i in range(0, len(form) - 16, 4))


def test_a_secret_would_be_seen(test_key: PrivateKey) -> None:
    for text in (
        f"p={test_key.p}",
        hex(test_key.q),
        f"Modulus({test_key.p**2})",
        f"...{test_key.p:X}..."[:60],
    ):
        with pytest.raises(AssertionError):
            assert_silent(text, test_key)


def test_no_text_shows_a_secret(test_key: PrivateKey, backend: hecore.kernels.Backend) -> None:
    encryptor, decryptor = hecore.Encryptor(test_key, backend), hecore.Decryptor(test_key, backend)
    batch = encryptor.encrypt(np.arange(40))
    decryptor.decrypt(batch)
    things = [
        test_key,
        test_key.public,
        test_key.p_square,
        test_key.p_square.root,
        test_key.q_square,
        encryptor,
        decryptor,
        batch,
        batch.residues,
        backend,
        backend.from_ints(test_key.p_square, [1]),
        backend.fixed_base(test_key.p_square, test_key.p_noise_base, 256),
        KeySpec(512, insecure_test_key=True),
    ]
    for thing in things:
        for text in (repr(thing), str(thing), f"{thing}", f"{[thing]}", f"{thing!r:>300}"):
            assert_silent(text, test_key)
    assert repr(test_key) == f"PrivateKey(bits=512, public={test_key.public!r})"
    assert test_key.public.fingerprint.hex()[:16] in repr(test_key)


def test_no_error_shows_a_secret(test_key: PrivateKey, other_key: PrivateKey) -> None:
    decryptor = hecore.Decryptor(test_key)
    foreign = hecore.Encryptor(other_key).encrypt([1])
    failures: list[Callable[[], object]] = [
        lambda: PrivateKey(test_key.p, test_key.q, 1 << 40, insecure_test_key=True),
        lambda: PrivateKey(test_key.p, test_key.p, 0, insecure_test_key=True),
        lambda: PrivateKey(test_key.p, test_key.q + 2, 0, insecure_test_key=True),
        lambda: PrivateKey(test_key.p, test_key.q, 0),
        lambda: PublicKey(test_key.p_square.value, insecure_test_key=True),
        lambda: hecore.kernels.Modulus(test_key.p + 1),
        lambda: hecore.kernels.Modulus(test_key.p_square.value + 2, test_key.p_square.root),
        lambda: setattr(test_key, "p", 1),
        lambda: test_key.missing,
        lambda: test_key + 1,
        lambda: f"{test_key:>10}",
        lambda: decryptor.decrypt(foreign),
        lambda: hecore.Encryptor(test_key, randomness="none"),
        lambda: hecore.save_key(test_key, "/nowhere/at/all", "a passphrase"),
        lambda: pickle.dumps(test_key),
        lambda: GmpBackend().from_ints(test_key.p_square, [test_key.p_square.value]),
        lambda: GmpBackend().mod_inv(GmpBackend().from_ints(test_key.p_square, [1, test_key.p])),
    ]
    for fail in failures:
        with pytest.raises(Exception, match=r"\w") as caught:
            fail()
        assert_silent("".join(traceback.format_exception(caught.value)), test_key)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_private_keys_are_not_pickled(test_key: PrivateKey, protocol: int) -> None:
    for thing in (test_key, [test_key], hecore.Decryptor(test_key), hecore.Encryptor(test_key)):
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps(thing, protocol)


def test_nothing_that_travels_with_a_backend_is_pickled(
    test_key: PrivateKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backend keeps tables modulo p² of every private key that encrypted on it."""
    monkeypatch.setenv("HECORE_THREADS", "1")
    backend = GmpBackend()
    batch = hecore.Encryptor(test_key, backend).encrypt(np.arange(40))
    for thing in (batch, hecore.Encryptor(test_key.public, backend), hecore.Decryptor(test_key, backend)):
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps(thing)
    assert copy.copy(batch) is copy.deepcopy(batch) is batch


def test_copies_of_a_private_key_are_the_key(test_key: PrivateKey) -> None:
    assert copy.copy(test_key) is copy.deepcopy(test_key) is test_key


def test_public_keys_are_pickled(test_key: PrivateKey) -> None:
    data = pickle.dumps(test_key.public)
    assert pickle.loads(data) == test_key.public  # noqa: S301 - our own bytes
    assert test_key.p.to_bytes(32, "little") not in data


def test_keys_are_frozen(test_key: PrivateKey) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        test_key.p = 3  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        test_key.public.n = 3  # type: ignore[misc]


# --- constants of decryption ----------------------------------------------------------------------


def test_factors_of_decryption(test_key: PrivateKey) -> None:
    """h_p = L_p((1 + n)^(p−1) mod p²)⁻¹ mod p, from the definition."""
    n = test_key.public.n
    for prime, factor in ((test_key.p, test_key.p_factor), (test_key.q, test_key.q_factor)):
        value = (pow(1 + n, prime - 1, prime**2) - 1) // prime
        assert factor == pow(value, -1, prime)
