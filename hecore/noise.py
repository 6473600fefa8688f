"""Encryption noise: random n-th residues modulo n², the factor r^n of a Paillier ciphertext.

    kind        who          noise                                    distribution
    "exact"     key holder   CRT of G_p^a, G_q^b, a < p − 1, b < q − 1 exactly r^n, r uniform in Z_n*
    "djn"       anyone       h_s^a, a of |n|/2 bits                   r^n under the short-exponent assumption
    "uniform"   anyone       h_s^a · (y^n)^b, a of |n| + 64 bits      r^n within 2^−64 (hecore's own keys)
    "classic"   anyone       r^n, r uniform in Z_n*                   r^n by definition; a full power, slow

All but "classic" are fixed-base combs. "djn" noise has Jacobi symbol +1 always, so it does not hide the
symbol of noise that came from elsewhere: re-randomising with it would let the key holder read one parity of a
linear form in the other party's data. `rerandomize` therefore uses "uniform", never "djn".
"""

from __future__ import annotations

import numpy as np

from .errors import InvalidKey
from .kernels import Backend
from .kernels import limbs as lb
from .kernels.backend import Residues
from .kernels.limbs import Limbs
from .keys import PrivateKey, PublicKey
from .randomness import random_below, random_bits

PUBLIC_KINDS = ("djn", "uniform", "classic")
PRIVATE_KINDS = ("exact", *PUBLIC_KINDS)
RERANDOMIZING_KINDS = ("uniform", "classic")
#: Surplus bits of "uniform" exponents over the order of h: the statistical distance is 2^−64.
UNIFORM_SURPLUS_BITS = 64


def draw(backend: Backend, key: PublicKey | PrivateKey, kind: str, count: int) -> Residues:
    """`count` independent noise residues modulo n². ValueError for a kind this key cannot make."""
    public = key.public if isinstance(key, PrivateKey) else key
    match kind:
        case "exact":
            if not isinstance(key, PrivateKey):
                raise InvalidKey('randomness="exact" needs the private key')
            return _exact(backend, key, count)
        case "djn":
            return _short(backend, public, count)
        case "uniform":
            return _uniform(backend, public, count)
        case "classic":
            base = backend.from_limbs(public.square, _lift(random_below(public.n, count), public))
            return backend.mod_pow(base, public.n)
    raise ValueError(f"randomness={kind!r} is not one of {', '.join(PRIVATE_KINDS)}")


def _lift(limbs: Limbs, public: PublicKey) -> Limbs:
    """Units modulo n as limbs of residues modulo n²; zero (probability 1/n) becomes one."""
    out = lb.widen(limbs, public.square.width)
    out[~limbs.any(axis=1), 0] = 1
    return out


def _exact(backend: Backend, key: PrivateKey, count: int) -> Residues:
    halves = []
    for square, base, order in (
        (key.p_square, key.p_noise_base, key.p - 1),
        (key.q_square, key.q_noise_base, key.q - 1),
    ):
        comb = backend.fixed_base(square, base, order.bit_length())
        halves.append(comb.pow(random_below(order, count)))
    return backend.crt_combine(halves[0], halves[1], key.public.square)


def _short(backend: Backend, public: PublicKey, count: int) -> Residues:
    return _comb(backend, public, random_bits(count, -(-public.bits // 2)))


def _uniform(backend: Backend, public: PublicKey, count: int) -> Residues:
    powers = _comb(backend, public, random_bits(count, public.bits + UNIFORM_SURPLUS_BITS))
    flipped = backend.mod_mul(powers, backend.from_ints(public.square, [public.flip_power]))
    coins = random_bits(count, 1)[:, 0].astype(np.bool_)
    return backend.select(coins, flipped, powers)


def _comb(backend: Backend, public: PublicKey, exponents: Limbs) -> Residues:
    """Powers of h_s; short and long exponents share one table, which grows as far as it is used."""
    longest = public.bits + UNIFORM_SURPLUS_BITS
    return backend.fixed_base(public.square, public.generator_power, longest).pow(exponents)
