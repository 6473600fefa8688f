"""A party's files and folders: for their owner alone (modes 0600 and 0700), durable where they must be."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

PRIVATE = 0o600
#: Of what others may read, as far as the umask lets them.
READABLE = 0o644


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it that are missing."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_descriptor(path: str | os.PathLike[str], flags: int, mode: int = PRIVATE) -> int:
    """A file as `os.open` opens it with these flags; made if it is not there."""
    return os.open(path, flags | os.O_CREAT | os.O_CLOEXEC, mode)


def open_emptied(path: Path, mode: int = PRIVATE) -> BinaryIO:
    """A new or emptied file, to be written."""
    return os.fdopen(open_descriptor(path, os.O_WRONLY | os.O_TRUNC, mode), "wb")


def write_new(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file that is not there yet; FileExistsError if it is."""
    with os.fdopen(open_descriptor(path, os.O_WRONLY | os.O_EXCL), "wb") as file:
        _write(file, data)


def write_whole(path: Path, data: bytes, mode: int = PRIVATE) -> None:
    """Write a file, the whole of it or nothing: who reads it sees the old one or the new one."""
    fresh = path.with_name(path.name + ".new")
    with open_emptied(fresh, mode) as file:
        _write(file, data)
    move(fresh, path)


def move(fresh: Path, path: Path) -> None:
    """Let a file whose content is durable take the place of another."""
    fresh.replace(path)
    sync_folder(path.absolute().parent)


def _write(file: BinaryIO, data: bytes) -> None:
    file.write(data)
    file.flush()
    os.fsync(file.fileno())
