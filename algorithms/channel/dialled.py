"""One connection after the other to a peer that is dialled, and what all sockets have in common."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import random
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import zmq

from hecore.algorithms.channel.curve import CurveKeys
from hecore.algorithms.errors import ChannelError

#: Frames on the wire: between two of them a heartbeat can pass.
PIECE = 1 << 18
CURVE_OVERHEAD = 64  # per frame; 33 bytes in fact
NEVER = 2**31 - 1  # milliseconds
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0

_EVENTS = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_CLOSED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)
_FAILURES = (
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL,
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL,
    zmq.EVENT_HANDSHAKE_FAILED_AUTH,
)


@dataclass(frozen=True)
class WireTimes:
    """Seconds."""

    heartbeat: float
    heartbeat_timeout: float
    handshake: float


class Dialled:
    """One peer that is dialled: a socket a connection."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        poller: zmq.Poller,
        endpoint: str,
        keys: CurveKeys,
        peer_keys: Sequence[str],
        times: WireTimes,
    ) -> None:
        self._context, self._poller = context, poller
        self._endpoint, self._keys, self._peer_keys, self._times = endpoint, keys, peer_keys, times
        self._tries = 0
        self._failed = 0  # in a row
        self.socket: zmq.Socket[bytes] | None = None
        self.monitor: zmq.Socket[bytes] | None = None
        self.unread: list[list[zmq.Frame]] = []  # of a connection that has ended
        self.again = math.inf

    def open(self, now: float) -> None:
        """Dial; of a peer with two keys, one after the other is expected."""
        self.socket = self._context.socket(zmq.DEALER)
        address = f"inproc://monitor-{id(self)}-{self._tries}"
        self.monitor = monitor(self._context, self.socket, address, _EVENTS)
        self.socket.routing_id = b"\x01" + os.urandom(16)  # libzmq keeps those that start with 0 to itself
        self.socket.curve_serverkey = self._peer_keys[self._tries % len(self._peer_keys)].encode()
        # libzmq must not dial again by itself; but with −1 it ends the pipe at once when the peer dies, and
        # aborts the process if that happens between two parts of a packet (fq.cpp, assertion !_more).
        self.socket.reconnect_ivl = NEVER
        configure(self.socket, self._keys, self._endpoint, self._times)
        self._tries += 1
        self.again = now + 3 * self._times.handshake  # should libzmq say nothing at all
        for socket in (self.socket, self.monitor):
            self._poller.register(socket, zmq.POLLIN)
        try:
            self.socket.connect(self._endpoint)
        except zmq.ZMQError:
            self.shut(now)
            raise

    def follow(self, now: float) -> Iterator[tuple[bool, int | None]]:
        """(up, failure) for each thing that happened to the connection."""
        while self.monitor is not None and self.monitor.poll(0):
            (event,) = struct.unpack_from("=H", self.monitor.recv_multipart()[0])
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self._failed, self.again = 0, math.inf
                yield True, None
            else:
                failure = event if event in _FAILURES else None
                while self.socket is not None and (parts := receive(self.socket)) is not None:
                    self.unread.append(parts)
                self.shut(now)
                yield False, failure
        if self.socket is not None and now >= self.again:
            self.shut(now)
            yield False, None

    def shut(self, now: float) -> None:
        """Close the socket with all that waits in it; set the time of the next."""
        if self.socket is None or self.monitor is None:
            return
        # First the monitor: libzmq's thread would wait for ever to tell a monitor that nobody reads.
        self.socket.disable_monitor()
        for socket in (self.socket, self.monitor):
            self._poller.unregister(socket)
            socket.close(linger=0)
        self.socket = self.monitor = None
        pause = min(FIRST_PAUSE * 2**self._failed, LONGEST_PAUSE)
        self._failed += 1
        self.again = now + pause * random.SystemRandom().uniform(0.5, 1.5)


def configure(socket: zmq.Socket[bytes], keys: CurveKeys, endpoint: str, times: WireTimes) -> None:
    """Set what listening and dialling sockets have in common."""
    socket.curve_publickey = keys.public.encode()
    socket.curve_secretkey = keys.secret.encode()
    socket.ipv6 = "[" in endpoint
    socket.linger = 0
    socket.sndhwm = 0  # the link's window limits what waits
    # No limit here either: libzmq stops to read a connection whose queue is full, heartbeats included, and
    # aborts the process when such a connection breaks (stream_engine_base.cpp, assertion !_io_error).
    socket.rcvhwm = 0
    socket.maxmsgsize = PIECE + CURVE_OVERHEAD
    socket.heartbeat_ivl = _milliseconds(times.heartbeat)
    socket.heartbeat_timeout = _milliseconds(times.heartbeat_timeout)
    socket.tcp_maxrt = _milliseconds(times.heartbeat_timeout)
    socket.handshake_ivl = _milliseconds(times.handshake)
    socket.connect_timeout = _milliseconds(times.handshake)


def monitor(
    context: zmq.Context[zmq.Socket[bytes]], socket: zmq.Socket[bytes], address: str, events: int
) -> zmq.Socket[bytes]:
    """Where libzmq tells what becomes of the connections of a socket."""
    socket.monitor(address, events)
    monitor = context.socket(zmq.PAIR)
    monitor.rcvhwm = 0
    monitor.linger = 0
    monitor.connect(address)
    return monitor


@contextlib.contextmanager
def named(verb: str, endpoint: str) -> Iterator[None]:
    """ChannelError for an error of libzmq, with what was to be done."""
    try:
        yield
    except zmq.ZMQError as error:
        unread = error.errno in (errno.EINVAL, errno.EPROTONOSUPPORT)
        advice = "; write it as tcp://host:port" if unread else ""
        raise ChannelError(f"cannot {verb} {endpoint}: {error}{advice}") from error


def receive(socket: zmq.Socket[bytes]) -> list[zmq.Frame] | None:
    """The next packet, if one is there."""
    try:
        return socket.recv_multipart(zmq.NOBLOCK, copy=False)
    except zmq.Again:
        return None


def _milliseconds(seconds: float) -> int:
    return math.ceil(seconds * 1000)
