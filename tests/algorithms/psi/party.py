"""A party in a process of its own, for tests that kill it: it aligns its ids on a durable channel.

    python party.py SETTINGS.json

It kills itself, as a power cut would, before its `dies`-th send or receipt of a message.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any

import msgspec

from hecore.algorithms.channel import CurveKeys, FolderStore, Node, ZmqChannel, ZmqOptions
from hecore.algorithms.checkpoint import Checkpoints
from hecore.algorithms.data import Ids
from hecore.algorithms.psi import PsiConfig, align

OPTIONS = ZmqOptions(connect_timeout=120.0, grace=120.0, heartbeat=0.25, heartbeat_timeout=1.0, linger=20.0)
CONFIG = PsiConfig(chunk_rows=16)


class Settings(msgspec.Struct):
    me: str
    role: str
    folder: str
    listen: str | None
    dial: dict[str, str | None]
    public: str
    secret: str
    allowed: dict[str, str]
    ids: list[str]
    every: int
    dies: int | None = None


class Mortal:
    """A channel whose process dies at one of its calls."""

    left: int | None = None  # calls, of all channels together

    def __init__(self, channel: ZmqChannel) -> None:
        self._channel = channel

    def __getattr__(self, name: str) -> Any:
        if name in ("send", "receive") and Mortal.left is not None:
            Mortal.left -= 1
            if Mortal.left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return getattr(self._channel, name)


def work(settings: Settings) -> None:
    store = FolderStore(Path(settings.folder) / "store", settings.me, "job")
    keys = CurveKeys(settings.public, settings.secret)
    node = Node(
        settings.me, keys, settings.allowed, job="job", listen=settings.listen, store=store, options=OPTIONS
    )
    channels = [ZmqChannel(node, peer, endpoint) for peer, endpoint in settings.dial.items()]
    Mortal.left = settings.dies
    checkpoints = Checkpoints(store, channels, every=settings.every)
    mortal: Any = [Mortal(channel) for channel in channels]
    told = []
    found = align(
        mortal, Ids(settings.ids), settings.role, CONFIG, checkpoints=checkpoints, on_progress=told.append
    )
    print("resumed", told[0].resumed if told else "over", flush=True)
    print("rows", *([] if found.rows is None else found.rows.tolist()), flush=True)
    for channel in channels:
        channel.close()
    node.close()


if __name__ == "__main__":
    logging.basicConfig(format="%(relativeCreated)d %(message)s")
    work(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Settings))
