"""What is kept of a run: figures, names and settings; no key, no mask, no value of a row.

    run.json        RunRecord: who, when, how it ended, configuration, results, operations, bytes, seconds
    metrics.jsonl   RoundRecord, one line a metric and round

Names of phases and operations are those of `hecore.Meter`, message types those of the messages.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec

from hecore.algorithms.job.timeline import TimelineRecord

FORMAT, VERSION = "hecore run", 1

Status = Literal["running", "finished", "failed", "stopped"]
Count = Annotated[int, msgspec.Meta(ge=0)]
Seconds = Annotated[float, msgspec.Meta(ge=0)]
Moment = Annotated[datetime, msgspec.Meta(tz=True)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class _Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all: a field that this version does not know is an error and no figure that is lost."""


class Rows(_Record, frozen=True, kw_only=True):
    """Numbers of rows: in this party's file, common to all parties, and of each part; None if unknown."""

    own: Count | None = None
    common: Count | None = None
    train: Count | None = None
    validation: Count | None = None
    test: Count | None = None


class Amount(_Record, frozen=True, kw_only=True):
    """Messages of one type."""

    messages: Count = 0
    bytes: Count = 0


class Direction(_Record, frozen=True, kw_only=True):
    """A Tally's snapshot: what went one way, in all and by message type."""

    messages: Count = 0
    bytes: Count = 0
    by_type: dict[str, Amount] = {}


class PeerTraffic(_Record, frozen=True, kw_only=True):
    """A Traffic's snapshot: messages to a peer and from it, as the protocol counts them."""

    sent: Direction = Direction()
    received: Direction = Direction()


class LinkRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What a connection went through: a part of the channel's Metrics. Bytes are those on the wire."""

    sent_bytes: Count = 0
    received_bytes: Count = 0
    resent_bytes: Count = 0
    doubled_blocks: Count = 0
    refused_packets: Count = 0
    connections: Count = 0
    round_trip: Seconds | None = None


class Importance(_Record, frozen=True, kw_only=True):
    """How much a column of this party counts.

    share   of this party's own splits, or of its weights: all of them add up to 1
    gain    mean gain of its splits, where this party knows it
    """

    column: str
    share: Annotated[float, msgspec.Meta(ge=0, le=1)]
    gain: float | None = None


class RunRecord(_Record, frozen=True, kw_only=True):
    """One run of a job, as one party saw it. See `RunFolder` for what adds up over restarts.

    algorithm         "gbdt", "linear", "psi", …, as the configuration names it
    protocols         whose messages the run exchanges, by the keys of `report.leaks`: "psi", "gbdt", …
    starts            processes that have worked on it, this one included
    started, updated  UTC; when the run began, and when this record was written
    timeline_start    UTC; the moment at which slot 0 of the own time line began
    configuration     section → setting → value, plain values
    columns           of this party's features
    results           metric → part ("train", "validation", "test") → value
    operations        phase → operation → ciphertexts (see Meter); phase "" is outside of any
    seconds           phase → wall time
    traffic, links    by peer
    timelines         by party: this one's phases; of others, where they showed them, the categories
    importances       of this party's own columns, the largest first
    model             file of this party's share of the model, in the folder of the run
    """

    format: str = FORMAT
    version: int = VERSION
    job: Name
    party: Name
    role: Literal["active", "passive"]
    peers: list[Name] = []
    algorithm: str = ""
    protocols: list[str] = []
    hecore: str
    backend: str = ""
    key_bits: Count | None = None
    status: Status = "running"
    error: str = ""
    starts: Count = 1
    started: Moment
    updated: Moment
    finished: Moment | None = None
    timeline_start: Moment | None = None
    configuration: dict[str, dict[str, Any]] = {}
    rows: Rows = Rows()
    columns: Count | None = None
    results: dict[str, dict[str, float | None]] = {}
    operations: dict[str, dict[str, Count]] = {}
    seconds: dict[str, Seconds] = {}
    traffic: dict[str, PeerTraffic] = {}
    links: dict[str, LinkRecord] = {}
    timelines: dict[str, TimelineRecord] = {}
    importances: list[Importance] = []
    model: str = ""

    @property
    def elapsed(self) -> float:
        """Seconds from the start to the end, or to the last word; pauses between processes included."""
        return max(0.0, ((self.finished or self.updated) - self.started).total_seconds())

    @property
    def totals(self) -> dict[str, int]:
        """Operations over all phases."""
        totals: dict[str, int] = {}
        for counts in self.operations.values():
            totals = added(totals, counts)
        return totals


