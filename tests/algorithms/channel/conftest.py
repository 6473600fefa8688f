"""Channels for tests: all kinds, with short times, and a TCP proxy that can misbehave."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from hecore.algorithms.channel import (
    CurveKeys,
    FolderStore,
    ZmqChannel,
    ZmqOptions,
    dial,
    listen,
    loopback_pair,
)
from hecore.algorithms.channel.framed import FramedChannel

#: A busy machine must not come to the end of a time-out; tests of such an end have one of their own.
FAST = ZmqOptions(connect_timeout=60, grace=60, retry=0.5, heartbeat=0.2, heartbeat_timeout=10, linger=20)


@dataclass
class Network:
    """Parties with keys, and the channels that they have opened; options can be changed by name."""

    keys: dict[str, CurveKeys]
    opened: contextlib.ExitStack
    allowed: dict[str, str | list[str]] = field(init=False)
    options: ZmqOptions = FAST

    def __post_init__(self) -> None:
        self.allowed = {party: keys.public for party, keys in self.keys.items()}

    folder: Path | None = None  # where stores lie; None for channels that are not durable

    def store(self, party: str) -> FolderStore | None:
        return None if self.folder is None else FolderStore(self.folder / party, party, "test")

    def listen(self, endpoint: str = "tcp://127.0.0.1:0", **changes: float) -> ZmqChannel:
        channel = listen(
            "active",
            "passive",
            endpoint,
            self.keys["active"],
            self.allowed,
            job="test",
            options=replace(self.options, **changes),  # type: ignore[arg-type]
            store=self.store("active"),
        )
        self.opened.callback(channel.close)
        return channel

    def dial(
        self,
        endpoint: str,
        *,
        job: str = "test",
        keys: CurveKeys | None = None,
        allowed: dict[str, str | list[str]] | None = None,
        **changes: float,
    ) -> ZmqChannel:
        channel = dial(
            "passive",
            "active",
            endpoint,
            keys or self.keys["passive"],
            allowed or self.allowed,
            job=job,
            options=replace(self.options, **changes),  # type: ignore[arg-type]
            store=self.store("passive"),
        )
        self.opened.callback(channel.close)
        return channel


@pytest.fixture
def network() -> Iterator[Network]:
    with contextlib.ExitStack() as opened:
        yield Network({name: CurveKeys.generate() for name in ("active", "passive", "third")}, opened)


@pytest.fixture(params=["loopback", "zeromq", "durable"])
def pair(
    request: pytest.FixtureRequest, network: Network, tmp_path: Path
) -> Iterator[tuple[FramedChannel, FramedChannel]]:
    """The ends of one channel: active, passive."""
    if request.param == "loopback":
        with contextlib.ExitStack() as opened:
            ends = loopback_pair(max_message_bytes=FAST.max_message_bytes)
            for end in ends:
                opened.callback(end.close)
            yield ends
    else:
        network.folder = tmp_path if request.param == "durable" else None
        listener = network.listen()
        yield listener, network.dial(listener.endpoint)


class Line:
    """So many bytes a second, for all that share it; in the order in which they come.

    What a busy machine has kept from passing for up to a second passes at once afterwards.
    """

    def __init__(self, rate: float) -> None:
        self.rate, self.passed = rate, 0
        self._free = time.monotonic()
        self._lock = threading.Lock()

    def carry(self, size: int) -> None:
        with self._lock:
            now = time.monotonic()
            self._free = max(self._free, now - 1.0) + size / self.rate
            self.passed += size
            wait = self._free - now
        time.sleep(max(0.0, wait))


class Proxy:
    """A TCP relay to `port` that can be slow, swallow what it gets, and cut its connections.

    `line`: what goes towards `port` shares it with others.
    """

    def __init__(self, port: int, line: Line | None = None) -> None:
        self.line = line
        self.swallow = False  # what goes towards `port`
        self.swallow_all = False  # and what comes back
        self.swallowed = 0  # bytes so far
        self.rate: float | None = None  # bytes per second towards `port`
        self.back_rate: float | None = None  # and back
        self._port = port
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"tcp://127.0.0.1:{self._server.getsockname()[1]}"
        self._start(self._serve)

    def cut(self) -> None:
        """Break all connections; new ones are accepted."""
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def reset(self) -> None:
        """Break all connections by RST, without a word of farewell."""
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.cut()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self.cut()
        for thread in self._threads:
            thread.join(5)
        for sock in (self._server, *self._sockets):
            sock.close()

    def _start(self, work: Callable[..., None], *args: object) -> None:
        self._threads.append(threading.Thread(target=work, args=args, daemon=True))
        self._threads[-1].start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._server.accept()
                near.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
                self._sockets.append(near)
                try:
                    far = socket.create_connection(("127.0.0.1", self._port))
                except ConnectionRefusedError:  # nobody listens yet
                    near.close()
                    continue
                self._sockets.append(far)
                self._start(self._relay, near, far, True)
                self._start(self._relay, far, near, False)

    def _relay(self, source: socket.socket, target: socket.socket, towards: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 14):
                if towards and self.line is not None:
                    self.line.carry(len(data))
                if self.swallow_all or (towards and self.swallow):
                    self.swallowed += len(data)
                else:
                    target.sendall(data)
                rate = self.rate if towards else self.back_rate
                if rate:
                    time.sleep(len(data) / rate)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def proxied(network: Network) -> Iterator[Callable[[ZmqChannel], Proxy]]:
    """Make a proxy in front of a listener."""
    with contextlib.ExitStack() as opened:

        def make(listener: ZmqChannel) -> Proxy:
            proxy = Proxy(int(listener.endpoint.rpartition(":")[2]))
            opened.callback(proxy.close)
            return proxy

        yield make
