"""A CUDA device through CuPy: memory from a pool of its own, one queue of work, kernels compiled by NVRTC.

All threads of a process share one stream a device: the kernels of a batch fill the device, so a second stream
would gain nothing, and one order of work makes results visible to every thread and freed memory safe to use
again. Results are copied to the host on a second stream, so that kernels of other threads go on meanwhile.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import Lock, local
from typing import Any

import cupy
import numpy as np
from cupy.cuda import driver, runtime
from numpy.typing import NDArray

from ..errors import DeviceLost, OutOfMemory
from . import abi
from .device import ENTRIES, Array, Device, Times
from .shapes import SHAPES, Shape
from .staging import Staging

logger = logging.getLogger("hecore.kernels")

SOURCES = Path(__file__).parent / "src"
#: Families whose kernels do not depend on lanes and limbs: compiled once.
_SHAPELESS = {kernel.family for kernel in abi.KERNELS} - {
    kernel.family for kernel in abi.KERNELS if kernel.lanes
}
_SCALARS = {abi.INT: np.int32, abi.WORD: np.uint32}
_NULL = np.uint64(0)

_OUT_OF_MEMORY = 2
#: cudaError_t after which a context answers with errors only, and no memory of it can be read any more.
_LOST = frozenset(
    (
        *(3, 46, 100, 101, 201, 709, 802, 810),  # no context: a forked child, a device taken away, MPS ended
        *(214, 219, 220, 226),  # memory or NVLink beyond correction
        *(700, 702, 710, 714, 715, 716, 717, 718, 719, 999),  # a kernel that went wrong
    )
)


class _Entered(local):
    """The devices that a thread has made active, the innermost last."""

    def __init__(self) -> None:
        self.devices: list[CupyDevice] = []

    @contextmanager
    def by(self, device: CupyDevice) -> Iterator[None]:
        self.devices.append(device)
        try:
            yield
        finally:
            self.devices.pop()


_entered = _Entered()


class CupyDevice:
    """One CUDA device; see `Device`.

    pooled   keep freed memory for the next arrays; without, every array is an allocation of its own: slow,
             but compute-sanitizer sees where each one ends
    """

    xp = cupy

    def __init__(self, index: int = 0, *, pooled: bool = True) -> None:
        self.index = index
        self._pool = cupy.cuda.MemoryPool()  # cudaMalloc, never managed memory
        self._allocator = self._pool.malloc if pooled else _allocation
        self._staging = Staging(cupy)
        self._functions: dict[tuple[str, Shape], Any] = {}
        self._modules: dict[tuple[str, Shape], Any] = {}
        self._lock = Lock()
        self._spans: list[tuple[str, Any, Any]] | None = None
        with self._translated(), cupy.cuda.Device(index):
            properties = runtime.getDeviceProperties(index)
            self._work = cupy.cuda.Stream(non_blocking=True)
            self._copies = cupy.cuda.Stream(non_blocking=True)
        self.processors = int(properties["multiProcessorCount"])
        self.capability = (int(properties["major"]), int(properties["minor"]))
        self.description = _describe(properties)

    # --- context ----------------------------------------------------------------------------------

    @contextmanager
    def active(self) -> Iterator[None]:
        with self._translated():
            if _entered.devices[-1:] == [self]:  # most uses are within another: entering costs microseconds
                yield
                return
            # A Device object remembers what to go back to, for all threads alike: each use takes its own.
            with (
                cupy.cuda.Device(self.index),
                self._work,
                cupy.cuda.using_allocator(self._allocator),
                _entered.by(self),
            ):
                yield

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """CuPy's errors as ours; those that mean a mistake of this package stay what they are."""
        try:
            yield
        except cupy.cuda.memory.OutOfMemoryError as error:
            raise OutOfMemory(f"GPU {self.index}: {error}") from None
        except (runtime.CUDARuntimeError, driver.CUDADriverError) as error:
            if error.status == _OUT_OF_MEMORY:
                raise OutOfMemory(f"GPU {self.index}: {error}") from None
            if error.status in _LOST:
                raise DeviceLost(f"GPU {self.index} was lost: {error}") from None
            raise

    # --- memory -----------------------------------------------------------------------------------

    def empty(self, shape: tuple[int, ...], dtype: type[np.generic]) -> Array:
        with self.active():
            return cupy.empty(shape, dtype)

    def from_host(self, array: NDArray[Any]) -> Array:
        with self.active():
            out = cupy.empty(array.shape, array.dtype)
            if array.size:
                with self._span("copies", self._work):
                    self._staging.upload(array, out.data.ptr, self._work)
            return out

    def to_host(self, array: Array, out: NDArray[Any] | None = None) -> NDArray[Any]:
        out = np.empty(array.shape, array.dtype) if out is None else out
        with self.active():
            ready = cupy.cuda.Event(block=False, disable_timing=True)
            ready.record(self._work)
            self._copies.wait_event(ready)
            if array.size:
                with self._span("copies", self._copies):
                    self._staging.download(array.data.ptr, out, self._copies)
        return out

    def from_peer(self, array: Array, peer: Device) -> Array:
        peer.synchronize()
        with self.active():
            out = cupy.empty(array.shape, array.dtype)
            if array.size:
                runtime.memcpyPeerAsync(
                    out.data.ptr, self.index, array.data.ptr, peer.index, array.nbytes, self._work.ptr
                )
            self._work.synchronize()  # the peer's memory may be freed now
            return out

    def free_memory(self) -> int:
        with self.active():
            free, _ = runtime.memGetInfo()
            return int(free) + int(self._pool.free_bytes())

    def release(self) -> None:
        with self.active():
            self._work.synchronize()
            self._pool.free_all_blocks()

    def synchronize(self) -> None:
        with self.active():
            self._work.synchronize()
            self._copies.synchronize()

    # --- kernels ----------------------------------------------------------------------------------

    def launch(self, entry: str, shape: Shape, grid: int, arguments: Sequence[Array | int | None]) -> None:
        kinds = [kind for _, kind in ENTRIES[entry].parameters]
        with self.active():
            passed = tuple(map(_argument, kinds, arguments))
            function = self.function(entry, shape)
            with self._span("kernels", self._work):
                function((grid,), (abi.THREADS,), passed)

    @contextmanager
    def timed(self) -> Iterator[Times]:
        times, self._spans = Times(), []
        try:
            yield times
        finally:
            spans, self._spans = self._spans, None
        self.synchronize()
        for kind, first, last in spans:
            seconds = cupy.cuda.get_elapsed_time(first, last) / 1000.0
            setattr(times, kind, getattr(times, kind) + seconds)

    @contextmanager
    def _span(self, kind: str, stream: Any) -> Iterator[None]:
        """Events around what is queued inside, if somebody measures."""
        if self._spans is None:
            yield
            return
        first, last = cupy.cuda.Event(), cupy.cuda.Event()
        first.record(stream)
        yield
        last.record(stream)
        self._spans.append((kind, first, last))

    def function(self, entry: str, shape: Shape) -> Any:
        """The compiled entry point, a cupy.RawKernel."""
        family = ENTRIES[entry].family
        if family in _SHAPELESS:
            shape = SHAPES[0]
        with self._lock:
            if (entry, shape) not in self._functions:
                if (family, shape) not in self._modules:
                    self._modules[family, shape] = compile_module(family, shape)
                self._functions[entry, shape] = self._modules[family, shape].get_function(entry)
            return self._functions[entry, shape]


