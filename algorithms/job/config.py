"""The job file: what one party says of a joint job, in TOML.

    job = "credit"                        the same at all parties
    [party]                               who I am, and whom I let in
    [peers.NAME]                          the others, and where to dial those that listen
    [data]                                my file
    [alignment] [split] [algorithm]       agreed: equal at all parties, compared at the handshake
    [key]                                 my Paillier key; its length is agreed
    [run]                                 how it runs here

Paths are relative to the file. Every error names the key, its value and what is allowed.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from hecore.algorithms.checks import check_key_bits
from hecore.algorithms.data.libsvm import is_libsvm
from hecore.algorithms.errors import ConfigurationError
from hecore.algorithms.gbdt import GBDTConfig
from hecore.algorithms.lr import LinearConfig
from hecore.algorithms.messages import Name
from hecore.algorithms.party import ACTIVE
from hecore.algorithms.settings_file import (
    PeerParty,
    Section,
    Text,
    check_address,
    convert,
    mistakes,
    read_settings,
    refuse,
)

VERSION = 1
Role = Literal["active", "passive"]
AlgorithmConfig = GBDTConfig | LinearConfig
#: What `[algorithm] name` may be, and the parameters of each.
ALGORITHMS: dict[str, type[GBDTConfig] | type[LinearConfig]] = {
    "gbdt": GBDTConfig,
    "linear": LinearConfig,
}
Share = Annotated[float, msgspec.Meta(ge=0, lt=1)]
Seconds = Annotated[float, msgspec.Meta(gt=0, le=1e7)]


class Party(Section, frozen=True, kw_only=True):
    """This party.

    name     as the others know it
    role     "active": it holds the label, and talks to all; "passive": it holds columns alone
    keys     its key pair for the network, from `hecore party keygen`
    allowed  whose keys it lets in, from `hecore party trust`
    listen   address that it listens at, tcp://INTERFACE:PORT; left out where it only dials
    """

    name: Name
    role: Role
    keys: Text
    allowed: Text = "allowed.toml"
    listen: Text | None = None


class Data(Section, frozen=True, kw_only=True):
    """This party's file.

    file         CSV or Parquet, with a row for each id; or libsvm (.libsvm, .svm, .svmlight), whose rows
                 begin with the label, and end in "# id" or have their number as id
    id           the column of ids
    label        the column of labels, at the active party
    positive     the label, a number or a text, that counts as 1, every other one as 0; left out where labels
                 are 0, 1, … already
    categorical  columns of numbers that are categories
    drop         columns that are left out
    """

    file: Text
    id: Text = "id"
    label: Text | None = None
    positive: float | Text | None = None
    categorical: list[Text] = msgspec.field(default_factory=list)
    drop: list[Text] = msgspec.field(default_factory=list)


class AlignmentTerms(Section, frozen=True, kw_only=True):
    """How rows are matched. Agreed.

    method            "psi": the ids that all have are found, no other is shown; "none": all files have the
                      same rows in the same order
    min_intersection  fewer common ids are an error
    """

    method: Literal["psi", "none"] = "psi"
    min_intersection: Annotated[int, msgspec.Meta(ge=1)] = 1


class SplitTerms(Section, frozen=True, kw_only=True):
    """Which rows train, by a keyed hash of their ids. Agreed.

    validation, test  shares of the rows
    key               a text of 16 to 64 characters; the same text gives the same parts again. Left out, the
                      active party draws one for the job
    """

    validation: Share = 0.0
    test: Share = 0.2
    key: Annotated[str, msgspec.Meta(min_length=16, max_length=64)] | None = None

    def __post_init__(self) -> None:
        if self.validation + self.test >= 1:
            raise ConfigurationError(
                f"validation + test = {self.validation + self.test:g}: below 1, to leave rows to train on"
            )

    def shown(self) -> dict[str, Any]:
        """The settings with a hash of the key: whoever knows it can tell the part of any id."""
        hashed = None if self.key is None else hashlib.sha256(self.key.encode()).hexdigest()[:16]
        return {**msgspec.to_builtins(self), "key": hashed}


class Key(Section, frozen=True, kw_only=True):
    """This party's Paillier key; a passive party of trees has none.

    bits             2048, 3072 or 4096. Agreed
    file             of `hecore keygen`; left out, the job makes one of its own and removes it when it is done
    passphrase_file  the first line of this file opens `file`
    """

    bits: int = 2048
    file: Text | None = None
    passphrase_file: Text | None = None

    def __post_init__(self) -> None:
        check_key_bits("bits", self.bits)
        if (self.file is None) != (self.passphrase_file is None):
            raise ConfigurationError("file and passphrase_file: both, or neither")


class RunOptions(Section, frozen=True, kw_only=True):
    """How the job runs at this party.

    folder              what the run leaves; its state while it runs lies in FOLDER/state
    backend             "auto", or the name of one
    checkpoint_seconds  between two checkpoints
    wait, grace         seconds for the first sign of a peer; for which a peer may be away later
    share_timeline      the peers get the times of this party's phases for their reports
    predictions         the active party writes the scores of test rows to FOLDER/predictions.parquet
    """

    folder: Text | None = None
    backend: Literal["auto", "gmp", "simd", "cuda"] = "auto"
    checkpoint_seconds: Seconds = 60.0
    wait: Seconds = 3600.0
    grace: Seconds = 3600.0
    share_timeline: bool = True
    predictions: bool = True


class _File(Section, frozen=True, kw_only=True):
    """The file as it stands."""

    version: Literal[1] = 1
    job: Name
    party: Party
    peers: dict[Name, PeerParty]
    data: Data
    alignment: AlignmentTerms = AlignmentTerms()
    split: SplitTerms = SplitTerms()
    algorithm: dict[str, Any]
    key: Key = Key()
    run: RunOptions = RunOptions()


@dataclass(frozen=True)
class JobFile:
    """A job file that was read and checked; `base` is its folder."""

    path: Path
    job: str
    party: Party
    peers: dict[str, PeerParty]
    data: Data
    alignment: AlignmentTerms
    split: SplitTerms
    algorithm: str
    parameters: AlgorithmConfig
    key: Key
    run: RunOptions

    @property
    def is_active(self) -> bool:
        """Whether this party holds the label."""
        return self.party.role == ACTIVE

    @property
    def needs_key(self) -> bool:
        """Whether this party has a Paillier key: of trees the active one alone."""
        return self.is_active or not isinstance(self.parameters, GBDTConfig)

    @property
    def folder(self) -> Path:
        """Where the run keeps its records."""
        return self.at(self.run.folder or f"runs/{self.job}")

    def at(self, path: str) -> Path:
        """A path of the file, which counts from the file's folder."""
        return self.path.parent / path

    def terms(self) -> dict[str, Any]:
        """What all parties must have alike: dotted key → value."""
        sections = {
            "alignment": msgspec.to_builtins(self.alignment),
            "split": self.split.shown(),
            "algorithm": {"name": self.algorithm, **msgspec.to_builtins(self.parameters)},
            "key": {"bits": self.key.bits},
        }
        agreed = {f"{name}.{key}": value for name, table in sections.items() for key, value in table.items()}
        (first, *_) = sorted(self.peers)
        active = self.party.name if self.is_active else first
        return {"version": VERSION, "job": self.job, "active party": active, **agreed}

    def sections(self) -> dict[str, dict[str, Any]]:
        """All tables with the defaults filled in: table → key → value."""
        return {
            "party": msgspec.to_builtins(self.party),
            **{f"peers.{name}": msgspec.to_builtins(peer) for name, peer in self.peers.items()},
            "data": msgspec.to_builtins(self.data),
            "alignment": msgspec.to_builtins(self.alignment),
            "split": self.split.shown(),
            "algorithm": {"name": self.algorithm, **msgspec.to_builtins(self.parameters)},
            "key": msgspec.to_builtins(self.key),
            "run": msgspec.to_builtins(self.run),
        }


