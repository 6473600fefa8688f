"""What a store survives, what it refuses, and what happens when its disk fails: rows 11 and 12."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hecore.algorithms.channel import CurveKeys, FolderStore, ZmqChannel, ZmqOptions, dial, listen
from hecore.algorithms.channel.disk import OsDisk, OsFile
from hecore.algorithms.channel.mailbox import prepare
from hecore.algorithms.channel.packet import Buffer
from hecore.algorithms.channel.segments import Log
from hecore.algorithms.channel.store import out_streams
from hecore.algorithms.channel.streams import Block
from hecore.algorithms.errors import ChannelTimeout, PeerAborted, StoreDamaged, StoreError, StoreInUse
from hecore.algorithms.messages import Message

if TYPE_CHECKING:
    from hecore.algorithms.channel.disk import File


class Note(Message, frozen=True, kw_only=True, tag="test.store"):
    number: int


def blocks(first: int, contents: Sequence[bytes]) -> list[tuple[Block, Sequence[Buffer]]]:
    """Messages of one block each."""
    made: list[tuple[Block, Sequence[Buffer]]] = []
    for number, content in enumerate(contents, first):
        (chunk,) = prepare([content])
        made.append((Block(0, number, number, 0, 1, chunk.length, chunk.crc), chunk.pieces))
    return made


def write(folder: Path, batches: Sequence[Sequence[bytes]]) -> Path:
    """A store with a log of so many batches; the file of its open segment."""
    store = FolderStore(folder, "a", "job")
    log = store.logs("b")[0]
    first = 0
    for batch in batches:
        log.append(blocks(first, batch))
        log.sync()
        first += len(batch)
    store.close()
    (path,) = folder.glob("*/out/*.log")
    return path


def kept(folder: Path) -> int:
    """Blocks that a new process finds."""
    store = FolderStore(folder, "a", "job")
    try:
        streams = out_streams(store.logs("b")[0])
        return streams[0].next if streams else 0
    finally:
        store.close()


BATCHES = [[b"x" * 100] * 3, [b"y" * 200], [b"z" * 300] * 2]


@pytest.mark.parametrize("cut", [1, 64, 301, 375])
def test_a_torn_tail_is_dropped(tmp_path: Path, cut: int) -> None:
    path = write(tmp_path / "store", BATCHES)
    os.truncate(path, path.stat().st_size - cut)
    assert kept(tmp_path / "store") == (5 if cut <= 312 + 64 else 4)
    assert kept(tmp_path / "store") == 5  # and it stays so


def test_a_batch_whose_start_was_lost_is_dropped(tmp_path: Path) -> None:
    """The disk had written the second block of the last batch and not the first: no sync had returned."""
    path = write(tmp_path / "store", BATCHES)
    flip(path, path.stat().st_size - 2 * (64 + 12 + 300) + 100)
    assert kept(tmp_path / "store") == 4


@pytest.mark.parametrize("place", [0, 10, 70, 150, 64 * 3 + 112 * 3 + 30, 64 * 4 + 112 * 3 + 50])
def test_a_flipped_bit_in_the_middle_is_an_error_that_names_its_place(tmp_path: Path, place: int) -> None:
    path = write(tmp_path / "store", BATCHES)
    flip(path, place)
    with pytest.raises(StoreDamaged, match=rf"{path.name} is damaged at offset \d+: what was durable"):
        kept(tmp_path / "store")


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 4
    path.write_bytes(data)


def test_damage_in_a_sealed_segment_is_found_when_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hecore.algorithms.channel.segments.SEGMENT_RECORDS", 2)
    folder = tmp_path / "store"
    store = FolderStore(folder, "a", "job")
    log = store.logs("b")[0]
    for number in range(6):
        log.append(blocks(number, [bytes([number]) * 50]))
        log.sync()
    store.close()
    paths = sorted(folder.glob("*/out/*.log"))
    assert len(paths) == 3
    flip(paths[0], 64 + 20)
    store = FolderStore(folder, "a", "job")
    log = store.logs("b")[0]
    assert b"".join(log.read(0, 5))[-50:] == bytes([5]) * 50
    with pytest.raises(StoreDamaged, match=rf"{paths[0].name} is damaged at offset 0"):
        log.read(0, 0)
    store.close()
    os.truncate(paths[1], 10)
    with pytest.raises(StoreDamaged, match=rf"{paths[1].name} has 10 bytes instead of"):
        kept(folder)
    paths[1].unlink()
    with pytest.raises(StoreDamaged, match=rf"{paths[1].name} is missing"):
        kept(folder)


def test_segments_go_when_all_of_them_is_known_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hecore.algorithms.channel.segments.SEGMENT_RECORDS", 2)
    store = FolderStore(tmp_path / "store", "a", "job")
    log = store.logs("b")[0]
    for number in range(6):
        log.append(blocks(number, [b"x"]))
        log.sync()
    log.trim({0: 3})
    assert len(list((tmp_path / "store").glob("*/out/*.log"))) == 2
    log.trim({0: 6})
    store.close()
    assert kept(tmp_path / "store") == 6  # the count goes on, whatever is left


def test_one_process_at_a_time(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store", "a", "job")
    with pytest.raises(StoreInUse, match="another process"):
        FolderStore(tmp_path / "store", "a", "job")
    store.close()
    store.close()
    again = FolderStore(tmp_path / "store", "a", "job")
    assert (store.epoch, again.epoch) == (1, 2)
    assert again.secret == store.secret
    again.close()


def test_a_store_of_somebody_else_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    FolderStore(folder, "a", "job").close()
    with pytest.raises(StoreError, match="of party 'a', not 'b'"):
        FolderStore(folder, "b", "job")
    with pytest.raises(StoreError, match="of job 'job', not 'other'"):
        FolderStore(folder, "a", "other")
    (folder / "index.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(StoreDamaged, match="no index of a store"):
        FolderStore(folder, "a", "job")
    folder.chmod(0o755)
    with pytest.raises(StoreError, match="open to others"):
        FolderStore(folder, "a", "job")


def test_a_store_without_its_secret_is_damaged(tmp_path: Path) -> None:
    """Masks that were sent could not be drawn again; a new secret is for a new store only."""
    folder = tmp_path / "store"
    store = FolderStore(folder, "a", "job")
    store.close()
    secret = folder / "secret"
    secret.rename(folder / "kept")
    with pytest.raises(StoreDamaged, match="secret is missing"):
        FolderStore(folder, "a", "job")
    assert not secret.exists()
    secret.write_bytes(bytes(32))
    with pytest.raises(StoreDamaged, match="not the secret that this store began with"):
        FolderStore(folder, "a", "job")
    secret.write_bytes(bytes(31))
    with pytest.raises(StoreDamaged, match="31 bytes instead of 32"):
        FolderStore(folder, "a", "job")
    (folder / "kept").rename(secret)
    again = FolderStore(folder, "a", "job")
    assert (again.secret, again.epoch) == (store.secret, 2)
    again.close()


def test_logs_without_their_index_are_left_as_they_are(tmp_path: Path) -> None:
    """With a new index nothing in them could be read: all would look like a torn tail."""
    folder = tmp_path / "store"
    path = write(folder, BATCHES)
    size = path.stat().st_size
    for name in ("index.sqlite", "index.sqlite-wal", "index.sqlite-shm"):
        (folder / name).unlink(missing_ok=True)
    for _ in range(2):
        with pytest.raises(StoreDamaged, match=r"index.sqlite is missing, or of another store"):
            FolderStore(folder, "a", "job")
    assert path.stat().st_size == size


def test_nobody_else_can_read_a_store(tmp_path: Path) -> None:
    write(tmp_path / "store", [[b"x"]])
    paths = list((tmp_path / "store").rglob("*"))
    assert len(paths) >= 6
    assert not [path for path in paths if path.stat().st_mode & 0o077]


# A disk that fails (row 11).


class FailingFile(OsFile):
    """Fails in the way that `trouble` says when `after` bytes have been written."""

    def __init__(self, descriptor: int, trouble: str, after: int) -> None:
        super().__init__(descriptor)
        self.trouble, self.after = trouble, after
        self.syncs_after_failure = 0
        self.failed = False

    def append(self, pieces: Sequence[Buffer]) -> None:
        if self.trouble == "full" and self.size + sum(map(len, pieces)) > self.after:
            some = b"".join(bytes(piece) for piece in pieces)[: max(0, self.after - self.size)]
            super().append([some])  # a full disk takes a part
            raise OSError(errno.ENOSPC, "No space left on device")
        super().append(pieces)

    def sync(self) -> None:
        if self.failed:
            self.syncs_after_failure += 1
            return  # as a kernel would that has reported an error once
        if self.trouble == "sync" and self.size > self.after:
            self.failed = True
            raise OSError(errno.EIO, "Input/output error")
        super().sync()


class FailingDisk(OsDisk):
    def __init__(self, trouble: str, after: int) -> None:
        self.trouble, self.after = trouble, after
        self.files: list[FailingFile] = []

    def open(self, path: Path) -> File:
        file = OsDisk.open(self, path)
        assert isinstance(file, OsFile)
        self.files.append(FailingFile(os.dup(file._descriptor), self.trouble, self.after))
        file.close()
        return self.files[-1]


@pytest.mark.parametrize("trouble", ["full", "sync"])
def test_a_disk_that_fails_stops_the_party_and_loses_nothing(tmp_path: Path, trouble: str) -> None:
    """No acknowledgement after the failure, a typed error here, and after the repair everything arrives."""
    keys = {name: CurveKeys.generate() for name in ("a", "b")}
    allowed = {name: pair.public for name, pair in keys.items()}
    options = ZmqOptions(heartbeat=0.2, heartbeat_timeout=1.0, linger=1.0, retry=0.5)

    def opened(disk: OsDisk | None, endpoint: str | None) -> tuple[ZmqChannel, ZmqChannel]:
        ours = FolderStore(tmp_path / "a", "a", "job")
        theirs = FolderStore(tmp_path / "b", "b", "job", disk)
        a = listen("a", "b", "tcp://127.0.0.1:0", keys["a"], allowed, job="job", store=ours, options=options)
        b = dial("b", "a", a.endpoint, keys["b"], allowed, job="job", store=theirs, options=options)
        return a, b

    disk = FailingDisk(trouble, 30_000)
    a, b = opened(disk, None)
    for number in range(50):
        a.send(Note(number=number, payload=(bytes(2000),)))

    def take_all() -> None:
        for number in range(50):
            assert b.receive(Note, 60).number == number

    with pytest.raises(StoreError, match=r"cannot be written.*(No space|Input/output)"):
        take_all()
    time.sleep(0.7)
    acknowledged = a.node._peers["b"].box.link.out[0].acked
    assert acknowledged < 20
    with pytest.raises(StoreError, match="cannot be written"):
        b.send(Note(number=1))
    assert all(file.syncs_after_failure == 0 for file in disk.files)
    b.abort("the disk")
    with pytest.raises((PeerAborted, ChannelTimeout)):
        a.receive(Note, 5)
    a.abort("the peer has gone")

    a, b = opened(None, None)
    assert [b.receive(Note, 60).number for _ in range(50)] == list(range(50))
    marks = b.watermarks()
    assert (marks[0].taken, marks[0].stream) == (50, 0)
    b.close()
    a.close()


def test_a_restart_reads_the_open_segment_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the log is: sealed segments are known from the index."""
    monkeypatch.setattr("hecore.algorithms.channel.segments.SEGMENT_RECORDS", 10)
    store = FolderStore(tmp_path / "store", "a", "job")
    log = store.logs("b")[0]
    for number in range(95):
        log.append(blocks(number, [bytes(100)]))
        log.sync()
    store.close()
    scanned: list[int] = []
    scan: Callable[..., list[object]] = Log._scan

    def counted(self: Log, number: int, file: File) -> list[object]:
        scanned.append(number)
        return scan(self, number, file)

    monkeypatch.setattr(Log, "_scan", counted)
    assert kept(tmp_path / "store") == 95
    assert scanned == [9, 0]  # the outbox's last, and the empty inbox
