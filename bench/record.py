"""The JSON form of a run: versioned, complete, and free of names of people and machines.

A reader refuses what it does not understand, and says why; new fields with defaults keep the version.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from hecore import HecoreError

FORMAT = "hecore-bench"
VERSION = 1
#: A record of every case for many key sizes is below a tenth of this.
MAXIMUM_BYTES = 16 << 20


class RecordError(HecoreError, ValueError):
    """A file that is no record, or one of another version; the message says what is wrong."""


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Where it ran. `threads` is HECORE_THREADS as set, None for all; `load` the load average before."""

    system: str
    cpu: str
    cpu_family: str
    cpu_model: str
    features: list[str]
    cores: int
    usable_cores: int
    threads: int | None
    load: float
    gpus: list[str]


class Source(msgspec.Struct, frozen=True):
    """The commit of the checkout, and whether its files differed from it."""

    commit: str
    changed: bool


class Seconds(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds a call: extremes, quartiles and median of `calls` calls after a warm-up."""

    lowest: float
    lower: float
    median: float
    upper: float
    highest: float
    calls: int


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One case on one subject: `items` of `unit` a call, `seconds` of the host's clock.

    `cores` are the processor seconds of the process a second, its threads together. On a device, its own
    clock gives `device_seconds` of kernels and `copy_seconds` of transfers, and `bound` is the rate at which
    nothing but the word products of the operation would run (see `device_bounds`).
    """

    case: str
    group: str
    unit: str
    subject: str
    peer: bool
    key_bits: int
    batch: int
    items: int
    seconds: Seconds
    device_seconds: Seconds | None = None
    copy_seconds: Seconds | None = None
    bound: float | None = None
    cores: float
    headline: bool = False

    @property
    def rate(self) -> float:
        """Items a second, by the median."""
        return self.items / self.seconds.median

    @property
    def spread(self) -> float:
        """Interquartile range over the median."""
        return (self.seconds.upper - self.seconds.lower) / self.seconds.median

    @property
    def key(self) -> tuple[int, str, int, str]:
        """What makes two rows of two runs the same measurement."""
        return (self.key_bits, self.case, self.batch, self.subject)


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """A case that gave a wrong result or raised."""

    case: str
    subject: str
    key_bits: int
    message: str


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A run. `created` is UTC, `command` repeats it, `unavailable` maps subjects to the reason.

    `ceilings` are the word products a second that subjects on a device were measured to reach alone.
    """

    format: str = FORMAT
    version: int = VERSION
    created: str
    command: str
    seconds: float
    machine: Machine
    versions: dict[str, str]
    source: Source | None
    unavailable: dict[str, str]
    rows: list[Row]
    failures: list[Failure] = []
    ceilings: dict[str, float] = {}

    @property
    def key_bits(self) -> list[int]:
        """The key sizes measured."""
        return sorted({row.key_bits for row in self.rows})

    @property
    def subjects(self) -> list[str]:
        """Backends, then peers, as they ran."""
        names = {row.subject: row.peer for row in self.rows}
        return sorted(names, key=lambda name: names[name])


class _Head(msgspec.Struct):
    format: str
    version: int


def dump(record: Record) -> bytes:
    """The record as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n"


def parse(data: bytes, name: str) -> Record:
    """Read a record. RecordError, beginning with `name`, for anything else."""
    try:
        head = msgspec.json.decode(data, type=_Head)
    except msgspec.MsgspecError as error:
        raise RecordError(f"{name} is no hecore-bench record: {error}") from None
    if head.format != FORMAT:
        raise RecordError(f"{name} is no hecore-bench record: its format is {head.format!r}")
    if head.version != VERSION:
        raise RecordError(
            f"{name} has format version {head.version}, but this hecore-bench reads {VERSION}:"
            " use the release that wrote it, or run it again"
        )
    try:
        record = msgspec.json.decode(data, type=Record)
    except msgspec.MsgspecError as error:
        raise RecordError(f"{name} is damaged: {error}") from None
    bad = [row.case for row in record.rows if row.items < 1 or not 0 < row.seconds.median < float("inf")]
    if bad:
        raise RecordError(f"{name} is damaged: {bad[0]!r} has no positive time or no items")
    return record


def save(record: Record, path: Path) -> None:
    """Write a record, whole or not at all."""
    temporary = path.with_name(path.name + ".part")
    temporary.write_bytes(dump(record))
    os.replace(temporary, path)


def load(path: Path) -> Record:
    """Read a file. RecordError if it cannot be read or is no record."""
    try:
        if path.stat().st_size > MAXIMUM_BYTES:
            raise RecordError(f"{path} is too large to be a hecore-bench record")
        data = path.read_bytes()
    except OSError as error:
        raise RecordError(f"{path} cannot be read: {error.strerror}") from None
    return parse(data, str(path))