def load_job(path: str | Path) -> JobFile:
    """Read a job file. ConfigurationError naming file, key, value and what is allowed."""
    path = Path(path)
    return read_settings(path, partial(_checked, path))


def _checked(path: Path, content: dict[str, Any]) -> JobFile:
    table = content.get("algorithm")
    chosen = dict(table) if isinstance(table, dict) else {}
    name = chosen.pop("name", None)
    told = mistakes(content, _File)
    if isinstance(name, str) and name in ALGORITHMS:
        told += mistakes(chosen, ALGORITHMS[name], ("algorithm",))
    elif isinstance(table, dict):
        told.append(f"algorithm.name = {name!r}: one of {', '.join(map(repr, ALGORITHMS))}")
    refuse(told)
    file = convert(content, _File)
    if not file.peers:
        raise ConfigurationError("peers is empty: [peers.NAME] for each of the other parties")
    parameters = convert(chosen, ALGORITHMS[name], ("algorithm",))
    job = JobFile(
        path, file.job, file.party, file.peers, file.data, file.alignment, file.split,
        name, parameters, file.key, file.run,
    )  # fmt: skip
    _check_together(job)
    return job


def _check_together(job: JobFile) -> None:
    me = job.party.name
    if me in job.peers:
        raise ConfigurationError(f"peers.{me} is this party itself: name the others")
    if not job.is_active and len(job.peers) > 1:
        raise ConfigurationError(
            f"peers has {len(job.peers)} parties: a passive party talks to the active one alone"
        )
    if job.is_active and job.data.label is None and not is_libsvm(job.data.file):
        raise ConfigurationError("data.label is not set: the active party names its column of labels")
    if not job.is_active and (job.data.label is not None or job.data.positive is not None):
        raise ConfigurationError(
            f"data.label = {job.data.label!r} at a passive party: only the active one has a label"
        )
    for key, name in [("job", job.job), ("party.name", me), *(("peers", peer) for peer in job.peers)]:
        if not re.fullmatch(r"\w[\w .@+-]*", name):
            raise ConfigurationError(
                f"{key} = {name!r}: a name has letters, digits, blanks and . _ @ + -, and begins with a"
                " letter or a digit"
            )
    if getattr(job.parameters, "early_stopping_rounds", 0) and not job.split.validation:
        raise ConfigurationError(
            "algorithm.early_stopping_rounds needs validation rows: set split.validation"
        )
    if getattr(job.parameters, "objective", "") == "custom":
        raise ConfigurationError('algorithm.objective = "custom" needs a function: train from Python')
    waiting = [name for name, peer in job.peers.items() if peer.dial is None]
    if waiting and job.party.listen is None:
        raise ConfigurationError(
            f"neither party.listen nor peers.{waiting[0]}.dial is set: one side listens, the other dials"
        )
    check_address("party.listen", job.party.listen)
    for name, peer in job.peers.items():
        check_address(f"peers.{name}.dial", peer.dial)
