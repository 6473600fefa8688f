"""How much may be asked: rows a second, and how often one id a day. Clocks are monotonic.

These bound what repeated questions can tell: see THREAT_MODEL.md. Counts are in memory, and begin anew with
the process.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

DAY = 24 * 3600.0
#: Keys that are counted a day; a caller could fill the memory with others.
MOST_KEYS = 1 << 22


class Rate:
    """A bucket that `rate` rows a second flow into, and that holds `burst` of them at most."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._there, self._at = burst, clock()

    def take(self, rows: int) -> float:
        """0 and take them, or the seconds until there are enough; more than `burst` never pass: infinity."""
        now = self._clock()
        self._there = min(self._burst, self._there + (now - self._at) * self._rate)
        self._at = now
        if rows <= self._there:
            self._there -= rows
            return 0.0
        return float("inf") if rows > self._burst else (rows - self._there) / self._rate


class Daily:
    """At most `most` times a day for each key, of MOST_KEYS keys; the day begins with the process."""

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock = most, clock
        self._began = clock()
        self._times: dict[str, int] = {}

    def take(self, keys: Sequence[str]) -> NDArray[np.bool_]:
        """Count each key once more unless it is spent; which of them are not."""
        if self._clock() - self._began >= DAY:
            self._began = self._clock()
            self._times.clear()
        free = np.zeros(len(keys), dtype=np.bool_)
        for place, key in enumerate(keys):
            times = self._times.get(key, 0)
            if times < self._most and (times or len(self._times) < MOST_KEYS):
                self._times[key] = times + 1
                free[place] = True
        return free