class RoundRecord(_Record, frozen=True, kw_only=True, omit_defaults=True):
    """A metric after a round: a tree, an epoch.

    number       from 1
    seconds      since the training began
    train, validation   its values, where this party knows them
    """

    number: Annotated[int, msgspec.Meta(ge=1)]
    seconds: Seconds
    metric: str = ""
    train: float | None = None
    validation: float | None = None


def ranked(
    columns: Sequence[str], weights: Sequence[float], gains: Sequence[float] | None = None
) -> list[Importance]:
    """Importances from non-negative weights of a party's columns: numbers of splits, |coefficients|."""
    total = sum(weights) or 1.0
    shares = [weight / total for weight in weights]
    known: Sequence[float | None] = [None] * len(columns) if gains is None else gains
    every = [
        Importance(column=column, share=min(1.0, share), gain=gain)
        for column, share, gain in zip(columns, shares, known, strict=True)
    ]
    return sorted(every, key=lambda importance: (-importance.share, -(importance.gain or 0.0)))


def added(before: dict[str, int], more: dict[str, int]) -> dict[str, int]:
    """Counts of both, by name."""
    return {name: before.get(name, 0) + more.get(name, 0) for name in [*before, *(more.keys() - before)]}


def both_operations(
    before: dict[str, dict[str, int]], more: dict[str, dict[str, int]]
) -> dict[str, dict[str, int]]:
    """Operations of two processes, by phase."""
    return {name: added(before.get(name, {}), more.get(name, {})) for name in {**before, **more}}


def both_seconds(before: dict[str, float], more: dict[str, float]) -> dict[str, float]:
    """Seconds of two processes, by phase."""
    return {name: before.get(name, 0.0) + more.get(name, 0.0) for name in {**before, **more}}


def both_traffic(before: dict[str, PeerTraffic], more: dict[str, PeerTraffic]) -> dict[str, PeerTraffic]:
    """Messages of two processes, by peer."""
    nothing = PeerTraffic()
    both = {}
    for peer in {**before, **more}:
        one, other = before.get(peer, nothing), more.get(peer, nothing)
        both[peer] = PeerTraffic(
            sent=_both_ways(one.sent, other.sent), received=_both_ways(one.received, other.received)
        )
    return both


def both_links(before: dict[str, LinkRecord], more: dict[str, LinkRecord]) -> dict[str, LinkRecord]:
    """Connections of two processes, by peer; the round trip is the later one's."""
    both = dict(before)
    for peer, later in more.items():
        one = msgspec.to_builtins(before.get(peer, LinkRecord()))
        two = msgspec.to_builtins(later)
        sums = {name: one[name] + two[name] for name in two if name != "round_trip"}
        both[peer] = LinkRecord(**sums, round_trip=later.round_trip or one["round_trip"])
    return both


def _both_ways(one: Direction, other: Direction) -> Direction:
    nothing = Amount()
    by_type = {}
    for tag in {**one.by_type, **other.by_type}:
        a, b = one.by_type.get(tag, nothing), other.by_type.get(tag, nothing)
        by_type[tag] = Amount(messages=a.messages + b.messages, bytes=a.bytes + b.bytes)
    return Direction(messages=one.messages + other.messages, bytes=one.bytes + other.bytes, by_type=by_type)
