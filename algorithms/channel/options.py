"""What can be set of a channel over ZeroMQ."""

from __future__ import annotations

from dataclasses import dataclass, fields

from hecore.algorithms.channel.ports import LinkOptions
from hecore.algorithms.messages import MAX_MESSAGE_BYTES


@dataclass(frozen=True)
class ZmqOptions:
    """Times in seconds, sizes in bytes; all positive."""

    connect_timeout: float = 60.0  # until a peer is there for the first time
    grace: float = 600.0  # for which a peer that was there may be away
    heartbeat: float = 1.0  # a sign of life is asked for this often
    heartbeat_timeout: float = 3.0  # without one for this long: a warning, and libzmq ends the connection
    handshake_timeout: float = 10.0  # for a connection to prove its key
    retry: float = 5.0  # without progress for this long, blocks are sent again
    linger: float = 30.0  # for which `close` waits until the peer has what was sent; so does `abort`
    window: int = 32 << 20  # under way to this party, from all its peers together
    inbox: int = 1 << 30  # that waits to be taken, on disk; without a durable store at most `window`
    outbox: int = 16 << 30  # that waits to be acknowledged, on disk; without a durable store `window`
    max_message_bytes: int = MAX_MESSAGE_BYTES

    def __post_init__(self) -> None:
        for option in fields(self):
            if not getattr(self, option.name) > 0:
                raise ValueError(f"{option.name} must be positive")

    def of_link(self, durable: bool) -> LinkOptions:
        """The part that a link needs."""
        return LinkOptions(
            heartbeat=self.heartbeat,
            silence=self.heartbeat_timeout,
            dead=10 * self.heartbeat_timeout,
            grace=self.grace,
            retry=self.retry,
            retry_most=max(self.retry, 30.0),
            inbox=self.inbox if durable else min(self.inbox, self.window),
            max_message=self.max_message_bytes,
        )
