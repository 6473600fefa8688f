"""CURVE keys: who may speak on a network channel.

Every party has one key pair. The public keys are exchanged once, outside of this program, and
stand in each party's configuration; the secret key stays in a file that only its owner can read.
Keys are Z85 text of 40 characters, as ZeroMQ writes them; they need no quoting in TOML or JSON
strings.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import zmq
from zmq.utils import z85

from hecore.algorithms.errors import AuthenticationError

KEY_CHARACTERS = 40


@dataclass(frozen=True)
class CurveKeys:
    """A party's key pair. The secret is in neither `repr` nor any error."""

    public: str
    secret: str = field(repr=False)

    def __post_init__(self) -> None:
        check_key(self.public)
        check_key(self.secret, "a secret key")
        if zmq.curve_public(self.secret.encode()).decode() != self.public:
            raise AuthenticationError(f"the secret key does not belong to public key {self.public}")

    @classmethod
    def generate(cls) -> CurveKeys:
        """A new random pair, from the operating system's generator."""
        public, secret = zmq.curve_keypair()
        return cls(public.decode(), secret.decode())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write both keys to a new file of mode 0600; FileExistsError if there is one already."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write("# CURVE key pair of one party. Give away the public key only.\n")
            file.write(f'format = 1\npublic = "{self.public}"\nsecret = "{self.secret}"\n')
            file.flush()
            os.fsync(file.fileno())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> CurveKeys:
        """The pair in a file that `save` wrote.

        Raises AuthenticationError if anyone but the owner can read or write the file, or if it is
        no key file.
        """
        with open(path, "rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o077:
                raise AuthenticationError(
                    f"secret key file {Path(path)} is open to others (mode {mode:04o}): chmod "
                    "600 it, and make a new key if someone may have read it"
                )
            data = file.read(1 << 12)
        try:
            content = msgspec.toml.decode(data, type=_KeyFile)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise AuthenticationError(f"{Path(path)} is not a CURVE key file") from None
        if content.format != 1:
            raise AuthenticationError(f"{Path(path)} has key file format {content.format}, not 1")
        return cls(content.public, content.secret)


class _KeyFile(msgspec.Struct, forbid_unknown_fields=True):
    format: int
    public: str
    secret: str


class AllowList:
    """The parties that are trusted, each by exactly one public key."""

    def __init__(self, keys: Mapping[str, str]) -> None:
        self._keys = dict(keys)
        for party, key in self._keys.items():
            check_key(key, f"the public key of {party}")
        if len(set(self._keys.values())) != len(self._keys):
            raise AuthenticationError("two parties of the allow-list have the same public key")

    def key_of(self, party: str) -> str:
        """The public key of a party; raises AuthenticationError if it is not on the list."""
        if party not in self._keys:
            raise AuthenticationError(f"{party!r} is not on the allow-list: {sorted(self._keys)}")
        return self._keys[party]

    def party_of(self, key: str) -> str:
        """The party of a public key; raises AuthenticationError if it is not on the list."""
        for party, known in self._keys.items():
            if known == key:
                return party
        raise AuthenticationError(f"public key {key} is not on the allow-list")


def check_key(key: str, what: str = "a public key") -> None:
    """Raises AuthenticationError, without the key, unless it is 40 characters of Z85."""
    try:
        valid = len(key) == KEY_CHARACTERS and len(z85.decode(key.encode("ascii"))) == 32
    except (KeyError, ValueError, struct.error):
        valid = False
    if not valid:
        raise AuthenticationError(f"{what} must be {KEY_CHARACTERS} characters of Z85")
