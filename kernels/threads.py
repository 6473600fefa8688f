"""How many threads a backend may use."""

from __future__ import annotations

import os


def thread_count() -> int:
    """$HECORE_THREADS, else the processors this process may use.

    Raises ValueError if the variable is not a positive integer.
    """
    text = os.environ.get("HECORE_THREADS", "")
    if not text:
        return len(os.sched_getaffinity(0))
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"HECORE_THREADS={text!r} is not a positive integer")
    return int(text)
