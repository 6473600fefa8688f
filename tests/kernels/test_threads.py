"""How many threads backends use."""

from __future__ import annotations

import os

import pytest

from hecore.kernels.threads import thread_count


def test_threads_default_to_the_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 2, 5})
    for unset in (lambda: monkeypatch.delenv("HECORE_THREADS"), lambda: None):
        monkeypatch.setenv("HECORE_THREADS", "")
        unset()
        assert thread_count() == 3
    monkeypatch.setenv("HECORE_THREADS", "7")
    assert thread_count() == 7


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", "²"])
def test_anything_but_a_positive_integer_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("HECORE_THREADS", text)
    with pytest.raises(ValueError, match="HECORE_THREADS"):
        thread_count()
