"""The device through CuPy: its own logic, run against a fake of CuPy. `test_gpu` runs it on a GPU."""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from hecore.kernels import DeviceLost, Modulus, OutOfMemory
from hecore.kernels import limbs as lb
from hecore.kernels.cuda.backend import CudaBackend
from hecore.kernels.cuda.shapes import SHAPES
from hecore.kernels.selftest import self_test

from .fake_cupy import CudaError, FakeCupy, OutOfMemoryError

NAME = "hecore.kernels.cuda.cupy_device"


@pytest.fixture
def cupy() -> FakeCupy:
    return FakeCupy()


@pytest.fixture
def module(cupy: FakeCupy, monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    """cupy_device, imported anew with the fake in CuPy's place."""
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setitem(sys.modules, "cupy.cuda", cupy.cuda)
    before = sys.modules.pop(NAME, None)
    yield importlib.import_module(NAME)
    del sys.modules[NAME]
    if before is not None:
        sys.modules[NAME] = before


def test_the_backend_runs_on_it(module, cupy: FakeCupy) -> None:
    device = module.CupyDevice(0)
    self_test(CudaBackend([device]))
    assert device.processors == 3
    assert device.description == "Abacus, 2 GiB, sm_90, CuPy 0.fake"
    assert cupy.devices == [0]
    assert cupy.streams == cupy.allocators == []


def test_two_devices_and_threads(module) -> None:
    backend = CudaBackend([module.CupyDevice(0), module.CupyDevice(1)])
    modulus = Modulus(2**89 - 1)
    x = backend.from_ints(modulus, range(20))
    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(lambda e: backend.to_ints(backend.mod_pow(x, e)), [3, 5, 7]))
    assert results == [[pow(v, e, modulus.value) for v in range(20)] for e in (3, 5, 7)]


def test_large_arrays_go_through_pinned_memory(module) -> None:
    device = module.CupyDevice(0)
    source = np.random.default_rng(0).integers(0, 2**63, 100_000, dtype=np.uint64)
    there = device.from_host(source)
    assert (device.to_host(there) == source).all()
    out = np.zeros(50_000, np.uint64)
    assert device.to_host(there[50_000:], out) is out
    assert (out == source[50_000:]).all()
    assert device.to_host(device.from_host(source[:0])).size == 0
    assert (device.to_host(device.from_peer(there, module.CupyDevice(1))) == source).all()


@pytest.mark.parametrize(
    ("failure", "error", "text"),
    [
        (OutOfMemoryError("no room"), OutOfMemory, "GPU 0: no room"),
        (CudaError(2), OutOfMemory, "GPU 0"),
        (CudaError(700), DeviceLost, "GPU 0 was lost: cudaError 700"),
        (CudaError(3), DeviceLost, "was lost"),
        (CudaError(1), CudaError, "cudaError 1"),
    ],
)
def test_errors_of_cupy(module, cupy: FakeCupy, failure: Exception, error: type, text: str) -> None:
    """What is a mistake of ours stays as it is."""
    device = module.CupyDevice(0)
    array = device.from_host(np.arange(4, dtype=np.uint32))
    for work in (
        lambda: device.empty((4,), np.uint32),
        lambda: device.from_host(np.arange(4)),
        lambda: device.to_host(array),
        lambda: device.launch("word_products", SHAPES[0], 1, [array, 1, 4]),
    ):
        cupy.fail = failure
        with device.active(), pytest.raises(error, match=text):
            work()
        assert cupy.fail is None
    assert device.to_host(array).tolist() == [0, 1, 2, 3]


def test_a_piece_is_halved_when_cupy_runs_out_of_memory(module, cupy: FakeCupy) -> None:
    device = module.CupyDevice(0)
    backend = CudaBackend([device])
    modulus = Modulus(2**89 - 1)
    x = backend.from_ints(modulus, range(10))
    device._pool.emptied = 0
    calls = []

    def work(first: int, last: int) -> None:
        calls.append((first, last))
        if len(calls) == 1:
            raise OutOfMemoryError("in a function of the array module")

    backend.home.in_pieces(10, 4, work)
    assert calls == [(0, 10), (0, 5), (5, 10)]
    assert device._pool.emptied == 1
    assert backend.to_ints(x) == list(range(10))


def test_times_of_kernels_and_copies(module) -> None:
    """The fake's clock gives a launch a quarter of a second and a copy half of one."""
    device = module.CupyDevice(0)
    source = np.arange(4, dtype=np.uint32)
    with device.timed() as times:
        array = device.from_host(source)
        device.launch("word_products", SHAPES[0], 1, [array, 1, 4])
        device.launch("word_products", SHAPES[0], 1, [array, 1, 4])
        device.to_host(array)
    assert (times.kernels, times.copies) == (0.5, 1.0)
    device.from_host(source)  # nobody measures any more
    assert (times.kernels, times.copies) == (0.5, 1.0)


def test_a_module_is_compiled_once_and_shapeless_ones_for_all(module, cupy: FakeCupy) -> None:
    device = module.CupyDevice(0)
    functions = {device.function("multiply_1", SHAPES[0]), device.function("multiply_1", SHAPES[0])}
    assert len(functions) == 1
    device.function("add_2", SHAPES[0])
    assert len(cupy.compiled) == 1
    device.function("add_2", SHAPES[1])
    assert len(cupy.compiled) == 2
    device.function("pack_slots", SHAPES[1])
    device.function("pack_slots", SHAPES[2])
    assert len(cupy.compiled) == 3


def test_a_change_of_a_header_is_another_module(module, tmp_path: Path, monkeypatch) -> None:
    """CuPy's cache does not see headers."""
    for source in module.SOURCES.iterdir():
        (tmp_path / source.name).write_bytes(source.read_bytes())
    monkeypatch.setattr(module, "SOURCES", tmp_path)
    module.source_hash.cache_clear()
    before = module.source_hash()
    header = next(tmp_path.glob("*.cuh"))
    header.write_text(header.read_text() + "\n")
    module.source_hash.cache_clear()
    assert module.source_hash() != before
    assert module.source_hash().isidentifier()


def test_memory_is_pooled_unless_told_otherwise(module) -> None:
    pooled, single = module.CupyDevice(0), module.CupyDevice(0, pooled=False)
    for device in (pooled, single):
        device.empty((3,), np.uint32)
    assert (pooled._pool.asked, single._pool.asked) == (1, 0)
    assert pooled.free_memory() == (1 << 30) + 1000
    pooled.release()
    assert pooled._pool.emptied == 1
    pooled.synchronize()


def test_exponents_are_not_changed_on_the_way(module) -> None:
    backend = CudaBackend([module.CupyDevice(0)])
    exponents = lb.from_ints([1, 2, 3], 1)
    powers = backend.fixed_base(Modulus(101), 2, 64).pow(exponents)
    assert backend.to_ints(powers) == [2, 4, 8]
    assert lb.to_ints(exponents) == [1, 2, 3]
