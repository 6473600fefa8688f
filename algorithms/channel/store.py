"""What a party keeps of one job: its folder.

    store/                     mode 0700
    ├── lock                   held while a process works with the folder
    ├── secret                 32 random bytes, mode 0600: what a restarted run must draw again equal
    ├── index.sqlite           epoch, the peers' epochs, sealed segments
    └── <peer>/in, <peer>/out  the blocks received and sent: see `segments`

A `MemoryStore` keeps nothing: its process cannot be restarted, and its job ends with it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import stat
from pathlib import Path
from typing import Protocol

from hecore.algorithms.channel.disk import Disk, OsDisk
from hecore.algorithms.channel.index import FORMAT, Index
from hecore.algorithms.channel.segments import Log, MemoryLog, Recent
from hecore.algorithms.channel.streams import Block, InStream, OutStream
from hecore.algorithms.errors import StoreDamaged, StoreError, StoreInUse
from hecore.algorithms.private_files import make_folder, open_descriptor, write_whole
from hecore.randomness import random_bytes

SECRET_BYTES = 32


class Store(Protocol):
    """What a node needs of a store, durable or not."""

    durable: bool
    epoch: int

    def logs(self, peer: str) -> tuple[Log | MemoryLog, Log | MemoryLog]:
        """The outbox and the inbox of a peer."""

    def peer_epoch(self, peer: str) -> int:
        """The highest epoch of a peer that was met."""

    def learn(self, peer: str, epoch: int) -> None:
        """Remember a peer's epoch."""

    def close(self) -> None:
        """Let go of everything."""


class MemoryStore:
    """Nothing survives the process."""

    durable = False
    epoch = 1

    def logs(self, peer: str) -> tuple[Log | MemoryLog, Log | MemoryLog]:
        """See Store.logs."""
        return MemoryLog(), MemoryLog()

    def peer_epoch(self, peer: str) -> int:
        """See Store.peer_epoch."""
        return 0

    def learn(self, peer: str, epoch: int) -> None:
        """See Store.learn."""

    def close(self) -> None:
        """See Store.close."""


def folder_name(peer: str) -> str:
    """What belongs to a peer lies in a folder of this name: a plain one, whatever the peer is called."""
    return hashlib.sha256(peer.encode()).hexdigest()[:16]


class FolderStore:
    """The folder of one party and job; made if it is not there.

    Opening it begins a new epoch, which is durable before anything is sent. Raises StoreInUse while
    another process has it, StoreError for a folder of another party or job or one that others may
    read, StoreDamaged for contents that have changed.
    """

    durable = True

    def __init__(self, folder: str | os.PathLike[str], me: str, job: str, disk: Disk | None = None) -> None:
        self.folder = Path(folder)
        self._disk = disk or OsDisk()
        self._recent = Recent()
        self._logs: dict[str, tuple[Log, Log]] = {}
        self._lock = _locked(self.folder)
        with contextlib.ExitStack() as undo:
            undo.callback(os.close, self._lock)
            self._index = Index(self.folder / "index.sqlite")
            undo.callback(self._index.close)
            for name, value in (("format", FORMAT), ("party", me), ("job", job)):
                _claim(self._index, self.folder, name, value)
            epoch = int(self._index.fact("epoch") or 0)
            if epoch == 0:
                _check_unused(self.folder)
            self.secret = _secret(self.folder / "secret", self._index, used=epoch > 0)
            self.epoch = epoch + 1
            self._index.set_fact("epoch", str(self.epoch))
            undo.pop_all()

    def logs(self, peer: str) -> tuple[Log | MemoryLog, Log | MemoryLog]:
        """See Store.logs."""
        if peer not in self._logs:
            name = folder_name(peer)
            out, into = (
                Log(self.folder / name / way, self._disk, self._index.of_log(f"{name}/{way}"), self._recent)
                for way in ("out", "in")
            )
            self._logs[peer] = out, into
        return self._logs[peer]

    def peer_epoch(self, peer: str) -> int:
        """See Store.peer_epoch."""
        return self._index.peer_epoch(peer)

    def learn(self, peer: str, epoch: int) -> None:
        """See Store.learn."""
        self._index.set_peer_epoch(peer, epoch)

    def close(self) -> None:
        """See Store.close."""
        if self._lock < 0:
            return
        for pair in self._logs.values():
            for log in pair:
                log.close()
        self._index.close()
        os.close(self._lock)
        self._lock = -1

    def remove(self) -> None:
        """The job is over and the store closed: remove it, and the folder if nothing else is in it."""
        for name in ("checkpoints", *(folder_name(peer) for peer in self._logs)):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        for path in (*self.folder.glob("index.sqlite*"), self.folder / "secret", self.folder / "lock"):
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # somebody else's file is in it
            self.folder.rmdir()


