"""A GPU with the CPU behind it: same plaintexts, a warning, and an honest word about what is gone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import hecore
from hecore import DeviceLost, OutOfMemory, SlotLayout
from hecore.kernels import Backend, Modulus, Residues, select
from hecore.kernels import limbs as lb
from hecore.kernels.cuda.backend import CudaBackend
from hecore.kernels.cuda.batch import CudaResidues
from hecore.kernels.fallback import FallbackBackend, despite_loss
from hecore.kernels.gmp import GmpBackend, GmpResidues

from .cuda.reference import ReferenceDevice

P, Q = Modulus(10007), Modulus(10009)
N = Modulus(P.value * Q.value)
SQUARE = Modulus.square_of(N)
VALUES = [2, 3, 5, SQUARE.value - 7]


@pytest.fixture
def device() -> ReferenceDevice:
    return ReferenceDevice()


@pytest.fixture
def auto(device: ReferenceDevice) -> FallbackBackend:
    return FallbackBackend(CudaBackend([device]), CudaResidues, GmpBackend)


#: Every operation with a batch as its result: (backend, x mod n², m mod n, a mod p, b mod q) → batch.
OPERATIONS: dict[str, Callable[..., Residues]] = {
    "from_limbs": lambda k, x, m, a, b: k.from_ints(SQUARE, VALUES),
    "from_signed": lambda k, x, m, a, b: k.from_signed(SQUARE, lb.from_signed_ints([-1, 5], 1)),
    "mod_mul": lambda k, x, m, a, b: k.mod_mul(x, x),
    "mod_mul_at": lambda k, x, m, a, b: k.mod_mul_at(x, np.array([3, 0, 0]), x, np.array([2, 2, 0])),
    "mod_pow": lambda k, x, m, a, b: k.mod_pow(x, 1000),
    "mod_inv": lambda k, x, m, a, b: k.mod_inv(x),
    "fixed_base": lambda k, x, m, a, b: k.fixed_base(SQUARE, 3, 64).pow(lb.from_ints([7, 8], 1)),
    "mul_one_plus": lambda k, x, m, a, b: k.mul_one_plus(x, m),
    "one_plus": lambda k, x, m, a, b: k.one_plus(SQUARE, m),
    "high_digit": lambda k, x, m, a, b: k.high_digit(x),
    "reduce": lambda k, x, m, a, b: k.reduce(x, N),
    "crt_combine": lambda k, x, m, a, b: k.crt_combine(a, b, N),
    "segment_product": lambda k, x, m, a, b: k.segment_product(x, np.arange(4), np.array([0, 1, 4])),
    "gather": lambda k, x, m, a, b: k.gather(x, np.array([3, 0])),
    "concatenate": lambda k, x, m, a, b: k.concatenate([x, x]),
    "select": lambda k, x, m, a, b: k.select(np.array([True, False, True, False]), x, x),
    "matvec_exp": lambda k, x, m, a, b: k.matvec_exp(np.full((1, 4, 1), 3, np.uint64), x),
}


#: Done by numpy in this test, whose memory nobody counts.
ON_ARRAYS = ("concatenate", "select")


def four_batches(backend: Backend) -> list[Residues]:
    shapes = ((SQUARE, VALUES), (N, [1, 2, 3, 4]), (P, [5, 6]), (Q, [7, 8]))
    return [backend.from_ints(modulus, values) for modulus, values in shapes]


def oracle(name: str) -> list[int]:
    gmp = GmpBackend()
    return gmp.to_ints(OPERATIONS[name](gmp, *four_batches(gmp)))


@pytest.mark.parametrize("name", OPERATIONS)
def test_while_the_device_works_it_does_all(auto: FallbackBackend, name: str) -> None:
    result = OPERATIONS[name](auto, *four_batches(auto))
    assert isinstance(result, CudaResidues)
    assert auto.to_ints(result) == oracle(name)
    assert "cpu" not in vars(auto)


@pytest.mark.parametrize("name", [name for name in OPERATIONS if name not in ON_ARRAYS])
def test_without_memory_the_cpu_does_it(auto: FallbackBackend, device: ReferenceDevice, name: str) -> None:
    """Operands are read from the device piece by piece: there is room for that."""
    batches = four_batches(auto)
    auto.fixed_base(SQUARE, 3, 64)

    def refuse(shape, dtype, empty=device.empty):
        if np.dtype(dtype) == np.uint32 and len(shape) == 2 and shape[1] >= 16:
            raise OutOfMemory("full")
        return empty(shape, dtype)

    device.empty = refuse  # type: ignore[method-assign]
    if name == "gather":  # taken by the array module
        device.from_host = lambda array: refuse((1, 16), np.uint32)  # type: ignore[method-assign]
    with pytest.warns(RuntimeWarning, match="full; this operation runs on the gmp backend"):
        result = OPERATIONS[name](auto, *batches)
    assert isinstance(result, GmpResidues)
    assert auto.to_ints(result) == oracle(name)
    assert auto.name == "cuda"


def test_a_result_on_the_cpu_meets_one_on_the_device(auto: FallbackBackend) -> None:
    x = auto.from_ints(SQUARE, VALUES)
    y = auto.cpu.from_ints(SQUARE, VALUES)
    product = auto.mod_mul(auto.concatenate([x, y]), auto.from_ints(SQUARE, [3]))
    assert isinstance(product, GmpResidues)
    assert auto.to_ints(product) == [3 * v % SQUARE.value for v in VALUES * 2]


def test_a_lost_device_takes_its_batches_along(auto: FallbackBackend, device: ReferenceDevice) -> None:
    x = auto.from_ints(SQUARE, VALUES)
    device.lost = True
    with (
        pytest.warns(RuntimeWarning, match="from now on everything runs on the gmp backend"),
        pytest.raises(DeviceLost, match="4 residues was in the memory of the lost device"),
    ):
        auto.mod_mul(x, x)
    assert auto.lost
    assert auto.name == "gmp"
    with pytest.raises(DeviceLost, match="make it anew"):
        auto.to_limbs(x)
    y = auto.from_ints(SQUARE, VALUES)  # no warning any more
    assert auto.to_ints(auto.mod_mul(y, y)) == [v * v % SQUARE.value for v in VALUES]


@pytest.mark.parametrize("name", ["from_limbs", "from_signed", "fixed_base"])
def test_what_starts_on_the_host_survives_the_loss(
    auto: FallbackBackend, device: ReferenceDevice, name: str
) -> None:
    device.lost = True
    with pytest.warns(RuntimeWarning, match="was lost"):
        result = OPERATIONS[name](auto, None, None, None, None)
    assert auto.to_ints(result) == oracle(name)


def test_reading_from_a_device_that_is_lost(auto: FallbackBackend, device: ReferenceDevice) -> None:
    x = auto.from_ints(SQUARE, VALUES)
    device.lost = True
    with pytest.warns(RuntimeWarning, match="was lost"), pytest.raises(DeviceLost):
        auto.to_signed(x)


# --- the verbs of hecore ---


class Dying(ReferenceDevice):
    """Is lost after some launches."""

    def __init__(self, launches: int) -> None:
        super().__init__()
        self.left = launches

    def launch(self, entry, shape, grid, arguments) -> None:
        self.left -= 1
        self.lost = self.lost or self.left < 0
        super().launch(entry, shape, grid, arguments)


@pytest.mark.parametrize("launches", [0, 1, 2, 4, 8, 12, 20])
@pytest.mark.parametrize("packed", [False, True])
def test_encryption_goes_on_on_the_cpu(test_key: hecore.PrivateKey, launches: int, packed: bool) -> None:
    """Wherever it dies: the plaintexts are on the host."""
    auto = FallbackBackend(CudaBackend([Dying(launches)]), CudaResidues, GmpBackend)
    values = np.array([1.5, -2.25, 1e6])
    layout = SlotLayout.for_key(test_key.public, 62) if packed else None
    with pytest.warns(RuntimeWarning, match="was lost"):
        batch = hecore.Encryptor(test_key, auto).encrypt(values, layout=layout)
    assert hecore.Decryptor(test_key, auto).decrypt(batch).tolist() == values.tolist()
    assert auto.name == "gmp"


@pytest.mark.parametrize("launches", [0, 1, 2, 3])
def test_reading_bytes_goes_on_on_the_cpu(test_key: hecore.PrivateKey, launches: int) -> None:
    data = hecore.Encryptor(test_key, "gmp").encrypt([7, 8]).to_bytes()
    auto = FallbackBackend(CudaBackend([Dying(launches)]), CudaResidues, GmpBackend)
    with pytest.warns(RuntimeWarning, match="was lost"):
        batch = hecore.CipherBatch.from_bytes(data, test_key.public, auto)
    assert hecore.Decryptor(test_key, auto).decrypt(batch).tolist() == [7, 8]


def test_asked_for_by_name_encryption_does_not_go_on(test_key: hecore.PrivateKey) -> None:
    with pytest.raises(DeviceLost):
        hecore.Encryptor(test_key, CudaBackend([Dying(3)])).encrypt([1, 2])


def test_decryption_of_a_lost_batch_says_so(
    test_key: hecore.PrivateKey, auto: FallbackBackend, device: ReferenceDevice
) -> None:
    batch = hecore.Encryptor(test_key, auto).encrypt([1, 2])
    device.lost = True
    with pytest.warns(RuntimeWarning, match="was lost"), pytest.raises(DeviceLost, match="make it anew"):
        hecore.Decryptor(test_key, auto).decrypt(batch)


def test_work_begins_again_once_only() -> None:
    calls = []

    def work() -> None:
        calls.append(None)
        raise DeviceLost("again")

    with pytest.raises(DeviceLost):
        despite_loss(work)
    assert len(calls) == 2


def test_auto_puts_the_cpu_behind_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu, cpu = CudaBackend([ReferenceDevice()]), GmpBackend()
    monkeypatch.setattr(select, "LOADERS", {"cuda": lambda: gpu, "simd": lambda: cpu})
    for cached in (select._loaded, select._gpu_with_fallback):
        cached.cache_clear()
    try:
        auto = select.get_backend("auto")
        assert isinstance(auto, FallbackBackend)
        assert auto is select.get_backend("auto")
        assert select.get_backend("cuda") is auto.fast is gpu
        assert auto.cpu is cpu
        assert auto.least_count == gpu.least_count > 1
        assert select.get_backend("auto", count=gpu.least_count) is auto
        assert select.get_backend("auto", count=gpu.least_count - 1) is cpu
        assert select.get_backend("cuda", count=1) is gpu
        auto.lost = True
        assert auto.least_count == 1
    finally:
        for cached in (select._loaded, select._gpu_with_fallback):
            cached.cache_clear()
