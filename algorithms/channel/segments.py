"""An append-only log of blocks in segment files, and what is left of it after a crash.

    000000000003.log   ┌ record ┬ record ┬ record ┬ …          one record a block, 64 bytes of header
                       └──── batch ──────┴─ batch … ─          one fdatasync a batch

A batch is written only after the one before it is on the disk. So a record that cannot be read is

    torn       if no later batch begins behind it: it was never durable, and it is dropped with all after it
    damaged    otherwise: it was durable, its bytes have changed since, and nothing here can replace it

A full segment is sealed: the places of its records go into the index, so that only the last segment is
read at start, however large the log is. Damage in a sealed segment is found when a block is read.
"""

from __future__ import annotations

import struct
import threading
import zlib
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from hecore.algorithms.channel.disk import Disk, File
from hecore.algorithms.channel.packet import Buffer, checksum
from hecore.algorithms.channel.streams import Block
from hecore.algorithms.errors import StoreDamaged

SEGMENT_BYTES = 64 << 20
SEGMENT_RECORDS = 1 << 16
#: Bytes of blocks that a store keeps in memory, so that what is new need not be read again.
RECENT_BYTES = 32 << 20

_MAGIC = b"hcR\x01"
# magic, checksum of the rest │ start of the batch, block, sequence │ stream, chunk, chunks, length, crc
_HEADER = struct.Struct("<4sI QQQ IIIII 12x")
_PLACE = struct.Struct("<Q I QQ IIII")


class Place(NamedTuple):
    """Where a block lies: `offset` of its record in segment `segment`."""

    segment: int
    offset: int
    block: Block


class Base(NamedTuple):
    """Where a stream goes on when none of its blocks are left."""

    block: int = 0
    sequence: int = 0


class SegmentIndex(Protocol):
    """The durable small facts about one log; every call is atomic."""

    salt: int

    def sealed(self) -> dict[int, tuple[int, bytes]]:
        """Size and packed places of every sealed segment, by number."""

    def seal(self, number: int, size: int, places: bytes) -> None:
        """Add one."""

    def bases(self) -> tuple[int, dict[int, Base]]:
        """The first segment that is left, and where each stream goes on behind what was removed."""

    def forget(self, first: int, bases: dict[int, Base]) -> None:
        """Segments before `first` are no longer needed."""


class Recent:
    """The newest blocks, by bytes; shared by the logs of a store."""

    def __init__(self, limit: int = RECENT_BYTES) -> None:
        self._limit, self._bytes = limit, 0
        self._kept: OrderedDict[Hashable, tuple[int, Sequence[Buffer]]] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, key: Hashable, length: int, data: Sequence[Buffer]) -> None:
        """Keep a block, and drop the oldest where they become too many."""
        with self._lock:
            self._kept[key] = (length + 256, data)
            self._bytes += length + 256
            while self._bytes > self._limit:
                self._bytes -= self._kept.popitem(last=False)[1][0]

    def get(self, key: Hashable) -> Sequence[Buffer] | None:
        """A block, if it is still here."""
        with self._lock:
            found = self._kept.get(key)
            return None if found is None else found[1]

    def drop(self, key: Hashable) -> None:
        """Let go of a block."""
        with self._lock:
            gone = self._kept.pop(key, None)
            self._bytes -= 0 if gone is None else gone[0]


