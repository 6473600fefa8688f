"""A party's process on the network of one job: what its drivers call, for any number of peers.

The links in the mailboxes decide, `board` is what the threads share, `carrier` the thread with the sockets,
and `writer` the one with the disk.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from hecore.algorithms.channel.absence import Absence
from hecore.algorithms.channel.board import Board, Served
from hecore.algorithms.channel.carrier import Carrier
from hecore.algorithms.channel.curve import AllowList, CurveKeys
from hecore.algorithms.channel.dialled import WireTimes
from hecore.algorithms.channel.link import Link
from hecore.algorithms.channel.mailbox import Mailbox, Watermark, prepare
from hecore.algorithms.channel.options import ZmqOptions
from hecore.algorithms.channel.packet import CHUNK, Buffer
from hecore.algorithms.channel.ports import Metrics
from hecore.algorithms.channel.store import MemoryStore, Store, in_streams, out_streams
from hecore.algorithms.channel.wire import Wire
from hecore.algorithms.errors import ChannelError, ChannelTimeout, StoreError
from hecore.algorithms.messages import Name
from hecore.randomness import random_bytes

#: Seconds that `close` waits for a peer that must hear still why the two cannot go on.
LAST_WORD = 2.0


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
        self._closed = False
        opt = self.options
        times = WireTimes(opt.heartbeat, opt.heartbeat_timeout, opt.handshake_timeout)
        self._wire = Wire(keys, self._allowed, times)
        self._board = Board(self.me, self.store, self._wire.wake)
        self._lock, self._changed, self._peers = self._board.lock, self._board.changed, self._board.peers
        self._carrier = Carrier(self._board, self._wire)
        try:
            if listen is not None:
                self.endpoint = self._wire.listen(listen)
            self._carrier.start()
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
            self._peers[peer] = Served(Mailbox(link, out, into), Absence(self.me, peer, endpoint))
            for served in self._peers.values():
                served.box.link.inflow.window = self._share(len(self._peers))
        if endpoint is not None:
            self._carrier.do(lambda: self._wire.dial(peer, endpoint, time.monotonic()))

    def metrics(self, peer: str) -> Metrics:
        """How the link to a peer stands. Any thread may ask, at any time, some thousand times a second."""
        with self._lock:
            return self._peers[peer].box.link.figures(time.monotonic())

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
            self._board.check(peer)
            self._wait(peer, lambda: self._board.unwritten < self.options.window, None, of_peer=False)
            self._wait(peer, lambda: self._room(box), None)
            box.submit(stream, chunks)
            self._board.flush(peer)

    def take(self, peer: str, stream: int, deadline: float | None) -> list[bytes]:
        """The frames of the next message; waits for it until the monotonic deadline.

        Raises ChannelTimeout, and when nothing more comes what ended the link or the node.
        """
        with self._lock:
            box = self._peers[peer].box
            self._wait(peer, lambda: box.link.inflow.ready(stream), deadline)
            arrived = box.take(time.monotonic(), stream)
            self._board.flush(peer)
        if arrived is None:
            raise ChannelError(f"two threads take from stream {stream} of {peer}")
        return box.load(arrived)

    def has(self, peer: str, stream: int) -> bool:
        """Whether `take` would return at once."""
        with self._lock:
            return self._peers[peer].box.link.inflow.ready(stream)

    def state(self, peer: str) -> tuple[ChannelError | StoreError | None, bool]:
        """What ended the link or the node, and whether the peer has left."""
        with self._lock:
            link = self._peers[peer].box.link
            return self._board.failure or link.end, link.left

    def settle(self, peer: str, deadline: float) -> bool:
        """Wait until the peer has everything, or does not need it any more; whether it has."""
        with self._changed:
            link = self._peers[peer].box.link
            self._changed.wait_for(
                lambda: link.outflow.idle or link.left or link.end or self._board.failure,
                max(0.0, deadline - time.monotonic()),
            )
            return link.outflow.idle

    def flush(self) -> None:
        """Return when all that was submitted is durable. Raises StoreError."""
        with self._changed:
            boxes = [served.box.link for served in self._peers.values()]
            self._changed.wait_for(lambda: self._board.failure or all(link.outflow.durable for link in boxes))
            if self._board.failure is not None:
                raise self._board.failure

    def farewell(self, peer: str, reason: str, deadline: float) -> None:
        """Tell a peer why this party gives up; wait until it has heard, or for the deadline."""
        with self._changed:
            link = self._peers[peer].box.link
            link.farewell(time.monotonic(), reason)
            self._board.flush(peer)
            self._changed.wait_for(
                lambda: link.farewell_heard or link.left or link.end or self._board.failure,
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
            self._board.flush(peer)

    def mark(self, peer: str, stream: int) -> Watermark:
        """How far this party's driver has come with a peer in one stream."""
        with self._lock:
            return self._peers[peer].box.mark(stream)

    def watermarks(self, peer: str) -> list[Watermark]:
        """How far it has come in every stream that it has used."""
        with self._lock:
            return self._peers[peer].box.watermarks()

    def resume(self, peer: str, marks: Iterable[Watermark]) -> None:
        """Go on from watermarks of an earlier process, before the first message is taken or submitted."""
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
        with self._changed:
            if self._closed:
                return
            self._closed = True
            links = [served.box.link for served in self._peers.values()] if leave else []
            self._changed.wait_for(
                lambda: self._board.failure or not any(link.unheard for link in links), LAST_WORD
            )
            for link in links:
                link.leave()
        self._carrier.stop()
        self._board.stop()
        with self._changed:  # another thread may wait for what will not come any more
            closed = ChannelError(f"the channel of {self.me} is closed on this side")
            self._board.failure = self._board.failure or closed
            self._changed.notify_all()
        self._wire.close(linger=min(1.0, self.options.linger))
        self.store.close()

    # --- inside: all threads --------------------------------------------------------------------

    def _room(self, box: Mailbox) -> bool:
        limit = self.options.outbox if self.store.durable else self.options.window
        return box.link.outflow.queued_bytes < limit

    def _wait(
        self, peer: str, ready: Callable[[], bool], deadline: float | None, of_peer: bool = True
    ) -> None:
        """Until `ready`; raises what ended the link, or ChannelTimeout. The lock is held.

        `of_peer`: it waits for something that the peer must do, and so not for ever for one that never came.
        """
        served = self._peers[peer]
        while not ready():
            self._board.check(peer)
            link = served.box.link
            now = time.monotonic()
            if deadline is not None and now >= deadline:
                away = "" if link.up else f"; {peer} is not connected"
                raise ChannelTimeout(f"nothing from {peer} within the time given{away}")
            if of_peer and not link.met and now - self._started >= self.options.connect_timeout:
                raise ChannelTimeout(
                    f"{peer} has not connected to {self.me} within {self.options.connect_timeout:g} s:"
                    f" {served.absence.reason()}"
                )
            until = now + 1.0 if deadline is None else min(deadline, now + 1.0)
            if of_peer and not link.met:
                until = min(until, self._started + self.options.connect_timeout)
            self._changed.wait(max(0.0, until - now))

    def _share(self, peers: int) -> int:
        """One budget for all peers, so that many cannot flood one; two blocks at the least."""
        return max(2 * CHUNK, self.options.window // peers)
