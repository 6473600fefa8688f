"""What one party keeps of an exchange with one other: little, and enough to go on after a break.

    secrets     session, scalar and shuffle seed: with them and its ids a party can make every message again
    done        chunks that the active party has finished
    own, peers  at the active party: 16 bytes for each id of either side, filled chunk by chunk

In memory, or in a folder (mode 0700): `exchange.json` is replaced whole (written, synced, renamed) after the
tags that it counts are on disk. Whoever has the scalar and a record of this party's messages can try out ids
on them; the folder is emptied when the exchange is over, and never used for other ids.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from pathlib import Path

import msgspec
import numpy as np

from hecore.algorithms.errors import ConfigurationError
from hecore.algorithms.psi.group import Rows, new_scalar
from hecore.algorithms.psi.messages import TAG_BYTES, Hex16
from hecore.algorithms.psi.steps import SEED_BYTES
from hecore.randomness import random_bytes

log = logging.getLogger(__name__)

FORMAT, VERSION = "hecore psi exchange", 1
RECORD, OWN, PEERS = "exchange.json", "own.tags", "peers.tags"
#: Seconds of work that a break may cost.
INTERVAL = 5.0


class _Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file; `purpose` is what must not change in between: ids, peer, settings."""

    format: str
    version: int
    purpose: str
    session: Hex16
    scalar: str
    seed: str
    done: int

    def __post_init__(self) -> None:
        if len(bytes.fromhex(self.scalar)) != 32 or len(bytes.fromhex(self.seed)) != SEED_BYTES:
            raise ValueError("a secret of another length")


class ExchangeState:
    """The state of one exchange; see the module.

    folder    where it is kept, None for memory alone; made if it is not there
    purpose   SHA-256 as hex of what the secrets may be used for: a kept state of another purpose is dropped
    """

    def __init__(self, folder: Path | None, purpose: str) -> None:
        self._folder, self._purpose = folder, purpose
        self._record: _Record | None = None
        self._saved = time.monotonic()
        self.own = self.peers = np.empty((0, TAG_BYTES), np.uint8)
        if folder is not None:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._record = self._load(folder)

    @property
    def session(self) -> str:
        """The exchange that can be gone on with, "" if there is none."""
        return "" if self._record is None else self._record.session

    @property
    def done(self) -> int:
        """Chunks finished."""
        return 0 if self._record is None else self._record.done

    @property
    def scalar(self) -> bytes:
        """This party's secret of the exchange."""
        return bytes.fromhex(self._begun().scalar)

    @property
    def seed(self) -> bytes:
        """Draws the order of this party's ids."""
        return bytes.fromhex(self._begun().seed)

    def begin(self, session: str, done: int, own: int, peers: int) -> None:
        """Go on with `session` from chunk `done` if it is the kept one, else start it with fresh secrets.

        `own` and `peers`: ids whose tags are to be held.
        """
        if session != self.session:
            self._clear()
            secrets = {"scalar": new_scalar().hex(), "seed": random_bytes(SEED_BYTES).hex()}
            self._record = _Record(
                format=FORMAT, version=VERSION, purpose=self._purpose, session=session, done=0, **secrets
            )
        self._record = msgspec.structs.replace(self._begun(), done=done)
        self.own, self.peers = self._tags(OWN, own), self._tags(PEERS, peers)
        self._save()

    def finished(self, done: int) -> None:
        """The tags of the first `done` chunks are filled; written at most every INTERVAL seconds."""
        self._record = msgspec.structs.replace(self._begun(), done=done)
        if time.monotonic() >= self._saved + INTERVAL:
            self._save()

    def keep(self) -> None:
        """Write now what is finished."""
        if self._record is not None:
            self._save()

    def drop(self) -> None:
        """The exchange is over: forget its secrets and tags."""
        self._clear()
        if self._folder is not None:
            with contextlib.suppress(OSError):  # somebody else's file is in it
                self._folder.rmdir()

    def _begun(self) -> _Record:
        if self._record is None:
            raise RuntimeError("the exchange has not begun")
        return self._record

    def _clear(self) -> None:
        self._record = None
        self.own = self.peers = np.empty((0, TAG_BYTES), np.uint8)
        if self._folder is not None:
            for name in (RECORD, OWN, PEERS):
                (self._folder / name).unlink(missing_ok=True)

    def _tags(self, name: str, rows: int) -> Rows:
        if self._folder is None or rows == 0:
            return np.zeros((rows, TAG_BYTES), np.uint8)
        path, size = self._folder / name, rows * TAG_BYTES
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "r+b") as file:
            file.truncate(size)
        return np.memmap(path, np.uint8, "r+", shape=(rows, TAG_BYTES))

    def _save(self) -> None:
        self._saved = time.monotonic()
        if self._folder is None:
            return
        for kept in (self.own, self.peers):
            if isinstance(kept, np.memmap):
                kept.flush()
        new = self._folder / f"{RECORD}.new"
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode(self._begun()))
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, self._folder / RECORD)
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _load(self, folder: Path) -> _Record | None:
        path = folder / RECORD
        if not path.exists():
            return None
        try:
            record = msgspec.json.decode(path.read_bytes(), type=_Record)
        except (msgspec.MsgspecError, ValueError) as error:
            raise ConfigurationError(f"{path} is no state of an exchange: {error}") from None
        if (record.format, record.version) != (FORMAT, VERSION):
            raise ConfigurationError(f"{path} is {record.format!r} version {record.version}, not {VERSION}")
        if record.purpose != self._purpose:
            log.warning("%s belongs to other ids or settings: starting anew", folder)
            return None
        return record
