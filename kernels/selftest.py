"""A first look at a backend that runs compiled code: before it is used, its results must be right."""

from __future__ import annotations

import random
from math import prod

import numpy as np

from .backend import Backend
from .errors import BackendUnavailable
from .limbs import from_ints
from .modulus import Modulus


def self_test(backend: Backend) -> None:
    """Products, powers, a comb, a segment and the message part against plain integers, one and two digits.

    BackendUnavailable if one differs: wrong machine code must not touch a key.
    """
    rng = random.Random(52)  # noqa: S311 - test numbers, not keys
    root = Modulus(rng.getrandbits(500) | 1 << 500 | 1)
    for modulus in (root, Modulus.square_of(root)):
        m = modulus.value
        values = [0, 1, m - 1, root.value - 1, *(rng.randrange(m) for _ in range(6))]
        exponents = [rng.getrandbits(60) for _ in values]
        x = backend.from_ints(modulus, values)
        found = [
            backend.to_ints(backend.mod_mul(x, x)),
            backend.to_ints(backend.mod_pow(x, from_ints(exponents, 1))),
            backend.to_ints(backend.fixed_base(modulus, 3, 64).pow(from_ints(exponents, 1))),
            backend.to_ints(backend.segment_product(x, np.arange(2, 10), np.array([0, 3, 3, 8]))),
        ]
        expected = [
            [v * v % m for v in values],
            [pow(v, e, m) for v, e in zip(values, exponents, strict=True)],
            [pow(3, e, m) for e in exponents],
            [prod(values[2:5]) % m, 1, prod(values[5:]) % m],
        ]
        if modulus.root is not None:
            message = backend.from_ints(root, [v % root.value for v in values])
            found.append(backend.to_ints(backend.mul_one_plus(x, message)))
            expected.append([v * (1 + v % root.value * root.value) % m for v in values])
        if found != expected:
            raise BackendUnavailable(
                f"{backend.name} failed its self-test: the compiled kernels give wrong results"
            )
