"""Several devices, little memory, a device that is lost: what the backend does about it."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest

from hecore.kernels import DeviceLost, Modulus, OutOfMemory
from hecore.kernels import limbs as lb
from hecore.kernels.backend import Slots
from hecore.kernels.cuda import numbers as numbers_module
from hecore.kernels.cuda import segments
from hecore.kernels.cuda.backend import CudaBackend

from .reference import ReferenceDevice

ROOT = Modulus(2**521 - 1)
SQUARE = Modulus.square_of(ROOT)


def numbers(count: int, bits: int = 1000) -> list[int]:
    rng = random.Random(count)
    return [rng.getrandbits(bits) for _ in range(count)]


def launches(device: ReferenceDevice) -> Counter[str]:
    return Counter(entry for entry, _, _ in device.launched)


# --- several devices ---


@pytest.mark.parametrize("devices", [1, 2, 3])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 50])
def test_powers_are_split_over_the_devices(devices: int, count: int) -> None:
    backend = CudaBackend([ReferenceDevice(i) for i in range(devices)])
    values, exponents = numbers(count), numbers(count, 100)
    x = backend.from_ints(SQUARE, values)
    limbs = lb.from_ints(exponents, 2)
    pairs = list(zip(values, exponents, strict=True))
    assert backend.to_ints(backend.mod_pow(x, limbs)) == [pow(v, e, SQUARE.value) for v, e in pairs]
    assert backend.to_ints(backend.mod_pow(x, 21)) == [pow(v, 21, SQUARE.value) for v in values]
    comb = backend.fixed_base(SQUARE, 7, 100)
    assert backend.to_ints(comb.pow(limbs)) == [pow(7, e, SQUARE.value) for e in exponents]
    if count >= devices:
        for engine in backend.engines:
            assert launches(engine.device)["power_2"] == 2
            assert launches(engine.device)["comb_2"] == 1
        home, *others = (engine.device for engine in backend.engines)
        assert home.from_peers == 3 * len(others)  # the results of two powers and of the comb
        assert [device.from_peers for device in others] == [2] * len(others)


def test_one_base_with_many_exponents_is_split_too() -> None:
    backend = CudaBackend([ReferenceDevice(0), ReferenceDevice(1)])
    exponents = numbers(9, 64)
    powers = backend.mod_pow(backend.from_ints(SQUARE, [11]), lb.from_ints(exponents, 1))
    assert backend.to_ints(powers) == [pow(11, e, SQUARE.value) for e in exponents]


def test_cheap_operations_stay_on_the_first_device() -> None:
    backend = CudaBackend([ReferenceDevice(0), ReferenceDevice(1)])
    x = backend.from_ints(SQUARE, numbers(20))
    backend.to_ints(backend.mod_mul(x, x))
    assert launches(backend.engines[0].device)["multiply_2"] == 1
    assert backend.engines[1].device.launched == []


# --- memory ---


def test_a_power_in_pieces_is_the_same() -> None:
    """The scratch of one launch would not fit beside the batch: the exponents are taken in pieces."""
    values, exponents = numbers(200), numbers(200, 1500)
    device = ReferenceDevice(processors=1)
    backend = CudaBackend([device])
    x = backend.from_ints(SQUARE, values)
    limbs = lb.from_ints(exponents, 24)
    device.launched.clear()
    want = backend.to_ints(backend.mod_pow(x, limbs))
    assert launches(device)["power_2"] == 1
    device.memory = device.used + 700_000
    device.launched.clear()
    assert backend.to_ints(backend.mod_pow(x, limbs)) == want
    assert launches(device)["power_2"] > 1


def test_a_piece_that_does_not_fit_is_halved() -> None:
    """The device promises more than it has, as one does that others use."""
    device = ReferenceDevice()
    backend = CudaBackend([device])
    values = numbers(300)
    backend.from_ints(SQUARE, values[:1])  # constants
    device.free_memory = lambda: 1 << 40  # type: ignore[method-assign]
    device.memory = device.used + 300 * 4 * 64 + 24_000
    x = backend.from_ints(SQUARE, values)
    assert launches(device)["import_2"] > 2
    assert device.releases > 0
    assert device.highest <= device.memory
    device.memory += 2_000
    assert backend.to_ints(x) == values


def test_a_refused_element_is_named_in_whatever_piece_it_is() -> None:
    device = ReferenceDevice()
    backend = CudaBackend([device])
    device.memory = device.used + 300 * 4 * 64 + 100_000
    values = numbers(300)
    values[250] = SQUARE.value
    with pytest.raises(ValueError, match=r"element 250\b"):
        backend.from_ints(SQUARE, values)
    assert launches(device)["first_not_below"] > 2


def test_memory_comes_back() -> None:
    device = ReferenceDevice()
    backend = CudaBackend([device])
    values = numbers(50)

    def work() -> None:
        x = backend.from_ints(SQUARE, values)
        y = backend.mod_inv(backend.mod_pow(x, lb.from_ints(values, 16)))
        backend.segment_product(y, np.arange(50), np.array([0, 20, 50]))
        backend.to_ints(backend.reduce(y, ROOT))

    work()
    used = device.used
    work()
    assert device.used == used


def test_no_room_for_the_result_says_so() -> None:
    device = ReferenceDevice()
    backend = CudaBackend([device])
    x = backend.from_ints(SQUARE, numbers(50))
    device.memory = device.used + 1000
    for operation in (
        lambda: backend.mod_mul(x, x),
        lambda: backend.mod_pow(x, 2**20 + 1),
        lambda: backend.mod_inv(x),
        lambda: backend.from_ints(SQUARE, numbers(50)),
    ):
        with pytest.raises(OutOfMemory, match="bytes asked for"):
            operation()
    assert backend.to_ints(x) == numbers(50)  # two rows at a time


def test_where_slots_have_no_room_the_host_does_it_in_pieces() -> None:
    device = ReferenceDevice()
    backend = CudaBackend([device])
    slots = Slots(length=4, per_number=2, bits=30)
    values = np.arange(40, dtype=np.int64)
    x = backend.from_numbers(ROOT, values, 0, 20, slots)
    assert x is not None
    expected = backend.to_signed(x)
    unpacked = backend.to_slots(x, slots)
    assert unpacked is not None
    assert unpacked.view(np.int64)[:, 0].tolist() == values.tolist()
    device.memory = device.used + 2000
    assert backend.to_slots(x, slots) is None
    assert (backend.to_signed(x) == expected).all()
    device.memory = device.used + 100
    assert backend.from_numbers(ROOT, values, 0, 20, slots) is None


def test_more_places_than_a_kernel_counts_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (segments, numbers_module):
        monkeypatch.setattr(module, "MOST_PLACES", 30)
    backend = CudaBackend([ReferenceDevice()])
    x = backend.from_ints(SQUARE, [2, 3])
    with pytest.raises(OutOfMemory, match="31 factors are too many"):
        backend.segment_product(x, np.zeros(31, dtype=np.int64), np.array([0, 31]))
    product = backend.segment_product(x, np.zeros(30, dtype=np.int64), np.array([0, 30]))
    assert backend.to_ints(product) == [2**30]
    assert backend.from_numbers(ROOT, np.arange(31), 0, 20, None) is None


# --- loss ---


def test_a_backend_asked_for_by_name_says_that_its_device_is_lost() -> None:
    device = ReferenceDevice()
    backend = CudaBackend([device])
    x = backend.from_ints(SQUARE, [1, 2])
    device.lost = True
    for operation in (
        lambda: backend.mod_mul(x, x),
        lambda: backend.to_ints(x),
        lambda: backend.from_ints(SQUARE, [1]),
        lambda: backend.fixed_base(SQUARE, 3, 64),
    ):
        with pytest.raises(DeviceLost, match="was lost"):
            operation()


# --- tables ---


def test_a_wide_table_replaces_the_narrow_one_when_it_pays() -> None:
    device = ReferenceDevice()
    comb = CudaBackend([device]).fixed_base(ROOT, 5, 24)
    few, many = numbers(10, 24), numbers(9000, 24)
    results = [comb.pow(lb.from_ints(few, 1)), comb.pow(lb.from_ints(many, 1))]
    assert [table.bits for table in comb._tables.values()] == [12]
    backend = CudaBackend([ReferenceDevice()])
    for result, exponents in zip(results, (few, many), strict=True):
        row = result.rows[-1:].copy()
        last = type(result)(backend.home.constants(ROOT), row)
        assert backend.to_ints(last) == [pow(5, exponents[-1], ROOT.value)]


def test_a_table_grows_as_far_as_exponents_reach() -> None:
    backend = CudaBackend([ReferenceDevice()])
    comb = backend.fixed_base(ROOT, 5, 600)
    for bits, windows in ((100, 32), (600, 75), (300, 75), (90, 75)):
        exponents = [2**bits - 1, *numbers(3, bits)]
        want = [pow(5, e, ROOT.value) for e in exponents]
        assert backend.to_ints(comb.pow(lb.from_ints(exponents, 10))) == want
        assert [table.windows for table in comb._tables.values()] == [windows]


def test_without_memory_the_table_stays_narrow() -> None:
    device = ReferenceDevice()
    comb = CudaBackend([device]).fixed_base(ROOT, 5, 24)
    comb.pow(lb.from_ints([1], 1))
    device.memory = device.used + 8 * 2 * 4 * 32 * 4096 - 1
    comb.pow(lb.from_ints(numbers(9000, 24), 1))
    assert [table.bits for table in comb._tables.values()] == [8]
