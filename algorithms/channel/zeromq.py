"""A channel over ZeroMQ: one DEALER socket on each side, encrypted and authenticated by CURVE.

One party listens, the other dials. Each knows the other's public key: the dialling side accepts
only a listener that holds `allowed[peer]`; the listening side lets in only that key (ZAP), and on
every message compares the key that libzmq authenticated with the sender's name in the header.

What is guaranteed, and by what:

    a lost or doubled message is an error
        Messages are numbered, and after every reconnection a Hello shows the next number.
    a dead peer is noticed
        By heartbeats, and by a limit on unacknowledged TCP data: heartbeats alone see nothing while
        output to a stopped peer is stuck.
    a busy peer is not taken for dead
        libzmq's own thread answers heartbeats. Its receive queue has no limit, since a full one
        would stop it from reading heartbeats too.
    a slow line is not taken for dead
        Frames travel in pieces of 256 KiB, with heartbeats between them.
    the sender's memory is bounded
        `high_water_mark` messages wait, then `send` waits. It never drops, and gives up when the
        peer is away for `grace` seconds.

What is not: messages on the way when a connection breaks are not sent again; the break is an error
unless nothing was lost. The receiver's memory holds all that the peer sends and this party does not
receive, and libzmq puts a message together before its size is compared with `max_message_bytes`:
within these two the peer, and nobody else, is trusted.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import math
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields

import zmq
from zmq.auth.thread import ThreadAuthenticator

from hecore.algorithms.channel.curve import AllowList, CurveKeys
from hecore.algorithms.channel.framed import FramedChannel, Hello
from hecore.algorithms.channel.presence import Presence
from hecore.algorithms.errors import (
    AuthenticationError,
    ChannelError,
    ChannelTimeout,
    ConfigurationError,
    HandshakeError,
    MalformedMessage,
    PeerAborted,
    PeerLost,
)
from hecore.algorithms.messages import MAX_MESSAGE_BYTES, read_header

log = logging.getLogger(__name__)

PIECE = 1 << 18
_CURVE_OVERHEAD = 64  # per piece; 33 bytes in fact
_FINAL = (zmq.EVENT_HANDSHAKE_FAILED_AUTH, zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL)  # when dialling
_ZAP_DOMAIN = "hecore"  # the authenticator's "*" would not match a socket that names a domain


@dataclass(frozen=True)
class ZmqOptions:
    """Times in seconds, sizes in bytes; all positive."""

    connect_timeout: float = 60.0  # until the peer is there for the first time
    grace: float = 30.0  # for which a peer that was there may be away
    heartbeat: float = 1.0  # a sign of life is asked for this often
    heartbeat_timeout: float = 3.0  # a connection without one for this long is cut
    handshake_timeout: float = 10.0  # for a connection to prove its key
    linger: float = 30.0  # for which `close` waits until the peer has what was sent; so does `abort`
    high_water_mark: int = 16  # messages that may wait in this process
    max_message_bytes: int = MAX_MESSAGE_BYTES

    def __post_init__(self) -> None:
        for option in fields(self):
            if not getattr(self, option.name) > 0:
                raise ValueError(f"{option.name} must be positive")


def listen(
    me: str,
    peer: str,
    endpoint: str,
    keys: CurveKeys,
    allowed: AllowList | Mapping[str, str],
    *,
    job: str,
    options: ZmqOptions | None = None,
) -> ZmqChannel:
    """Bind `endpoint` and return at once; `channel.endpoint` is the address that was bound.

    `endpoint` names the interface, as tcp://127.0.0.1:5701; port 0 or * takes a free one. All
    interfaces must be asked for in so many words, tcp://0.0.0.0:5701.
    """
    if endpoint.startswith("tcp://*"):
        raise ConfigurationError(f"{endpoint} would bind all interfaces: name one, or write 0.0.0.0")
    return ZmqChannel(me, peer, endpoint, keys, allowed, job, options or ZmqOptions(), binds=True)


def dial(
    me: str,
    peer: str,
    endpoint: str,
    keys: CurveKeys,
    allowed: AllowList | Mapping[str, str],
    *,
    job: str,
    options: ZmqOptions | None = None,
) -> ZmqChannel:
    """Begin to connect to the listening peer at `endpoint` and return at once.

    The first `send` or `receive` waits for the connection, and raises AuthenticationError if the
    listener does not know this party's key.
    """
    return ZmqChannel(me, peer, endpoint, keys, allowed, job, options or ZmqOptions(), binds=False)


class ZmqChannel(FramedChannel):
    """One end of a channel over ZeroMQ; made by `listen` or `dial`."""

    def __init__(
        self,
        me: str,
        peer: str,
        endpoint: str,
        keys: CurveKeys,
        allowed: AllowList | Mapping[str, str],
        job: str,
        options: ZmqOptions,
        binds: bool,
    ) -> None:
        super().__init__(me, peer, job, options.max_message_bytes)
        self._allowed = allowed if isinstance(allowed, AllowList) else AllowList(allowed)
        self._peer_key = self._allowed.key_of(peer)
        self._options = options
        self._binds = binds
        self._hello = Hello(process=os.urandom(16))
        self._greeting_due = False
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._presence = Presence(self._socket)
        self._authenticator: ThreadAuthenticator | None = None
        self._poller = zmq.Poller()
        self._poller.register(self._presence.monitor, zmq.POLLIN)
        try:
            _configure(self._socket, endpoint, options)
            self._authenticate(keys)
            self.endpoint = self._open(endpoint)
        except BaseException:
            self._closed = True
            self._release()
            raise

    # Opening.

    def _authenticate(self, keys: CurveKeys) -> None:
        self._socket.curve_publickey = keys.public.encode()
        self._socket.curve_secretkey = keys.secret.encode()
        if not self._binds:
            self._socket.curve_serverkey = self._peer_key.encode()
            return
        self._socket.curve_server = True
        self._socket.zap_domain = _ZAP_DOMAIN.encode()
        self._authenticator = ThreadAuthenticator(self._context, log=log.getChild("zap"))
        self._authenticator.start()
        provider = _OneKey(self._peer_key, self.peer)
        self._authenticator.configure_curve_callback(_ZAP_DOMAIN, provider)

    def _open(self, endpoint: str) -> str:
        try:
            if self._binds:
                self._socket.bind(endpoint)
                return self._socket.getsockopt_string(zmq.LAST_ENDPOINT)
            self._socket.connect(endpoint)
        except zmq.ZMQError as error:
            verb = "listen on" if self._binds else "dial"
            unread = error.errno in (errno.EINVAL, errno.EPROTONOSUPPORT)
            advice = "; write it as tcp://host:port" if unread else ""
            raise ChannelError(f"{self.me} cannot {verb} {endpoint}: {error}{advice}") from error
        return endpoint

    # Ending.

    def abort(self, reason: str) -> None:
        """See Channel.abort. A peer that is not there yet is waited for, so that it hears why.

        Not for longer than `linger`, nor than this party would have waited for it anyway. A peer
        that comes later finds nobody, and has its ChannelTimeout after its own `connect_timeout`.
        """
        if not self._closed and self._end is None:
            self._await_peer()
        super().abort(reason)

    def _await_peer(self) -> None:
        deadline = time.monotonic() + self._options.linger
        told = False
        while not self._greet() and time.monotonic() < min(deadline, self._patience_ends()):
            if not self._binds and self._presence.failure in _FINAL:
                return
            if not told:
                left = min(deadline, self._patience_ends()) - time.monotonic()
                log.warning("%s is not here; waiting up to %.0f s to tell it why", self.peer, left)
                told = True
            self._wait(0, deadline)  # the monitor alone: what has arrived is not read any more

    # The primitives of FramedChannel.

    def _put(self, frames: list[bytes]) -> None:
        pieces = [piece for frame in frames for piece in _cut(frame)]
        while True:
            self._attend()
            if self._presence.present and not self._greeting_due and self._write(pieces):
                return
            while self._read():  # where the peer says why it does not take more
                pass
            if self._end is not None:
                raise self._end
            self._wait(zmq.POLLIN | (zmq.POLLOUT if self._presence.present else 0), None)

    def _fill(self, deadline: float | None) -> None:
        while not self._read():
            self._attend()
            if deadline is not None and time.monotonic() >= deadline:
                away = "" if self._presence.present else f"; {self.peer} is not connected"
                raise ChannelTimeout(f"nothing from {self.peer} within the time given{away}")
            greets = self._greeting_due and self._presence.present
            self._wait(zmq.POLLIN | (zmq.POLLOUT if greets else 0), deadline)

    def _offer(self, frames: list[bytes], patient: bool) -> None:
        pieces = [piece for frame in frames for piece in _cut(frame)]
        deadline = time.monotonic() + (self._options.linger if patient else 0)
        with contextlib.suppress(ChannelError):
            while self._greet() and not self._write(pieces) and time.monotonic() < deadline:
                self._wait(zmq.POLLOUT, deadline)

    def _release(self) -> None:
        linger = self._options.linger
        connections = self._presence.hold()
        if not self._presence.present or isinstance(self._end, PeerLost | PeerAborted):
            linger = 0.0  # what still waits in this process has nobody to go to
        deadline = time.monotonic() + linger
        self._socket.close(linger=_milliseconds(linger))
        self._presence.close()
        if self._authenticator is not None:
            self._authenticator.stop()
        self._context.term()
        for connection in connections:
            _part(connection, deadline)

    # Presence.

    def _greet(self) -> bool:
        """Say Hello on a new connection; whether the peer is present."""
        self._greeting_due |= self._presence.update()
        if self._greeting_due and self._presence.present:
            self._greeting_due = not self._write(list(self._encode(self._hello)))
        return self._presence.present

    def _attend(self) -> None:
        """Follow the connection; raise when the peer has been away for too long."""
        was_present = self._presence.absent_since is None
        if self._greet():
            return
        if was_present and self._presence.met:
            log.warning("%s is away; waiting up to %g s for it", self.peer, self._options.grace)
        if not self._presence.met:
            self._raise_refusal()
        if time.monotonic() < self._patience_ends():
            return
        if not self._presence.met:
            raise ChannelTimeout(
                f"{self.peer} has not connected to {self.me} at {self.endpoint} within "
                f"{self._options.connect_timeout:g} s: {self._hint()}"
            )
        self._end = PeerLost(f"{self.peer} has been away for {self._options.grace:g} s")
        raise self._end

    def _patience_ends(self) -> float:
        since = self._presence.absent_since
        if since is None:
            return math.inf
        return since + (self._options.grace if self._presence.met else self._options.connect_timeout)

    def _raise_refusal(self) -> None:
        """On the dialling side two failures are final: libzmq does not try again after them."""
        if self._binds:
            return
        if self._presence.failure == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            self._end = AuthenticationError(
                f"the listener at {self.endpoint} does not let {self.me} in: {self.me}'s public "
                f"key is not the one that {self.peer} allows"
            )
        elif self._presence.failure == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
            self._end = HandshakeError(f"the listener at {self.endpoint} does not speak CURVE")
        if self._end is not None:
            raise self._end

    def _hint(self) -> str:
        if self._presence.failure == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            return f"a connection with another key than {self.peer}'s was refused"
        if self._presence.failure is not None:
            if self._binds:
                return f"a handshake failed; does the dialling side have {self.me}'s right public key?"
            return f"a handshake failed; is the key that {self.me} was given for {self.peer} the right one?"
        if self._binds:
            return f"nobody came; is {self.peer} started, and does it dial this endpoint?"
        return f"nobody answered; is {self.peer} started, the endpoint right, the firewall open?"

    # The socket.

    def _write(self, pieces: list[bytes | memoryview]) -> bool:
        """Send one multi-part message, or nothing where it would have to wait."""
        try:
            self._socket.send(pieces[0], zmq.NOBLOCK | zmq.SNDMORE, copy=False)
        except zmq.Again:
            return False
        try:
            for piece in pieces[1:-1]:
                self._socket.send(piece, zmq.NOBLOCK | zmq.SNDMORE, copy=False)
            self._socket.send(pieces[-1], zmq.NOBLOCK, copy=False)
        except zmq.Again:  # a begun message never waits for room: its connection has gone
            self._end = PeerLost(f"the connection to {self.peer} broke in the middle of a message")
            raise self._end from None
        except BaseException:
            self._end = ChannelError(f"sending to {self.peer} was interrupted in a message")
            raise
        return True

    def _read(self) -> bool:
        """Take one multi-part message from the socket, if one is there."""
        try:
            parts = self._socket.recv_multipart(zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return False
        try:
            self._check_key(parts[0])
            frames = _join(parts, self._options.max_message_bytes)
        except ChannelError as error:
            self._refuse(error)
        else:
            self._accept(frames)
        return True

    def _check_key(self, part: zmq.Frame) -> None:
        if not self._binds:
            return  # libzmq has authenticated the listener by its key; nobody else is connected
        party = self._allowed.party_of(str(part.get("User-Id")))
        if party != self.peer:
            raise AuthenticationError(f"a message with the key of {party} on {self.peer}'s channel")

    def _wait(self, events: int, deadline: float | None) -> None:
        """Until the socket or its monitor has something to do, or a time is over."""
        until = min(self._patience_ends(), math.inf if deadline is None else deadline)
        left = None if until == math.inf else math.ceil(max(0.0, until - time.monotonic()) * 1000)
        self._poller.register(self._socket, events)
        self._poller.poll(left)


class _OneKey:
    """Credentials provider for ZAP: lets in one public key."""

    def __init__(self, key: str, party: str) -> None:
        self._key = key.encode()
        self._party = party

    def callback(self, domain: str, key: bytes) -> bool:
        allowed = domain == _ZAP_DOMAIN and key == self._key
        if not allowed:
            shown = key.decode("ascii", "backslashreplace")
            log.warning("refused a connection with key %s, which is not %s's", shown, self._party)
        return allowed


def _configure(sock: zmq.Socket[bytes], endpoint: str, options: ZmqOptions) -> None:
    """Set everything but the keys.

    ZMQ_IMMEDIATE stays off. With it the dialling socket, when its connection ends, throws away what
    has arrived and was not read yet (libzmq: `socket_base_t::hiccuped` terminates the pipe): the
    peer's last words, as a rule. That nothing is written before there is a connection is seen to
    by the channel itself.
    """
    sock.ipv6 = "[" in endpoint
    sock.sndhwm = options.high_water_mark
    sock.rcvhwm = 0
    sock.maxmsgsize = PIECE + _CURVE_OVERHEAD
    sock.heartbeat_ivl = _milliseconds(options.heartbeat)
    sock.heartbeat_timeout = _milliseconds(options.heartbeat_timeout)
    sock.tcp_maxrt = _milliseconds(options.heartbeat_timeout)
    sock.handshake_ivl = _milliseconds(options.handshake_timeout)
    sock.connect_timeout = _milliseconds(options.handshake_timeout)
    sock.reconnect_ivl = 100
    sock.reconnect_ivl_max = 2000


def _part(connection: socket.socket, deadline: float) -> None:
    """End a TCP connection after the peer has read all of it, or at the deadline.

    Closing it at once would lose its tail: the kernel answers whatever the peer still sends, if only
    a heartbeat, by a reset, and throws away what is unsent.
    """
    with connection, contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_WR)
        while (left := deadline - time.monotonic()) > 0:
            connection.settimeout(left)
            if not connection.recv(1 << 16):
                return


def _milliseconds(seconds: float) -> int:
    return math.ceil(seconds * 1000)


def _cut(frame: bytes) -> list[bytes | memoryview]:
    """A frame in pieces of at most PIECE bytes, not copied; an empty frame is one empty piece."""
    if len(frame) <= PIECE:
        return [frame]
    view = memoryview(frame)
    return [view[start : start + PIECE] for start in range(0, len(frame), PIECE)]


def _join(parts: list[zmq.Frame], max_bytes: int) -> list[bytes]:
    """The frames that `_cut` cut, by the lengths in the header; the receiver's only copy."""
    header = bytes(parts[0].buffer)
    frames = [header]
    start = 1
    for length in read_header(header, max_bytes).lengths:
        end = start + max(1, -(-length // PIECE))
        frames.append(b"".join(part.buffer for part in parts[start:end]))
        start = end
    if start != len(parts):
        raise MalformedMessage(f"a message came in {len(parts)} pieces, announced were {start}")
    return frames
