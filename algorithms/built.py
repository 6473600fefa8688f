"""msgspec's types, ready before several threads use one for the first time.

msgspec looks the fields of a class up when it first reads one, in Python, and keeps on the class what it has
so far: a second thread that comes in between reads through fields that are not there, and the process dies
(0.22). Two parties in one process do that with every message and record.
"""

from __future__ import annotations

from threading import Lock
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

_LOCK = Lock()
_BUILT: set[Any] = set()


def built(kind: T) -> T:
    """`kind`, a type that msgspec is about to read, looked up by one thread alone."""
    if kind not in _BUILT:
        with _LOCK:
            msgspec.json.Decoder(kind)
            _BUILT.add(kind)
    return kind
