"""What the threads of a node share: mailboxes, one lock, and what has failed.

    driver threads      submit, take  ──▶ ┌───────────┐ ◀──  packets, time     I/O thread (`carrier`)
                                          │ mailboxes │
    writer thread       durable       ──▶ └───────────┘ ──▶  packets to send

Whoever calls a link or a mailbox holds the lock, and calls `flush` before it lets go: so that no request of a
link waits for the next event. Without a durable store a block counts as durable once it is in memory.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from hecore.algorithms.channel.absence import Absence
from hecore.algorithms.channel.mailbox import Mailbox
from hecore.algorithms.channel.segments import Log
from hecore.algorithms.channel.store import Store
from hecore.algorithms.channel.wire import Route
from hecore.algorithms.channel.writer import Writer
from hecore.algorithms.errors import ChannelError, PeerLost, StoreError

log = logging.getLogger(__name__)


@dataclass
class Served:
    """A mailbox, where its peer is, and why that may not have come."""

    box: Mailbox
    absence: Absence
    route: Route | None = None

    def explain(self, now: float) -> str | None:
        """Once, when it has not come for some time: why that may be."""
        link = self.box.link
        return None if link.met or link.absent_since is None else self.absence.explain(link.absent_since, now)


class Board:
    """See the module. `wake` ends a wait of the I/O thread."""

    def __init__(self, me: str, store: Store, wake: Callable[[], None]) -> None:
        self.me, self.store = me, store
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.peers: dict[str, Served] = {}
        self.failure: ChannelError | StoreError | None = None
        self._wake = wake
        self._writer = Writer(self._stored, self.fail) if store.durable else None

    @property
    def unwritten(self) -> int:
        """Bytes that wait for the disk."""
        return 0 if self._writer is None else self._writer.queued_bytes

    def check(self, peer: str) -> None:
        """Raise what ended the node or the link to a peer. The lock is held."""
        link = self.peers[peer].box.link
        ended = self.failure or link.end
        if ended is not None:
            raise ended
        if link.left:
            raise PeerLost(f"{peer} closed the channel")

    def flush(self, peer: str) -> None:
        """Pass on what the link to a peer has asked for. The lock is held."""
        box = self.peers[peer].box
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
            self._wake()
        self.changed.notify_all()

    def fail(self, error: ChannelError | StoreError) -> None:
        """The whole node is over."""
        log.error("%s: %s", self.me, error)
        with self.lock:
            self.failure = self.failure or error
            self.changed.notify_all()

    def stop(self) -> None:
        """Write what is queued, and end the writer."""
        if self._writer is not None:
            self._writer.stop()

    def _stored(self, peer: str, out: bool, upto: dict[int, int]) -> None:
        with self.lock:
            for stream, block in upto.items():
                self.peers[peer].box.link.stored(time.monotonic(), out, stream, block)
            self.flush(peer)
