"""Copies between pageable host memory and a device, through two pinned buffers in turn.

    host memory    chunk 2 ──┐          chunk 3 ──┐
    pinned                   └▶ buffer 0          └▶ buffer 1
    device         chunk 1 ◀─── buffer 1   chunk 2 ◀─ buffer 0

One buffer is filled while the other is copied. A GPU copies pageable memory at less than half the rate
of pinned memory, and stops the host meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Bytes of each of the two buffers.
CHUNK = 1 << 24
#: Up to here the driver itself takes a copy at once, and the host does not wait for work queued before.
DIRECT = 1 << 16


class Staging:
    """The two pinned buffers of one device; one copy at a time in each direction's call."""

    def __init__(self, cupy: Any, chunk: int = CHUNK) -> None:
        self._cuda = cupy.cuda
        self._chunk = chunk
        self._lock = Lock()
        self._buffers: list[NDArray[np.uint8]] = []
        self._events: list[Any] = []

    def upload(self, source: NDArray[Any], target: int, stream: Any) -> None:
        """Copy a C-contiguous array to a device address; the array is free afterwards, the copy is queued."""
        data = source.reshape(-1).view(np.uint8)
        if data.size <= DIRECT:
            self._copy(target, data.ctypes.data, data.size, "memcpyHostToDevice", stream)
            return
        with self._lock:
            self._prepare()
            for turn, (first, last) in enumerate(self._chunks(data.size)):
                buffer, event = self._buffers[turn % 2], self._events[turn % 2]
                event.synchronize()  # what it held before has left it
                buffer[: last - first] = data[first:last]
                self._copy(target + first, buffer.ctypes.data, last - first, "memcpyHostToDevice", stream)
                event.record(stream)

    def download(self, source: int, target: NDArray[Any], stream: Any) -> None:
        """Copy from a device address into a C-contiguous array, and wait for it."""
        data = target.reshape(-1).view(np.uint8)
        if data.size <= DIRECT:
            self._copy(data.ctypes.data, source, data.size, "memcpyDeviceToHost", stream)
            stream.synchronize()
            return
        waiting: list[tuple[int, int, int]] = []
        with self._lock:
            self._prepare()
            for turn, (first, last) in enumerate(self._chunks(data.size)):
                buffer, event = self._buffers[turn % 2], self._events[turn % 2]
                event.synchronize()
                self._copy(buffer.ctypes.data, source + first, last - first, "memcpyDeviceToHost", stream)
                event.record(stream)
                if waiting:
                    self._fetch(data, *waiting.pop())
                waiting.append((turn % 2, first, last))
            if waiting:
                self._fetch(data, *waiting.pop())

    def _fetch(self, data: NDArray[np.uint8], place: int, first: int, last: int) -> None:
        self._events[place].synchronize()
        data[first:last] = self._buffers[place][: last - first]

    def _prepare(self) -> None:
        """Pinned buffers at first use: a process that moves little does not lock memory."""
        while len(self._buffers) < 2:
            memory = self._cuda.alloc_pinned_memory(self._chunk)
            self._buffers.append(np.frombuffer(memory, np.uint8, self._chunk))
            self._events.append(self._cuda.Event(block=False, disable_timing=True))

    def _chunks(self, size: int) -> Iterator[tuple[int, int]]:
        return ((first, min(first + self._chunk, size)) for first in range(0, size, self._chunk))

    def _copy(self, target: int, source: int, size: int, kind: str, stream: Any) -> None:
        runtime = self._cuda.runtime
        runtime.memcpyAsync(target, source, size, getattr(runtime, kind), stream.ptr)