def out_streams(log: Log | MemoryLog) -> list[OutStream]:
    """The sender's ends of what an outbox holds. A message of which a part is missing is dropped."""
    if isinstance(log, MemoryLog):
        return []
    streams = []
    for number in log.streams():
        base, blocks = log.left(number)
        blocks = _whole(blocks)
        stream = OutStream(number, *((blocks[0].block, blocks[0].sequence) if blocks else base))
        for block in blocks:
            stream.add(block)
        stream.stored = stream.peak = stream.next
        streams.append(stream)
    return streams


def in_streams(log: Log | MemoryLog) -> list[InStream]:
    """The receiver's ends of what an inbox holds; a message that is still coming goes on."""
    if isinstance(log, MemoryLog):
        return []
    streams = []
    for number in log.streams():
        base, blocks = log.left(number)
        stream = InStream(number)
        stream.accepted, stream.sequence = base
        if blocks:
            stream.accepted, stream.sequence = blocks[0].block, blocks[0].sequence
        stream.stored = stream.accepted
        for block in blocks:
            if not stream.check(block, block.chunks):
                raise StoreDamaged(f"block {stream.accepted} of stream {number} is missing in the inbox")
            stream.accept(block)
        stream.store(stream.accepted)
        streams.append(stream)
    return streams


def _whole(blocks: list[Block]) -> list[Block]:
    while blocks and not blocks[-1].ends_message:
        blocks.pop()
    return blocks


def _locked(folder: Path) -> int:
    """Make the folder and lock it; StoreInUse if another process has."""
    make_folder(folder)
    mode = stat.S_IMODE(folder.stat().st_mode)
    if mode & 0o077:
        raise StoreError(f"the store {folder} is open to others (mode {mode:04o}): chmod 700 it")
    descriptor = open_descriptor(folder / "lock", os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise StoreInUse(f"another process works with the store {folder}") from None
    return descriptor


def _secret(path: Path, index: Index, used: bool) -> bytes:
    """The secret of the store, drawn at its first start; the index knows its hash.

    A store that has been used does without it no more: with another one its party would draw other masks than
    those that it has sent numbers under.
    """
    if not path.exists():
        if used:
            raise StoreDamaged(f"{path} is missing: the store cannot be gone on with")
        write_whole(path, random_bytes(SECRET_BYTES))
    secret = path.read_bytes()
    if len(secret) != SECRET_BYTES:
        raise StoreDamaged(f"{path} has {len(secret)} bytes instead of {SECRET_BYTES}")
    digest = hashlib.sha256(b"hecore store secret\0" + secret).hexdigest()
    if (index.fact("secret") or digest) != digest:
        raise StoreDamaged(f"{path} is not the secret that this store began with")
    index.set_fact("secret", digest)
    return secret


def _check_unused(folder: Path) -> None:
    """StoreDamaged if the index is new and there are logs: they cannot be read without theirs."""
    if any(log.stat().st_size for log in folder.glob("*/*/*.log")):
        raise StoreDamaged(
            f"{folder / 'index.sqlite'} is missing, or of another store: its logs are not of use"
        )


def _claim(index: Index, folder: Path, name: str, value: str) -> None:
    """The store is of this party, job and format, from its first start on."""
    known = index.fact(name)
    if known is None:
        index.set_fact(name, value)
    elif known != value:
        raise StoreError(f"the store {folder} is of {name} {known!r}, not {value!r}")
