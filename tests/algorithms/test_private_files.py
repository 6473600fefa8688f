"""Modes of a party's files, and writing the whole of one or nothing."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from hecore.algorithms import private_files
from hecore.algorithms.private_files import (
    READABLE,
    make_folder,
    open_descriptor,
    open_emptied,
    write_new,
    write_whole,
)


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    before = os.umask(0o002)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_files_and_folders_are_for_their_owner(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    make_folder(folder)
    write_new(folder / "new", b"1")
    write_whole(folder / "whole", b"2")
    write_whole(folder / "list", b"3", READABLE)
    os.close(open_descriptor(folder / "log", os.O_WRONLY | os.O_APPEND))
    with open_emptied(folder / "emptied") as file:
        file.write(b"4")
    assert {path.name: mode(path) for path in folder.iterdir()} == {
        "new": 0o600,
        "whole": 0o600,
        "list": 0o644,
        "log": 0o600,
        "emptied": 0o600,
    }
    assert mode(folder) == mode(folder.parent) == 0o700


def test_a_new_file_replaces_none(tmp_path: Path) -> None:
    path = tmp_path / "key"
    write_new(path, b"old")
    with pytest.raises(FileExistsError):
        write_new(path, b"new")
    assert path.read_bytes() == b"old"


def test_a_disk_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "choice"
    write_whole(path, b"old")

    def fails(descriptor: int) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(private_files.os, "fsync", fails)
    with pytest.raises(OSError, match="full"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    monkeypatch.undo()
    write_whole(path, b"new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["choice"]
    assert path.read_bytes() == b"new"
