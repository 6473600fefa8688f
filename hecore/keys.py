"""Paillier keys: validated once, frozen, and silent about their secrets.

    n = p·q,  p − 1 = 2·k_p·p′,  q − 1 = 2·k_q·q′      p′, q′ prime; k_p, k_q small, odd, coprime

With the factors of p − 1 known, a generator of Z_p* is known, so the key holder can draw encryption noise of
exactly the textbook distribution from a table (`noise`). The public key carries n and a small `nonce`; both
generators that others need are hashed from them, so that nobody has to trust values chosen by the owner:

    x = H("generator", n, nonce) mod n,  h = −x² mod n        Jacobi symbol +1, order lcm(p − 1, q − 1)
    y = H("flip", n, nonce, i) mod n, first i with Jacobi symbol −1

For a key generated here every unit is h^a or h^a·y: Z_n* = ⟨h⟩ ∪ y·⟨h⟩. The generator −x² is that of
Damgård, Jurik and Nielsen (2010), "A generalization of Paillier's public-key system".
"""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NoReturn

import gmpy2

from .errors import InsecureKey, InvalidKey
from .kernels import Modulus
from .randomness import random_integer

DEFAULT_BITS = 2048
MINIMUM_SECURE_BITS = 2048
MINIMUM_TEST_BITS = 256
MAXIMUM_BITS = 8192
#: n has no prime factor below this (a foreign key with one is refused).
SMALL_FACTOR_LIMIT = 1 << 16
#: The cofactor k, and so each of its prime factors, is below this.
COFACTOR_LIMIT = 1 << 16
COFACTOR_BITS = 14
MAXIMUM_NONCE = (1 << 32) - 1
#: GMP runs its Baillie–PSW test for 24 of these, and the others as rounds of Miller–Rabin.
PRIMALITY_ROUNDS = 40


@dataclass(frozen=True)
class KeySpec:
    """What to generate: the length of n in bits, a multiple of 128 up to 8192.

    InsecureKey below 2048 bits unless `insecure_test_key`, InvalidKey for any other length.
    """

    modulus_bits: int = DEFAULT_BITS
    insecure_test_key: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.modulus_bits, bool) or not isinstance(self.modulus_bits, int):
            raise InvalidKey(f"modulus_bits must be an integer, not {self.modulus_bits!r}")
        _check_length(self.modulus_bits, self.insecure_test_key)
        if self.modulus_bits % 128:
            raise InvalidKey(
                f"modulus_bits={self.modulus_bits} is not a multiple of 128: use 2048, 3072 or 4096"
            )


def _check_length(bits: int, insecure_test_key: bool) -> None:
    if bits > MAXIMUM_BITS:
        raise InvalidKey(f"a modulus of {bits} bits is longer than the {MAXIMUM_BITS} supported")
    if bits < MINIMUM_TEST_BITS:
        raise InsecureKey(f"a modulus of {bits} bits is too short even for tests")
    if bits < MINIMUM_SECURE_BITS and not insecure_test_key:
        raise InsecureKey(
            f"a modulus of {bits} bits can be factored: use {MINIMUM_SECURE_BITS} or more"
            " (tests may say insecure_test_key=True)"
        )


