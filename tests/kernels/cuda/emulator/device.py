"""A device whose kernels run on the host emulator: from the sources, or from the PTX that NVRTC makes."""

from __future__ import annotations

import ctypes
import functools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hecore.kernels.cuda import abi
from hecore.kernels.cuda.device import ENTRIES
from hecore.kernels.cuda.shapes import Shape

from ..reference import HostDevice
from . import build

#: (family, lanes, limbs) → shared library.
Builder = Callable[[str, int, int], Path]

_SCALARS = {abi.INT: ctypes.c_int32, abi.WORD: ctypes.c_uint32}
_WRITABLE = (abi.OUT, abi.FLAG)


class KernelError(AssertionError):
    """The emulator stopped a kernel; the message says which thread did what."""


class _Buffer(ctypes.Structure):
    _fields_ = (("address", ctypes.c_uint64), ("bytes", ctypes.c_uint64), ("writable", ctypes.c_uint32))


class EmulatedDevice(HostDevice):
    """A device that runs the kernels on the emulator.

    `builder` makes the libraries. A kernel touches the arrays of its launch only, each within its bounds.
    """

    def __init__(self, index: int = 0, *, builder: Builder = build.library, **limits: Any) -> None:
        super().__init__(index, **limits)
        self.builder = builder

    def execute(self, entry: str, shape: Shape, grid: int, named: dict[str, Any]) -> None:
        kernel = ENTRIES[entry]
        kinds = [kind for _, kind in kernel.parameters]
        values = [named[name] for name, _ in kernel.parameters]
        count = named["count"]
        # Blocks without an element would compute and store nothing.
        needed = -(-count // (shape.groups if kernel.lanes else abi.THREADS))
        path = self.builder(kernel.family, shape.lanes, shape.limbs)
        run(path, entry, min(grid, needed), kinds, values)


def run(path: Path, entry: str, blocks: int, kinds: list[str], values: list[Any]) -> None:
    """Run an entry point of a library. KernelError if the emulator stops it."""
    library, lock = _load(path)
    cells: list[Any] = []
    buffers: list[_Buffer] = []
    for kind, value in zip(kinds, values, strict=True):
        if kind in _SCALARS:
            cells.append(_SCALARS[kind](value))
        elif value is None:
            cells.append(ctypes.c_void_p(None))
        else:
            cells.append(ctypes.c_void_p(value.ctypes.data))
            buffers.append(_Buffer(value.ctypes.data, value.nbytes, kind in _WRITABLE))
    pointers = (ctypes.c_void_p * len(cells))(*(ctypes.addressof(cell) for cell in cells))
    function = getattr(library, f"run_{entry}")
    function.restype = ctypes.c_char_p
    with lock:
        message = function(blocks, pointers, (_Buffer * len(buffers))(*buffers), len(buffers))
    if message is not None:
        raise KernelError(f"{entry}: {message.decode()}")


@functools.cache
def _load(path: Path) -> tuple[ctypes.CDLL, threading.Lock]:
    # The machine of a library is one: launches take turns.
    return ctypes.CDLL(str(path)), threading.Lock()
