"""The tags of an exchange, TAG_BYTES for each id of a side: in memory, or in a file that only grows.

A checkpoint holds how many rows a file has and their SHA-256, and not the rows: it costs the same however
many ids there are, and what a process wrote after its last checkpoint is cut off when it starts again.
"""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path
from typing import IO

import numpy as np

from hecore.algorithms.errors import CheckpointError
from hecore.algorithms.private_files import open_descriptor, sync_folder
from hecore.algorithms.psi.group import Rows
from hecore.algorithms.psi.messages import TAG_BYTES

EMPTY = hashlib.sha256().hexdigest()
#: Bytes that are read at a time.
PIECE = 1 << 22


class Tags:
    """See the module. A file is made with mode 0600.

    path    None for memory alone
    rows    that the file holds, with the SHA-256 `digest`, as a checkpoint says

    Raises CheckpointError naming the file where it holds fewer rows or others.
    """

    def __init__(self, path: Path | None = None, rows: int = 0, digest: str = EMPTY) -> None:
        self._path, self._hash = path, hashlib.sha256()
        self._file: IO[bytes] = io.BytesIO() if path is None else _open(path)
        left = rows * TAG_BYTES
        while left and (piece := self._file.read(min(left, PIECE))):
            self._hash.update(piece)
            left -= len(piece)
        if self.digest != digest:
            self._file.close()
            raise CheckpointError(f"{path} does not hold the {rows} rows that its checkpoint counts")
        self._file.truncate(rows * TAG_BYTES)

    @property
    def digest(self) -> str:
        """SHA-256 of all rows so far."""
        return self._hash.hexdigest()

    def append(self, rows: Rows) -> None:
        """Add uint8[n, TAG_BYTES]. OSError where the disk is full."""
        data = rows.tobytes()
        self._file.write(data)
        self._hash.update(data)

    def sync(self) -> None:
        """What was appended is durable when this returns; a file on disk alone can be that."""
        self._file.flush()
        if self._path is not None:
            os.fsync(self._file.fileno())

    def rows(self) -> Rows:
        """All rows, uint8[n, TAG_BYTES], after the last `append`. There is at least one."""
        self._file.flush()
        if isinstance(self._file, io.BytesIO):
            return np.frombuffer(self._file.getbuffer(), np.uint8).reshape(-1, TAG_BYTES)
        return np.memmap(self._file, np.uint8, "r").reshape(-1, TAG_BYTES)

    def close(self) -> None:
        """Let go of the file; what was appended stays in it."""
        if self._path is not None:  # memory may still be looked at
            self._file.close()

    def remove(self) -> None:
        """The exchange is over: no tag is left on disk."""
        self.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def _open(path: Path) -> IO[bytes]:
    descriptor = open_descriptor(path, os.O_RDWR)
    sync_folder(path.parent)
    return os.fdopen(descriptor, "r+b")
