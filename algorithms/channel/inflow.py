"""What comes in from one peer: which block is next, how much may be under way, and how much may wait.

A stream from which too much waits is closed until the driver takes from it. All streams of a peer share one
limit, in bytes and in blocks. While it is exceeded those stay open of which nothing is ready: so whatever the
driver waits for can come, and each of them adds one message at most.
"""

from __future__ import annotations

from collections.abc import Iterable

from hecore.algorithms.channel.outflow import MAX_FLYING
from hecore.algorithms.channel.packet import CHUNK, MAX_STREAMS, Standing
from hecore.algorithms.channel.ports import LinkOptions, Metrics
from hecore.algorithms.channel.streams import Arrived, Block, InStream
from hecore.algorithms.errors import MalformedMessage

#: Blocks that wait to be taken, however small: what is known of each takes memory.
MAX_WAITING = 1 << 16


class Inflow:
    """The receiver's ends of all streams from one peer.

    window   bytes that the peer may have under way; it may still act on a wider one that it was told before
    """

    def __init__(
        self, streams: Iterable[InStream], window: int, options: LinkOptions, metrics: Metrics
    ) -> None:
        self.streams = {stream.stream: stream for stream in streams}
        self.window = self._widest = window
        self._options, self._metrics = options, metrics
        self._most_chunks = options.max_message // CHUNK + 2
        self._full = False
        self._closed: set[int] = set()

    @property
    def waiting_bytes(self) -> int:
        """Bytes that have arrived and wait to be taken, parts of messages included."""
        return sum(into.ready_bytes + into.begun_bytes for into in self.streams.values())

    @property
    def waiting_blocks(self) -> int:
        """The same in blocks."""
        return sum(into.waiting_blocks for into in self.streams.values())

    @property
    def waiting_messages(self) -> int:
        """Messages that are ready to be taken."""
        return sum(len(into.ready) for into in self.streams.values())

    def accept(self, block: Block) -> bool:
        """Take a block in, if it is the next one of its stream; it is not durable yet.

        MalformedMessage for a block that cannot be, or is beyond what the peer was ever allowed.
        """
        into = self.streams.get(block.stream)
        if into is None:
            if len(self.streams) >= MAX_STREAMS:
                raise MalformedMessage(f"more than {MAX_STREAMS} streams")
            into = self.streams[block.stream] = InStream(block.stream)
        if not into.check(block, self._most_chunks):
            self._metrics.doubled_blocks += block.block < into.accepted
            return False
        self._check_credit(block)
        into.accept(block)
        self._metrics.received_bytes += block.length
        return True

    def stored(self, stream: int, upto: int) -> None:
        """Blocks below `upto` are durable."""
        into = self.streams[stream]
        before = len(into.ready)
        into.store(upto)
        self._metrics.received_messages += len(into.ready) - before
        self._judge()

    def ready(self, stream: int) -> bool:
        """A message of the stream waits to be taken."""
        into = self.streams.get(stream)
        return into is not None and bool(into.ready)

    def take(self, stream: int) -> tuple[Arrived | None, bool]:
        """The next message of a stream, if one is ready; and whether that opened or closed any."""
        into = self.streams.get(stream)
        taken = into.take() if into is not None else None
        return taken, self._judge()

    def skip(self, stream: int, sequence: int) -> None:
        """Messages before `sequence` have been taken by an earlier process."""
        into = self.streams.get(stream)
        while into is not None and into.ready and into.ready[0].sequence < sequence:
            into.take()
        self._judge()

    def standings(self) -> tuple[Standing, ...]:
        """How far each stream has come."""
        return tuple(
            Standing(into.stream, into.stored, into.stream not in self._closed)
            for into in self.streams.values()
        )

    def has(self, standings: Iterable[Standing]) -> bool:
        """Everything below the standings is durable here."""
        for standing in standings:
            into = self.streams.get(standing.stream)
            if standing.block > (into.stored if into is not None else 0):
                return False
        return True

    def _check_credit(self, block: Block) -> None:
        self._widest = max(self._widest, self.window)
        unstored = sum(into.unstored for into in self.streams.values())
        too_wide = unstored and unstored + block.length > self._widest
        # What a peer may still send that has not heard yet that its streams are closed.
        most_bytes = self._options.inbox + self._options.max_message + self._widest
        most_blocks = MAX_WAITING + self._most_chunks + MAX_FLYING
        if too_wide or self.waiting_bytes > most_bytes or self.waiting_blocks > most_blocks:
            raise MalformedMessage(f"block {block.block} of stream {block.stream} exceeds the window")

    def _judge(self) -> bool:
        """Close streams when too much waits, open them when half is taken; whether that changed any."""
        size, blocks, limit = self.waiting_bytes, self.waiting_blocks, self._options.inbox
        if size > limit or blocks > MAX_WAITING:
            self._full = True
        elif size <= limit // 2 and blocks <= MAX_WAITING // 2:
            self._full = False
        closed = {stream for stream, into in self.streams.items() if self._full and into.ready}
        changed, self._closed = closed != self._closed, closed
        return changed
