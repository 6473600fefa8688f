"""Errors cross process boundaries with text and fields whole."""

from __future__ import annotations

import pickle

import msgspec
import pytest

from hecore.algorithms.errors import (
    MalformedMessage,
    PeerAborted,
    SequenceError,
    UnexpectedMessage,
    printable,
)
from hecore.algorithms.messages import Message, decode
from hecore.errors import InvalidCiphertext, NotInvertible


@pytest.mark.parametrize(
    "error",
    [
        PeerAborted("bank", "it gave up"),
        UnexpectedMessage("bank", "lr.share", "lr.product"),
        SequenceError("bank", 3, 5),
        NotInvertible(4),
        InvalidCiphertext(2, "it is 0"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_survives_pickling(error: Exception) -> None:
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - written above
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


class Note(Message, frozen=True, kw_only=True, tag="test.note"):
    number: int


def test_what_a_peer_says_moves_no_cursor_and_begins_no_line() -> None:
    assert printable("a\x1b[2Jb\nc\r\td\x00\x7f\x80\x9b1me\x9f") == "a�[2Jb�c��d����1me�"
    kept = " ~\xa0é…数\N{LATIN SMALL LETTER SHARP S}"
    assert printable(kept) == kept
    assert printable("\n" * 2000) == "�" * 1000
    assert printable("abc", most=2) == "ab"


def test_the_reason_of_a_peer_is_printable() -> None:
    error = PeerAborted("bank", "no\x1b]0;title\x07\nroot: yes")
    assert error.reason == "no�]0;title��root: yes"
    assert str(error) == f"bank aborted: {error.reason!r}"


def test_names_that_a_peer_makes_up_are_printable() -> None:
    """What a record lacks or has too much is named with the sender's words."""
    body = msgspec.msgpack.encode({"type": "test.note", "number": 1, "x\x1b[2J\n": 1})
    with pytest.raises(MalformedMessage, match=r"x�\[2J�") as caught:
        decode([b"", body], Note)
    assert str(caught.value).isprintable()
