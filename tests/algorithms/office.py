"""A party with a store and checkpoints, beside its peer, in this process; its process is played."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hecore.algorithms.channel import CurveKeys, FolderStore, ZmqChannel, ZmqOptions, dial, listen
from hecore.algorithms.checkpoint import Checkpoints, Run
from hecore.algorithms.messages import Message

BINDING = {"configuration": "c", "key": "k"}
OPTIONS = ZmqOptions(heartbeat=0.2, heartbeat_timeout=1.0, linger=0.2)


class Note(Message, frozen=True, kw_only=True, tag="test.checkpoint"):
    number: int


class Office:
    """A party with a store, whose process can be ended and begun again."""

    def __init__(self, folder: Path, job: str = "job") -> None:
        keys, other = CurveKeys.generate(), CurveKeys.generate()
        allowed = {"a": keys.public, "b": other.public}
        self.store = FolderStore(folder / "a", "a", job)
        self.peer_store = FolderStore(folder / "b", "b", job)
        self.channel = listen(
            "a", "b", "tcp://127.0.0.1:0", keys, allowed, job=job, store=self.store, options=OPTIONS
        )
        self.peer: ZmqChannel = dial(
            "b", "a", self.channel.endpoint, other, allowed, job=job, store=self.peer_store, options=OPTIONS
        )
        self.checkpoints = Checkpoints(self.store, self.channel)

    def begin(self, task: str = "task", **changes: str) -> Run:
        return self.checkpoints.begin(task, BINDING | changes)

    def kill(self) -> None:
        """End both processes without a word."""
        self.peer.node.close()
        self.channel.node.close()


@pytest.fixture
def offices(tmp_path: Path) -> Iterator[list[Office]]:
    opened: list[Office] = []
    yield opened
    for office in opened:
        office.kill()


def again(offices: list[Office], tmp_path: Path, job: str = "job") -> Office:
    """End the process that runs, and begin another."""
    for office in offices:
        office.kill()
    offices[:] = [Office(tmp_path, job)]
    return offices[0]
