"""What goes into a link and what comes out of it: options, chunks, requests, figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from hecore.algorithms.channel.packet import CHUNK, AnyPacket, Buffer, checksum, cut
from hecore.algorithms.channel.streams import Block


@dataclass(frozen=True)
class LinkOptions:
    """Times in seconds, sizes in bytes."""

    heartbeat: float = 1.0  # a sign of life is given and asked for this often
    silence: float = 3.0  # nothing heard for this long is worth a warning
    dead: float = 30.0  # and for this long: the connection is given up; a slow line needs time for a block
    grace: float = 600.0  # for which a peer that was there may be away
    retry: float = 5.0  # without progress for this long, send again; doubles up to `retry_most`
    retry_most: float = 30.0
    inbox: int = 1 << 30  # bytes that wait to be taken, of all streams of a peer, before these are closed
    max_message: int = 1 << 30


@dataclass
class Metrics:
    """What went over a link since this process began, and how it stands. What is handed out is a copy.

    sent, received   blocks of messages with all that is sent again, without the channel's own small packets;
                     messages once each, those that an earlier process has sent not among them
    queued           submitted and not acknowledged: on disk, of a durable channel; `flying_bytes` of them are
                     under way
    credit           bytes that the peer lets be under way at once
    waiting          arrived and not taken by the driver
    """

    sent_bytes: int = 0
    sent_messages: int = 0
    resent_bytes: int = 0  # of `sent_bytes`
    received_bytes: int = 0
    received_messages: int = 0
    doubled_blocks: int = 0  # came again, and were dropped
    refused_packets: int = 0  # malformed, foreign, of another epoch
    connections: int = 0
    queued_bytes: int = 0
    queued_messages: int = 0
    flying_bytes: int = 0
    credit: int = 0
    waiting_bytes: int = 0
    waiting_messages: int = 0
    round_trip: float | None = None  # seconds, smoothed; None before the first echo
    silent_seconds: float = 0.0  # since anything was heard of the peer
    connected: bool = False


class Chunk(NamedTuple):
    """A part of a message, of at most CHUNK bytes."""

    pieces: tuple[Buffer, ...]
    length: int
    crc: int


def cut_up(frames: Sequence[Buffer], size: int = CHUNK) -> list[Chunk]:
    """A message, a run of bytes in any pieces, as chunks. It takes a while where it is large."""
    return [
        Chunk(pieces, sum(len(piece) for piece in pieces), checksum(pieces)) for pieces in cut(frames, size)
    ]


class Append(NamedTuple):
    """Make a block durable: of the outbox if `out`, else of the inbox."""

    out: bool
    block: Block
    data: tuple[Buffer, ...]


@dataclass
class Outputs:
    """What the machine asks for; the caller takes and clears."""

    sends: list[AnyPacket] = field(default_factory=list)
    appends: list[Append] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    reconnect: bool = False
