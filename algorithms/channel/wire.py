"""The sockets of a node: one ROUTER that listens, a DEALER for every peer that is dialled.

One thread owns them all. CURVE encrypts and authenticates both sides; the ZAP handler below lets in
the keys of the allow-list, and libzmq then hands over the party's name with every packet.

A dialling socket (`dialled`) serves one connection. When that ends it is closed with all that waits in it,
and after a jittered, growing pause a new one dials, with a new random routing id: nothing stale is ever
delivered, and no id can be guessed or taken over. What was lost is sent again by the link.
"""

from __future__ import annotations

import logging
import math
import os
import struct
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import zmq
from zmq.utils import z85

from hecore.algorithms.channel.curve import AllowList, CurveKeys
from hecore.algorithms.channel.dialled import (
    PIECE,
    Dialled,
    WireTimes,
    configure,
    monitor,
    named,
    receive,
)
from hecore.algorithms.channel.packet import Buffer
from hecore.algorithms.errors import ChannelError, ConfigurationError
from hecore.algorithms.seldom import Seldom

log = logging.getLogger(__name__)

DOMAIN = b"hecore"  # "*" would not match a socket that names a domain
LAST_MOMENT = 0.1  # seconds


class Route(NamedTuple):
    """Where a packet came from, or goes to: a dialled peer, or a routing id of the listening socket."""

    dialled: str | None
    identity: bytes = b""


class Incoming(NamedTuple):
    """A packet as it came: `party` is the name that belongs to the key of the connection."""

    party: str
    route: Route
    parts: list[zmq.Frame]


class Event(NamedTuple):
    """A dialled connection has come up, gone, or been refused (`failure`: an event of libzmq).

    `last`: what had come before it went, and was not read yet; the last word of a peer that leaves is there.
    """

    peer: str
    up: bool
    failure: int | None
    last: list[Incoming]


