"""Is the peer connected? The answer of a socket's own monitor.

libzmq tells the file descriptor when a connection opens and when it ends, but not which one
finished its handshake. All that are then open count as the peer's, until they end. A stranger
among them ends too: libzmq closes whoever does not finish the handshake in time. So a scanner
that knocks can never make the peer look lost, and can hide a loss no longer than that time.

    opened ──(a handshake succeeds)──▶ alive ──(disconnected)──▶ gone
"""

from __future__ import annotations

import contextlib
import socket
import struct
import time

import zmq

_EVENTS = (
    zmq.EVENT_CONNECTED
    | zmq.EVENT_ACCEPTED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)


class Presence:
    """Follows the connections of a socket, from before it binds or connects.

    The monitor's queue has no limit: a full one would block libzmq's thread, and with it the
    heartbeats.
    """

    def __init__(self, watched: zmq.Socket[bytes]) -> None:
        address = f"inproc://presence-{id(self)}"
        watched.monitor(address, _EVENTS)
        self.monitor = watched.context.socket(zmq.PAIR)
        self.monitor.rcvhwm = 0
        self.monitor.linger = 0
        self.monitor.connect(address)
        self.met = False  # the peer has been here at least once
        self.absent_since: float | None = None  # monotonic, when its absence was noticed
        self.failure: int | None = None  # the last handshake that failed, as an event
        self._opened: set[int] = set()
        self._alive: set[int] = set()

    @property
    def present(self) -> bool:
        """A peer's connection is open, as far as `update` has seen."""
        return bool(self._alive)

    def update(self) -> bool:
        """Take in what happened; true if the peer has connected since the last call."""
        connected = False
        while self.monitor.poll(0):
            event, value = struct.unpack("=HI", self.monitor.recv_multipart()[0])
            connected |= event == zmq.EVENT_HANDSHAKE_SUCCEEDED
            self._follow(event, value)
        self.met |= connected
        if self.present:
            self.absent_since = None
        elif self.absent_since is None:
            self.absent_since = time.monotonic()
        return connected

    def hold(self) -> list[socket.socket]:
        """Duplicates of the open connections, which stay open when libzmq closes its own.

        libzmq announces an end before it closes the descriptor. So if none is announced after the
        duplication, it was this connection that was duplicated, and no later owner of its number.
        """
        self.update()
        held = {}
        for number in self._alive:
            with contextlib.suppress(OSError):
                held[number] = socket.fromfd(number, socket.AF_INET, socket.SOCK_STREAM)
        self.update()
        for number in held.keys() - self._alive:
            held.pop(number).close()
        return list(held.values())

    def close(self) -> None:
        """Close the monitor's end; the socket closes its own."""
        self.monitor.close()

    def _follow(self, event: int, value: int) -> None:
        if event in (zmq.EVENT_CONNECTED, zmq.EVENT_ACCEPTED):
            self._opened.add(value)
        elif event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self._alive |= self._opened
            self._opened.clear()
            self.failure = None
        elif event == zmq.EVENT_DISCONNECTED:
            self._opened.discard(value)
            self._alive.discard(value)
        else:
            self.failure = event
