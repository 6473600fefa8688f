"""Outbox and inbox of one peer: the link's decisions joined with what the logs hold.

A message is a list of frames, of which the second holds its small fields. On its way it is one run of
bytes, lengths first, which the link cuts into blocks.

After a restart a party does again what it did since its last checkpoint. Then

- `take` gives the same messages again, out of the inbox;
- `submit` of a message that the outbox has is no news: its bytes are what the peer got, or will get. The
  new ones, which differ in the noise of ciphertexts, are compared in the small fields and dropped.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import msgspec

from hecore.algorithms.channel.link import Link
from hecore.algorithms.channel.packet import CHUNK, Buffer, gather
from hecore.algorithms.channel.ports import Chunk, cut_up
from hecore.algorithms.channel.segments import Log, MemoryLog
from hecore.algorithms.channel.streams import Arrived
from hecore.algorithms.errors import MalformedMessage, ReplayError, StoreError
from hecore.algorithms.messages import MAX_FRAMES

AnyLog: TypeAlias = Log | MemoryLog


class Watermark(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How far a party has come in one stream with one peer: messages and blocks taken, and made."""

    peer: str
    stream: int
    taken: int = 0
    taken_blocks: int = 0
    made: int = 0
    made_blocks: int = 0


def prepare(frames: Sequence[Buffer], size: int = CHUNK) -> list[Chunk]:
    """A message as the chunks that are logged and sent; its bytes are not copied."""
    return cut_up([_prelude(frames), *frames], size)


