"""Backends, moduli and values for the tests of kernels. Every oracle is plain Python integers."""

from __future__ import annotations

import random
from collections.abc import Callable
from math import isqrt

import numpy as np
import pytest
from numpy.typing import NDArray

from hecore.kernels import Backend, BackendUnavailable, Modulus, Residues, get_backend
from hecore.kernels import limbs as lb
from hecore.kernels.cuda.backend import CudaBackend
from hecore.kernels.gmp import GmpBackend
from hecore.kernels.limbs import Limbs
from hecore.kernels.select import LOADERS

from .cuda.emulator import build
from .cuda.emulator.device import EmulatedDevice
from .cuda.reference import ReferenceDevice

Sample = Callable[..., list[int]]


def _odd(bits: int) -> int:
    return random.Random(bits).getrandbits(bits) | 1 << (bits - 1) | 1


_SHAPES = {
    "3": 3,
    "5": 5,
    "15": 15,
    "64 bits": _odd(64),
    "130 bits": _odd(130),
    "512 bits": _odd(512),
    "2048 bits": _odd(2048),
    "64 ones": 2**64 - 1,
    "1024 ones": 2**1024 - 1,
    "sparse": 2**1023 + 1,
}
SQUARES = {f"{name} squared": Modulus.square_of(Modulus(value)) for name, value in _SHAPES.items()}
MODULI = {name: Modulus(value) for name, value in _SHAPES.items()} | {
    "4096 bits": Modulus(_odd(4096)),
    **SQUARES,
}


#: The CUDA backend without a GPU: its host side, on a device that computes with plain integers …
ON_INTEGERS = "cuda-on-integers"
#: … and all of it, its kernels carried out by the emulator: these sizes always, the others with `-m slow`.
ON_EMULATOR = "cuda-on-emulator"
EMULATED = [MODULI[name] for name in ("130 bits", "3 squared", "1024 ones squared")]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        chosen = getattr(item, "callspec", None)
        backend = chosen.params.get("backend") if chosen is not None else None
        if chosen is None or backend not in (ON_INTEGERS, ON_EMULATOR):
            continue
        sizes = [chosen.params[name] for name in ("modulus", "square") if name in chosen.params]
        too_large = backend == ON_EMULATOR and any(size not in EMULATED for size in sizes)
        # Plans of histograms and powers ask for nothing but the contract, which has its own tests.
        if too_large or item.path.name != "test_backend.py":
            item.add_marker(pytest.mark.slow)


@pytest.fixture(
    scope="session",
    params=[
        *(pytest.param(n, marks=pytest.mark.gpu if n == "cuda" else ()) for n in LOADERS),
        ON_INTEGERS,
        ON_EMULATOR,
    ],
)
def backend(request: pytest.FixtureRequest) -> Backend:
    if request.param == ON_INTEGERS:
        return CudaBackend([ReferenceDevice()])
    if request.param == ON_EMULATOR:
        if build.why_not() is not None:
            pytest.skip(str(build.why_not()))
        return CudaBackend([EmulatedDevice()])
    try:
        return get_backend(request.param)
    except BackendUnavailable as error:
        if request.param == "gmp":
            raise
        pytest.skip(str(error))


@pytest.fixture(params=MODULI.values(), ids=MODULI.keys())
def modulus(request: pytest.FixtureRequest) -> Modulus:
    return request.param


@pytest.fixture(params=SQUARES.values(), ids=SQUARES.keys())
def square(request: pytest.FixtureRequest) -> Modulus:
    return request.param


@pytest.fixture(scope="session")
def edges() -> Callable[[Modulus], list[int]]:
    """The residues at which carries, borrows and corrections sit."""

    def values(modulus: Modulus) -> list[int]:
        m = modulus.value
        r = modulus.root.value if modulus.root else isqrt(m)
        ends = {0, 1, 2, m - 1, m - 2, m // 2, m // 2 + 1}
        digits = {r - 1, r, r + 1, m - r, m - r - 1, m - r + 1, r * (r - 1), r * (r - 1) + 1}
        # The radices of host and backends: full, half and lowest digits of all ones, and one more.
        tops = {k * b for b in (28, 32, 52, 64) for k in (1, 2, modulus.bits // b // 2, modulus.bits // b)}
        limbs = {value for bits in tops for value in (2**bits - 1, 2**bits)}
        rng = random.Random(modulus.bits)
        sparse = set()
        for _ in range(4):
            words = rng.choices([0, 2**64 - 1], k=modulus.width)
            sparse.add(lb.to_ints(np.array([words], dtype=np.uint64))[0])
        return sorted(value for value in ends | digits | limbs | sparse if 0 <= value < m)

    return values


@pytest.fixture(scope="session")
def sample(edges: Callable[[Modulus], list[int]]) -> Sample:
    """`count` residues, edge values and random ones mixed; the same for the same arguments."""

    def values(modulus: Modulus, count: int, seed: int = 0) -> list[int]:
        rng = random.Random(f"{modulus.bits} {count} {seed}")
        special = edges(modulus)
        rng.shuffle(special)
        special = special[: max(count // 2, 1)]
        chosen = special + [rng.randrange(modulus.value) for _ in range(count - len(special))]
        rng.shuffle(chosen)
        return chosen[:count]

    return values


@pytest.fixture(scope="session")
def units(sample: Sample) -> Sample:
    """`count` residues that have an inverse."""

    def values(modulus: Modulus, count: int, seed: int = 0) -> list[int]:
        return [_unit_at_or_above(v, modulus.value) for v in sample(modulus, count, seed)]

    return values


def _unit_at_or_above(value: int, m: int) -> int:
    while True:
        try:
            pow(value, -1, m)
        except ValueError:
            value = (value + 1) % m
        else:
            return value


class CountingBackend(GmpBackend):
    """Counts the products (squares too) that each operation stands for in its plain form."""

    def __init__(self) -> None:
        super().__init__()
        self.products = 0
        self.inversions = 0

    def mod_mul(self, a: Residues, b: Residues) -> Residues:
        out = super().mod_mul(a, b)
        self.products += len(out)
        return out

    def mod_pow(self, a: Residues, exponents: int | Limbs) -> Residues:
        out = super().mod_pow(a, exponents)
        each = [exponents] * len(a) if isinstance(exponents, int) else lb.to_ints(exponents)
        self.products += sum(e.bit_length() - 1 + e.bit_count() - 1 for e in each if e > 1)
        return out

    def mod_inv(self, a: Residues) -> Residues:
        self.products += 3 * len(a)
        self.inversions += 1
        return super().mod_inv(a)

    def segment_product(
        self, x: Residues, indices: NDArray[np.int64], offsets: NDArray[np.int64]
    ) -> Residues:
        self.products += int(np.maximum(np.diff(offsets) - 1, 0).sum())
        return super().segment_product(x, indices, offsets)


@pytest.fixture
def counting() -> CountingBackend:
    return CountingBackend()
