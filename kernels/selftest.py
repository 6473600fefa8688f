"""A first look at a backend that runs compiled code: before it is used, its results must be right."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import pairwise
from math import prod

import numpy as np

from .backend import Backend
from .errors import BackendUnavailable
from .limbs import from_ints, from_signed_ints
from .modulus import Modulus

#: What was computed, by the backend and by plain integers.
Answer = tuple[str, list[int], list[int]]

#: Pieces of segments, long and short ones in any order.
LENGTHS = (1, 14, 0, 3, 5, 2, 9, 1, 6, 4, 0)


def self_test(backend: Backend) -> None:
    """Every operation with a kernel of its own against plain integers, in one digit and in two.

    BackendUnavailable names the first that differs: wrong machine code must not touch a key. Of the cuda
    backend, which compiles its kernels for each length of digits, these are the kernels of two short ones.

    A root fills its limbs but for the spare bits (532 = 20·27 − 8, 1032 = 20·52 − 8), which leaves lazy
    digits the least room, and takes two blocks of rows and more. One is all ones, for the longest carries.
    Both are products a·b, and a meets b among the values: 0 modulo the root, which comes out as n.
    """
    rng = random.Random(52)  # noqa: S311 - test numbers, not keys
    a, b = (rng.getrandbits(516) | 3 << 514 | 1 for _ in range(2))
    for left, right in ((2**266 - 1, 2**266 + 1), (a, b)):
        root = Modulus(left * right)
        for modulus in (root, Modulus.square_of(root)):
            m = modulus.value
            values = [left, 0, 1, m - 1, root.value - 1, *(rng.randrange(m) for _ in range(4)), right]
            for name, found, expected in _answers(backend, modulus, values):
                if found != expected:
                    raise BackendUnavailable(
                        f"{backend.name} failed its self-test: wrong {name} modulo {modulus!r}"
                    )


def _answers(backend: Backend, modulus: Modulus, values: list[int]) -> Iterator[Answer]:
    """What every modulus can: signs, products, powers, segments, and then what squares can."""
    m = modulus.value
    signed = [v if i % 2 else -v for i, v in enumerate(values)]
    x = backend.from_signed(modulus, from_signed_ints(signed, modulus.width + 1))
    values = [v % m for v in signed]
    yield "signed integers", backend.to_ints(x), values

    turned = backend.gather(x, np.arange(len(values))[::-1])
    yield (
        "products",
        backend.to_ints(backend.mod_mul(x, turned)),
        [v * w % m for v, w in zip(values, reversed(values), strict=True)],
    )
    yield "squares", backend.to_ints(backend.mod_pow(x, 8)), [pow(v, 8, m) for v in values]

    exponents = [0, 1, 2**64 - 1, *(7**k for k in range(20, 17 + len(values)))]
    powers = backend.mod_pow(x, from_ints(exponents, 2))
    expected = [pow(v, e, m) for v, e in zip(values, exponents, strict=True)]
    yield "powers", backend.to_ints(powers), expected

    # The first two are left out: the zero, and a factor of the root whose cofactor is the last value.
    places = np.arange(sum(LENGTHS)) % (len(values) - 2) + 2
    ends = np.cumsum([0, *LENGTHS])
    segments = backend.segment_product(x, places, ends)
    pieces = [places[first:last].tolist() for first, last in pairwise(ends)]
    expected = [prod(values[place] for place in piece) % m for piece in pieces]
    yield "segments", backend.to_ints(segments), expected

    if modulus.root is not None:
        yield from _answers_of_squares(backend, modulus, modulus.root, values)


def _answers_of_squares(
    backend: Backend, modulus: Modulus, root: Modulus, values: list[int]
) -> Iterator[Answer]:
    """The message part, digits, reduction by chunks, and a comb."""
    m, n = modulus.value, root.value
    x = backend.from_ints(modulus, values)
    messages = [(v + 1) % n for v in values]
    marked = backend.mul_one_plus(x, backend.from_ints(root, messages))
    expected = [v * (1 + k * n) % m for v, k in zip(values, messages, strict=True)]
    yield "messages", backend.to_ints(marked), expected

    # Of products, whose low digit may come out as n.
    found = backend.high_digit(backend.mod_mul(x, backend.gather(x, np.arange(len(values))[::-1])))
    expected = [v * w % m // n for v, w in zip(values, reversed(values), strict=True)]
    yield "digits", backend.to_ints(found), expected

    short = Modulus(values[-1])  # a factor of the root
    for target in (root, short, Modulus.square_of(short)):
        reduced = backend.to_ints(backend.reduce(x, target))
        yield "remainders", reduced, [v % target.value for v in values]

    exponents = [0, 1, 2**16 - 1, *(3**k for k in range(2, 11))]
    comb = backend.fixed_base(modulus, 3, 16)
    yield "combs", backend.to_ints(comb.pow(from_ints(exponents, 1))), [pow(3, e, m) for e in exponents]