class Mailbox:
    """`link` was made of the streams in `out` and `into`. Calls must not overlap, but for `load`."""

    def __init__(self, link: Link, out: AnyLog, into: AnyLog) -> None:
        self.link, self.out, self.into = link, out, into
        self._marks: dict[int, Watermark] = {}  # what the driver has taken and made in this run
        self._kept: dict[int, Watermark] = {}  # what a restarted driver may need again lies behind these
        self._logged: dict[tuple[int, int], int] = {}  # stream, sequence → first block, of an earlier run
        for stream in link.out.values():
            for block in stream.waiting:
                if block.chunk == 0:
                    self._logged[stream.stream, block.sequence] = block.block
        self._peer_has = {stream.stream: 0 for stream in link.out.values()}

    # --- messages -------------------------------------------------------------------------------

    def replays(self, stream: int, sequence: int) -> bool:
        """The message was made by an earlier run of this party."""
        out = self.link.out.get(stream)
        return out is not None and sequence < out.sequence

    def submit(self, stream: int, chunks: Sequence[Chunk]) -> None:
        """Queue the next message, as `prepare` made it."""
        self.link.submit(stream, chunks)
        out = self.link.out[stream]
        self._mark(stream, made=out.sequence, made_blocks=out.next)

    def repeat(self, stream: int, sequence: int, frames: Sequence[Buffer]) -> None:
        """Compare a message with the one that an earlier run has made, and go on behind it.

        Raises ReplayError where they differ in their small fields, StoreError where it is gone.
        """
        first = self._logged.get((stream, sequence))
        if first is None:
            raise StoreError(
                f"message {sequence} to {self.link.peer} is not in the outbox any more: the party goes on"
                " from an older state than it may"
            )
        logged = self._logged_frames(stream, first)
        if logged[1] != bytes(frames[1]):
            raise ReplayError(
                f"message {sequence} to {self.link.peer} differs from what was sent before the restart:"
                f" {logged[1][:80]!r} then, {bytes(frames[1][:80])!r} now"
            )
        following = self._logged.get((stream, sequence + 1), self.link.out[stream].next)
        self._mark(stream, made=sequence + 1, made_blocks=following)

    def take(self, now: float, stream: int) -> Arrived | None:
        """The next message that has arrived, to be read by `load`."""
        arrived = self.link.take(now, stream)
        if arrived is not None:
            due = self.mark(stream).taken
            if arrived.sequence != due:
                raise StoreError(
                    f"message {due} from {self.link.peer} is not in the inbox any more: the party goes on"
                    " from an older state than it may"
                )
            self._mark(stream, taken=arrived.sequence + 1, taken_blocks=arrived.first + arrived.chunks)
        return arrived

    def load(self, arrived: Arrived) -> list[bytes]:
        """The frames of a message. Raises StoreDamaged, MalformedMessage."""
        numbers = range(arrived.first, arrived.first + arrived.chunks)
        buffers = [buffer for block in numbers for buffer in self.into.read(arrived.stream, block)]
        frames = _frames(buffers)
        for block in numbers:
            self.into.drop(arrived.stream, block)
        if not self.into.durable:
            self.into.trim({arrived.stream: arrived.first + arrived.chunks})
        return frames

    # --- restarts -------------------------------------------------------------------------------

    def mark(self, stream: int) -> Watermark:
        """How far the driver has come in one stream."""
        return self._marks.get(stream) or Watermark(self.link.peer, stream)

    def watermarks(self) -> list[Watermark]:
        """How far it has come in every stream that it has used."""
        return list(self._marks.values())

    def resume(self, marks: Iterable[Watermark]) -> None:
        """The driver goes on from these: messages taken before are not given again.

        Raises StoreError where inbox and outbox do not reach so far.
        """
        for mark in marks:
            into, out = self.link.into.get(mark.stream), self.link.out.get(mark.stream)
            stored, made = (into.stored if into else 0), (out.next if out else 0)
            if mark.taken_blocks > stored or mark.made_blocks > made:
                raise StoreError(f"the store lacks what a checkpoint has of {self.link.peer}: it is older")
            self.link.inflow.skip(mark.stream, mark.taken)
            self._marks[mark.stream] = mark

    def reaches(self) -> bool:
        """Whether the logs hold all messages that follow where the driver is."""
        for stream, into in self.link.into.items():
            if into.next_sequence > self.mark(stream).taken:
                return False
        return all(
            self.mark(stream).made >= out.sequence or (stream, self.mark(stream).made) in self._logged
            for stream, out in self.link.out.items()
        )

    def retain(self, marks: Iterable[Watermark]) -> None:
        """Only what lies behind these can still be asked for by a restarted driver."""
        self._kept.update({mark.stream: mark for mark in marks})
        self.trim()

    def trim(self) -> None:
        """Let go of blocks that neither the peer nor a restarted driver needs."""
        upto = {}
        for out in self.link.out.values():
            if not self.out.durable:
                upto[out.stream] = out.acked
            elif out.stream in self._kept:
                upto[out.stream] = min(out.whole, self._kept[out.stream].made_blocks)
            for block in range(self._peer_has.get(out.stream, 0), out.acked):
                self.out.drop(out.stream, block)
            self._peer_has[out.stream] = out.acked
        if upto:
            self.out.trim(upto)
        if self.into.durable and self._kept:
            self.into.trim({stream: mark.taken_blocks for stream, mark in self._kept.items()})

    # --- pieces ---------------------------------------------------------------------------------

    def _mark(self, stream: int, **changes: int) -> None:
        self._marks[stream] = msgspec.structs.replace(self.mark(stream), **changes)

    def _logged_frames(self, stream: int, first: int) -> list[bytes]:
        """Frames of a logged message from its start; those behind its first block may be missing."""
        data = b"".join(self.out.read(stream, first))
        return _split(data)


def _prelude(frames: Sequence[Buffer]) -> bytes:
    return struct.pack(f"<I{len(frames)}Q", len(frames), *(len(frame) for frame in frames))


def _lengths(start: bytes) -> tuple[int, list[int]]:
    """Size of the prelude, and the lengths of the frames behind it. MalformedMessage if it is none."""
    if len(start) < 4:
        raise MalformedMessage("a message is shorter than its own lengths")
    (count,) = struct.unpack_from("<I", start)
    size = 4 + 8 * count
    if not 1 <= count <= MAX_FRAMES + 1 or len(start) < size:
        raise MalformedMessage(f"a message announces {count} frames")
    return size, list(struct.unpack_from(f"<{count}Q", start, 4))


def _frames(buffers: Sequence[Buffer]) -> list[bytes]:
    """The frames of a whole message."""
    start = b""
    for buffer in buffers:  # the lengths may be spread over several pieces
        start += bytes(buffer[: _MOST - len(start)])
        if len(start) >= _MOST:
            break
    size, lengths = _lengths(start)
    return gather(buffers, [size, *lengths])[1:]


def _split(data: bytes) -> list[bytes]:
    """The frames of a message's first block, as far as they are in it."""
    size, lengths = _lengths(data)
    frames = []
    for length in lengths:
        frames.append(data[size : size + length])
        size += length
    return frames


_MOST = 4 + 8 * (MAX_FRAMES + 1)
