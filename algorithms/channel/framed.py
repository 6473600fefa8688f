"""What every channel does with frames, whatever carries them.

    send:     message → encode → number → count → _put
    receive:  _fill → check sender, job, number → inbox → type → decode → count

A transport gives four primitives and decides nothing about messages. Two control records of the
channel itself travel like messages, but take no number and are not counted:

    Goodbye    the sender has closed the channel; nothing follows
    Abort      the sender has given up, with its reason; nothing follows
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque
from types import TracebackType
from typing import Annotated, Self

import msgspec

from hecore.algorithms.channel.base import Traffic
from hecore.algorithms.errors import (
    AuthenticationError,
    ChannelError,
    HandshakeError,
    PeerAborted,
    PeerLost,
    SequenceError,
    UnexpectedMessage,
)
from hecore.algorithms.messages import (
    MAX_MESSAGE_BYTES,
    FrameHeader,
    M,
    Message,
    Name,
    check_frames,
    decode,
    encode,
    read_header,
    tag_of,
)
from hecore.meter import phase

MAX_REASON = 1000


class Goodbye(Message, frozen=True, tag="channel.goodbye"):
    """The sender has closed the channel."""


class Abort(Message, frozen=True, tag="channel.abort"):
    """The sender has given up."""

    reason: Annotated[str, msgspec.Meta(max_length=MAX_REASON)]


CONTROL = frozenset(tag_of(kind) for kind in (Goodbye, Abort))


class FramedChannel(ABC):
    """A Channel over some carrier of frames: see `Channel` for what it promises."""

    def __init__(self, me: str, peer: str, job: str, max_message_bytes: int = MAX_MESSAGE_BYTES) -> None:
        self.me, self.peer, self.job = (msgspec.convert(name, Name) for name in (me, peer, job))
        if me == peer:
            raise ValueError(f"a channel joins two parties, but both are named {me!r}")
        self.traffic = Traffic()
        self._limit = max_message_bytes
        self._sent = 0
        self._due = 0  # the number of the next message from the peer
        self._inbox: deque[tuple[FrameHeader, list[bytes]]] = deque()
        self._end: ChannelError | None = None  # raised by every call once the inbox is empty
        self._closed = False

    # The four primitives of a transport.

    @abstractmethod
    def _put(self, frames: list[bytes]) -> None:
        """Hand over all frames of a message, or raise; wait while the peer is there but busy."""

    @abstractmethod
    def _fill(self, deadline: float | None) -> None:
        """Wait for frames and give them to `_accept`; ChannelTimeout at the monotonic deadline."""

    @abstractmethod
    def _say(self, last: Goodbye | Abort, patient: bool) -> None:
        """Hand over a last record if possible; a patient party waits a while until it is heard."""

    @abstractmethod
    def _release(self) -> None:
        """Let go of the carrier, after what was handed over has left within a bounded time."""

    # The channel.

    def send(self, message: Message) -> None:
        """See Channel.send."""
        self._check_open()
        if self._end is not None:
            raise self._end
        with phase("send"):
            frames = self._encode(message)
            self._put(frames)
        self._sent += 1
        self.traffic.sent.add(tag_of(type(message)), _size(frames))

    def receive(self, kind: type[M], timeout: float | None = None) -> M:
        """See Channel.receive."""
        self._check_open()
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._inbox:
            if self._end is not None:
                raise self._end
            with phase("wait"):
                self._fill(deadline)
        header, frames = self._inbox[0]
        if header.type != tag_of(kind):
            raise UnexpectedMessage(self.peer, tag_of(kind), header.type)
        try:
            message = decode(frames, kind)
        except ChannelError as error:
            self._refuse(error)
            raise
        self._inbox.popleft()
        self.traffic.received.add(header.type, _size(frames))
        return message

    def close(self) -> None:
        """See Channel.close."""
        self._finish(Goodbye(), patient=True)

    def abort(self, reason: str) -> None:
        """See Channel.abort."""
        self._finish(Abort(reason=reason[:MAX_REASON]), patient=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
            return
        # The text of a foreign error may tell private data: the peer gets its type alone.
        reason = str(error) if isinstance(error, ChannelError) else type(error).__name__
        # An interrupt does not wait for a peer that is not there.
        self._finish(Abort(reason=reason[:MAX_REASON]), patient=isinstance(error, Exception))

    # What transports call.

    def _accept(self, frames: list[bytes]) -> None:
        """Check the frames of one arrived message; keep it, obey it, or end the channel."""
        if self._end is not None:
            return
        try:
            header = self._check(frames)
            if header.type in CONTROL:
                self._obey(header, frames)
            else:
                self._inbox.append((header, frames))
                self._due += 1
        except ChannelError as error:
            self._refuse(error)

    def _refuse(self, error: ChannelError) -> None:
        """End the channel with `error`, drop what was not received yet, and tell the peer."""
        self._inbox.clear()
        ended, self._end = self._end is not None, error
        if not ended:
            self._say(Abort(reason=str(error)[:MAX_REASON]), patient=False)

    def _encode(self, message: Message) -> list[bytes]:
        return encode(
            message,
            job=self.job,
            sender=self.me,
            receiver=self.peer,
            sequence=self._sent,
            max_bytes=self._limit,
        )

    # Inside.

    def _check(self, frames: list[bytes]) -> FrameHeader:
        header = read_header(frames[0], self._limit)
        check_frames(header, frames)
        if header.sender != self.peer:
            raise AuthenticationError(f"{self.peer} claims to be {header.sender!r}")
        if header.receiver != self.me:
            raise HandshakeError(f"{self.peer} sent a message for {header.receiver!r} to {self.me!r}")
        if header.job != self.job:
            raise HandshakeError(f"{self.peer} works on job {header.job!r}, {self.me} on {self.job!r}")
        if header.sequence != self._due and header.type != tag_of(Abort):
            raise SequenceError(self.peer, self._due, header.sequence)
        return header

    def _obey(self, header: FrameHeader, frames: list[bytes]) -> None:
        if header.type == tag_of(Goodbye):
            decode(frames, Goodbye)
            self._end = PeerLost(f"{self.peer} closed the channel")
        else:
            self._end = PeerAborted(self.peer, decode(frames, Abort).reason)

    def _finish(self, last: Goodbye | Abort, patient: bool) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            if self._end is None:
                self._say(last, patient)
        finally:
            self._release()

    def _check_open(self) -> None:
        if self._closed:
            raise ChannelError(f"the channel of {self.me} to {self.peer} is closed on this side")


def _size(frames: list[bytes]) -> int:
    return sum(len(frame) for frame in frames)
