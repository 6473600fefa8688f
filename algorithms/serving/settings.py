"""What a serving party is told: one TOML file.

    [party] [peers.NAME]      keys, and where the others are
    [data]                    this party's features
    [http] [scores] [batch]   at the active party: its face to callers
    [limits] [audit]          at each party its own

Paths are relative to the file. Everything but [party] and [peers] may be left out.
"""

from __future__ import annotations

import difflib
import ipaddress
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from hecore.algorithms.channel import AllowList, CurveKeys
from hecore.algorithms.errors import AuthenticationError, ConfigurationError
from hecore.algorithms.messages import Name
from hecore.algorithms.serving.line import Contact
from hecore.algorithms.settings_file import PeerParty, Section, Text, check_address, convert, read_settings

Positive = Annotated[float, msgspec.Meta(gt=0, le=1e9)]
Count = Annotated[int, msgspec.Meta(ge=1, le=10**9)]


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


class Party(Section, frozen=True, kw_only=True):
    """This party.

    keys     its key pair for the network, from `hecore party keygen`
    allowed  whose keys it lets in, from `hecore party trust`
    listen   address that it listens at, tcp://INTERFACE:PORT; left out where it only dials
    """

    keys: Text
    allowed: Text = "allowed.toml"
    listen: Text | None = None


class Data(Section, frozen=True, kw_only=True):
    """This party's features: a CSV, Parquet or SQLite file. `table` is SQLite's."""

    file: Text | None = None
    id: Text = "id"
    table: Text = "features"


class Http(Section, frozen=True, kw_only=True):
    """How callers reach the active party.

    address, port     where it listens
    certificate, key  PEM files for HTTPS; without them it listens on this machine alone, unless
    behind_proxy      something in front of it does HTTPS
    tokens            who may call: see Callers
    max_rows          rows of a request
    max_body          bytes of one
    time_limit        seconds until a request is given up
    """

    address: Text = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 8080
    certificate: Text | None = None
    key: Text | None = None
    behind_proxy: bool = False
    tokens: Text = "tokens.toml"
    max_rows: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 1000
    max_body: Annotated[int, msgspec.Meta(ge=100, le=1 << 28)] = 1 << 20
    time_limit: Positive = 2.0

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ConfigurationError("certificate and key: both, or neither")
        if not (self.certificate or self.behind_proxy or _is_loopback(self.address)):
            raise ConfigurationError(
                f"address = {self.address!r} would show tokens and scores to the network: set"
                " certificate and key, or behind_proxy = true where something in front does HTTPS"
            )


class Scores(Section, frozen=True, kw_only=True):
    """What callers see of a score.

    probability_step  probabilities are rounded to this; 0 rounds nothing
    digits            other predictions are rounded to so many significant digits; 0 rounds nothing
    when_down         with a passive party away: "error", or "active-only", a score that is marked
    """

    probability_step: Annotated[float, msgspec.Meta(ge=0, le=0.5)] = 0.001
    digits: Annotated[int, msgspec.Meta(ge=0, le=17)] = 3
    when_down: Literal["error", "active-only"] = "error"


class Batch(Section, frozen=True, kw_only=True):
    """How requests are put together into questions to the passive parties.

    wait_ms    a request waits so long for others while no question is under way; while some are, requests
               gather without it
    rows       of a question, unless one request has more
    in_flight  questions under way at once
    waiting    rows that may wait; more are refused
    """

    wait_ms: Annotated[float, msgspec.Meta(ge=0, le=1000)] = 0.0
    rows: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 512
    in_flight: Annotated[int, msgspec.Meta(ge=1, le=64)] = 2
    waiting: Count = 10_000


class Limits(Section, frozen=True, kw_only=True):
    """What may be asked, in rows: at the active party by each caller, at a passive one by its active party.

    rows_per_second, burst  on average, and at once after a pause
    per_id_per_day          times that one id is answered (at the active party to one caller)
    sum_bits                of a linear model, at a passive party: fractional bits of its partial sums
    mask_with               of a linear model with several passive parties: the names of the other ones
    """

    rows_per_second: Positive | None = None
    burst: Positive | None = None
    per_id_per_day: Count | None = None
    sum_bits: Annotated[int, msgspec.Meta(ge=0, le=40)] = 16
    mask_with: tuple[Name, ...] = ()

    def rate(self, active: bool) -> tuple[float, float]:
        """rows_per_second and burst, by default 50 and 1,000 a caller, 1,000 and 10,000 an active party."""
        return self.rows_per_second or (50 if active else 1000), self.burst or (1000 if active else 10_000)

    def daily(self, active: bool) -> int:
        """per_id_per_day, by default 5 a caller, 20 an active party."""
        return self.per_id_per_day or (5 if active else 20)


class Audit(Section, frozen=True, kw_only=True):
    """`ids`: a keyed hash of each, the id itself, or none."""

    file: Text = "audit.jsonl"
    ids: Literal["hash", "plain", "none"] = "hash"


class _File(Section, frozen=True, kw_only=True):
    """The whole file. `choice` keeps which model is active over restarts."""

    party: Party
    peers: dict[Name, PeerParty]
    job: Name = "serve"
    choice: Text = "choice.json"
    data: Data = Data()
    http: Http = Http()
    scores: Scores = Scores()
    batch: Batch = Batch()
    limits: Limits = Limits()
    audit: Audit = Audit()

    def __post_init__(self) -> None:
        if not self.peers:
            raise ConfigurationError("peers: at least one other party is needed, as [peers.NAME]")
        if self.party.listen is None and not all(peer.dial for peer in self.peers.values()):
            name = min(name for name, peer in self.peers.items() if not peer.dial)
            raise ConfigurationError(
                f"peers.{name} has no dial, and party.listen is not set: who calls whom?"
            )
        check_address("party.listen", self.party.listen)
        for name, peer in self.peers.items():
            check_address(f"peers.{name}.dial", peer.dial)


class Settings(_File, frozen=True, kw_only=True):
    """What the file says, and the folder that it lies in."""

    folder: Path

    def path(self, name: str) -> Path:
        """A path of the file, absolute."""
        return self.folder / name

    def contact(self) -> Contact:
        """Keys and addresses for the line to the other parties, and only to those."""
        allowed = AllowList.load(self.path(self.party.allowed))
        known = AllowList(
            {peer: self._keys_of(allowed, peer) for peer in [*self.peers, *self.limits.mask_with]}
        )
        dial = {name: peer.dial for name, peer in self.peers.items() if peer.dial}
        return Contact(CurveKeys.load(self.path(self.party.keys)), known, self.party.listen, dial)

    def _keys_of(self, allowed: AllowList, peer: str) -> list[str]:
        parties = allowed.parties()
        if peer in parties:
            return allowed.keys_of(peer)
        close = difflib.get_close_matches(peer, parties, 1)
        raise AuthenticationError(
            f"{peer!r} is not on the allow-list {self.path(self.party.allowed)}: "
            + (f"did you mean {close[0]!r}? " if close else "")
            + f"`hecore party trust {peer} FILE.pub --list {self.party.allowed}` lets it in"
        )


def load_settings(path: Path) -> Settings:
    """The settings in a file. ConfigurationError naming the file, the key, its value and what is allowed."""
    file = read_settings(path, partial(convert, kind=_File))
    return Settings(**msgspec.structs.asdict(file), folder=path.absolute().parent)
