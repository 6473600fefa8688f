"""Questions and answers over ZeroMQ, encrypted and authenticated as every channel, kept by nobody.

A training must not lose a message, so its channel logs, numbers and repeats. A question of serving is worth
nothing after its time limit, and asking again is harmless. So a line keeps no state about the other side:

    a process that was killed and came back     is dialled again, or dials, and is asked the next question
    a packet that is lost                       ends in the time limit of who asked
    a packet that is late, doubled or forged    fits no question that is open, and is dropped

One thread owns the sockets, from `start` on. Records that come are given to `on_message` in that thread.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import zmq

from hecore.algorithms.channel.absence import Absence
from hecore.algorithms.channel.curve import AllowList, CurveKeys
from hecore.algorithms.channel.dialled import WireTimes
from hecore.algorithms.channel.packet import gather
from hecore.algorithms.channel.wire import Incoming, Route, Wire
from hecore.algorithms.errors import AuthenticationError, ChannelError, HandshakeError, MalformedMessage
from hecore.algorithms.messages import Message, Name, check_frames, decode, encode, read_header, tag_of
from hecore.algorithms.seldom import Seldom

log = logging.getLogger(__name__)

#: Bytes of a record: an answer of 65,536 rows at 8,000 splits.
MAX_BYTES = 1 << 26
#: Seconds: between signs of life, until a connection without them ends, for a handshake.
TIMES = WireTimes(heartbeat=1.0, heartbeat_timeout=3.0, handshake=3.0)
#: Seconds for which what was handed over may still leave at the end.
LINGER = 0.5
LONGEST_WAIT = 0.5


@dataclass(frozen=True)
class Contact:
    """How a party meets the others.

    listen   address for those that dial, or None
    dial     the address of each party that listens
    """

    keys: CurveKeys
    allowed: AllowList
    listen: str | None
    dial: Mapping[str, str]


class Line:
    """See the module.

    kinds        records that may come
    expected     peers that are waited for, beside those that are dialled: the log says why one has not come
    on_message   called with the peer's name and its record
    on_change    called with the peer's name and whether a connection to it came up or went; only the side
                 that dials learns of it at once
    on_turn      called once a turn, at least every second
    """

    def __init__(
        self,
        me: str,
        contact: Contact,
        *,
        job: str,
        kinds: Sequence[type[Message]],
        expected: Sequence[str] = (),
        on_message: Callable[[str, Message], None],
        on_change: Callable[[str, bool], None] = lambda peer, up: None,
        on_turn: Callable[[], None] = lambda: None,
    ) -> None:
        self.me, self.job = msgspec.convert(me, Name), msgspec.convert(job, Name)
        self._kinds = {tag_of(kind): kind for kind in kinds}
        self._on_message, self._on_change, self._on_turn = on_message, on_change, on_turn
        self._routes: dict[str, Route] = {}
        self._dropped: dict[str, str] = {}
        # Of those that were never heard.
        places = {**dict.fromkeys(expected), **contact.dial}
        self._absent = {peer: Absence(me, peer, place) for peer, place in places.items()}
        self._warnings = Seldom()
        self._lock = threading.Lock()
        self._outbox: list[tuple[str, Message, Route | None]] = []
        self._answering: tuple[str, Route] | None = None  # who is heard just now, and whence
        self._stopping = False
        self._started = time.monotonic()
        self.failure: BaseException | None = None
        self._wire = Wire(contact.keys, contact.allowed, TIMES)
        self._thread = threading.Thread(target=self._run, name=f"hecore-line-{me}", daemon=True)
        self.endpoint: str | None = None
        try:
            if contact.listen is not None:
                self.endpoint = self._wire.listen(contact.listen)
            for peer, endpoint in contact.dial.items():
                self._wire.dial(peer, endpoint, time.monotonic())
        except BaseException:
            self.close()
            raise

    def start(self) -> None:
        """Begin to give records to `on_message`. ChannelError if strangers are let in."""
        self._started = time.monotonic()
        try:
            self._thread.start()
            self._wire.prove()
        except BaseException:
            self.close()
            raise

    def send(self, peer: str, message: Message) -> None:
        """Hand a record over; it is lost where the peer is not there.

        What is sent to a peer from within `on_message` goes where that record came from: a party may have
        several processes, `hecore serve` and `hecore predict`.
        """
        route = None
        inside = threading.current_thread() is self._thread
        if inside and self._answering is not None and self._answering[0] == peer:
            route = self._answering[1]
        with self._lock:
            self._outbox.append((peer, message, route))
        if not inside:
            self._wire.wake()

    def close(self) -> None:
        """Let what was handed over leave, for a moment, and let go of everything. May be called twice."""
        with self._lock:
            if self._stopping:
                return
            self._stopping = True
        if self._thread.is_alive():
            self._wire.wake()
            self._thread.join()
        self._wire.close(LINGER)

    # --- inside: the thread -------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._turn()
            self._send_all()
        except Exception as error:
            log.exception("%s: the line's thread has ended", self.me)
            self.failure = error

    def _turn(self) -> None:
        self._wire.wait(min(LONGEST_WAIT, self._wire.deadline() - time.monotonic()))
        for event in self._wire.events(time.monotonic()):
            if event.up:
                self._routes[event.peer] = Route(event.peer)
            else:
                self._routes.pop(event.peer, None)
            if event.failure == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
                text = f"{event.peer} does not let {self.me} in: is its public key on the allow-list there?"
                if self._warnings.due(text):  # it is dialled again and again
                    log.warning("%s", text)
            if event.peer in self._absent:
                self._absent[event.peer].failure = event.failure
            self._on_change(event.peer, event.up)
        for incoming in self._wire.read():
            self._received(incoming)
        self._explain()
        self._on_turn()
        self._send_all()

    def _explain(self) -> None:
        """Say of whoever has not come for some time why that may be, as jobs do."""
        for absence in self._absent.values():
            absence.refused = self._wire.refused
            text = absence.explain(self._started, time.monotonic())
            if text is not None:
                log.warning("%s", text)

    def _received(self, incoming: Incoming) -> None:
        try:
            message = self._read(incoming)
        except ChannelError as error:
            if self._dropped.get(incoming.party) != str(error):  # signs of life come twice a second
                self._dropped[incoming.party] = str(error)
                log.warning("%s: dropped packets from %s: %s", self.me, incoming.party, error)
            return
        self._dropped.pop(incoming.party, None)
        self._absent.pop(incoming.party, None)
        self._routes[incoming.party] = incoming.route
        self._answering = incoming.party, incoming.route
        try:
            self._on_message(incoming.party, message)
        except Exception:  # whatever one record does, the others are answered
            log.exception("%s: a %s from %s failed", self.me, tag_of(type(message)), incoming.party)
        self._answering = None

    def _read(self, incoming: Incoming) -> Message:
        first, *rest = (part.buffer for part in incoming.parts)
        header = read_header(bytes(first), MAX_BYTES)
        if header.sender != incoming.party or header.receiver != self.me:
            raise AuthenticationError(f"it is from {header.sender!r} to {header.receiver!r}")
        if header.job != self.job:
            raise HandshakeError(f"it belongs to {header.job!r}, not to {self.job!r}")
        kind = self._kinds.get(header.type)
        if kind is None:
            raise MalformedMessage(f"a {header.type!r} has no place here")
        frames = [bytes(first), *gather(rest, header.lengths)]
        check_frames(header, frames)
        return decode(frames, kind)

    def _send_all(self) -> None:
        with self._lock:
            outbox, self._outbox = self._outbox, []
        for peer, message, given in outbox:
            route = given or self._routes.get(peer)
            if route is None:
                continue
            names = {"job": self.job, "sender": self.me, "receiver": peer}
            try:
                frames = encode(message, **names, sequence=0, max_bytes=MAX_BYTES)
            except ChannelError as error:
                log.error("%s cannot send to %s: %s", self.me, peer, error)
                continue
            if not self._wire.write(route, frames[0], frames[1:]) and self._routes.get(peer) == route:
                self._routes.pop(peer)
