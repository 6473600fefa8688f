"""How many threads a backend may use, and the pool they stand in."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from weakref import WeakSet

from .errors import InvalidSetting


def thread_count() -> int:
    """$HECORE_THREADS, else the processors this process may use.

    Raises InvalidSetting if the variable is not a positive integer.
    """
    text = os.environ.get("HECORE_THREADS", "")
    if not text:
        return len(os.sched_getaffinity(0))
    if not text.isdecimal() or int(text) < 1:
        raise InvalidSetting(f"HECORE_THREADS={text!r} is not a positive integer")
    return int(text)


_everybody: WeakSet[Workers] = WeakSet()


class Workers:
    """A backend's threads, started at first use and anew in a forked child, which inherits none of them."""

    def __init__(self, name: str) -> None:
        self.count = thread_count()
        self._name = name
        self.forget()
        _everybody.add(self)

    def forget(self) -> None:
        """Leave the threads to whoever has them: the parent of a forked child."""
        self._pool: ThreadPoolExecutor | None = None
        self._lock = Lock()

    @property
    def pool(self) -> ThreadPoolExecutor:
        """The pool of this process."""
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self.count, self._name)
            return self._pool


def _after_fork() -> None:
    for workers in _everybody:
        workers.forget()


os.register_at_fork(after_in_child=_after_fork)
