"""The little that a store asks of a file system; tests put one in between that fails or forgets.

A failed write or sync is never tried again as if nothing had been: after an fsync error the kernel
may have dropped the pages and reported the error once. The store ends instead.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from hecore.algorithms.channel.packet import Buffer
from hecore.algorithms.private_files import make_folder, open_descriptor, sync_folder

#: Buffers that one writev takes.
MAX_BUFFERS = 512


class File(Protocol):
    """An append-only file."""

    @property
    def size(self) -> int:
        """Bytes in it."""

    def append(self, pieces: Sequence[Buffer]) -> None:
        """Write the pieces at the end, all of them, or raise OSError."""

    def sync(self) -> None:
        """Return after all that was appended is on the disk, or raise OSError."""

    def read(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes at `offset`."""

    def truncate(self, size: int) -> None:
        """Drop what stands behind `size`, durably."""

    def close(self) -> None:
        """Let go of it."""


class Disk(Protocol):
    """Folders and append-only files."""

    def open(self, path: Path) -> File:
        """The file at `path`, made if it is not there, its name made durable."""

    def names(self, folder: Path) -> list[str]:
        """Names of the files in a folder, sorted; the folder is made if it is not there."""

    def remove(self, path: Path) -> None:
        """Remove a file that is no longer needed."""


class OsDisk:
    """The operating system's file system. Files have mode 0600, folders 0700."""

    def open(self, path: Path) -> File:
        """See Disk.open."""
        new = not path.exists()
        file = OsFile(open_descriptor(path, os.O_RDWR | os.O_APPEND))
        if new:
            sync_folder(path.parent)
        return file

    def names(self, folder: Path) -> list[str]:
        """See Disk.names."""
        make_folder(folder)
        return sorted(entry.name for entry in folder.iterdir())

    def remove(self, path: Path) -> None:
        """See Disk.remove."""
        path.unlink(missing_ok=True)


class OsFile:
    """A file by its descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.size = os.fstat(descriptor).st_size

    def append(self, pieces: Sequence[Buffer]) -> None:
        """See File.append."""
        for start in range(0, len(pieces), MAX_BUFFERS):
            some = list(pieces[start : start + MAX_BUFFERS])
            left = sum(len(piece) for piece in some)
            while left:
                written = os.writev(self._descriptor, some)
                self.size += written
                left -= written
                while some and written >= len(some[0]):
                    written -= len(some.pop(0))
                if written:
                    some[0] = memoryview(some[0])[written:]

    def sync(self) -> None:
        """See File.sync."""
        os.fdatasync(self._descriptor)

    def read(self, offset: int, length: int) -> bytes:
        """See File.read."""
        return os.pread(self._descriptor, length, offset)

    def truncate(self, size: int) -> None:
        """See File.truncate."""
        os.ftruncate(self._descriptor, size)
        os.fsync(self._descriptor)
        self.size = size

    def close(self) -> None:
        """See File.close."""
        os.close(self._descriptor)