def _allocation(size: int) -> Any:
    return cupy.cuda.MemoryPointer(cupy.cuda.Memory(size), 0)


def compile_module(family: str, shape: Shape) -> Any:
    """The cupy.RawModule of a family of kernels, compiled at first use of its functions and cached by CuPy.

    CuPy's cache knows the source text and the options, but not the headers: their hash is an option.
    """
    logger.debug("CUDA kernels %s for %d lanes of %d limbs", family, shape.lanes, shape.limbs)
    options = (
        "-std=c++17",
        f"-I{SOURCES}",
        f"-DHECORE_T={shape.lanes}",
        f"-DHECORE_K={shape.limbs}",
        f"-DHECORE_SOURCES={source_hash()}",
    )
    code = (SOURCES / f"{family}.cu").read_text(encoding="utf-8")
    return cupy.RawModule(code=code, options=options, backend="nvrtc")


@cache
def source_hash() -> str:
    """A hash of all sources, as a C identifier."""
    digest = hashlib.sha256()
    for file in sorted(SOURCES.iterdir()):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return f"x{digest.hexdigest()[:32]}"


def _argument(kind: str, value: Any) -> Any:
    """An argument as CuPy passes it by value: plain Python integers would become 64 bits."""
    if kind in _SCALARS:
        return _SCALARS[kind](value)
    return _NULL if value is None else value


def _describe(properties: dict[str, Any]) -> str:
    name = properties["name"]
    text = name.decode(errors="replace") if isinstance(name, bytes) else str(name)
    memory = int(properties["totalGlobalMem"]) / 2**30
    return f"{text}, {memory:.0f} GiB, sm_{properties['major']}{properties['minor']}, CuPy {cupy.__version__}"
