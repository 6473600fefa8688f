"""The index of a store: small facts in SQLite, each change durable when its call returns.

WAL with synchronous = FULL: a commit is one append and one fsync, and a torn one is rolled back.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterable
from pathlib import Path

import msgspec

from hecore.algorithms.built import built
from hecore.algorithms.channel.segments import Base
from hecore.algorithms.errors import StoreDamaged, StoreError
from hecore.algorithms.private_files import open_descriptor

FORMAT = "1"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS peers (name TEXT PRIMARY KEY, epoch INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS logs (
    name TEXT PRIMARY KEY, salt INTEGER NOT NULL, first INTEGER NOT NULL, bases TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS segments (
    log TEXT NOT NULL, number INTEGER NOT NULL, size INTEGER NOT NULL, places BLOB NOT NULL,
    PRIMARY KEY (log, number));
"""
_Change = tuple[str, tuple[object, ...]]


class Index:
    """The SQLite file at `path`; threads may share it. Raises StoreError, StoreDamaged."""

    def __init__(self, path: Path | str) -> None:
        self._path = path
        self._mutex = threading.Lock()
        os.close(open_descriptor(path, os.O_RDWR))
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        try:
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")
            found = self._database.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                raise StoreDamaged(f"{path} is damaged: {found}")
            self._database.executescript(_SCHEMA)
        except StoreDamaged:
            self._database.close()
            raise
        except sqlite3.DatabaseError as error:
            self._database.close()
            raise StoreDamaged(f"{path} is no index of a store: {error}") from error

    def fact(self, name: str) -> str | None:
        """A fact, or None."""
        rows = self.rows("SELECT value FROM facts WHERE name = ?", name)
        return str(rows[0][0]) if rows else None

    def set_fact(self, name: str, value: str) -> None:
        """Set a fact."""
        self.change([("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))])

    def peer_epoch(self, peer: str) -> int:
        """The highest epoch of a peer that was set, or 0."""
        rows = self.rows("SELECT epoch FROM peers WHERE name = ?", peer)
        return int(rows[0][0]) if rows else 0

    def set_peer_epoch(self, peer: str, epoch: int) -> None:
        """Set it."""
        self.change([("INSERT OR REPLACE INTO peers VALUES (?, ?)", (peer, epoch))])

    def of_log(self, name: str) -> LogIndex:
        """The part of one log."""
        salt = int.from_bytes(os.urandom(4), "little")
        self.change([("INSERT OR IGNORE INTO logs VALUES (?, ?, 0, '{}')", (name, salt))])
        return LogIndex(self, name)

    def rows(self, query: str, *values: object) -> list[tuple[int | str | bytes, ...]]:
        """The rows of a query."""
        try:
            with self._mutex:
                return self._database.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise StoreError(f"{self._path} cannot be read: {error}") from error

    def change(self, changes: Iterable[_Change]) -> None:
        """Make changes in one transaction."""
        try:
            with self._mutex:
                self._database.execute("BEGIN IMMEDIATE")
                try:
                    for text, values in changes:
                        self._database.execute(text, values)
                    self._database.execute("COMMIT")
                except BaseException:
                    if self._database.in_transaction:
                        self._database.execute("ROLLBACK")
                    raise
        except sqlite3.Error as error:
            raise StoreError(f"{self._path} cannot be written: {error}") from error

    def close(self) -> None:
        """Close the file."""
        with self._mutex:
            self._database.close()


class LogIndex:
    """See segments.SegmentIndex."""

    def __init__(self, index: Index, name: str) -> None:
        self._index, self._name = index, name
        row = index.rows("SELECT salt FROM logs WHERE name = ?", name)[0]
        self.salt = int(row[0])

    def sealed(self) -> dict[int, tuple[int, bytes]]:
        """See SegmentIndex.sealed."""
        rows = self._index.rows("SELECT number, size, places FROM segments WHERE log = ?", self._name)
        return {int(number): (int(size), bytes(places)) for number, size, places in rows}  # type: ignore[arg-type]

    def seal(self, number: int, size: int, places: bytes) -> None:
        """See SegmentIndex.seal."""
        values = (self._name, number, size, places)
        self._index.change([("INSERT OR REPLACE INTO segments VALUES (?, ?, ?, ?)", values)])

    def bases(self) -> tuple[int, dict[int, Base]]:
        """See SegmentIndex.bases."""
        first, text = self._index.rows("SELECT first, bases FROM logs WHERE name = ?", self._name)[0]
        return int(first), msgspec.json.decode(str(text), type=built(dict[int, Base]))

    def forget(self, first: int, bases: dict[int, Base]) -> None:
        """See SegmentIndex.forget."""
        text = msgspec.json.encode({str(stream): base for stream, base in bases.items()}).decode()
        self._index.change(
            [
                ("UPDATE logs SET first = ?, bases = ? WHERE name = ?", (first, text, self._name)),
                ("DELETE FROM segments WHERE log = ? AND number < ?", (self._name, first)),
            ]
        )
