"""Typed records, and the frames in which they travel.

A message is a frozen msgspec record. Large values (ciphertexts, masks) are its `payload`: raw
frames beside the small fields, never copied into them. On the wire a message is a list of frames:

    ┌────────────────────────────┬──────────────────────┬──────────────────┐
    │ header                     │ body                 │ payload …        │
    │ b"hecore" + version byte + │ msgpack map: type    │ raw bytes, one   │
    │ msgpack array FrameHeader  │ tag and small fields │ frame per entry  │
    └────────────────────────────┴──────────────────────┴──────────────────┘

The version byte stands outside of msgpack, so that every later header can be told from this one.
The header gives the length of every frame behind it: a receiver knows the whole size before it
touches the rest. Nothing here is pickled. A type tag is only compared with the type that the
receiver asked for; it never chooses what is built.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

import msgspec

from hecore.algorithms.built import built
from hecore.algorithms.errors import HandshakeError, MalformedMessage, printable

MAGIC = b"hecore"
VERSION = 1
MAX_HEADER_BYTES = 1 << 16
MAX_FRAMES = 4096
MAX_MESSAGE_BYTES = 1 << 30  # default; a million ciphertexts of a 2048-bit key are half of it

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
# msgspec also raises UnicodeDecodeError, a ValueError, and RecursionError on deep nesting.
_UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_Lengths = Annotated[tuple[_Count, ...], msgspec.Meta(min_length=1, max_length=MAX_FRAMES)]


class Message(msgspec.Struct, frozen=True, kw_only=True, tag=True, forbid_unknown_fields=True):
    """Base of every record that one party sends to another.

    A subclass lists its small fields and, where the class name is too short a tag, its own:

        class Gradients(Message, frozen=True, kw_only=True, tag="gbdt.gradients"):
            tree: int

        Gradients(tree=3, payload=(ciphertexts,))

    Checks of fields and payload belong into `__post_init__`: it runs on both sides, with both in
    place.
    """

    payload: tuple[bytes, ...] = ()


M = TypeVar("M", bound=Message)


class FrameHeader(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Who sends what to whom: the first frame of every message, without the version in front of it.

    `sequence` counts a sender's messages of one job from 0, without gaps; a control record of the
    channel carries the number of the message that comes next. `lengths` are the bytes of body and
    payload frames.
    """

    job: Name
    sender: Name
    receiver: Name
    sequence: _Count
    type: Name
    lengths: _Lengths

    @property
    def size(self) -> int:
        """Bytes of all frames behind the header."""
        return sum(self.lengths)


def tag_of(kind: type[Message]) -> str:
    """The type tag of a record class, as it stands in the header."""
    return str(kind.__struct_config__.tag)


def encode(
    message: Message,
    *,
    job: str,
    sender: str,
    receiver: str,
    sequence: int,
    max_bytes: int = MAX_MESSAGE_BYTES,
) -> list[bytes]:
    """The frames of `message`: [header, body, *payload].

    Payload frames are the very objects of `message.payload`. Raises MalformedMessage above
    `max_bytes`, so that the sender hears of it and not only the receiver.
    """
    for frame in message.payload:
        if type(frame) is not bytes:
            raise TypeError(f"a payload frame must be bytes, not {type(frame).__name__}")
    fields = msgspec.to_builtins(message, builtin_types=(bytes,))
    del fields["payload"]
    frames = [msgspec.msgpack.encode(fields), *message.payload]
    lengths = tuple(len(frame) for frame in frames)
    header = FrameHeader(job, sender, receiver, sequence, tag_of(type(message)), lengths)
    _check_size(header, max_bytes)
    return [MAGIC + bytes([VERSION]) + msgspec.msgpack.encode(header), *frames]


def read_header(frame: bytes, max_bytes: int = MAX_MESSAGE_BYTES) -> FrameHeader:
    """The validated header in `frame`.

    Raises HandshakeError for another protocol version, MalformedMessage for anything else that is
    not the header of a message of at most `max_bytes`.
    """
    start = len(MAGIC) + 1
    if not frame.startswith(MAGIC) or not start < len(frame) <= MAX_HEADER_BYTES:
        raise MalformedMessage(f"a frame of {len(frame)} bytes is not the header of a message")
    if frame[len(MAGIC)] != VERSION:
        raise HandshakeError(f"the peer speaks protocol {frame[len(MAGIC)]}, this party {VERSION}")
    header: FrameHeader = _parse(frame[start:], FrameHeader, "header")
    _check_size(header, max_bytes)
    return header


def check_frames(header: FrameHeader, frames: Sequence[bytes]) -> None:
    """Raises MalformedMessage unless the frames behind the header have the lengths it says."""
    if tuple(len(frame) for frame in frames[1:]) != header.lengths:
        raise MalformedMessage(
            f"{header.type!r} announces {len(header.lengths)} frames of {header.size} bytes, but "
            f"{len(frames) - 1} of {sum(len(frame) for frame in frames[1:])} bytes came"
        )


def decode(frames: Sequence[bytes], kind: type[M]) -> M:
    """The record in `frames`, [header, body, *payload], strictly of type `kind`.

    The header is taken as checked (`read_header`, `check_frames`). Raises MalformedMessage where
    the body has another tag, an unknown, missing or wrongly typed field, or where the record
    refuses its values.
    """
    fields: dict[str, Any] = _parse(frames[1], dict[str, Any], "body")
    if "payload" in fields or fields.get("type") != tag_of(kind):
        raise MalformedMessage(f"the body of a {tag_of(kind)!r} has payload inside or another tag")
    fields["payload"] = tuple(frames[2:])
    try:
        return msgspec.convert(fields, type=built(kind))
    except _UNREADABLE as error:
        raise MalformedMessage(f"not a record of type {tag_of(kind)!r}: {printable(str(error))}") from error


def _parse(data: bytes, kind: Any, part: str) -> Any:
    try:
        return msgspec.msgpack.decode(data, type=built(kind))
    except _UNREADABLE as error:
        raise MalformedMessage(f"the {part} of a message is malformed: {printable(str(error))}") from error


def _check_size(header: FrameHeader, max_bytes: int) -> None:
    if len(header.lengths) > MAX_FRAMES or header.size > max_bytes:
        raise MalformedMessage(
            f"{header.type!r} has {len(header.lengths)} frames of {header.size} bytes; "
            f"the limits are {MAX_FRAMES} frames and {max_bytes} bytes"
        )
