"""What a channel refuses, frame by frame; the loopback stands for all."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import msgspec
import pytest

from hecore.algorithms.channel import loopback_pair
from hecore.algorithms.channel.framed import Abort, Goodbye
from hecore.algorithms.errors import (
    AuthenticationError,
    ChannelError,
    HandshakeError,
    MalformedMessage,
    PeerAborted,
    PeerLost,
    SequenceError,
)
from hecore.algorithms.messages import MAGIC, Message, encode


class Note(Message, frozen=True, kw_only=True):
    number: int


def frames(message: Message | None = None, **changes: object) -> list[bytes]:
    """What the passive party sends first, with changes in the header."""
    header = {"job": "loopback", "sender": "passive", "receiver": "active", "sequence": 0}
    return encode(message or Note(number=1, payload=(b"abc",)), **(header | changes))  # type: ignore[arg-type]


def header(*fields: object) -> bytes:
    return MAGIC + b"\x01" + msgspec.msgpack.encode(fields)


GOOD = frames()
BODY = GOOD[1]
BAD: dict[str, tuple[list[bytes], type[ChannelError], str]] = {
    "another version": ([MAGIC + b"\x02" + GOOD[0][7:], *GOOD[1:]], HandshakeError, "protocol 2"),
    "another job": (frames(job="b"), HandshakeError, "job 'b'"),
    "another sender": (frames(sender="third"), AuthenticationError, "claims to be 'third'"),
    "its own name": (frames(sender="active"), AuthenticationError, "claims to be"),
    "another receiver": (frames(receiver="third"), HandshakeError, "for 'third'"),
    "a gap": (frames(sequence=2), SequenceError, "2 lost"),
    "a gap before the end": (frames(Goodbye(), sequence=1), SequenceError, "1 lost"),
    "no header": ([b""], MalformedMessage, "not the header"),
    "pickle": ([pickle.dumps(Note, 4), b""], MalformedMessage, "not the header"),
    "garbage": ([bytes(range(256))], MalformedMessage, "not the header"),
    "garbage behind the magic": ([MAGIC + b"\x01\xc1\xff"], MalformedMessage, "header"),
    "a huge header": ([GOOD[0] + bytes(1 << 16), *GOOD[1:]], MalformedMessage, "not the header"),
    "a header with more": (
        [header("loopback", "passive", "active", 0, "Note", [1], 0), b"x"],
        MalformedMessage,
        "header",
    ),
    "a negative number": (
        [header("loopback", "passive", "active", -1, "Note", [1]), b"x"],
        MalformedMessage,
        ">= 0",
    ),
    "a negative length": (
        [header("loopback", "passive", "active", 0, "Note", [-1]), b"x"],
        MalformedMessage,
        ">= 0",
    ),
    "an array of 2**32": (
        [MAGIC + b"\x01\xdd\xff\xff\xff\xff"],
        MalformedMessage,
        "header",
    ),
    "a length over the limit": (
        [header("loopback", "passive", "active", 0, "Note", [1 << 40]), b"x"],
        MalformedMessage,
        "limits",
    ),
    "too many frames": (
        [header("loopback", "passive", "active", 0, "Note", [0] * 4097), *[b""] * 4097],
        MalformedMessage,
        "length",
    ),
    "a frame less": (GOOD[:-1], MalformedMessage, "announces"),
    "a frame more": ([*GOOD, b""], MalformedMessage, "announces"),
    "a byte more": ([*GOOD[:-1], b"abcd"], MalformedMessage, "announces"),
    "an empty body": (
        [header("loopback", "passive", "active", 0, "Note", [0]), b""],
        MalformedMessage,
        "body",
    ),
    "a malformed control record": (
        [header("loopback", "passive", "active", 0, "channel.abort", [1]), b"\x80"],
        MalformedMessage,
        "another tag",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_refused_for_good_and_the_peer_hears_why(name: str) -> None:
    bad, kind, text = BAD[name]
    active, passive = loopback_pair(max_message_bytes=1 << 20)
    active._incoming.append(bad)
    for _ in range(2):
        with pytest.raises(kind, match=text) as caught:
            active.receive(Note, 1)
    with pytest.raises(kind):
        active.send(Note(number=1))
    with pytest.raises(PeerAborted) as told:
        passive.receive(Note, 1)
    assert told.value.reason == str(caught.value)
    active.close()
    passive.close()


def test_a_doubled_message_is_refused() -> None:
    active, _ = loopback_pair()
    active._incoming.extend([GOOD, GOOD])
    assert active.receive(Note, 1).number == 1
    with pytest.raises(SequenceError, match="message 1 from passive was due, message 0 came"):
        active.receive(Note, 1)


BODIES: dict[str, bytes] = {
    "another tag": msgspec.msgpack.encode({"type": "Other", "number": 1}),
    "no tag": msgspec.msgpack.encode({"number": 1}),
    "an unknown field": msgspec.msgpack.encode({"type": "Note", "number": 1, "more": 1}),
    "a missing field": msgspec.msgpack.encode({"type": "Note"}),
    "a wrong type": msgspec.msgpack.encode({"type": "Note", "number": "1"}),
    "payload inside": msgspec.msgpack.encode({"type": "Note", "number": 1, "payload": [b"x"]}),
    "trailing bytes": BODY + b"\x00",
    "deep nesting": b"\x82\xa4type\xa4Note\xa6number" + b"\x91" * 100_000,
    "pickle": pickle.dumps({"number": 1}),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_body_that_is_not_the_record_is_refused(name: str) -> None:
    active, _ = loopback_pair()
    body = BODIES[name]
    active._incoming.append([header("loopback", "passive", "active", 0, "Note", [len(body)]), body])
    with pytest.raises(MalformedMessage):
        active.receive(Note, 1)


def test_nothing_counts_after_the_end() -> None:
    active, _ = loopback_pair()
    active._incoming.extend([frames(Goodbye()), frames(Abort(reason="late")), GOOD])
    for _ in range(3):
        with pytest.raises(PeerLost, match="closed"):
            active.receive(Note, 1)


@pytest.mark.parametrize(
    "make",
    [
        lambda: loopback_pair("", "b"),
        lambda: loopback_pair("a" * 201, "b"),
        lambda: loopback_pair("a", "a"),
        lambda: loopback_pair("a", "b", job=""),
    ],
)
def test_names_are_checked(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"length|two parties"):
        make()
