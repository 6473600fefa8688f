"""CURVE keys: who may speak on a network channel.

Every party has one key pair. The public keys are exchanged once, outside of this program, and
stand in each party's configuration; the secret key stays in a file that only its owner can read.
Keys are Z85 text of 40 characters, as ZeroMQ writes them; they need no quoting in TOML or JSON
strings.
"""

from __future__ import annotations

import json
import os
import re
import stat
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import zmq
from zmq.utils import z85

from hecore.algorithms.built import built
from hecore.algorithms.errors import AuthenticationError
from hecore.algorithms.private_files import READABLE, write_new, write_whole

KEY_CHARACTERS = 40
#: Keys of one party at once: the old and the new one.
MOST_KEYS = 2
#: How the file of a public half ends.
PUBLIC = ".pub"
LONGEST_FILE = 1 << 12
_SECRET = re.compile(rb"^\s*secret\s*=", re.MULTILINE)


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
        text = (
            "# CURVE key pair of one party. Give away the public key only.\n"
            f'format = 1\npublic = "{self.public}"\nsecret = "{self.secret}"\n'
        )
        write_new(path, text.encode("ascii"))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> CurveKeys:
        """The pair in a file that `save` wrote.

        Raises AuthenticationError if anyone but the owner can read or write the file, if it is the public
        half, or no key file.
        """
        with open(path, "rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            data = file.read(LONGEST_FILE)
            if _is_public(data):
                ends = Path(path).suffix == PUBLIC
                secret = str(Path(path).with_suffix("")) if ends else f"the file without {PUBLIC}"
                raise AuthenticationError(
                    f"{Path(path)} is the public half of a key pair; the secret one is {secret}"
                )
            if mode & 0o077:
                raise AuthenticationError(
                    f"secret key file {Path(path)} is open to others (mode {mode:04o}): chmod "
                    "600 it, and make a new key if someone may have read it"
                )
        try:
            content = msgspec.toml.decode(data, type=built(_KeyFile))
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise AuthenticationError(f"{Path(path)} is not a CURVE key file") from None
        if content.format != 1:
            raise AuthenticationError(f"{Path(path)} has key file format {content.format}, not 1")
        return cls(content.public, content.secret)


def load_public_key(path: str | os.PathLike[str]) -> str:
    """The key in a file of a public half, as `hecore party keygen` writes it beside the pair.

    Raises AuthenticationError naming the file if it is none; of a secret one, which half to give away.
    """
    with open(path, "rb") as file:
        data = file.read(LONGEST_FILE)
    if _SECRET.search(data):
        raise AuthenticationError(
            f"{Path(path)} holds a secret key, which stays with its owner: the half to give away is"
            f" {Path(path)}{PUBLIC}"
        )
    key = data.decode("utf-8", "replace").strip()
    check_key(key, f"the content of {Path(path)}")
    return key


def _is_public(data: bytes) -> bool:
    """Whether a file holds a public key and nothing else."""
    try:
        check_key(data.decode("ascii").strip())
    except (AuthenticationError, UnicodeDecodeError):
        return False
    return True


class _KeyFile(msgspec.Struct, forbid_unknown_fields=True):
    format: int
    public: str
    secret: str


class AllowList:
    """The parties that are trusted, each by its public key, or by two while it changes to a new one."""

    def __init__(self, keys: Mapping[str, str | Sequence[str]]) -> None:
        self._keys = {party: [some] if isinstance(some, str) else list(some) for party, some in keys.items()}
        for party, some in self._keys.items():
            if not 1 <= len(some) <= MOST_KEYS:
                raise AuthenticationError(f"{party} has {len(some)} public keys: one, or two in a change")
            for key in some:
                check_key(key, f"the public key of {party}")
        every = [key for some in self._keys.values() for key in some]
        if len(set(every)) != len(every):
            raise AuthenticationError("a public key stands twice in the allow-list: each party has its own")

    def keys_of(self, party: str) -> list[str]:
        """The public keys of a party; raises AuthenticationError if it is not on the list."""
        if party not in self._keys:
            raise AuthenticationError(f"{party!r} is not on the allow-list: {sorted(self._keys)}")
        return list(self._keys[party])

    def find(self, key: str) -> str | None:
        """The party of a public key, or None."""
        return next((party for party, some in self._keys.items() if key in some), None)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> AllowList:
        """The list in a file that `save` wrote. AuthenticationError if it is none."""
        try:
            content = msgspec.toml.decode(Path(path).read_bytes(), type=built(_ListFile))
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise AuthenticationError(f"{Path(path)} is no allow-list: {error}") from None
        if content.format != 1:
            raise AuthenticationError(f"{Path(path)} has allow-list format {content.format}, not 1")
        return cls(content.parties)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the list; whoever reads the file sees the old list, or the new one from now on."""
        lines = ["# Parties that may connect, and their public CURVE keys.", "format = 1", "", "[parties]"]
        for party, some in sorted(self._keys.items()):
            keys = ", ".join(f'"{key}"' for key in some)
            lines.append(f"{json.dumps(party)} = [{keys}]")
        write_whole(Path(path), ("\n".join(lines) + "\n").encode(), READABLE)

    def trust(self, party: str, key: str) -> AllowList:
        """This list with one more key of a party; of two that it has, the older one goes."""
        kept = [known for known in self._keys.get(party, []) if known != key]
        return AllowList({**self._keys, party: [*kept[-1:], key]})

    def parties(self) -> list[str]:
        """The names on the list, sorted."""
        return sorted(self._keys)

    def distrust(self, party: str, key: str | None = None) -> AllowList:
        """This list without one key of a party, or without the party.

        A party whose last key goes is not on the list any more. Raises AuthenticationError if the party or
        the key is not on it.
        """
        known = self.keys_of(party)
        if key is not None and key not in known:
            raise AuthenticationError(f"this is none of the {len(known)} keys that {party} is trusted with")
        left = [] if key is None else [some for some in known if some != key]
        others = {name: some for name, some in self._keys.items() if name != party}
        return AllowList({**others, party: left} if left else others)


class _ListFile(msgspec.Struct, forbid_unknown_fields=True):
    format: int
    parties: dict[str, list[str]]


def check_key(key: str, what: str = "a public key") -> None:
    """Raises AuthenticationError, without the key, unless it is 40 characters of Z85."""
    try:
        valid = len(key) == KEY_CHARACTERS and len(z85.decode(key.encode("ascii"))) == 32
    except (KeyError, ValueError, struct.error):
        valid = False
    if not valid:
        raise AuthenticationError(f"{what} must be {KEY_CHARACTERS} characters of Z85")
