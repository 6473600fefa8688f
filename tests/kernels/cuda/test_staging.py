"""Copies through pinned buffers: every byte arrives, and no buffer is filled before it was read."""

from __future__ import annotations

import ctypes
import types
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hecore.kernels.cuda.staging import DIRECT, Staging


class FakeStream:
    """Copies are carried out when somebody waits, as late as a device may."""

    def __init__(self) -> None:
        self.ptr = id(self)
        self.queue: deque[Callable[[], None]] = deque()

    def synchronize(self) -> None:
        while self.queue:
            self.queue.popleft()()


class FakeEvent:
    """Waits for what stood in the stream when it was recorded."""

    def __init__(self, **_: bool) -> None:
        self.reached = True
        self.stream: FakeStream | None = None

    def record(self, stream: FakeStream) -> None:
        self.reached, self.stream = False, stream
        stream.queue.append(self._reach)

    def _reach(self) -> None:
        self.reached = True

    def synchronize(self) -> None:
        while self.stream is not None and not self.reached:
            self.stream.queue.popleft()()


class FakeCupy:
    """As much of CuPy as copies need; device memory is the host's."""

    def __init__(self, streams: list[FakeStream]) -> None:
        self._streams = {stream.ptr: stream for stream in streams}
        self.copied = 0
        runtime = types.SimpleNamespace(
            memcpyHostToDevice=1, memcpyDeviceToHost=2, memcpyAsync=self._memcpy_async
        )
        self.cuda = types.SimpleNamespace(runtime=runtime, Event=FakeEvent, alloc_pinned_memory=bytearray)

    def _memcpy_async(self, target: int, source: int, size: int, kind: int, stream: int) -> None:
        self.copied += 1
        if size <= DIRECT and kind == 1:  # the driver takes small ones from pageable memory at once
            data = ctypes.string_at(source, size)
            self._streams[stream].queue.append(lambda: ctypes.memmove(target, data, size))
        else:
            self._streams[stream].queue.append(lambda: ctypes.memmove(target, source, size))


SIZES = [1, 100, DIRECT, DIRECT + 1, 2 * DIRECT, 200_000, 1_000_003]
CHUNK = 3 * DIRECT // 2


@pytest.mark.parametrize("size", SIZES)
def test_up_and_down(size: int) -> None:
    stream, other = FakeStream(), FakeStream()
    cupy = FakeCupy([stream, other])
    staging = Staging(cupy, CHUNK)
    rng = np.random.default_rng(size)
    for _ in range(3):
        source = rng.integers(0, 256, size, dtype=np.uint8)
        kept, device, target = source.copy(), np.zeros(size, np.uint8), np.zeros(size, np.uint8)
        staging.upload(source, device.ctypes.data, stream)
        source[:] = 0  # the caller may
        stream.synchronize()
        assert (device == kept).all()
        staging.download(device.ctypes.data, target, other)
        assert (target == kept).all()


def test_shapes_and_types_are_bytes() -> None:
    stream = FakeStream()
    staging = Staging(FakeCupy([stream]), CHUNK)
    source = np.random.default_rng(0).integers(0, 2**32, (300, 200), dtype=np.uint32)
    device, target = np.zeros_like(source), np.zeros_like(source)
    staging.upload(source, device.ctypes.data, stream)
    staging.download(device.ctypes.data, target[:150], stream)
    assert (target[:150] == source[:150]).all()
    assert not target[150:].any()


def test_small_copies_need_no_pinned_memory() -> None:
    stream = FakeStream()
    cupy = FakeCupy([stream])
    cupy.cuda.alloc_pinned_memory = None
    staging = Staging(cupy, CHUNK)
    device = np.zeros(10)
    staging.upload(np.arange(10.0), device.ctypes.data, stream)
    out: Any = np.zeros(10)
    staging.download(device.ctypes.data, out, stream)
    assert out.tolist() == list(range(10))
