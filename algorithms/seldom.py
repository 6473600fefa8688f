"""Texts that come again and again, and shall not fill a log."""

from __future__ import annotations

import time
from collections.abc import Callable

#: Seconds between two warnings of the same text.
PAUSE = 60.0
#: Different texts that are known at once: strangers choose what is in some of them.
MOST = 1000


class Seldom:
    """Tells which texts are due: each one at once, and from then on once in PAUSE seconds.

    With MOST texts within PAUSE seconds nothing new is due until some are older.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._told: dict[str, float] = {}

    def due(self, text: str) -> bool:
        """Whether to tell `text` now; it counts as told then."""
        now = self._clock()
        if len(self._told) >= MOST:
            self._told = {known: when for known, when in self._told.items() if now < when + PAUSE}
        new = len(self._told) < MOST if text not in self._told else now >= self._told[text] + PAUSE
        if new:
            self._told[text] = now
        return new
