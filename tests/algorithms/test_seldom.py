"""Warnings that repeat: told once, then at most once a minute."""

from __future__ import annotations

import pytest

from hecore.algorithms import seldom
from hecore.algorithms.seldom import Seldom


def test_a_text_is_due_at_once_and_then_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [5.0]
    texts = Seldom(clock=lambda: now[0])
    assert [texts.due("a"), texts.due("a"), texts.due("b")] == [True, False, True]
    now[0] = 64.9
    assert not texts.due("a")
    now[0] = 65.0
    assert [texts.due("a"), texts.due("a")] == [True, False]
    monkeypatch.setattr(seldom, "MOST", 2)
    assert [texts.due("c"), texts.due("d")] == [True, False]  # "b" is a minute old and has made room
    now[0] = 125.0
    assert texts.due("d")
