"""The callers of the active party's service, and the tokens that they show."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated

import msgspec

from hecore.algorithms.errors import ConfigurationError
from hecore.algorithms.messages import Name
from hecore.algorithms.private_files import write_whole
from hecore.algorithms.serving.settings import Count, Positive
from hecore.algorithms.settings_file import Section, convert, read_settings
from hecore.randomness import random_bytes

TOKEN_BYTES = 32


class Caller(Section, frozen=True, kw_only=True):
    """Who may call. The token itself is nowhere: it is random, so its SHA-256 does.

    features  may send features of the active party, in place of those in its data
    admin     may switch models and reload
    """

    sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
    features: bool = False
    admin: bool = False
    rows_per_second: Positive | None = None
    burst: Positive | None = None
    per_id_per_day: Count | None = None


class _CallersFile(Section, frozen=True, kw_only=True):
    format: int
    callers: dict[Name, Caller] = msgspec.field(default_factory=dict)


class Callers:
    """The callers of a tokens file. ConfigurationError for a file that is none or open to others' writing."""

    def __init__(self, callers: Mapping[str, Caller]) -> None:
        self.callers = dict(callers)

    @classmethod
    def load(cls, path: Path) -> Callers:
        """Read a file that `add` wrote."""
        if not path.exists():
            raise ConfigurationError(f"{path} is not there: `hecore token NAME --file {path}` makes a token")
        if path.stat().st_mode & 0o022:
            raise ConfigurationError(f"{path} can be changed by others: chmod 600 it")
        content = read_settings(path, partial(convert, kind=_CallersFile))
        if content.format != 1:
            raise ConfigurationError(f"{path} has format {content.format}, not 1")
        return cls(content.callers)

    def find(self, token: str) -> str | None:
        """The caller of a token, in a time that does not depend on which it is."""
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
        found = None
        for name, caller in self.callers.items():
            if hmac.compare_digest(caller.sha256, digest):
                found = name
        return found

    def add(self, name: str, *, features: bool = False, admin: bool = False) -> str:
        """A new token of a caller, whose older one ends; it is returned, and kept nowhere."""
        token = random_bytes(TOKEN_BYTES).hex()
        digest = hashlib.sha256(token.encode()).hexdigest()
        before = self.callers.get(name) or Caller(sha256=digest)
        self.callers[msgspec.convert(name, Name)] = msgspec.structs.replace(
            before, sha256=digest, features=features, admin=admin
        )
        return token

    def save(self, path: Path) -> None:
        """Write the file, of mode 0600; whoever reads it sees the old one or the new one."""
        lines = ["# Callers of hecore serve, by the SHA-256 of their tokens.", "format = 1"]
        for name, caller in sorted(self.callers.items()):
            lines += ["", f"[callers.{msgspec.json.encode(name).decode()}]"]
            given = {key: value for key, value in msgspec.to_builtins(caller).items() if value is not None}
            lines += [f"{key} = {msgspec.json.encode(value).decode()}" for key, value in given.items()]
        write_whole(path, ("\n".join(lines) + "\n").encode())
