"""What only a real device can show: `pytest -m gpu`. The shared test body runs on it as well."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from hecore.kernels import Modulus, OutOfMemory
from hecore.kernels import limbs as lb
from hecore.kernels.cuda import abi
from hecore.kernels.cuda.backend import CudaBackend
from hecore.kernels.cuda.device import ENTRIES
from hecore.kernels.cuda.shapes import ALL_SHAPES, SHAPES, Shape
from hecore.kernels.cuda.staging import CHUNK, DIRECT

from .reference import HostDevice
from .vectors import cases, fault

pytestmark = pytest.mark.gpu

LANE_ENTRIES = [entry for entry, kernel in ENTRIES.items() if kernel.lanes]
PLAIN_ENTRIES = [entry for entry, kernel in ENTRIES.items() if not kernel.lanes]
MODULUS = Modulus.square_of(Modulus((1 << 2048) - 1942289))


@pytest.fixture(scope="module")
def gpu() -> Any:
    from hecore.kernels.cuda.cupy_device import CupyDevice

    # For compute-sanitizer (docs/gpu): it knows the ends of allocations, not those of arrays in a pool.
    return CupyDevice(0, pooled=not os.environ.get("HECORE_SANITIZE"))


class Mirror(HostDevice):
    """Carries out launches on host arrays on a GPU."""

    def __init__(self, gpu: Any) -> None:
        super().__init__()
        self.gpu = gpu

    def launch(self, entry: str, shape: Shape, grid: int, arguments: Sequence[Any]) -> None:
        there = [self.gpu.from_host(x) if isinstance(x, np.ndarray) else x for x in arguments]
        self.gpu.launch(entry, shape, grid, there)
        kinds = [kind for _, kind in ENTRIES[entry].parameters]
        for kind, here, result in zip(kinds, arguments, there, strict=True):
            if kind in (abi.OUT, abi.FLAG):
                self.gpu.to_host(result, here)


@pytest.mark.parametrize("entry", LANE_ENTRIES)
@pytest.mark.parametrize("shape", ALL_SHAPES, ids=lambda shape: f"{shape.lanes}x{shape.limbs}")
def test_rows(gpu: Any, shape: Shape, entry: str) -> None:
    """The launches that the emulator has to get right."""
    mirror = Mirror(gpu)
    for case in cases(entry, shape):
        assert fault(case, mirror) is None


@pytest.mark.parametrize("entry", PLAIN_ENTRIES)
def test_plain_numbers(gpu: Any, entry: str) -> None:
    mirror = Mirror(gpu)
    for case in cases(entry, SHAPES[0]):
        assert fault(case, mirror) is None


@pytest.mark.parametrize("size", [0, 1, DIRECT, DIRECT + 1, CHUNK, 3 * CHUNK + 12345])
def test_copies(gpu: Any, size: int) -> None:
    source = np.random.default_rng(size).integers(0, 256, size, dtype=np.uint8)
    there = gpu.from_host(source)
    assert (gpu.to_host(there) == source).all()
    out = np.zeros(size, np.uint8)
    gpu.to_host(there[size // 2 :], out[size // 2 :])
    assert (out[size // 2 :] == source[size // 2 :]).all()
    assert (gpu.to_host(gpu.from_peer(there, gpu)) == source).all()


def test_memory_that_is_not_there(gpu: Any) -> None:
    with pytest.raises(OutOfMemory):
        gpu.empty((1 << 50,), np.uint32)
    before = gpu.free_memory()
    block = gpu.empty((1 << 24,), np.uint32)
    assert gpu.free_memory() <= before - 4 * (1 << 24) + (1 << 22)
    del block
    gpu.release()
    gpu.synchronize()
    assert gpu.free_memory() >= before - (1 << 22)


def test_threads_see_what_others_computed(gpu: Any) -> None:
    """Each takes the result of another before the device is done with it."""
    backend = CudaBackend([gpu])
    values = list(range(2, 2002))
    x = backend.from_ints(MODULUS, values)
    with ThreadPoolExecutor(4) as pool:
        powers = list(pool.map(lambda e: backend.mod_pow(x, e), [65537, 3, 4097, 2**30]))
        products = list(pool.map(lambda p: backend.mod_mul(p, x), powers))
        found = list(pool.map(backend.to_ints, products))
    m = MODULUS.value
    assert found == [[pow(v, e + 1, m) for v in values] for e in (65537, 3, 4097, 2**30)]


def test_a_large_batch_is_right_everywhere(gpu: Any) -> None:
    """Every block and every copy: products of a batch that fills the device, checked by their product."""
    backend = CudaBackend([gpu])
    count = 100_000
    numbers = np.random.default_rng(1).integers(0, 2**63, (count, MODULUS.width), dtype=np.uint64)
    numbers[:, -1] >>= np.uint64(2)
    x = backend.from_limbs(MODULUS, numbers)
    squares = lb.to_ints(backend.to_limbs(backend.mod_mul(x, x)))
    assert squares == [v * v % MODULUS.value for v in lb.to_ints(numbers)]


LOST = """
import warnings
import numpy as np
import hecore
from hecore.kernels.cuda.shapes import SHAPES
auto = hecore.get_backend("auto")
assert auto.name == "cuda"
key = hecore.generate_key(512, insecure_test_key=True)
batch = hecore.Encryptor(key, auto).encrypt(np.array([1.5, 2.5]))
engine = auto.fast.home
k = engine.constants(key.public.square)
far = engine.device.from_host(np.full(1, 2**30, np.int32))
out = engine.allocate(k, 1)
engine.device.launch("multiply_2", SHAPES[0], 1, [out, k.one, far, 1, k.one, None, 1, k.buffer, k.inverse, 1])
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    again = hecore.Encryptor(key, auto).encrypt(np.array([1.5, 2.5]))
print(any("was lost" in str(w.message) for w in caught), auto.name != "cuda")
print(hecore.Decryptor(key, auto).decrypt(again).tolist())
try:
    hecore.Decryptor(key, auto).decrypt(batch)
except hecore.DeviceLost:
    print("gone")
"""


def test_a_lost_device_is_noticed_and_left() -> None:
    """A kernel reads far outside its memory, in a process of its own: its device is lost for good."""
    done = subprocess.run(
        [sys.executable, "-c", LOST],
        env=os.environ | {"HECORE_BACKEND": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )
    assert done.stdout.splitlines() == ["True True", "[1.5, 2.5]", "gone"], done.stderr
