"""A party's process for tests: how it begins, and how it kills itself at a chosen place.

Scripts that `company` starts import this by its plain name.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from hecore.algorithms.channel import CurveKeys, FolderStore, Node, ZmqChannel, ZmqOptions, segments

OPTIONS = ZmqOptions(grace=300.0, heartbeat=0.25, heartbeat_timeout=1.0, retry=1.0, linger=20.0)


class Settings(msgspec.Struct):
    """One process of a party: `doom` says where it dies, `task` what it has to do."""

    me: str
    peers: list[str]
    folder: str
    endpoint: str
    listens: bool
    public: str
    secret: str
    allowed: dict[str, str]
    task: dict[str, Any]
    doom: int = 0
    records: int = 4  # of a segment: few, so that much is forgotten


def join(path: str) -> tuple[Settings, FolderStore, list[ZmqChannel]]:
    """What a party's process begins with."""
    settings = msgspec.json.decode(Path(path).read_bytes(), type=Settings)
    segments.SEGMENT_RECORDS = settings.records
    store = FolderStore(Path(settings.folder) / "store", settings.me, "job")
    node = Node(
        settings.me, CurveKeys(settings.public, settings.secret), settings.allowed, job="job",
        listen=settings.endpoint if settings.listens else None, store=store, options=OPTIONS,
    )  # fmt: skip
    dialled = None if settings.listens else settings.endpoint
    return settings, store, [ZmqChannel(node, peer, dialled) for peer in settings.peers]


#: Where a kill may come, before and after each call. Renames and syncs are those of messages and checkpoints.
PLACES = (
    (ZmqChannel, "send"), (ZmqChannel, "receive"), (ZmqChannel, "watermarks"), (ZmqChannel, "resume"),
    (ZmqChannel, "retain"), (Path, "rename"), (Path, "unlink"), (os, "fsync"), (os, "fdatasync"),
)  # fmt: skip


def doom(places: int) -> None:
    """SIGKILL at place number `places` from now on; 0 for never."""
    left = places
    lock = threading.Lock()

    def tick() -> None:
        nonlocal left
        with lock:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def ticking(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            tick()
            result = call(*args, **kwargs)
            tick()
            return result

        return wrapped

    for owner, name in PLACES:
        setattr(owner, name, ticking(getattr(owner, name)))
