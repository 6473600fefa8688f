"""Whether the simd backend runs on this machine, and a self-test before it is used."""

from __future__ import annotations

import logging
import random

from ..backend import Backend
from ..errors import BackendUnavailable
from ..limbs import from_ints
from ..modulus import Modulus
from .forms import chosen

logger = logging.getLogger("hecore.kernels")


def load_simd() -> Backend:
    """The backend, after its self-test. BackendUnavailable says what this machine lacks."""
    form = chosen()
    from .backend import SimdBackend

    backend = SimdBackend()
    self_test(backend)
    logger.info("simd kernels: %s", form.description)
    return backend


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
        ]
        expected = [
            [v * v % m for v in values],
            [pow(v, e, m) for v, e in zip(values, exponents, strict=True)],
            [pow(3, e, m) for e in exponents],
        ]
        if modulus.root is not None:
            message = backend.from_ints(root, [v % root.value for v in values])
            found.append(backend.to_ints(backend.mul_one_plus(x, message)))
            expected.append([v * (1 + v % root.value * root.value) % m for v in values])
        if found != expected:
            raise BackendUnavailable("simd failed its self-test: the compiled kernels give wrong results")