@dataclass(frozen=True)
class PublicKey:
    """n and the nonce of its hashed generators; checked when it is made, wherever it came from.

    Raises InsecureKey if n is short, InvalidKey if n is even, prime, a perfect power or has a small factor.
    A product of two large primes cannot be told from one of three, nor p − 1 = 2·k·p′ from another form: who
    re-randomises under a foreign key trusts its owner to have made it as `generate_key` does.
    """

    n: int
    nonce: int = 0
    insecure_test_key: bool = field(default=False, compare=False)

    def __post_init__(self) -> None:
        n = self.n
        if not isinstance(n, int) or n <= 0:
            raise InvalidKey("the modulus n must be a positive integer")
        _check_length(n.bit_length(), self.insecure_test_key)
        if not isinstance(self.nonce, int) or not 0 <= self.nonce <= MAXIMUM_NONCE:
            raise InvalidKey(f"the nonce must be an integer in 0 … {MAXIMUM_NONCE}")
        if n % 2 == 0:
            raise InvalidKey("the modulus n is even")
        if gmpy2.gcd(n, gmpy2.primorial(SMALL_FACTOR_LIMIT)) != 1:
            raise InvalidKey(f"the modulus n has a prime factor below {SMALL_FACTOR_LIMIT}")
        if gmpy2.is_power(n):
            raise InvalidKey("the modulus n is a perfect power")
        if gmpy2.is_prime(n):
            raise InvalidKey("the modulus n is prime")

    @property
    def bits(self) -> int:
        """Length of n in bits."""
        return self.n.bit_length()

    @cached_property
    def modulus(self) -> Modulus:
        """n, the modulus of plaintexts."""
        return Modulus(self.n)

    @cached_property
    def square(self) -> Modulus:
        """n², the modulus of ciphertexts; knows its root n."""
        return Modulus.square_of(self.modulus)

    @cached_property
    def generator(self) -> int:
        """h = −x² mod n."""
        x = self._hashed(b"generator")
        return int(-x * x % self.n)

    @cached_property
    def generator_power(self) -> int:
        """h_s = h^n mod n²: noise of public encryptions is a power of it."""
        return int(gmpy2.powmod(self.generator, self.n, self.square.mpz))

    @cached_property
    def flip_power(self) -> int:
        """y^n mod n², of Jacobi symbol −1: completes the powers of h_s to all n-th residues."""
        index = 0
        while gmpy2.jacobi(y := self._hashed(b"flip", index), self.n) != -1:
            index += 1
        return int(gmpy2.powmod(y, self.n, self.square.mpz))

    @cached_property
    def fingerprint(self) -> bytes:
        """SHA-256 of (n, nonce), 32 bytes: what a ciphertext says of its key."""
        return hashlib.sha256(b"hecore public key v1" + self._identity()).digest()

    def _identity(self) -> bytes:
        return self.nonce.to_bytes(4, "little") + self.n.to_bytes(-(-self.bits // 8), "little")

    def _hashed(self, purpose: bytes, index: int = 0) -> int:
        """H(purpose, n, nonce, index) mod n; 128 surplus bits make it uniform to 2^−128."""
        seed = b"hecore %s v1" % purpose + index.to_bytes(4, "little") + self._identity()
        stream = hashlib.shake_256(seed).digest(self.bits // 8 + 17)
        return int.from_bytes(stream, "little") % self.n

    def __repr__(self) -> str:
        return f"PublicKey(bits={self.bits}, fingerprint={self.fingerprint.hex()[:16]})"


@dataclass(frozen=True, repr=False)
class PrivateKey:
    """The primes. `public` is the other half; encryption with a PrivateKey takes the owner's exact path.

    Raises InvalidKey unless p, q are distinct primes of one length with p − 1 = 2·k·p′ (k small and odd, p′
    prime), gcd(p − 1, q − 1) = 2, |p − q| not small, and a nonce whose generator h has full order; what
    PublicKey raises for n = p·q as well.
    """

    p: int
    q: int
    nonce: int = 0
    insecure_test_key: bool = field(default=False, compare=False)

    def __post_init__(self) -> None:
        if not (isinstance(self.p, int) and isinstance(self.q, int)):
            raise InvalidKey("the primes must be integers")
        if self.p.bit_length() != self.q.bit_length() or self.p == self.q:
            raise InvalidKey("the primes must be distinct and of one length")
        for prime in (self.p, self.q):
            if not gmpy2.is_prime(prime, PRIMALITY_ROUNDS):
                raise InvalidKey("a factor of the private key is not prime")
        if abs(self.p - self.q).bit_length() <= self.p.bit_length() - 100:
            raise InvalidKey("the primes are too close to each other")
        if gmpy2.gcd(self.p - 1, self.q - 1) != 2:
            raise InvalidKey("gcd(p − 1, q − 1) must be 2")
        if gmpy2.gcd(self.p * self.q, (self.p - 1) * (self.q - 1)) != 1:
            raise InvalidKey("gcd(n, φ(n)) must be 1")
        _ = self.public  # checks n
        for prime in (self.p, self.q):
            if not _generates(self.public.generator, prime):
                raise InvalidKey("the generator of this nonce has not full order; use another nonce")

    @cached_property
    def public(self) -> PublicKey:
        """The public half."""
        return PublicKey(self.p * self.q, self.nonce, self.insecure_test_key)

    @cached_property
    def p_square(self) -> Modulus:
        """p², which knows its root."""
        return Modulus.square_of(Modulus(self.p))

    @cached_property
    def q_square(self) -> Modulus:
        """q², which knows its root."""
        return Modulus.square_of(Modulus(self.q))

    @cached_property
    def p_noise_base(self) -> int:
        """G_p = h^n mod p²: generates the p-th powers modulo p², a group of order p − 1."""
        return self.public.generator_power % self.p_square.value

    @cached_property
    def q_noise_base(self) -> int:
        """G_q = h^n mod q², of order q − 1."""
        return self.public.generator_power % self.q_square.value

    @cached_property
    def p_factor(self) -> int:
        """L_p((1 + n)^(p−1) mod p²)⁻¹ mod p = (−q)⁻¹ mod p, the factor of CRT decryption."""
        return int(gmpy2.invert(-self.q, self.p))

    @cached_property
    def q_factor(self) -> int:
        """(−p)⁻¹ mod q."""
        return int(gmpy2.invert(-self.p, self.q))

    def __repr__(self) -> str:
        return f"PrivateKey(bits={self.public.bits}, public={self.public!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a PrivateKey is not pickled: use hecore.save_key and hecore.load_key")

    def __copy__(self) -> PrivateKey:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> PrivateKey:
        return self


def generate_key(modulus_bits: int = DEFAULT_BITS, *, insecure_test_key: bool = False) -> PrivateKey:
    """A fresh key pair of `modulus_bits` bits (2048, 3072, 4096) from the operating system's randomness.

    InsecureKey below 2048 bits unless `insecure_test_key`; InvalidKey for other lengths.
    """
    spec = KeySpec(modulus_bits, insecure_test_key)
    p = q = _structured_prime(spec.modulus_bits // 2)
    while gmpy2.gcd(p - 1, q - 1) != 2:  # also rules out p = q
        q = _structured_prime(spec.modulus_bits // 2)
    for nonce in itertools.count():
        generator = PublicKey(p * q, nonce, insecure_test_key).generator
        if _generates(generator, p) and _generates(generator, q):
            break
    return PrivateKey(p, q, nonce, insecure_test_key)


def _structured_prime(bits: int) -> int:
    """A prime p = 2·k·p′ + 1 of exactly `bits` bits, its two highest bits set.

    p′ is a random prime of bits − 15 bits, k is drawn from the odd numbers that give p its size: about as
    fast as finding an ordinary prime.
    """
    lowest, highest = 3 << (bits - 2), (1 << bits) - 1
    while True:
        large = _random_prime(bits - 1 - COFACTOR_BITS)
        first, last = -(-(lowest - 1) // (2 * large)), (highest - 1) // (2 * large)
        span = (last - first) // 2
        for _ in range(span):
            k = (first + 2 * (random_integer(32) % span)) | 1
            p = 2 * k * large + 1
            if p <= highest and gmpy2.is_prime(p, PRIMALITY_ROUNDS):
                return p


def _random_prime(bits: int) -> int:
    """A prime of exactly `bits` bits, uniform among them."""
    while True:
        candidate = random_integer(bits) | (1 << (bits - 1)) | 1
        if gmpy2.is_prime(candidate, PRIMALITY_ROUNDS):
            return candidate


def _generates(element: int, prime: int) -> bool:
    """Whether `element` generates Z_p*. InvalidKey if p − 1 is not 2·k·p′ with small odd k."""
    order = prime - 1
    return all(gmpy2.powmod(element, order // f, prime) != 1 for f in _prime_factors(prime))


def _prime_factors(prime: int) -> list[int]:
    """The prime factors of p − 1 = 2·k·p′: 2, those of k, and p′. InvalidKey if it has another form."""
    rest = (prime - 1) // 2
    factors = [2]
    # Each small prime once; an even rest (p ≡ 1 mod 4) keeps its 2 and is no prime in the end.
    small = int(gmpy2.gcd(rest, gmpy2.primorial(COFACTOR_LIMIT) // 2))
    candidate = 3
    while small > 1:
        if small % candidate == 0:
            factors.append(candidate)
            small //= candidate
            while rest % candidate == 0:
                rest //= candidate
        candidate += 2
    cofactor = (prime - 1) // 2 // rest
    if cofactor >= COFACTOR_LIMIT or not gmpy2.is_prime(rest, PRIMALITY_ROUNDS):
        raise InvalidKey("p − 1 is not 2·k·p′ with a small odd k: generate the key with hecore")
    return [*factors, rest]