class Log:
    """One direction of one link. One thread appends and syncs; any may read and trim."""

    durable = True

    def __init__(
        self,
        folder: Path,
        disk: Disk,
        index: SegmentIndex,
        recent: Recent | None = None,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        self._folder, self._disk, self._index = folder, disk, index
        self._segment_bytes = segment_bytes
        self._recent = recent or Recent()
        self._lock = threading.Lock()
        self._places: dict[tuple[int, int], Place] = {}
        self._live: dict[int, dict[int, int]] = {}  # segment → stream → its last block there
        self._files: dict[int, File] = {}
        self._tips: dict[int, int] = {}  # stream → its last block
        self._trimmed: dict[int, int] = {}
        self._last: list[Place] = []  # of the open segment
        self._first, self.bases = index.bases()
        self._recover()

    # --- start ----------------------------------------------------------------------------------

    def left(self, stream: int) -> tuple[Base, list[Block]]:
        """What is left of a stream: where it starts, and its blocks from there on, in order.

        The end of a message whose start has been removed is not wanted any more either.
        """
        found = sorted(place.block for (of, _), place in self._places.items() if of == stream)
        base = self.bases.get(stream, Base())
        start = next((place for place, block in enumerate(found) if block.chunk == 0), len(found))
        if start:
            base = Base(found[start - 1].block + 1, found[start - 1].sequence + 1)
        return base, found[start:]

    def streams(self) -> list[int]:
        """Streams that have, or had, blocks."""
        return sorted({stream for stream, _ in self._places} | self.bases.keys())

    def _recover(self) -> None:
        sealed = self._index.sealed()
        numbers = []
        for name in self._disk.names(self._folder):
            number = int(name.removesuffix(".log"))
            if number < self._first:
                self._disk.remove(self._path(number))
            else:
                numbers.append(number)
        missing = sorted(sealed.keys() - set(numbers))
        if missing:
            raise StoreDamaged(f"{self._path(missing[0])} is missing")
        for number in numbers:
            file = self._files[number] = self._disk.open(self._path(number))
            if number in sealed:
                size, packed = sealed[number]
                if file.size != size:
                    raise StoreDamaged(f"{self._path(number)} has {file.size} bytes instead of {size}")
                places = _unpack(number, packed)
            else:
                self._last = places = self._scan(number, file)
            for place in places:
                self._note(place)
        self._open = max([*numbers, self._first])
        if self._open in sealed:
            self._open += 1
        if self._open not in self._files:
            self._files[self._open] = self._disk.open(self._path(self._open))

    def _scan(self, number: int, file: File) -> list[Place]:
        """Read an open segment from its start; drop a torn tail, raise StoreDamaged for anything else."""
        places: list[Place] = []
        offset = 0
        while offset < file.size:
            found = self._parse(file.read(offset, _HEADER.size))
            if found is None:
                break
            block, _ = found
            data = file.read(offset + _HEADER.size, block.length)
            if len(data) != block.length or checksum([data]) != block.crc:
                break
            places.append(Place(number, offset, block))
            offset += _HEADER.size + block.length
        if offset < file.size:
            self._check_torn(number, file, offset)
            file.truncate(offset)
        file.sync()  # what a killed process had not synced is there, but may not outlive the machine
        return places

    def _check_torn(self, number: int, file: File, bad: int) -> None:
        """StoreDamaged if a batch was begun behind `bad`: then the record there had been durable."""
        rest = file.read(bad, file.size - bad)
        at = rest.find(_MAGIC, 1)
        while at >= 0:
            found = self._parse(rest[at : at + _HEADER.size])
            if found is not None and found[1] > bad:
                raise StoreDamaged(
                    f"{self._path(number)} is damaged at offset {bad}: what was durable there has changed"
                )
            at = rest.find(_MAGIC, at + 1)

    def _parse(self, header: bytes) -> tuple[Block, int] | None:
        """The block of a record header, and where its batch starts."""
        if len(header) != _HEADER.size:
            return None
        magic, check, batch, block, sequence, stream, chunk, chunks, length, crc = _HEADER.unpack(header)
        if magic != _MAGIC or check != zlib.crc32(header[8:], self._index.salt):
            return None
        return Block(stream, block, sequence, chunk, chunks, length, crc), batch

    # --- work -----------------------------------------------------------------------------------

    def append(self, items: Sequence[tuple[Block, Sequence[Buffer]]]) -> None:
        """Write one batch of blocks at the end. `sync` makes it durable, and must follow."""
        file = self._files[self._open]
        if file.size >= self._segment_bytes or len(self._last) >= SEGMENT_RECORDS:
            file = self._seal(file)
        offset = batch = file.size
        pieces: list[Buffer] = []
        places = []
        for block, data in items:
            rest = _HEADER.pack(
                _MAGIC, 0, batch, block.block, block.sequence,
                block.stream, block.chunk, block.chunks, block.length, block.crc,
            )[8:]  # fmt: skip
            pieces.append(_MAGIC + struct.pack("<I", zlib.crc32(rest, self._index.salt)) + rest)
            pieces.extend(data)
            places.append(Place(self._open, offset, block))
            offset += _HEADER.size + block.length
        file.append(pieces)
        self._last.extend(places)
        with self._lock:
            for place, (block, data) in zip(places, items, strict=True):
                self._note(place)
                self._recent.put((self, block.stream, block.block), block.length, data)

    def sync(self) -> None:
        """All that was appended is durable when this returns."""
        self._files[self._open].sync()

    def read(self, stream: int, block: int) -> Sequence[Buffer]:
        """The bytes of a block; StoreDamaged if they are not those that were written."""
        kept = self._recent.get((self, stream, block))
        if kept is not None:
            return kept
        with self._lock:
            place = self._places[stream, block]
            file = self._files[place.segment]
        data = file.read(place.offset + _HEADER.size, place.block.length)
        if checksum([data]) != place.block.crc or len(data) != place.block.length:
            raise StoreDamaged(f"{self._path(place.segment)} is damaged at offset {place.offset}")
        return [data]

    def drop(self, stream: int, block: int) -> None:
        """Blocks below `block` will not be read soon: they need not stay in memory."""
        self._recent.drop((self, stream, block))

    def trim(self, upto: dict[int, int]) -> None:
        """Blocks below `upto`, by stream, are no longer needed: remove the segments that hold only such."""
        with self._lock:
            for stream, block in upto.items():
                self._trimmed[stream] = max(block, self._trimmed.get(stream, 0))
            first = self._first
            while first < self._open and self._dead(first):
                first += 1
            if first == self._first:
                return
            gone = range(self._first, first)
            self._first = first
            keys = [key for key, place in self._places.items() if place.segment < first]
            for key in keys:
                gone_block = self._places.pop(key).block
                if gone_block.ends_message:
                    after = Base(gone_block.block + 1, gone_block.sequence + 1)
                    self.bases[gone_block.stream] = max(self.bases.get(gone_block.stream, Base()), after)
                self._recent.drop((self, *key))
            files = [self._files.pop(number) for number in gone]
            for number in gone:
                self._live.pop(number, None)
        self._index.forget(first, dict(self.bases))
        for number, file in zip(gone, files, strict=True):
            file.close()
            self._disk.remove(self._path(number))

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()

    def _dead(self, number: int) -> bool:
        return all(last < self._trimmed.get(stream, 0) for stream, last in self._live.get(number, {}).items())

    def _seal(self, file: File) -> File:
        """The open segment is full and durable: index it, and open the next."""
        packed = b"".join(_PLACE.pack(place.offset, *place.block) for place in self._last)
        self._index.seal(self._open, file.size, packed)
        self._last = []
        following = self._disk.open(self._path(self._open + 1))
        with self._lock:
            self._open += 1
            self._files[self._open] = following
        return following

    def _note(self, place: Place) -> None:
        block = place.block
        # A message that was half written when its process died is written anew, over what was there.
        for stale in range(block.block, self._tips.get(block.stream, -1) + 1):
            self._places.pop((block.stream, stale), None)
        self._tips[block.stream] = block.block
        self._places[block.stream, block.block] = place
        self._live.setdefault(place.segment, {})[block.stream] = block.block

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:012d}.log"


