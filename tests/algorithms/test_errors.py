"""Errors cross process boundaries with text and fields whole."""

from __future__ import annotations

import pickle

import pytest

from hecore.algorithms.errors import PeerAborted, SequenceError, UnexpectedMessage
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