class Wire:
    """All methods but `wake` belong to the thread that owns the node's sockets."""

    def __init__(self, keys: CurveKeys, allowed: AllowList, times: WireTimes) -> None:
        self._keys, self._allowed, self._times = keys, allowed, times
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._poller = zmq.Poller()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._waking = threading.Lock()
        self._poller.register(self._wake, zmq.POLLIN)
        self._router: zmq.Socket[bytes] | None = None
        self._zap: zmq.Socket[bytes] | None = None
        self._refusals: zmq.Socket[bytes] | None = None
        self._warnings = Seldom()  # whoever was refused comes again and again
        self._dialled: dict[str, Dialled] = {}
        self._trial: str | None = None  # the key that `prove` knocks with
        self.endpoint: str | None = None
        #: Why somebody was not let in, the last time.
        self.refused = ""

    @property
    def public_key(self) -> str:
        """This party's own."""
        return self._keys.public

    def listen(self, endpoint: str) -> str:
        """Bind, and return the address that was bound. ChannelError where that cannot be."""
        if endpoint.startswith("tcp://*"):
            raise ConfigurationError(f"{endpoint} would bind all interfaces: name one, or write 0.0.0.0")
        self._zap = self._context.socket(zmq.REP)
        self._zap.linger = 0
        self._zap.bind("inproc://zeromq.zap.01")
        self._router = self._context.socket(zmq.ROUTER)
        self._router.router_mandatory = True
        self._router.curve_server = True
        self._router.zap_domain = DOMAIN
        configure(self._router, self._keys, endpoint, self._times)
        self._refusals = monitor(
            self._context, self._router, "inproc://refusals", zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
        )
        with named("listen on", endpoint):
            self._router.bind(endpoint)
        for socket in (self._zap, self._refusals, self._router):
            self._poller.register(socket, zmq.POLLIN)
        self.endpoint = self._router.getsockopt_string(zmq.LAST_ENDPOINT)
        return self.endpoint

    def dial(self, peer: str, endpoint: str, now: float) -> None:
        """Begin to connect to a peer; from now on it is tried again and again."""
        known = self._allowed.keys_of(peer)
        dialled = Dialled(self._context, self._poller, endpoint, self._keys, known, self._times)
        with named("dial", endpoint):
            dialled.open(now)
        self._dialled[peer] = dialled

    def wake(self) -> None:
        """End the other thread's `wait`. Nothing after `close`: the number may be another file's by then."""
        with self._waking:
            if self._wake >= 0:
                os.eventfd_write(self._wake, 1)

    def wait(self, seconds: float) -> None:
        """Until there is something to do, or the time is over."""
        for socket, _ in self._poller.poll(math.ceil(1000 * max(0.0, seconds))):
            if socket == self._wake:
                os.eventfd_read(self._wake)
            elif socket is self._zap:
                self._admit()
            elif socket is self._refusals:
                self._hear_of_refusals()

    def events(self, now: float) -> list[Event]:
        """What became of the dialled connections; ends dead ones and opens new ones."""
        events = []
        for peer, dialled in self._dialled.items():
            for event in dialled.follow(now):
                last = [Incoming(peer, Route(peer), parts) for parts in dialled.unread]
                dialled.unread.clear()
                events.append(Event(peer, *event, last))
            if dialled.socket is None and now >= dialled.again:
                dialled.open(now)
        return events

    def hang_up(self, peer: str, now: float) -> None:
        """End a dialled connection that has died; a new one follows."""
        if peer in self._dialled:
            self._dialled[peer].shut(now)

    def deadline(self) -> float:
        """When `events` has something to do at the latest."""
        return min((dialled.again for dialled in self._dialled.values()), default=math.inf)

    def read(self, limit: int = 64) -> Iterator[Incoming]:
        """Packets that have arrived, at most `limit` from each socket."""
        for _ in range(limit):
            if self._router is None:
                break
            parts = receive(self._router)
            if parts is None:
                break
            identity, *rest = parts
            if rest:
                yield Incoming(str(rest[0].get("User-Id")), Route(None, identity.bytes), rest)
        for peer, dialled in self._dialled.items():
            for _ in range(limit):
                parts = None if dialled.socket is None else receive(dialled.socket)
                if parts is None:
                    break
                yield Incoming(peer, Route(peer), parts)

    def write(self, route: Route, header: bytes, pieces: Sequence[Buffer] = ()) -> bool:
        """Hand a packet over, uncopied; false if its connection has gone."""
        dialled = self._dialled.get(route.dialled) if route.dialled is not None else None
        socket = self._router if route.dialled is None else (dialled.socket if dialled else None)
        if socket is None:
            return False
        frames: list[Buffer] = [header, *_pieces(pieces)]
        if route.dialled is None:
            frames.insert(0, route.identity)
        try:
            socket.send_multipart(frames, zmq.NOBLOCK, copy=False)
        except zmq.ZMQError as error:
            if error.errno in (zmq.EAGAIN, zmq.EHOSTUNREACH):
                return False
            raise
        return True

    def close(self, linger: float) -> None:
        """Close all sockets; what was handed over has a moment to leave, `linger` seconds at most.

        The moment comes first, and no lingering after it: libzmq aborts the process when a connection breaks
        whose socket lingers while its peer still sends (stream_engine_base.cpp, assertion !_io_error). Seen
        in 15 of 36 runs of eight senders at full speed with lingering, in 1 of 24 without.
        """
        time.sleep(min(linger, LAST_MOMENT))
        for dialled in self._dialled.values():
            dialled.shut(0.0)
        if self._router is not None:
            self._router.disable_monitor()
        for socket in (self._router, self._refusals, self._zap):
            if socket is not None:
                socket.close(linger=0)
        self._context.term()
        with self._waking:
            os.close(self._wake)
            self._wake = -1

    def prove(self) -> None:
        """Knock at the own door with a key that nobody knows; ChannelError unless it stays shut."""
        if self.endpoint is None or self._router is None:
            return
        stranger = CurveKeys.generate()
        self._trial = stranger.public
        address = self.endpoint.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")
        own = [self._keys.public]
        knock = Dialled(self._context, zmq.Poller(), address, stranger, own, self._times)
        knock.open(0.0)
        try:
            for _ in range(math.ceil(10 * self._times.handshake)):
                if knock.monitor is not None:
                    knock.monitor.poll(100)
                for up, failure in knock.follow(0.0):
                    if failure == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
                        return
                    if up:
                        raise ChannelError(f"{self.endpoint} let a key in that is not on the allow-list")
            raise ChannelError(f"{self.endpoint} did not answer a trial with an unknown key")
        finally:
            knock.shut(0.0)

    def _admit(self) -> None:
        """Answer one question of ZAP (RFC 27): may this key come in, and as whom?"""
        if self._zap is None:
            return
        version, request, domain, address, _, mechanism, *credentials = self._zap.recv_multipart()
        party = None
        if domain == DOMAIN and mechanism == b"CURVE" and len(credentials) == 1:
            key = z85.encode(credentials[0]).decode()
            party = self._allowed.find(key)
            if party is None and key != self._trial:
                self.refused = f"key {key} is not on the allow-list; is it the other party's?"
                self._warn(f"refused {address.decode()}: key {key} is not on the allow-list")
        verdict = [b"200", b"OK", party.encode()] if party else [b"400", b"not on the allow-list", b""]
        self._zap.send_multipart([version, request, *verdict, b""])

    def _hear_of_refusals(self) -> None:
        """Tell of handshakes that libzmq has refused because they were not for the key of this party.

        By design whoever dials gets no answer then, and this side alone can say what is wrong.
        """
        if self._refusals is None:
            return
        cause = struct.unpack("=HI", self._refusals.recv_multipart()[0])[1]
        if cause == zmq.PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC:
            self.refused = (
                f"whoever dialled has a wrong public key of this party; its own is {self._keys.public}"
            )
            self._warn(f"refused a connection to {self.endpoint}: {self.refused}")

    def _warn(self, text: str) -> None:
        if self._warnings.due(text):
            log.warning("%s", text)


def _pieces(pieces: Iterable[Buffer]) -> Iterator[Buffer]:
    for piece in pieces:
        if len(piece) <= PIECE:
            yield piece
            continue
        view = memoryview(piece)
        for start in range(0, len(view), PIECE):
            yield view[start : start + PIECE]