class MemoryLog:
    """A log that forgets with its process; `trim` and `drop` free at once."""

    durable = False

    def __init__(self) -> None:
        self._blocks: dict[tuple[int, int], Sequence[Buffer]] = {}
        self._first: dict[int, int] = {}
        self._lock = threading.Lock()

    def append(self, items: Sequence[tuple[Block, Sequence[Buffer]]]) -> None:
        """Keep the blocks."""
        with self._lock:
            for block, data in items:
                self._blocks[block.stream, block.block] = data

    def sync(self) -> None:
        """Nothing is made durable here."""

    def read(self, stream: int, block: int) -> Sequence[Buffer]:
        """The bytes of a block."""
        with self._lock:
            return self._blocks[stream, block]

    def drop(self, stream: int, block: int) -> None:
        """A MemoryLog has nothing but its memory: see `trim`."""

    def trim(self, upto: dict[int, int]) -> None:
        """Blocks below `upto`, by stream, are no longer needed."""
        with self._lock:
            for stream, block in upto.items():
                for number in range(self._first.get(stream, 0), block):
                    self._blocks.pop((stream, number), None)
                self._first[stream] = max(block, self._first.get(stream, 0))

    def close(self) -> None:
        """Forget."""
        self._blocks.clear()


def _unpack(number: int, packed: bytes) -> list[Place]:
    return [Place(number, offset, Block(*rest)) for offset, *rest in _PLACE.iter_unpack(packed)]
