"""What a channel is, and what it counts."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol, Self

from hecore.algorithms.messages import M, Message


@dataclass
class Tally:
    """Messages and bytes of one direction, in all and by type tag.

    Bytes are those of all frames of a message: header, body and payload. What a transport adds
    (encryption, framing, heartbeats, the channel's own control records) is not in it, so that
    every channel counts alike.
    """

    messages: int = 0
    bytes: int = 0
    by_type: dict[str, tuple[int, int]] = field(default_factory=dict)

    def add(self, tag: str, size: int) -> None:
        """Count one message of type `tag` with `size` bytes."""
        messages, total = self.by_type.get(tag, (0, 0))
        self.by_type[tag] = (messages + 1, total + size)
        self.messages += 1
        self.bytes += size

    def snapshot(self) -> dict[str, Any]:
        """The counts as a plain dict that later messages do not change."""
        by_type = {tag: {"messages": n, "bytes": size} for tag, (n, size) in self.by_type.items()}
        return {"messages": self.messages, "bytes": self.bytes, "by_type": by_type}


@dataclass
class Traffic:
    """What a party has sent over a channel, and what it has taken from it."""

    sent: Tally = field(default_factory=Tally)
    received: Tally = field(default_factory=Tally)

    def snapshot(self) -> dict[str, Any]:
        """Both directions as a plain dict."""
        return {"sent": self.sent.snapshot(), "received": self.received.snapshot()}


class Channel(Protocol):
    """Typed messages between two parties, in order, each exactly once or an error.

    A message that is lost, doubled, malformed, oversized or not from the peer ends the channel
    with an error: it is never skipped and never waited for in silence. After such an error every
    call raises it again. One thread at a time uses a channel; its two ends may be in two threads.

    As a context manager a channel closes at the end of the block, and aborts where the block
    raised.
    """

    @property
    def me(self) -> str:
        """This party's name."""

    @property
    def peer(self) -> str:
        """The other party's name."""

    @property
    def traffic(self) -> Traffic:
        """Messages and bytes so far."""

    def send(self, message: Message) -> None:
        """Hand a message over. It is on its way when this returns, not yet received."""

    def receive(self, kind: type[M], timeout: float | None = None) -> M:
        """The next message, which must be of type `kind`.

        Without `timeout` it waits for as long as the peer is there, however long it computes.
        Raises UnexpectedMessage for another type, ChannelTimeout after `timeout` seconds,
        PeerLost when the peer is gone, PeerAborted with its reason when it gave up.
        """

    def close(self) -> None:
        """Let everything sent go out and tell the peer that this was all. May be called twice."""

    def abort(self, reason: str) -> None:
        """Tell the peer why this party gives up, and close; its next receive raises the reason."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
