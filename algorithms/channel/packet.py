"""Packets: what two processes of a job exchange on the wire.

A packet is one header and, for Data alone, up to 1 MiB of raw bytes behind it:

    b"hecore" + version byte + msgpack array: kind, job, sender, receiver, epoch, …  │  raw bytes

    Greeting   who I am, what I have of your streams, what I keep of mine; after every connection
    Data       one block: chunk i of n of a message
    State      what I have made durable (cumulative), how much you may send, sign of life
    Farewell   I give up, with my reason, once you have everything that I sent before
    Refusal    I do not go on with this process of yours, and why; one comes back

A stream is a sequence of messages, and each message a run of blocks. Blocks are counted through from
the stream's start, so that one number says how far anything has come:

    message      0          1    2                3
    block        0  1  2    3    4  5  6  7  8    9 …
    chunk of n   0  1  2    0    0  1  2  3  4    0
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from typing import Annotated, TypeAlias

import msgspec

from hecore.algorithms.errors import HandshakeError, MalformedMessage
from hecore.algorithms.messages import MAGIC, Name

VERSION = 2
#: Bytes of a block: large enough that Python's work for it does not count, small enough to share a line.
CHUNK = 1 << 20
MAX_HEADER = 1 << 14
MAX_STREAMS = 64
MAX_TEXT = 1000

Buffer: TypeAlias = bytes | memoryview
Count = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
StreamId = Annotated[int, msgspec.Meta(ge=0, lt=1 << 16)]
ProcessMark = Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
Text = Annotated[str, msgspec.Meta(max_length=MAX_TEXT)]
_Short = Annotated[str, msgspec.Meta(max_length=100)]
_UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)


class Packet(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What every packet says.

    `epoch` counts the starts of the sender in this job; `process` is random at every start.
    """

    job: Name
    sender: Name
    receiver: Name
    epoch: Count
    process: ProcessMark


