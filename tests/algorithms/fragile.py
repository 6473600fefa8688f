"""Parties in threads whose processes end at a message of the test's choice, and begin again.

A process ends by an exception that nothing catches: what it has sent is in its outbox, nothing else is left.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from hecore.algorithms.channel import (
    AllowList,
    CurveKeys,
    FolderStore,
    Node,
    ZmqChannel,
    ZmqOptions,
)
from hecore.algorithms.free_port import free_port
from hecore.algorithms.messages import M, Message

NAMES = ("active", "passive1", "passive2")
OPTIONS = ZmqOptions(heartbeat=0.2, heartbeat_timeout=2.0, retry=0.05, linger=0.3, grace=60.0)


class Killed(BaseException):
    """The end of a process: not an Exception, so that nobody is told."""


class Fragile:
    """A channel whose party ends before or after a message, counted over all its channels."""

    def __init__(self, channel: ZmqChannel, life: list[int]) -> None:
        self._channel, self._life = channel, life
        self.me, self.peer = channel.me, channel.peer
        self.sent: list[Message] = []

    def _live(self) -> None:
        self._life[0] -= 1
        if self._life[0] == 0:
            raise Killed

    def send(self, message: Message) -> None:
        self._live()
        self.sent.append(message)
        self._channel.send(message)
        self._live()

    def receive(self, kind: type[M], timeout: float | None = None) -> M:
        message = self._channel.receive(kind, timeout)
        self._live()  # it has been taken, and nothing was done with it
        return message

    def abort(self, reason: str) -> None:
        self._channel.abort(reason)


class Network:
    """Where the first of NAMES listens and the others dial it, each with a folder."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder, self.names = folder, NAMES[:count]
        self._keys = {name: CurveKeys.generate() for name in self.names}
        self._endpoint = f"tcp://127.0.0.1:{free_port()}"

    def begin(self, place: int) -> tuple[Node, FolderStore, list[ZmqChannel]]:
        """A new process of a party; `node.close(leave=False)` ends it without a word to anybody."""
        name, hub = self.names[place], self.names[0]
        store = FolderStore(self.folder / name, name, "job")
        node = Node(
            name,
            self._keys[name],
            AllowList({party: keys.public for party, keys in self._keys.items()}),
            job="job",
            listen=None if place else self._endpoint,
            store=store,
            options=OPTIONS,
        )
        if place:
            return node, store, [ZmqChannel(node, hub, self._endpoint)]
        return node, store, [ZmqChannel(node, peer) for peer in self.names[1:]]

    def with_secrets_of(self, other: Path) -> None:
        """Masks come out as those of the parties in another folder."""
        for name in self.names:
            (self.folder / name).mkdir(parents=True, mode=0o700)
            shutil.copy2(other / name / "secret", self.folder / name / "secret")
