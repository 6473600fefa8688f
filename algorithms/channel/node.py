"""A party's process on the network of one job: mailboxes for any number of peers, and what serves them.

    driver threads      submit, take  ──▶ ┌───────────┐ ◀──  packets, time     I/O thread (sockets)
                                          │ mailboxes │
    writer thread       durable       ──▶ └───────────┘ ──▶  packets to send

The links in the mailboxes decide; a lock keeps their calls apart. Only the I/O thread touches a socket,
only the writer writes logs. Without a durable store a block counts as durable once it is in memory.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec
import zmq

from hecore.algorithms.channel.curve import AllowList, CurveKeys
from hecore.algorithms.channel.link import Link
from hecore.algorithms.channel.mailbox import Mailbox, Watermark, prepare
from hecore.algorithms.channel.options import ZmqOptions
from hecore.algorithms.channel.packet import (
    CHUNK,
    Buffer,
    Data,
    Refusal,
    check_data,
    dump_header,
    load_header,
)
from hecore.algorithms.channel.ports import Metrics
from hecore.algorithms.channel.segments import Log
from hecore.algorithms.channel.store import MemoryStore, Store, in_streams, out_streams
from hecore.algorithms.channel.wire import Event, Incoming, Route, Wire, WireTimes
from hecore.algorithms.channel.writer import Writer
from hecore.algorithms.errors import (
    AuthenticationError,
    ChannelError,
    ChannelTimeout,
    HandshakeError,
    MalformedMessage,
    PeerLost,
    StoreError,
)
from hecore.algorithms.messages import Name
from hecore.randomness import random_bytes

log = logging.getLogger(__name__)


@dataclass
class _Served:
    """A mailbox, and where its peer is."""

    box: Mailbox
    route: Route | None = None
    failure: int | None = None  # the last handshake that failed when dialling


class Node:
    """See the module. `listen` is an address to bind, or None for a party that only dials out."""

    def __init__(
        self,
        me: str,
        keys: CurveKeys,
        allowed: AllowList | Mapping[str, str | Sequence[str]],
        *,
        job: str,
        listen: str | None = None,
        store: Store | None = None,
        options: ZmqOptions | None = None,
    ) -> None:
        self.me, self.job = msgspec.convert(me, Name), msgspec.convert(job, Name)
        self.options = options or ZmqOptions()
        self.store = store or MemoryStore()
        self.endpoint: str | None = None
        self._allowed = allowed if isinstance(allowed, AllowList) else AllowList(allowed)
        self._process = random_bytes(16)
        self._started = time.monotonic()
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._peers: dict[str, _Served] = {}
        self._failure: ChannelError | StoreError | None = None
        self._stopping = False
        self._tasks: list[Callable[[], None]] = []  # for the I/O thread
        opt = self.options
        times = WireTimes(opt.heartbeat, opt.heartbeat_timeout, opt.handshake_timeout)
        self._wire = Wire(keys, self._allowed, times)
        self._writer: Writer | None = None
        self._thread = threading.Thread(target=self._run, name=f"hecore-io-{me}", daemon=True)
        try:
            if listen is not None:
                self.endpoint = self._wire.listen(listen)
            if self.store.durable:
                self._writer = Writer(self._on_stored, self._on_failure)
            self._thread.start()
            self._wire.prove()
        except BaseException:
            self.close()
            raise

    # --- peers ----------------------------------------------------------------------------------

    def add(self, peer: str, endpoint: str | None = None) -> None:
        """Take up a peer of the allow-list; dial it at `endpoint`, or wait until it dials."""
        peer = msgspec.convert(peer, Name)
        self._allowed.keys_of(peer)
        out, into = self.store.logs(peer)
        now = time.monotonic()
        link = Link(
            self.me, peer, self.job,
            epoch=self.store.epoch,
            process=self._process,
            now=now,
            options=self.options.of_link(self.store.durable),
            window=self._share(len(self._peers) + 1),
            outgoing=out_streams(out),
            incoming=in_streams(into),
            peer_epoch=self.store.peer_epoch(peer),
        )  # fmt: skip
        with self._lock:
            self._peers[peer] = _Served(Mailbox(link, out, into))
            for served in self._peers.values():
                served.box.link.window = self._share(len(self._peers))
        if endpoint is not None:
            self._in_io_thread(lambda: self._wire.dial(peer, endpoint, time.monotonic()))

    def metrics(self, peer: str) -> Metrics:
        """What went over the link so far: a copy."""
        with self._lock:
            link = self._peers[peer].box.link
            return replace(link.metrics, connected=link.up, credit=link.credit)

    # --- messages -------------------------------------------------------------------------------

    def submit(self, peer: str, stream: int, sequence: int, frames: Sequence[Buffer]) -> None:
        """Queue message `sequence`, or find that an earlier run has made it.

        Waits while the outbox is full. Raises what ended the link or the node, ReplayError.
        """
        with self._lock:
            box = self._peers[peer].box
            if box.replays(stream, sequence):
                box.repeat(stream, sequence, frames)
                return
        chunks = prepare(frames)
        with self._lock:
            self._check(peer)
            self._wait(peer, self._written, None, of_peer=False)
            self._wait(peer, lambda: self._room(box), None)
            box.submit(stream, chunks)
            self._flush(peer)

    def take(self, peer: str, stream: int, deadline: float | None) -> list[bytes]:
        """The frames of the next message; waits for it until the monotonic deadline.

        Raises ChannelTimeout, and when nothing more comes what ended the link or the node.
        """
        with self._lock:
            box = self._peers[peer].box
            self._wait(peer, lambda: box.link.ready(stream), deadline)
            arrived = box.take(time.monotonic(), stream)
            self._flush(peer)
        if arrived is None:
            raise ChannelError(f"two threads take from stream {stream} of {peer}")
        return box.load(arrived)

    def has(self, peer: str, stream: int) -> bool:
        """Whether `take` would return at once."""
        with self._lock:
            return self._peers[peer].box.link.ready(stream)

    def state(self, peer: str) -> tuple[ChannelError | StoreError | None, bool]:
        """What ended the link or the node, and whether the peer has left."""
        with self._lock:
            link = self._peers[peer].box.link
            return self._failure or link.end, link.left

    def settle(self, peer: str, deadline: float) -> bool:
        """Wait until the peer has everything, or does not need it any more; whether it has."""
        with self._changed:
            link = self._peers[peer].box.link
            self._changed.wait_for(
                lambda: link.idle or link.left or link.end or self._failure,
                max(0.0, deadline - time.monotonic()),
            )
            return link.idle

    def flush(self) -> None:
        """Return when all that was submitted is durable. Raises StoreError."""
        with self._changed:
            boxes = [served.box.link for served in self._peers.values()]
            self._changed.wait_for(lambda: self._failure or all(link.durable for link in boxes))
            if self._failure is not None:
                raise self._failure

    def farewell(self, peer: str, reason: str, deadline: float) -> None:
        """Tell a peer why this party gives up; wait until it has heard, or for the deadline."""
        with self._changed:
            link = self._peers[peer].box.link
            link.farewell(time.monotonic(), reason)
            self._flush(peer)
            self._changed.wait_for(
                lambda: link.farewell_heard or link.left or link.end or self._failure,
                max(0.0, deadline - time.monotonic()),
            )

    def patience(self, peer: str) -> float:
        """Until when this party would wait for a peer that is not there."""
        with self._lock:
            link = self._peers[peer].box.link
            if link.absent_since is None:
                return float("inf")
            return link.absent_since + (self.options.grace if link.met else self.options.connect_timeout)

    # --- restarts -------------------------------------------------------------------------------

    def agree(self, peer: str, terms: Mapping[str, str]) -> None:
        """Hashes that must be the same at both parties, compared at every meeting from now on."""
        with self._lock:
            self._peers[peer].box.link.agree(time.monotonic(), terms)
            self._flush(peer)

    def mark(self, peer: str, stream: int) -> Watermark:
        """How far this party's driver has come with a peer in one stream."""
        with self._lock:
            return self._peers[peer].box.mark(stream)

    def watermarks(self, peer: str) -> list[Watermark]:
        """How far it has come in every stream that it has used."""
        with self._lock:
            return self._peers[peer].box.watermarks()

    def resume(self, peer: str, marks: Iterable[Watermark]) -> None:
        """Go on from watermarks of an earlier run, before the first message is taken or submitted."""
        with self._lock:
            self._peers[peer].box.resume(marks)

    def reaches(self, peer: str) -> bool:
        """Whether the store has all messages that follow where the driver is with a peer."""
        with self._lock:
            return self._peers[peer].box.reaches()

    def retain(self, peer: str, marks: Iterable[Watermark]) -> None:
        """Nothing before these watermarks will be asked for again."""
        with self._lock:
            self._peers[peer].box.retain(marks)

    # --- the end --------------------------------------------------------------------------------

    def close(self, *, leave: bool = True) -> None:
        """Say goodbye to whoever is there, and let go of everything. May be called twice.

        Without `leave` this process goes without a word, as one that is killed: its peers wait for the next.
        """
        with self._lock:
            if self._stopping:
                return
            for served in self._peers.values() if leave else ():
                served.box.link.leave()
            self._stopping = True
        if self._thread.is_alive():
            self._wire.wake()
            self._thread.join()
        if self._writer is not None:
            self._writer.stop()
        self._wire.close(linger=min(1.0, self.options.linger))
        self.store.close()

    # --- inside: all threads --------------------------------------------------------------------

    def _written(self) -> bool:
        """The disk has kept up: at most a window waits for it."""
        return self._writer is None or self._writer.queued_bytes < self.options.window

    def _room(self, box: Mailbox) -> bool:
        limit = self.options.outbox if self.store.durable else self.options.window
        return box.link.metrics.queued_bytes < limit

    def _wait(
        self, peer: str, ready: Callable[[], bool], deadline: float | None, of_peer: bool = True
    ) -> None:
        """Until `ready`; raises what ended the link, or ChannelTimeout. The lock is held.

        `of_peer`: it waits for something that the peer must do, and so not for ever for one that never came.
        """
        served = self._peers[peer]
        while not ready():
            self._check(peer)
            link = served.box.link
            now = time.monotonic()
            if deadline is not None and now >= deadline:
                away = "" if link.up else f"; {peer} is not connected"
                raise ChannelTimeout(f"nothing from {peer} within the time given{away}")
            if of_peer and not link.met and now - self._started >= self.options.connect_timeout:
                raise ChannelTimeout(
                    f"{peer} has not connected to {self.me} within {self.options.connect_timeout:g} s:"
                    f" {self._hint(served)}"
                )
            until = now + 1.0 if deadline is None else min(deadline, now + 1.0)
            if of_peer and not link.met:
                until = min(until, self._started + self.options.connect_timeout)
            self._changed.wait(max(0.0, until - now))

    def _check(self, peer: str) -> None:
        """Raise what ended the node or the link. The lock is held."""
        link = self._peers[peer].box.link
        ended = self._failure or link.end
        if ended is not None:
            raise ended
        if link.left:
            raise PeerLost(f"{peer} closed the channel")

    def _hint(self, served: _Served) -> str:
        if served.failure is not None:
            return (
                f"a handshake failed; is the key that {self.me} was given for it the right one, and does it"
                " speak CURVE?"
            )
        if self.endpoint is not None:
            return "nobody came; is it started, does it dial this endpoint, and has it the right keys?"
        return "nobody answered; is it started, the endpoint right, the firewall open?"

    def _flush(self, peer: str) -> None:
        """Pass on what the link has asked for. The lock is held."""
        box = self._peers[peer].box
        outputs = box.link.outputs
        while outputs.appends:
            appends, outputs.appends = outputs.appends, []
            for append in appends:
                target = box.out if append.out else box.into
                if self._writer is not None and isinstance(target, Log):
                    self._writer.put(peer, target, append)
                    continue
                target.append([(append.block, append.data)])
                box.link.stored(time.monotonic(), append.out, append.block.stream, append.block.block + 1)
        for notice in outputs.notices:
            log.warning("%s: %s", self.me, notice)
        outputs.notices.clear()
        if outputs.sends or outputs.reconnect:
            self._wire.wake()
        self._changed.notify_all()

    def _on_stored(self, peer: str, out: bool, upto: dict[int, int]) -> None:
        with self._lock:
            for stream, block in upto.items():
                self._peers[peer].box.link.stored(time.monotonic(), out, stream, block)
            self._flush(peer)

    def _on_failure(self, error: ChannelError | StoreError) -> None:
        log.error("%s: %s", self.me, error)
        with self._lock:
            self._failure = self._failure or error
            self._changed.notify_all()

    def _share(self, peers: int) -> int:
        """One budget for all peers, so that many cannot flood one; two blocks at the least."""
        return max(2 * CHUNK, self.options.window // peers)

    def _in_io_thread(self, work: Callable[[], None]) -> None:
        """Have the I/O thread do something with the sockets, and wait for it."""
        done = threading.Event()
        errors: list[BaseException] = []

        def task() -> None:
            try:
                work()
            except ChannelError as error:
                errors.append(error)
            finally:
                done.set()

        with self._lock:
            self._tasks.append(task)
        self._wire.wake()
        done.wait()
        if errors:
            raise errors[0]

    # --- inside: the I/O thread -----------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._turn()
            self._send_all()
        except Exception as error:  # whatever it is: a thread that has died must not look like a silent peer
            log.exception("%s: the channel's thread has ended", self.me)
            failed = ChannelError(f"the channel failed: {error!r}")
            self._on_failure(error if isinstance(error, StoreError) else failed)

    def _turn(self) -> None:
        """One turn: wait, read, let time pass, send."""
        with self._lock:
            tasks, self._tasks = self._tasks, []
            due = min((served.box.link.deadline() for served in self._peers.values()), default=float("inf"))
        for task in tasks:
            task()
        due = min(due, self._wire.deadline())
        self._wire.wait(min(1.0, due - time.monotonic()))
        now = time.monotonic()
        for event in self._wire.events(now):
            self._happened(now, event)
        for incoming in self._wire.read():
            self._received(now, incoming)
        with self._lock:
            for name, served in self._peers.items():
                served.box.link.tick(now)
                if self._failure is None:
                    served.box.trim()
                self._flush(name)
        self._send_all()

    def _happened(self, now: float, event: Event) -> None:
        with self._lock:
            served = self._peers[event.peer]
            link = served.box.link
            served.failure = event.failure
            if event.up:
                served.route = Route(event.peer)
                link.connected(now)
            else:
                served.route = None
                link.disconnected(now)
            if event.failure == zmq.EVENT_HANDSHAKE_FAILED_AUTH and not link.met:
                link.end = AuthenticationError(
                    f"{event.peer} does not let {self.me} in: {self.me}'s public key is not on its allow-list"
                )
            elif event.failure == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL and not link.met:
                link.end = HandshakeError(
                    f"the listener that {self.me} dials for {event.peer} does not speak CURVE"
                )
            self._changed.notify_all()

    def _received(self, now: float, incoming: Incoming) -> None:
        """Check a packet and give it to its link; what is not right is dropped."""
        served = self._peers.get(incoming.party)
        if served is None or self._failure is not None:
            return
        link = served.box.link
        pieces = [part.buffer for part in incoming.parts[1:]]
        try:
            packet = load_header(incoming.parts[0].buffer)
            if packet.sender != incoming.party or packet.receiver != self.me:
                raise MalformedMessage(
                    f"the key of {incoming.party} speaks for {packet.sender!r} to {packet.receiver!r}"
                )
            if isinstance(packet, Data):
                check_data(packet, pieces)
        except HandshakeError as error:
            with self._lock:
                link.fail(error)
                self._flush(incoming.party)
            return
        except MalformedMessage as error:
            with self._lock:
                link.refuse(str(error))
                self._flush(incoming.party)
            return
        with self._lock:
            known = link.peer_epoch
            if link.packet(now, packet, pieces):
                served.route = incoming.route
            if link.peer_epoch != known:
                self.store.learn(incoming.party, link.peer_epoch)
            refusals = [packet for packet in link.outputs.sends if isinstance(packet, Refusal)]
            link.outputs.sends = [packet for packet in link.outputs.sends if not isinstance(packet, Refusal)]
            self._flush(incoming.party)
        for refusal in refusals:
            self._wire.write(incoming.route, dump_header(refusal))

    def _send_all(self) -> None:
        for name, served in list(self._peers.items()):
            with self._lock:
                outputs = served.box.link.outputs
                sends, outputs.sends = outputs.sends, []
                reconnect, outputs.reconnect = outputs.reconnect, False
                route = served.route
            if reconnect:
                self._wire.hang_up(name, time.monotonic())
            for packet in sends:
                if route is None:
                    break
                pieces = served.box.out.read(packet.stream, packet.block) if isinstance(packet, Data) else ()
                if not self._wire.write(route, dump_header(packet), pieces):
                    with self._lock:
                        served.box.link.disconnected(time.monotonic())
                    break
