"""Records and their frames: the bytes are fixed, and whatever is written is read again."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hecore.algorithms.errors import ChannelError, MalformedMessage
from hecore.algorithms.messages import (
    MAGIC,
    FrameHeader,
    Message,
    check_frames,
    decode,
    encode,
    read_header,
    tag_of,
)


class Sample(Message, frozen=True, kw_only=True, tag="test.sample"):
    count: int
    names: tuple[str, ...] = ()
    data: bytes = b""

    def __post_init__(self) -> None:
        if len(self.payload) not in (0, self.count):
            raise ValueError(f"{self.count} frames were announced")


class Plain(Message, frozen=True):
    pass


def written(message: Message, max_bytes: int = 1 << 20) -> list[bytes]:
    return encode(message, job="job", sender="a", receiver="b", sequence=3, max_bytes=max_bytes)


def test_golden_bytes() -> None:
    """A change of these bytes is a change of protocol: raise VERSION with it."""
    assert written(Sample(count=2, names=("x",), data=b"\x00", payload=(b"abc", b""))) == [
        b"hecore\x01\x96\xa3job\xa1a\xa1b\x03\xabtest.sample\x93\x2a\x03\x00",
        b"\x84\xa4type\xabtest.sample\xa5count\x02\xa5names\x91\xa1x\xa4data\xc4\x01\x00",
        b"abc",
        b"",
    ]


def test_tags() -> None:
    assert tag_of(Sample) == "test.sample"
    assert tag_of(Plain) == "Plain"


@given(
    count=st.integers(-(2**63), 2**64 - 1),
    names=st.lists(st.text(), max_size=5),
    data=st.binary(),
)
def test_what_is_written_is_read(count: int, names: list[str], data: bytes) -> None:
    sample = Sample(count=count, names=tuple(names), data=data)
    frames = written(sample)
    header = read_header(frames[0])
    check_frames(header, frames)
    assert header == FrameHeader("job", "a", "b", 3, "test.sample", (len(frames[1]),))
    assert decode(frames, Sample) == sample


def test_payload_is_not_copied() -> None:
    payload = (bytes(1000), b"x" * 70_000)
    frames = written(Sample(count=2, payload=payload))
    assert all(ours is theirs for ours, theirs in zip(frames[2:], payload, strict=True))
    arrived = decode(frames, Sample).payload
    assert all(ours is theirs for ours, theirs in zip(arrived, payload, strict=True))


def test_a_record_checks_itself_with_its_payload() -> None:
    frames = written(Sample(count=2, payload=(b"a", b"b")))
    with pytest.raises(MalformedMessage, match="2 frames were announced"):
        decode(frames[:-1], Sample)


def test_limit_counts_all_frames() -> None:
    sample = Sample(count=1, payload=(bytes(100),))
    size = read_header(written(sample)[0]).size
    assert written(sample, max_bytes=size)
    with pytest.raises(MalformedMessage, match=f"{size} bytes; the limits are .* {size - 1} bytes"):
        written(sample, max_bytes=size - 1)
    with pytest.raises(MalformedMessage, match="limits"):
        read_header(written(sample)[0], max_bytes=size - 1)


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_or_read_but_never_worse(data: bytes) -> None:
    for frame in (data, MAGIC + b"\x01" + data):
        with contextlib.suppress(ChannelError):
            read_header(frame)
    with contextlib.suppress(MalformedMessage):
        decode([b"", data], Sample)


@given(st.data())
def test_a_damaged_message_is_refused_or_read_but_never_worse(data: st.DataObject) -> None:
    frames = written(Sample(count=1, names=("abc", "d"), data=b"12", payload=(b"xyz",)))
    which = data.draw(st.integers(0, 1))
    at = data.draw(st.integers(0, len(frames[which]) - 1))
    damaged = bytearray(frames[which])
    damaged[at] ^= data.draw(st.integers(1, 255))
    frames[which] = bytes(damaged)
    with contextlib.suppress(ChannelError):
        check_frames(read_header(frames[0]), frames)
        decode(frames, Sample)


def test_frozen() -> None:
    with pytest.raises(AttributeError):
        Sample(count=1).count = 2  # type: ignore[misc]
