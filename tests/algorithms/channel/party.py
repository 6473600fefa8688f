"""A party in a process of its own, for tests that kill it: it exchanges numbered messages and keeps count.

Each party makes `count` messages, message n only after it has taken the first n − AHEAD of its peer's, and
mixes each that it takes into a digest. Every `every` messages it makes a checkpoint: digest, counts and
watermarks in one file, which is replaced at once. Started again with the same arguments it goes on.

    python party.py SETTINGS.json
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
from pathlib import Path

import msgspec

from hecore.algorithms.channel import CurveKeys, FolderStore, Watermark, ZmqChannel, ZmqOptions, dial, listen
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
    me: str
    peer: str
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


def open_channel(settings: Settings) -> ZmqChannel:
    keys = CurveKeys(settings.public, settings.secret)
    options = {name: type(getattr(ZmqOptions(), name))(value) for name, value in settings.options.items()}
    store = FolderStore(Path(settings.folder) / "store", settings.me, settings.job)
    opens = listen if settings.listens else dial
    return opens(
        settings.me,
        settings.peer,
        settings.endpoint,
        keys,
        settings.allowed,
        job=settings.job,
        options=ZmqOptions(**options),  # type: ignore[arg-type]
        store=store,
    )


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


def work(settings: Settings) -> None:
    path = Path(settings.folder) / "progress.json"
    progress = load(path)
    with open_channel(settings) as channel:
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
        checkpoint(channel, path, progress)
        print("metrics", json.dumps(msgspec.to_builtins(channel.metrics)), flush=True)
    print("done", progress.digest.hex(), flush=True)


def main() -> None:
    logging.basicConfig(format="%(relativeCreated)d %(message)s")
    settings = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Settings)
    try:
        work(settings)
    except (HecoreError, PeerLost) as error:
        print("error", type(error).__name__, error, flush=True)
        sys.exit(3)


if __name__ == "__main__":
    main()
