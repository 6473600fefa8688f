"""Two ends of a channel inside one process, for tests, examples and simulated parties."""

from __future__ import annotations

import threading
import time
from collections import deque

from hecore.algorithms.channel.framed import Abort, FramedChannel, Goodbye
from hecore.algorithms.errors import ChannelTimeout
from hecore.algorithms.messages import MAX_MESSAGE_BYTES

_Queue = deque[list[bytes]]


class LoopbackChannel(FramedChannel):
    """One end. Messages are encoded and checked as on a network; payload frames are not copied.

    `send` never waits: the queue holds what the peer has not received yet.
    """

    def __init__(
        self,
        me: str,
        peer: str,
        job: str,
        max_message_bytes: int,
        changed: threading.Condition,
        outgoing: _Queue,
        incoming: _Queue,
    ) -> None:
        super().__init__(me, peer, job, max_message_bytes)
        self._changed = changed
        self._outgoing = outgoing
        self._incoming = incoming

    def _put(self, frames: list[bytes]) -> None:
        while self._incoming:
            self._accept(self._incoming.popleft())
        if self._end is not None:
            raise self._end
        self._hand_over(frames)

    def _fill(self, deadline: float | None) -> None:
        left = None if deadline is None else deadline - time.monotonic()
        with self._changed:
            if not self._changed.wait_for(lambda: self._incoming, left):
                raise ChannelTimeout(f"nothing from {self.peer} within the time given")
            frames = self._incoming.popleft()
        self._accept(frames)

    def _say(self, last: Goodbye | Abort, patient: bool) -> None:
        self._hand_over(self._encode(last))

    def _hand_over(self, frames: list[bytes]) -> None:
        with self._changed:
            self._outgoing.append(frames)
            self._changed.notify_all()

    def _release(self) -> None:
        pass


def loopback_pair(
    a: str = "active",
    b: str = "passive",
    *,
    job: str = "loopback",
    max_message_bytes: int = MAX_MESSAGE_BYTES,
) -> tuple[LoopbackChannel, LoopbackChannel]:
    """The two ends of one channel: the first is party `a`, the second party `b`."""
    changed = threading.Condition()
    there: _Queue = deque()
    back: _Queue = deque()
    return (
        LoopbackChannel(a, b, job, max_message_bytes, changed, there, back),
        LoopbackChannel(b, a, job, max_message_bytes, changed, back, there),
    )
