"""When the cuda backend is there, and that it says why not, cheaply."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from hecore.kernels import BackendUnavailable, InvalidSetting
from hecore.kernels.cuda import load
from hecore.kernels.cuda.device import ENTRIES
from hecore.kernels.cuda.load import chosen_devices, count_devices, load_cuda

IMPORTED = """
import sys, hecore
{}
print(sorted({{"cupy", "numba.cuda"}} & set(sys.modules)))
"""


def run(code: str) -> str:
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "HECORE_BACKEND": "gmp"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=250
    )
    return done.stdout.strip()


@pytest.mark.parametrize("work", ["", "hecore.get_backend('gmp')", "hecore.get_backend('auto')"])
def test_cupy_is_not_imported_without_a_device(work: str) -> None:
    assert run(IMPORTED.format(work)) == "[]"


def fake_driver(monkeypatch: pytest.MonkeyPatch, init: int, devices: int) -> None:
    def count(pointer: Any) -> int:
        pointer._obj.value = devices
        return 0

    driver = types.SimpleNamespace(cuInit=lambda flags: init, cuDeviceGetCount=count)
    monkeypatch.setattr(load.ctypes, "CDLL", lambda name: driver)


def test_without_a_driver_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> ctypes.CDLL:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(load.ctypes, "CDLL", missing)
    with pytest.raises(BackendUnavailable, match=r"no NVIDIA driver \(libcuda.so.1 cannot be loaded\)"):
        load_cuda()


@pytest.mark.parametrize(
    ("init", "devices", "text"),
    [
        (100, 0, "finds no device"),
        (0, 0, "finds no device"),
        (999, 0, "does not start .*999"),
        (3, 2, "error 3"),
    ],
)
def test_without_a_device_it_says_so(
    monkeypatch: pytest.MonkeyPatch, init: int, devices: int, text: str
) -> None:
    fake_driver(monkeypatch, init, devices)
    with pytest.raises(BackendUnavailable, match=text):
        count_devices()


def test_without_cupy_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_driver(monkeypatch, 0, 1)
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(BackendUnavailable, match=r"CuPy cannot be imported .*pip install 'hecore\[cuda\]'"):
        load_cuda()


class Broken:
    """A device of which nothing works."""

    def __init__(self, index: int) -> None:
        raise RuntimeError("\n  libnvrtc.so cannot be found\nmore lines")


def test_what_fails_on_the_device_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_driver(monkeypatch, 0, 1)
    monkeypatch.setitem(sys.modules, "cupy", types.ModuleType("cupy"))
    device = types.ModuleType("hecore.kernels.cuda.cupy_device")
    device.CupyDevice = Broken  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "hecore.kernels.cuda.cupy_device", device)
    with pytest.raises(BackendUnavailable, match=r"RuntimeError: libnvrtc.so cannot be found$"):
        load_cuda()


def test_every_device_is_tested(monkeypatch: pytest.MonkeyPatch) -> None:
    from .reference import ReferenceDevice

    class OneBitOff(ReferenceDevice):
        capability = (9, 0)

        def launch(self, entry, shape, grid, arguments):
            super().launch(entry, shape, grid, arguments)
            if self.index == 1 and entry == "multiply_2":
                arguments[0][-1, 0] ^= 1

    fake_driver(monkeypatch, 0, 3)
    monkeypatch.setitem(sys.modules, "cupy", types.ModuleType("cupy"))
    device = types.ModuleType("hecore.kernels.cuda.cupy_device")
    device.CupyDevice = OneBitOff  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "hecore.kernels.cuda.cupy_device", device)
    monkeypatch.setenv("HECORE_CUDA_DEVICES", "0,2")
    backend = load_cuda()
    assert [engine.device.index for engine in backend.engines] == [0, 2]
    monkeypatch.setenv("HECORE_CUDA_DEVICES", "0, 1")
    with pytest.raises(BackendUnavailable, match="cuda failed its self-test"):
        load_cuda()


def test_a_device_that_is_too_old_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from .reference import ReferenceDevice

    class Old(ReferenceDevice):
        capability = (7, 5)

    fake_driver(monkeypatch, 0, 1)
    monkeypatch.setitem(sys.modules, "cupy", types.ModuleType("cupy"))
    device = types.ModuleType("hecore.kernels.cuda.cupy_device")
    device.CupyDevice = Old  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "hecore.kernels.cuda.cupy_device", device)
    with pytest.raises(BackendUnavailable, match=r"GPU 0 .* has compute capability 7\.5, .* need 8\.0"):
        load_cuda()


def test_the_first_device_unless_others_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HECORE_CUDA_DEVICES", raising=False)
    assert chosen_devices(4) == [0]
    monkeypatch.setenv("HECORE_CUDA_DEVICES", "3,0, 1")
    assert chosen_devices(4) == [3, 0, 1]
    for bad in ("4", "0,0", "a", "-1", "0,", "1.5"):
        monkeypatch.setenv("HECORE_CUDA_DEVICES", bad)
        with pytest.raises(InvalidSetting, match="HECORE_CUDA_DEVICES"):
            chosen_devices(4)


def test_every_kernel_has_its_source() -> None:
    sources = Path(load.__file__).parent / "src"
    for entry, kernel in ENTRIES.items():
        text = (sources / f"{kernel.family}.cu").read_text(encoding="utf-8")
        assert kernel.name.removesuffix("_D") in text, entry
