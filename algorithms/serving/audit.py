"""What was asked and answered, a JSON line each: who, when, how many rows, which ids; never a feature.

An id is written as a keyed hash by default: whoever has the key file can look an id up, whoever has the log
alone cannot try ids out. A line that cannot be written is an error: nothing is answered unrecorded.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

from hecore.algorithms.errors import ConfigurationError
from hecore.algorithms.private_files import open_descriptor, write_new
from hecore.randomness import random_bytes

IdStyle = Literal["hash", "plain", "none"]
KEY_BYTES, HASH_BYTES = 32, 16


class AuditLog:
    """Lines are appended to `path`, of mode 0600; the key of hashes lies in `path`.key."""

    def __init__(self, path: Path, style: IdStyle = "hash") -> None:
        self.path, self._style = path, style
        self._key = _key_of(Path(f"{path}.key")) if style == "hash" else b""
        self._file = -1
        self._lock = threading.Lock()  # one thread writes while another opens it anew
        self.reopen()

    def reopen(self) -> None:
        """Go on in a new file where the old one was moved away."""
        fresh = open_descriptor(self.path, os.O_WRONLY | os.O_APPEND)
        with self._lock:
            old, self._file = self._file, fresh
            if old >= 0:
                os.close(old)

    def write(self, event: str, *, ids: Sequence[str] = (), **fields: Any) -> None:
        """One line. OSError where it cannot be written whole."""
        line: dict[str, Any] = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event}
        line |= {name: value for name, value in fields.items() if value is not None}
        if ids and self._style != "none":
            line["ids"] = [self.shown(text) for text in ids]
        data = msgspec.json.encode(line) + b"\n"
        with self._lock:
            written = os.write(self._file, data)
        if written != len(data):
            raise OSError(f"{self.path}: the disk is full")

    def shown(self, text: str) -> str:
        """An id as it stands in the log."""
        if self._style == "plain":
            return text
        return hashlib.blake2b(text.encode(), digest_size=HASH_BYTES, key=self._key).hexdigest()

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _key_of(path: Path) -> bytes:
    """The key in a file, or a new one. ConfigurationError for a file of another length, or open to others."""
    key = random_bytes(KEY_BYTES)
    try:
        write_new(path, key)
    except FileExistsError:
        key = path.read_bytes()
        if len(key) != KEY_BYTES or path.stat().st_mode & 0o077:
            raise ConfigurationError(f"{path} is no key of an audit log, or open to others") from None
    return key
