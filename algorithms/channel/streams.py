"""The two ends of one stream: pure bookkeeping of blocks, for the link's state machine.

out    acked ≤ sent ≤ stored ≤ next          what the peer has │ is under way │ is durable │ was made
in     stored ≤ accepted                     what is durable, and was acknowledged │ has arrived
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from hecore.algorithms.errors import MalformedMessage


class Block(NamedTuple):
    """What is known of a block besides its bytes."""

    stream: int
    block: int
    sequence: int
    chunk: int
    chunks: int
    length: int
    crc: int

    @property
    def ends_message(self) -> bool:
        """It is the last of its message."""
        return self.chunk == self.chunks - 1


class OutStream:
    """The sender's end. `waiting` holds the blocks from `acked` up to `next`.

    A message is sent only when all of it is durable: a process that died in the middle of writing one
    makes it anew, with other noise, and the peer must not have the first half of the old one.
    """

    def __init__(self, stream: int, first: int = 0, sequence: int = 0) -> None:
        self.stream = stream
        self.acked = self.sent = self.stored = self.next = self.peak = first
        self.sequence = sequence  # of the next message
        self.waiting: deque[Block] = deque()
        self.waiting_bytes = 0
        self.flying = 0  # bytes sent and not acknowledged
        self.open = True

    @property
    def whole(self) -> int:
        """Blocks of messages that the peer has all of; the start of one that is under way is kept with it."""
        return self.acked - (self.waiting[0].chunk if self.waiting else 0)

    @property
    def waiting_messages(self) -> int:
        """Messages of which blocks wait."""
        return self.sequence - self.waiting[0].sequence if self.waiting else 0

    def add(self, block: Block) -> None:
        """A new block, not yet durable."""
        self.waiting.append(block)
        self.waiting_bytes += block.length
        self.next = block.block + 1
        if block.ends_message:
            self.sequence = block.sequence + 1

    def due(self) -> Block | None:
        """The next block to send, if one may go."""
        if self.sent >= self.stored or not self.open:
            return None
        return self.waiting[self.sent - self.acked]

    def went(self, block: Block) -> bool:
        """The block is under way; whether it had been before."""
        self.sent = block.block + 1
        self.flying += block.length
        again = block.block < self.peak
        self.peak = max(self.peak, self.sent)
        return again

    def acknowledge(self, block: int) -> bool:
        """Everything below `block` is durable at the peer; whether that is news.

        MalformedMessage for blocks that were never made durable here, and so never sent.
        """
        if block > self.stored:
            raise MalformedMessage(f"block {block - 1} of stream {self.stream} was acknowledged, never sent")
        if block <= self.acked:
            return False
        while self.acked < block:
            gone = self.waiting.popleft()
            self.waiting_bytes -= gone.length
            if self.acked < self.sent:
                self.flying -= gone.length
            self.acked += 1
        self.sent = max(self.sent, self.acked)
        return True

    def go_back(self) -> None:
        """Send again from the first block that was not acknowledged."""
        self.sent = self.acked
        self.flying = 0


class Arrived(NamedTuple):
    """A complete, durable message that waits to be taken."""

    stream: int
    sequence: int
    first: int
    chunks: int
    length: int


class InStream:
    """The receiver's end."""

    def __init__(self, stream: int) -> None:
        self.stream = stream
        self.accepted = self.stored = 0
        self.sequence = self.chunk = self.chunks = 0  # of the block that comes next
        self.ready: deque[Arrived] = deque()
        self.ready_bytes = self.ready_blocks = 0
        self.unstored = 0  # bytes accepted that are not durable yet
        self.begun_bytes = 0  # of messages that are not ready
        self._begun: deque[Block] = deque()  # accepted blocks of messages that are not ready

    def check(self, block: Block, max_chunks: int) -> bool:
        """Whether the block is the next one; MalformedMessage if it cannot be."""
        if block.chunks > max_chunks:
            raise MalformedMessage(f"a message of {block.chunks} blocks; the limit is {max_chunks}")
        if block.block != self.accepted:
            return False
        fits = block.sequence == self.sequence and block.chunk == self.chunk
        if not fits or (self.chunk and block.chunks != self.chunks):
            raise MalformedMessage(
                f"block {block.block} is chunk {block.chunk} of message {block.sequence}; chunk"
                f" {self.chunk} of message {self.sequence} was due"
            )
        return True

    @property
    def waiting_blocks(self) -> int:
        """Blocks accepted and not taken."""
        return self.ready_blocks + len(self._begun)

    def accept(self, block: Block) -> None:
        """Take the next block in; it is not durable yet."""
        self._begun.append(block)
        self.begun_bytes += block.length
        self.unstored += block.length
        self.accepted = block.block + 1
        self.chunks = block.chunks
        self.sequence, self.chunk = (
            (block.sequence + 1, 0) if block.ends_message else (block.sequence, block.chunk + 1)
        )

    def store(self, upto: int) -> None:
        """Blocks below `upto` are durable: messages that are complete with them become ready."""
        while self.stored < upto:
            self.stored += 1
            end = self._begun[self.stored - 1 - self._begun[0].block]
            self.unstored -= end.length
            if not end.ends_message:
                continue
            length = 0
            for _ in range(end.chunks):
                length += self._begun.popleft().length
            first = end.block - end.chunk
            self.ready.append(Arrived(self.stream, end.sequence, first, end.chunks, length))
            self.ready_bytes += length
            self.ready_blocks += end.chunks
            self.begun_bytes -= length

    @property
    def next_sequence(self) -> int:
        """The message that is taken next."""
        if self.ready:
            return self.ready[0].sequence
        return self._begun[0].sequence if self._begun else self.sequence

    def take(self) -> Arrived | None:
        """The next ready message, if there is one."""
        if not self.ready:
            return None
        taken = self.ready.popleft()
        self.ready_bytes -= taken.length
        self.ready_blocks -= taken.chunks
        return taken