class Standing(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """How far one stream has come at its receiver: every block below `block` is durable there.

    `open` is false while messages wait to be taken: no more of this stream, please.
    """

    stream: StreamId
    block: Count
    open: bool = True


class Kept(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a sender still has of one stream: blocks from `first` up to `next`."""

    stream: StreamId
    first: Count
    next: Count


Standings = Annotated[tuple[Standing, ...], msgspec.Meta(max_length=MAX_STREAMS)]


class Greeting(Packet, frozen=True, array_like=True, tag="greeting"):
    """`number` counts a process's greetings: an older one that comes late is ignored.

    `terms` are hashes of what both must agree on; a name that only one side has set is not compared.
    """

    number: Count
    answers: bool
    window: Count
    received: Standings
    kept: Annotated[tuple[Kept, ...], msgspec.Meta(max_length=MAX_STREAMS)]
    terms: Annotated[dict[_Short, _Short], msgspec.Meta(max_length=16)]


class Data(Packet, frozen=True, array_like=True, tag="data"):
    """Block `block` of a stream: chunk `chunk` of `chunks` of message `sequence`."""

    stream: StreamId
    block: Count
    sequence: Count
    chunk: Count
    chunks: Annotated[int, msgspec.Meta(ge=1, le=1 << 22)]
    length: Annotated[int, msgspec.Meta(ge=0, le=CHUNK)]
    crc: Annotated[int, msgspec.Meta(ge=0, lt=1 << 32)]


class State(Packet, frozen=True, array_like=True, tag="state"):
    """`beat` asks for an echo unless it is 0.

    `heard`: the receiver's farewell has been heard. `left`: the sender has closed, needs nothing more,
    and goes.
    """

    window: Count
    received: Standings
    beat: Count
    echo: Count
    heard: bool
    left: bool


class Farewell(Packet, frozen=True, array_like=True, tag="farewell"):
    """`after`: the blocks of each stream that come before it."""

    after: Standings
    reason: Text


class Refusal(Packet, frozen=True, array_like=True, tag="refusal"):
    """`refused` is the process that is meant; `known` the highest epoch of its party seen here."""

    refused: ProcessMark
    known: Count
    kind: Name
    reason: Text


AnyPacket: TypeAlias = Greeting | Data | State | Farewell | Refusal
_DECODER = msgspec.msgpack.Decoder(AnyPacket)
_ENCODER = msgspec.msgpack.Encoder()
_PREFIX = MAGIC + bytes([VERSION])


def dump_header(packet: AnyPacket) -> bytes:
    """The header's bytes."""
    return _PREFIX + _ENCODER.encode(packet)


def load_header(data: Buffer) -> AnyPacket:
    """The validated packet of a header.

    Raises HandshakeError for another version, MalformedMessage for anything else that is no header.
    """
    if len(data) > MAX_HEADER or bytes(data[: len(MAGIC)]) != MAGIC or len(data) <= len(_PREFIX):
        raise MalformedMessage(f"{len(data)} bytes are not the header of a packet")
    version = data[len(MAGIC)]
    if version != VERSION:
        raise HandshakeError(f"the peer speaks protocol {version}, this party {VERSION}")
    try:
        packet: AnyPacket = _DECODER.decode(data[len(_PREFIX) :])
    except _UNREADABLE as error:
        raise MalformedMessage(f"a packet's header is malformed: {error}") from error
    if isinstance(packet, Data) and packet.chunk >= packet.chunks:
        raise MalformedMessage(f"chunk {packet.chunk} of {packet.chunks}")
    return packet


def check_data(packet: Data, pieces: Sequence[Buffer]) -> None:
    """Raises MalformedMessage unless the bytes behind the header are those that it announces."""
    length = sum(len(piece) for piece in pieces)
    if length != packet.length:
        raise MalformedMessage(f"a block announces {packet.length} bytes, {length} came")
    if checksum(pieces) != packet.crc:
        raise MalformedMessage(f"block {packet.block} of stream {packet.stream} has a wrong checksum")


def checksum(pieces: Iterable[Buffer]) -> int:
    """CRC-32 of the pieces, one after the other.

    The IEEE polynomial of zlib and not Castagnoli's: it finds the same faults (every burst of up to 32
    bits), reads memory views without a copy, and needs no further package. It runs at some GB/s.
    """
    crc = 0
    for piece in pieces:
        crc = zlib.crc32(piece, crc)
    return crc


def cut(frames: Sequence[Buffer], size: int = CHUNK) -> list[tuple[Buffer, ...]]:
    """The frames as one run of bytes, cut into blocks of `size`; views, nothing is copied."""
    blocks: list[tuple[Buffer, ...]] = []
    block: list[Buffer] = []
    room = size
    for frame in frames:
        view = memoryview(frame)
        while len(view) > room:
            blocks.append((*block, view[:room]))
            view, block, room = view[room:], [], size
        if len(view):
            block.append(view)
            room -= len(view)
    if block or not blocks:
        blocks.append(tuple(block))
    return blocks


def gather(buffers: Iterable[Buffer], lengths: Iterable[int]) -> list[bytes]:
    """The inverse of `cut`: frames of the given lengths out of a run of buffers; the only copy.

    Raises MalformedMessage where the run is not exactly as long.
    """
    rest = iter(buffers)
    view = memoryview(b"")
    frames: list[bytes] = []
    for length in lengths:
        parts: list[memoryview] = []
        left = length
        while left > len(view):
            parts.append(view)
            left -= len(view)
            following = next(rest, None)
            if following is None:
                raise MalformedMessage("a message is shorter than its header says")
            view = memoryview(following)
        parts.append(view[:left])
        view = view[left:]
        frames.append(b"".join(parts))
    if len(view) or any(len(buffer) for buffer in rest):
        raise MalformedMessage("a message is longer than its header says")
    return frames
