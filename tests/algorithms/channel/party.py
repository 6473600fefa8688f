"""A party in a process of its own, for tests that kill it: it exchanges numbered messages and keeps count.

Each party makes `count` messages, message n only after it has taken the first n − AHEAD of its peer's, and
mixes each that it takes into a digest. Every `every` messages it makes a checkpoint: digest, counts and
watermarks in one file, which is replaced at once. Started again with the same arguments it goes on.

A party of several peers does so with each, in a thread of its own over one node.

    python party.py SETTINGS.json
"""

from __future__ import annotations

import datetime
import hashlib
import json
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path

import msgspec

from hecore.algorithms.channel import CurveKeys, FolderStore, Node, Watermark, ZmqChannel, ZmqOptions
from hecore.algorithms.errors import HecoreError, PeerLost
from hecore.algorithms.messages import Message

AHEAD = 64


class Item(Message, frozen=True, kw_only=True, tag="test.item"):
    number: int
    digest: bytes


class Progress(msgspec.Struct):
    """What a party has done, as it stands in its checkpoint; `lately`: digests after the last messages."""

    made: int = 0
    taken: int = 0
    digest: bytes = b""
    lately: list[bytes] = msgspec.field(default_factory=lambda: [b""])
    marks: list[Watermark] = []


class Settings(msgspec.Struct):
    """One process of a party.

    clock   the wall clock jumps by so many seconds each time that as many parts of the work are done
    halt    so many messages are taken and no more: the process waits to be killed; 0 for never
    """

    me: str
    peers: list[str]
    job: str
    folder: str
    endpoint: str
    listens: bool
    public: str
    secret: str
    allowed: dict[str, str]
    count: int
    every: int = 50
    size: int = 100
    options: dict[str, float] = {}
    clock: list[float] = []
    halt: int = 0


def open_node(settings: Settings) -> Node:
    options = {name: type(getattr(ZmqOptions(), name))(value) for name, value in settings.options.items()}
    return Node(
        settings.me,
        CurveKeys(settings.public, settings.secret),
        settings.allowed,
        job=settings.job,
        listen=settings.endpoint if settings.listens else None,
        options=ZmqOptions(**options),  # type: ignore[arg-type]
        store=FolderStore(Path(settings.folder) / "store", settings.me, settings.job),
    )


def open_channel(settings: Settings, node: Node, peer: str) -> ZmqChannel:
    return ZmqChannel(node, peer, None if settings.listens else settings.endpoint)


class Clock:
    """The wall clock of this process, as all of Python's ways to ask for it tell it; it can jump."""

    def __init__(self) -> None:
        self.ahead = 0.0
        now, now_ns, aware = time.time, time.time_ns, datetime.datetime
        clock = self

        class Moved(aware):  # type: ignore[misc, valid-type]
            @classmethod
            def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:
                return aware.now(tz) + datetime.timedelta(seconds=clock.ahead)

        time.time = lambda: now() + self.ahead
        time.time_ns = lambda: now_ns() + int(self.ahead * 1e9)
        datetime.datetime = Moved  # type: ignore[misc]

    def jump(self, seconds: float) -> None:
        before = time.time()
        self.ahead += seconds
        print("clock", round(time.time() - before), logging.LogRecord("", 0, "", 0, "", None, None).created)


def load(path: Path) -> Progress:
    return msgspec.json.decode(path.read_bytes(), type=Progress) if path.exists() else Progress()


def save(path: Path, progress: Progress) -> None:
    fresh = path.with_suffix(".new")
    with open(fresh, "wb") as file:
        file.write(msgspec.json.encode(progress))
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def checkpoint(channel: ZmqChannel, path: Path, progress: Progress) -> None:
    progress.marks = channel.watermarks()
    save(path, progress)
    channel.retain(progress.marks)


def item(settings: Settings, progress: Progress) -> Item:
    """Message n: it follows from what was taken before, and carries noise that differs in every life."""
    behind = progress.taken - (progress.made - AHEAD)  # messages taken that it must not depend on
    known = b"" if progress.made < AHEAD else progress.lately[-1 - behind]
    digest = hashlib.sha256(known + progress.made.to_bytes(8, "little")).digest()
    return Item(number=progress.made, digest=digest, payload=(os.urandom(settings.size),))


def work(settings: Settings, channel: ZmqChannel, path: Path) -> None:
    progress = load(path)
    clock = Clock() if settings.clock else None
    jumps = list(settings.clock)
    with channel:
        channel.resume(progress.marks)
        print("ready", channel.endpoint, flush=True)
        while progress.taken < settings.count:
            while progress.made < min(settings.count, progress.taken + AHEAD):
                channel.send(item(settings, progress))
                progress.made += 1
            taken = channel.receive(Item)
            if taken.number != progress.taken:
                raise AssertionError(f"message {taken.number} came as number {progress.taken}")
            progress.digest = hashlib.sha256(progress.digest + taken.digest).digest()
            progress.lately = [*progress.lately[-AHEAD - 1 :], progress.digest]
            progress.taken += 1
            if progress.taken % settings.every == 0:
                checkpoint(channel, path, progress)
            if progress.taken == settings.halt:
                signal.pause()
            parts = len(settings.clock) + 1
            if clock and jumps and progress.taken * parts >= settings.count * (parts - len(jumps)):
                clock.jump(jumps.pop(0))
        checkpoint(channel, path, progress)
        print("metrics", json.dumps(msgspec.to_builtins(channel.metrics)), flush=True)
    print("done", progress.digest.hex(), channel.peer, flush=True)


def progress_file(settings: Settings, peer: str) -> Path:
    return Path(settings.folder) / f"progress-{peer}.json"


def work_with_all(settings: Settings) -> int:
    """With every peer at once; how many of them have failed."""
    node = open_node(settings)
    failed: list[str] = []

    def work_with(peer: str) -> None:
        try:
            work(settings, open_channel(settings, node, peer), progress_file(settings, peer))
        except (HecoreError, PeerLost) as error:
            print("error", type(error).__name__, error, flush=True)
            failed.append(peer)

    threads = [threading.Thread(target=work_with, args=(peer,)) for peer in settings.peers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    node.close()
    return len(failed)


def main() -> None:
    logging.basicConfig(format="%(relativeCreated)d %(message)s")
    settings = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Settings)
    sys.exit(3 if work_with_all(settings) else 0)


if __name__ == "__main__":
    main()
