"""What the backend asks of a device: memory, copies, launches. CuPy's is in cupy_device; tests bring others.

A device array has the manners of numpy (`shape`, `dtype`, slices, `reshape`, `view`), and `xp` is the module
with functions on it: cupy, or numpy for the devices of the tests. Work on a device is queued in order, and
`to_host` waits for it. Everything here raises OutOfMemory or DeviceLost where it must.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .abi import KERNELS, Kernel
from .shapes import Shape

#: An array on a device.
Array = Any

#: Entry point → what `abi` says about it.
ENTRIES: dict[str, Kernel] = {entry: kernel for kernel in KERNELS for entry in kernel.entries()}


@dataclass
class Times:
    """Seconds a device spent on kernels of this package and on copies from and to the host."""

    kernels: float = 0.0
    copies: float = 0.0


class Device(Protocol):
    """One device, its memory and its queue of work; see the module docstring.

    index        its number
    description  for people: name, memory, versions
    processors   multiprocessors: how many blocks make it full
    xp           the array module
    """

    index: int
    description: str
    processors: int
    xp: Any

    def active(self) -> AbstractContextManager[None]:
        """Functions of `xp` work on this device and its queue inside."""
        ...

    def empty(self, shape: tuple[int, ...], dtype: type[np.generic]) -> Array:
        """An uninitialised array. OutOfMemory if there is no room, even after `release`."""
        ...

    def from_host(self, array: NDArray[Any]) -> Array:
        """A copy of a C-contiguous host array; the host's may change afterwards."""
        ...

    def to_host(self, array: Array, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """A copy of a C-contiguous device array, in `out` if given, once the work queued before is done."""
        ...

    def from_peer(self, array: Array, peer: Device) -> Array:
        """A copy of another device's array, once that device has computed it."""
        ...

    def launch(self, entry: str, shape: Shape, grid: int, arguments: Sequence[Array | int | None]) -> None:
        """Queue a kernel: `grid` blocks of the entry point compiled for `shape`.

        Arguments stand in the order of `abi`: contiguous device arrays of the type's width, None for a null
        pointer, Python integers. The caller keeps nothing alive for it.
        """
        ...

    def timed(self) -> AbstractContextManager[Times]:
        """Measure what is queued inside; the times are there when it is left, which waits for all work."""
        ...

    def free_memory(self) -> int:
        """Bytes that `empty` can still give."""
        ...

    def release(self) -> None:
        """Give unused memory that is held for later back to the driver."""
        ...

    def synchronize(self) -> None:
        """Wait for all queued work. DeviceLost if some of it failed."""
        ...
