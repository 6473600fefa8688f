"""What goes out to one peer: which blocks, in which turn, and when again.

The sender has at most the peer's window under way. Time-outs run on progress: as long as acknowledgements
move, nothing is sent again, however slow the line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from hecore.algorithms.channel.packet import Standing
from hecore.algorithms.channel.ports import Append, Chunk, LinkOptions, Metrics
from hecore.algorithms.channel.streams import Block, OutStream
from hecore.algorithms.errors import MalformedMessage

#: Blocks under way at once, however small.
MAX_FLYING = 1024


class Outflow:
    """The sender's ends of all streams to one peer. `now` is monotonic time in seconds."""

    def __init__(
        self, streams: Iterable[OutStream], now: float, options: LinkOptions, metrics: Metrics
    ) -> None:
        self.streams = {stream.stream: stream for stream in streams}
        self.window = 0  # bytes that the peer allows under way
        self._options, self._metrics = options, metrics
        self._progress, self._retry = now, options.retry

    @property
    def flying(self) -> int:
        """Bytes sent and not acknowledged."""
        return sum(out.flying for out in self.streams.values())

    @property
    def queued_bytes(self) -> int:
        """Bytes not acknowledged, sent or not."""
        return sum(out.waiting_bytes for out in self.streams.values())

    @property
    def queued_messages(self) -> int:
        """Messages of which something is not acknowledged."""
        return sum(out.waiting_messages for out in self.streams.values())

    @property
    def idle(self) -> bool:
        """The peer has acknowledged all that was submitted."""
        return not any(out.waiting for out in self.streams.values())

    @property
    def durable(self) -> bool:
        """All that was submitted is durable here."""
        return all(out.stored == out.next for out in self.streams.values())

    def submit(self, stream: int, chunks: Sequence[Chunk]) -> list[Append]:
        """Queue one message; what is to be made durable of it."""
        out = self.streams.setdefault(stream, OutStream(stream))
        appends = []
        for number, chunk in enumerate(chunks):
            block = Block(stream, out.next, out.sequence, number, len(chunks), chunk.length, chunk.crc)
            out.add(block)
            appends.append(Append(True, block, chunk.pieces))
        self._metrics.sent_messages += 1
        return appends

    def stored(self, stream: int, upto: int) -> None:
        """Blocks below `upto` are durable. Only whole messages count: see OutStream."""
        out = self.streams[stream]
        while upto > out.stored and not out.waiting[upto - 1 - out.acked].ends_message:
            upto -= 1
        out.stored = max(out.stored, upto)

    def acknowledge(self, now: float, standings: Iterable[Standing]) -> None:
        """The peer tells how far it has come. MalformedMessage for what was never sent."""
        moved = False
        for standing in standings:
            out = self.streams.get(standing.stream)
            if out is None:
                raise MalformedMessage(f"stream {standing.stream} was acknowledged, which has no messages")
            moved |= out.acknowledge(standing.block)
            out.open = standing.open
        if moved:
            self._begin_waiting(now)

    def greet(self, now: float, window: int, received: Iterable[Standing]) -> None:
        """A process of the peer tells what it has: go on from there."""
        standings = {standing.stream: standing for standing in received}
        for out in self.streams.values():
            standing = standings.get(out.stream, Standing(out.stream, 0))
            out.acknowledge(standing.block)
            out.open = standing.open
            out.go_back()
        self.window = window
        self._begin_waiting(now)

    def go_back(self) -> None:
        """What is under way counts as lost."""
        for out in self.streams.values():
            out.go_back()

    def tick(self, now: float) -> None:
        """Send again what has made no progress for too long."""
        if now >= self.deadline():
            self._progress, self._retry = now, min(2 * self._retry, self._options.retry_most)
            self.go_back()

    def deadline(self) -> float:
        """When `tick` has something to do, if nothing moves."""
        return self._progress + self._retry if self.flying else float("inf")

    def due(self, now: float) -> Iterator[Block]:
        """The blocks that may go now; they count as sent.

        Streams go in turn, so that none waits behind another.
        """
        flying = self.flying
        count = sum(out.sent - out.acked for out in self.streams.values())
        waiting = True
        while waiting and count < MAX_FLYING:
            waiting = False
            for out in self.streams.values():
                block = out.due()
                if block is None or (flying and flying + block.length > self.window):
                    continue
                if not flying:
                    self._progress = now
                if out.went(block):
                    self._metrics.resent_bytes += block.length
                self._metrics.sent_bytes += block.length
                flying += block.length
                count += 1
                waiting = True
                yield block

    def _begin_waiting(self, now: float) -> None:
        self._progress, self._retry = now, self._options.retry
