"""How many threads backends use."""

from __future__ import annotations

import os
import signal

import pytest

from hecore.kernels import Backend, InvalidSetting, Modulus
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
    with pytest.raises(InvalidSetting, match="HECORE_THREADS"):
        thread_count()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_starts_threads_of_its_own(backend: Backend) -> None:
    """It inherits a pool without threads: a job handed to that would never be done."""
    modulus = Modulus.square_of(Modulus(2**1024 - 105))
    x = backend.from_ints(modulus, range(2, 802))
    expected = backend.to_ints(backend.mod_pow(x, 777))  # starts the parent's threads
    child = os.fork()
    if child == 0:
        signal.alarm(200)
        os._exit(0 if backend.to_ints(backend.mod_pow(x, 777)) == expected else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
