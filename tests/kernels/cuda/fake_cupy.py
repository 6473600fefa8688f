"""As much of CuPy as `cupy_device` uses, on the host: its logic is run where no GPU is.

Arrays are numpy's, work is done at once, and a compiled function is the reference's meaning of its entry
point. What CuPy itself does is not tested here; that its names are used as it has them is.
"""

from __future__ import annotations

import ctypes
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from hecore.kernels.cuda.device import ENTRIES
from hecore.kernels.cuda.shapes import Shape

from .reference import ReferenceDevice

PROPERTIES = {
    "name": b"Abacus",
    "totalGlobalMem": 1 << 31,
    "multiProcessorCount": 3,
    "major": 9,
    "minor": 0,
}


class FakeArray(np.ndarray):
    """numpy's array with CuPy's `data.ptr`."""

    @property
    def data(self) -> Any:  # type: ignore[override]
        return types.SimpleNamespace(ptr=self.ctypes.data)


class OutOfMemoryError(MemoryError):
    """CuPy's."""


class CudaError(RuntimeError):
    """CuPy's CUDARuntimeError and CUDADriverError."""

    def __init__(self, status: int) -> None:
        super().__init__(f"cudaError {status}")
        self.status = status


class FakeCupy(types.ModuleType):
    """The module `cupy`.

    fail      raised by the next copy, allocation or launch
    allocated bytes by each allocator, compiled the (code, options) of each module, entered the devices
    """

    __version__ = "0.fake"

    def __init__(self) -> None:
        super().__init__("cupy")
        self.fail: Exception | None = None
        self.compiled: list[tuple[str, tuple[str, ...]]] = []
        self.allocators: list[Callable[[int], Any]] = []
        self.devices: list[int] = [0]
        self.streams: list[FakeStream] = []
        self.clock = 0.0
        self.cuda = self._cuda()

    # --- arrays ---

    def empty(self, shape: Any, dtype: Any) -> Any:
        self.raise_failure()
        assert self.allocators, "an array outside of a device"
        self.allocators[-1](0)
        return np.empty(shape, dtype).view(FakeArray)

    def __getattr__(self, name: str) -> Any:
        function = getattr(np, name)

        def on_device(*arguments: Any, **keywords: Any) -> Any:
            assert self.allocators, f"{name} outside of a device"
            return np.asarray(function(*arguments, **keywords)).view(FakeArray)

        return on_device

    def raise_failure(self) -> None:
        failure, self.fail = self.fail, None
        if failure is not None:
            raise failure

    # --- cuda ---

    def _cuda(self) -> types.ModuleType:
        cuda = types.ModuleType("cupy.cuda")
        cuda.Device = lambda index: self._entering(self.devices, index)
        cuda.Stream = lambda non_blocking: FakeStream(self)
        cuda.Event = lambda **_: FakeEvent(self)
        cuda.MemoryPool = FakePool
        cuda.Memory = lambda size: size
        cuda.MemoryPointer = lambda memory, offset: memory
        cuda.using_allocator = lambda allocator: self._entering(self.allocators, allocator)
        cuda.alloc_pinned_memory = bytearray
        cuda.get_elapsed_time = lambda first, last: 1000.0 * (last.time - first.time)
        cuda.memory = types.SimpleNamespace(OutOfMemoryError=OutOfMemoryError)
        cuda.driver = types.SimpleNamespace(CUDADriverError=CudaError)
        cuda.runtime = types.SimpleNamespace(
            CUDARuntimeError=CudaError,
            memcpyHostToDevice=1,
            memcpyDeviceToHost=2,
            memcpyAsync=lambda target, source, size, kind, stream: self.copy(target, source, size),
            memcpyPeerAsync=lambda target, _to, source, _from, size, stream: self.copy(target, source, size),
            memGetInfo=lambda: (1 << 30, 1 << 31),
            getDeviceProperties=lambda index: PROPERTIES,
        )
        return cuda

    def copy(self, target: int, source: int, size: int) -> None:
        self.raise_failure()
        self.clock += 0.5
        ctypes.memmove(target, source, size)

    @contextmanager
    def _entering(self, stack: list[Any], item: Any) -> Iterator[None]:
        stack.append(item)
        try:
            yield
        finally:
            stack.pop()

    def RawModule(self, code: str, options: tuple[str, ...], backend: str) -> FakeModule:  # noqa: N802
        self.compiled.append((code, options))
        return FakeModule(self, options)


class FakeStream:
    """Work is done when it is queued."""

    ptr = 7

    def __init__(self, cupy: FakeCupy) -> None:
        self._cupy = cupy

    def __enter__(self) -> None:
        self._cupy.streams.append(self)

    def __exit__(self, *_: object) -> None:
        self._cupy.streams.pop()

    def synchronize(self) -> None:
        pass

    def wait_event(self, event: FakeEvent) -> None:
        assert event.time >= 0


class FakeEvent:
    """Tells the clock of the fake, which copies and launches move."""

    def __init__(self, cupy: FakeCupy) -> None:
        self._cupy = cupy
        self.time = -1.0

    def record(self, stream: FakeStream) -> None:
        self.time = self._cupy.clock

    def synchronize(self) -> None:
        pass


class FakePool:
    """Counts what is asked of it."""

    def __init__(self) -> None:
        self.asked = self.emptied = 0

    def malloc(self, size: int) -> None:
        self.asked += 1

    def free_bytes(self) -> int:
        return 1000

    def free_all_blocks(self) -> None:
        self.emptied += 1


class FakeModule:
    """A cupy.RawModule whose functions are the reference's."""

    def __init__(self, cupy: FakeCupy, options: tuple[str, ...]) -> None:
        self._cupy = cupy
        defines = dict(option[2:].split("=") for option in options if option.startswith("-DHECORE_"))
        self._shape = Shape(int(defines["HECORE_T"]), int(defines["HECORE_K"]))

    def get_function(self, entry: str) -> Callable[[tuple[int], tuple[int], tuple[Any, ...]], None]:
        def launch(grid: tuple[int], block: tuple[int], arguments: tuple[Any, ...]) -> None:
            self._cupy.raise_failure()
            assert self._cupy.streams, "a launch outside of the device's stream"
            self._cupy.clock += 0.25
            kinds = [kind for _, kind in ENTRIES[entry].parameters]
            plain = [_by_value(kind, x) for kind, x in zip(kinds, arguments, strict=True)]
            ReferenceDevice().launch(entry, self._shape, grid[0], plain)

        return launch


def _by_value(kind: str, argument: Any) -> Any:
    """What a kernel gets: scalars of the width of their type, pointers or null."""
    if isinstance(argument, np.ndarray):
        return argument.view(np.ndarray)
    if kind.endswith("*"):
        assert isinstance(argument, np.uint64)
        assert argument == 0
        return None
    assert isinstance(argument, np.int32 if kind == "int" else np.uint32), kind
    return int(argument)
