"""A channel over ZeroMQ: the face of a node towards one peer.

    driver ── ZmqChannel ── Node ── ZeroMQ, CURVE ══ Node ── ZmqChannel ── driver

What is guaranteed:

    a message arrives exactly once, in order
        Lost, doubled or broken on the way, it is sent again until the peer has it: see `link`.
    a process may be killed
        With a durable store it goes on where its last checkpoint stands; the peer waits for it.
    a peer that is away is waited for
        For `grace` seconds; the log says so within seconds.
    memory is bounded
        By the window: what is under way, and what waits for the disk. Without a durable store what
        waits to be taken is in memory too, as much again and the message that is being put together.

Without a durable store a party that restarts cannot go on, and its peer ends with a HandshakeError.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from hecore.algorithms.channel.curve import AllowList, CurveKeys
from hecore.algorithms.channel.framed import Abort, FramedChannel, Goodbye
from hecore.algorithms.channel.mailbox import Watermark
from hecore.algorithms.channel.node import Node
from hecore.algorithms.channel.options import ZmqOptions
from hecore.algorithms.channel.ports import Metrics
from hecore.algorithms.channel.store import Store
from hecore.algorithms.errors import ChannelError, ChannelTimeout, MalformedMessage
from hecore.algorithms.messages import read_header, tag_of

log = logging.getLogger(__name__)

#: Drivers' messages; other streams are free for other uses.
MAIN = 0
#: Seconds that a goodbye waits for a peer that is not there, and needs nothing else.
FORLORN = 0.5
#: Seconds between two looks at whether the peer is still there, while the last words are on their way.
A_LOOK = 0.2


def listen(
    me: str,
    peer: str,
    endpoint: str,
    keys: CurveKeys,
    allowed: AllowList | Mapping[str, str | Sequence[str]],
    *,
    job: str,
    options: ZmqOptions | None = None,
    store: Store | None = None,
) -> ZmqChannel:
    """Bind `endpoint` and return at once; `channel.endpoint` is the address that was bound.

    `endpoint` names the interface, as tcp://127.0.0.1:5701; port 0 or * takes a free one. All
    interfaces must be asked for in so many words, tcp://0.0.0.0:5701. `store` is the party's
    FolderStore, which makes the channel durable.
    """
    allowed = _checked(allowed, peer)
    node = Node(me, keys, allowed, job=job, listen=endpoint, store=store, options=options)
    return ZmqChannel(node, peer, owns=True)


def dial(
    me: str,
    peer: str,
    endpoint: str,
    keys: CurveKeys,
    allowed: AllowList | Mapping[str, str | Sequence[str]],
    *,
    job: str,
    options: ZmqOptions | None = None,
    store: Store | None = None,
) -> ZmqChannel:
    """Begin to connect to the listening peer at `endpoint` and return at once.

    `receive` waits for the connection, and raises AuthenticationError if the listener does not know
    this party's key.
    """
    allowed = _checked(allowed, peer)
    node = Node(me, keys, allowed, job=job, store=store, options=options)
    return ZmqChannel(node, peer, endpoint, owns=True)


def _checked(allowed: AllowList | Mapping[str, str | Sequence[str]], peer: str) -> AllowList:
    allowed = allowed if isinstance(allowed, AllowList) else AllowList(allowed)
    allowed.keys_of(peer)
    return allowed


class ZmqChannel(FramedChannel):
    """One end of a channel over ZeroMQ; made by `listen` or `dial`, or over a node that serves many peers.

    endpoint   where to dial the peer; None where it dials
    owns       closing the channel closes the node
    """

    def __init__(self, node: Node, peer: str, endpoint: str | None = None, *, owns: bool = False) -> None:
        super().__init__(node.me, peer, node.job, node.options.max_message_bytes)
        self.node, self._owns = node, owns
        self._before = 0, 0  # messages and blocks taken before the newest message
        self.endpoint = endpoint or node.endpoint or ""
        try:
            node.add(peer, endpoint)
        except BaseException:
            self._closed = True
            self._release()
            raise

    @property
    def metrics(self) -> Metrics:
        """Bytes, messages, what was sent again, queue, credit and round-trip."""
        return self.node.metrics(self.peer)

    # Restarts.

    @property
    def durable(self) -> bool:
        """This party can be restarted."""
        return self.node.store.durable

    def agree(self, terms: Mapping[str, str]) -> None:
        """See Node.agree."""
        self.node.agree(self.peer, terms)

    def watermarks(self) -> list[Watermark]:
        """How far this party has come; all that it has sent is durable when this returns."""
        self.node.flush()
        marks = {mark.stream: mark for mark in self.node.watermarks(self.peer)}
        if self._inbox:  # a message of another type than asked for waits still
            taken, blocks = self._before
            marks[MAIN] = msgspec.structs.replace(marks[MAIN], taken=taken, taken_blocks=blocks)
        return list(marks.values())

    def resume(self, marks: Iterable[Watermark]) -> None:
        """Go on from the watermarks of a checkpoint, before anything else."""
        marks = list(marks)
        self.node.resume(self.peer, marks)
        for mark in marks:
            if mark.stream == MAIN:
                self._sent, self._due = mark.made, mark.taken

    def reaches(self) -> bool:
        """See Node.reaches."""
        return self.node.reaches(self.peer)

    def retain(self, marks: Iterable[Watermark]) -> None:
        """No checkpoint older than these is kept."""
        self.node.retain(self.peer, marks)

    # The primitives of FramedChannel.

    def _put(self, frames: list[bytes]) -> None:
        self._ending(lambda: self.node.submit(self.peer, MAIN, self._sent, frames))

    def _fill(self, deadline: float | None) -> None:
        before = self.node.mark(self.peer, MAIN)
        self._ending(lambda: self._accept(self.node.take(self.peer, MAIN, deadline)))
        self._before = before.taken, before.taken_blocks

    def _say(self, last: Goodbye | Abort, patient: bool) -> None:
        now = time.monotonic()
        deadline = now + self.node.options.linger if patient else now
        if isinstance(last, Abort):
            self.node.farewell(self.peer, last.reason, min(deadline, self.node.patience(self.peer)))
            return
        with contextlib.suppress(ChannelError):  # whatever has ended it: it is closed now
            all_there = self.node.settle(self.peer, now)
            self.node.submit(self.peer, MAIN, self._sent, self._encode(last))
            closed = False
            while not self.node.settle(self.peer, min(deadline, now + A_LOOK)):
                now = time.monotonic()
                ended, left = self.node.state(self.peer)
                if now >= deadline or ended is not None or left:
                    break
                closed = closed or self._peer_closed()
                if not self.metrics.connected and (all_there or closed):
                    deadline = min(deadline, now + FORLORN)
            else:
                return
            if not self.node.state(self.peer)[1]:
                log.warning("%s closed before %s had everything", self.me, self.peer)

    def _release(self) -> None:
        if self._owns:
            self.node.close()

    # Inside.

    def _ending(self, work: Callable[[], None]) -> None:
        """Do something with the node; what ends the link ends the channel."""
        try:
            work()
        except MalformedMessage as error:
            self._refuse(error)
            raise
        except ChannelTimeout:
            raise
        except ChannelError as error:
            self._end = error
            raise

    def _peer_closed(self) -> bool:
        """Whether the peer's goodbye is here; what came before it is not wanted any more."""
        while self.node.has(self.peer, MAIN):
            header = read_header(self.node.take(self.peer, MAIN, None)[0], self._limit)
            if header.type == tag_of(Goodbye):
                return True
        return False
