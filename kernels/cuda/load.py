"""Whether the cuda backend runs on this machine, and its self-test.

The cheap questions come first, and nothing is imported before the driver has answered:

    driver     libcuda.so.1 can be loaded, and its cuInit succeeds
    devices    the driver has some; $HECORE_CUDA_DEVICES names others than the first: "0,1"
    cupy       can be imported
    kernels    compile, and pass the self-test on every device
"""

from __future__ import annotations

import ctypes
import logging
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..backend import Backend
from ..errors import BackendUnavailable, InvalidSetting
from ..selftest import self_test

if TYPE_CHECKING:
    from .cupy_device import CupyDevice

logger = logging.getLogger("hecore.kernels")

DRIVER = "libcuda.so.1"
INSTALL = "pip install 'hecore[cuda]' (driver for CUDA 13) or 'hecore[cuda12]' (CUDA 12)"
#: The kernels copy to shared memory by cp.async.
CAPABILITY = (8, 0)
_SUCCESS = 0
_NO_DEVICE = 100


def load_cuda() -> Backend:
    """The backend, after its self-test. BackendUnavailable says what this machine lacks."""
    indices = chosen_devices(count_devices())
    try:
        import cupy  # noqa: F401 - the first that can fail, for many reasons
    except ImportError as error:
        raise BackendUnavailable(f"CuPy cannot be imported ({_first_line(error)}): {INSTALL}") from None
    from .backend import CudaBackend
    from .cupy_device import CupyDevice

    try:
        devices = [CupyDevice(index) for index in indices]
        _check_capability(devices)
        for device in devices[1:]:
            self_test(CudaBackend([device]))
        backend = CudaBackend(devices)
        self_test(backend)
    except BackendUnavailable:
        raise
    except Exception as error:  # a missing NVRTC, a compiler's words, a device that others hold
        raise BackendUnavailable(
            f"the GPU cannot be used: {type(error).__name__}: {_first_line(error)}"
        ) from error
    for device in devices:
        logger.info("cuda device %d: %s", device.index, device.description)
    return backend


def count_devices() -> int:
    """How many devices the driver has, at least one. BackendUnavailable without a driver or a device."""
    try:
        driver = ctypes.CDLL(DRIVER)
    except OSError:
        raise BackendUnavailable(f"no NVIDIA driver ({DRIVER} cannot be loaded)") from None
    count = ctypes.c_int(0)
    error = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    if error not in (_SUCCESS, _NO_DEVICE):
        raise BackendUnavailable(f"the NVIDIA driver does not start (CUDA error {error})")
    if error == _NO_DEVICE or count.value == 0:
        raise BackendUnavailable("the NVIDIA driver finds no device (is CUDA_VISIBLE_DEVICES empty?)")
    return count.value


def chosen_devices(available: int) -> list[int]:
    """The device numbers in $HECORE_CUDA_DEVICES, else the first. InvalidSetting for anything else."""
    text = os.environ.get("HECORE_CUDA_DEVICES", "")
    if not text:
        return [0]
    words = [word.strip() for word in text.split(",")]
    chosen = [int(word) for word in words if word.isdecimal() and int(word) < available]
    if len(chosen) != len(words) or len(set(chosen)) != len(chosen):
        raise InvalidSetting(
            f"HECORE_CUDA_DEVICES={text!r} is no list of different device numbers below {available}"
        )
    return chosen


def _check_capability(devices: Sequence[CupyDevice]) -> None:
    for device in devices:
        if device.capability < CAPABILITY:
            raise BackendUnavailable(
                f"GPU {device.index} ({device.description}) has compute capability"
                f" {device.capability[0]}.{device.capability[1]}, and the kernels need"
                f" {CAPABILITY[0]}.{CAPABILITY[1]} (Ampere or newer)"
            )


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "no reason given")
