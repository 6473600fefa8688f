"""The folder of a run: written while the run goes on, kept over kills, read again afterwards.

    RUN/run.json        replaced as a whole, so that a reader finds an old one or a new one
    RUN/metrics.jsonl   lines are appended; one that a kill cut off is dropped when it is read

The folder has mode 0700, its files 0600. A run that is gone on with after a stop or a kill adds up: what its
earlier processes did stays in operations, seconds, messages and connections, and what is done again after a
resume counts twice there, since it was done twice. The own time line has a gap where no process ran. Rounds
that are done again take the place of the old ones.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, Self

import msgspec

import hecore
from hecore.algorithms.built import built
from hecore.algorithms.channel import Channel
from hecore.algorithms.errors import ConfigurationError, RecordError
from hecore.algorithms.job.records import (
    FORMAT,
    VERSION,
    RoundRecord,
    RunRecord,
    Status,
    both_links,
    both_operations,
    both_seconds,
    both_traffic,
)
from hecore.algorithms.job.timeline import TimelineRecord
from hecore.algorithms.private_files import make_folder, open_descriptor, write_whole
from hecore.meter import Meter, Timeline

RECORD, METRICS = "run.json", "metrics.jsonl"
#: Fields that add up over the processes of a run; a caller gives what its own process did so far.
_ADDED = {
    "operations": both_operations,
    "seconds": both_seconds,
    "traffic": both_traffic,
    "links": both_links,
}
_FIXED = {"format", "version", "job", "party", "role", "starts", "started", "updated", "hecore"}
_TYPES = {field.name: field.type for field in msgspec.structs.fields(RunRecord)}
#: A setting whose name says so is not written down, whoever put it into the configuration.
_SECRET = re.compile(r"passphrase|password|secret|private|token", re.IGNORECASE)
WITHHELD = "(not recorded)"
MOST_ERROR = 2000


class RunFolder:
    """The recorder of a run at one party.

        run = RunFolder.create(path, job="credit", party="bank", role="active", peers=["shop"])
        run.update(backend="simd", rows={"train": 800, "test": 200})
        run.round(1, seconds=2.5, metric="logloss", train=0.51)
        run.measure(meter, channels)
        run.finish("finished")

    One process at a time writes. `record` is what stands in run.json.
    """

    def __init__(self, path: Path, record: RunRecord, before: RunRecord | None = None) -> None:
        self.path, self.record, self._before = path, record, before
        self._descriptor = open_descriptor(path / METRICS, os.O_WRONLY | os.O_APPEND)
        self._write()

    @classmethod
    def create(
        cls,
        path: str | Path,
        *,
        job: str,
        party: str,
        role: Literal["active", "passive"],
        peers: Sequence[str] = (),
        **fields: Any,
    ) -> Self:
        """A new run; `fields` as in `update`. ConfigurationError if the folder holds a run already."""
        path, now = Path(path), _now()
        if (path / RECORD).exists():
            raise ConfigurationError(f"{path} holds the record of a run already: choose another folder")
        given = _checked(fields)
        head = {"job": job, "party": party, "role": role, "peers": list(peers), "hecore": hecore.__version__}
        plain = {"started": now, "updated": now, **head}
        record = msgspec.structs.replace(_convert(plain, RunRecord, "a run"), **given)
        make_folder(path)
        (path / METRICS).unlink(missing_ok=True)
        return cls(path, record)

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """A run that is there, to go on with it: it is running again. RecordError if there is none."""
        path = Path(path)
        before = read_record(path)
        _cut_torn(path / METRICS)
        again = {"status": "running", "error": "", "finished": None, "starts": before.starts + 1}
        record = msgspec.structs.replace(before, hecore=hecore.__version__, **again)
        return cls(path, record, before)

    def update(self, **fields: Any) -> None:
        """Replace fields of the record, durably, before this returns.

        Values may be records, plain dicts, dataclasses or numpy numbers. `operations`, `seconds`, `traffic`
        and `links` are what this process did so far; what earlier ones did is added. Raises TypeError for
        a field that is none or cannot change, RecordError for a value that does not belong there.
        """
        given = _checked(fields)
        for name in given.keys() & _ADDED.keys():
            if self._before is not None:
                given[name] = _ADDED[name](getattr(self._before, name), given[name])  # type: ignore[operator]
        self.record = msgspec.structs.replace(self.record, **given)
        self._write()

    def measure(self, meter: Meter, channels: Sequence[Channel] = ()) -> None:
        """Update what a meter and the channels have counted: operations, seconds, time line, bytes."""
        fields: dict[str, Any] = {
            "operations": meter.by_phase,
            "seconds": meter.seconds,
            "traffic": {channel.peer: channel.traffic.snapshot() for channel in channels},
            "links": {end.peer: _plain(end.metrics) for end in channels if hasattr(end, "metrics")},
        }
        if meter.timeline is not None:
            own = self._own_timeline(meter.timeline)
            fields["timelines"] = {**self.record.timelines, self.record.party: own}
        self.update(**fields)

    def round(
        self,
        number: int,
        *,
        seconds: float,
        metric: str = "",
        train: float | None = None,
        validation: float | None = None,
    ) -> None:
        """Append a round (from 1), durably; each metric of a round has a line of its own."""
        given = {"number": number, "seconds": seconds, "metric": metric}
        values = {"train": train, "validation": validation}
        record = _convert(_plain({**given, **values}), RoundRecord, "a round")
        os.write(self._descriptor, msgspec.json.encode(record) + b"\n")
        os.fdatasync(self._descriptor)

    def peer_timeline(self, peer: str, timeline: TimelineRecord) -> None:
        """The time line that a peer has shown of itself."""
        self.update(timelines={**self.record.timelines, peer: timeline})

    def finish(self, status: Status, error: str = "") -> None:
        """The run has ended like this; without an error or with its text."""
        self.update(status=status, error=error[:MOST_ERROR], finished=_now())

    def close(self) -> None:
        """Let go of the files."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _own_timeline(self, timeline: Timeline) -> TimelineRecord:
        """This process's time line behind those of earlier ones, by the clock of the wall."""
        start = _now() - timedelta(seconds=time.perf_counter() - timeline.start)
        if self.record.timeline_start is None:
            self.record = msgspec.structs.replace(self.record, timeline_start=start)
        before = None if self._before is None else self._before.timelines.get(self.record.party)
        first = self.record.timeline_start or start
        if before is None:
            return TimelineRecord.of(timeline)
        shift = max(before.end, (start - first).total_seconds())  # a clock that was set back
        return before.joined(TimelineRecord.of(timeline, shift))

    def _write(self) -> None:
        self.record = msgspec.structs.replace(self.record, updated=_now())
        write_whole(self.path / RECORD, msgspec.json.format(msgspec.json.encode(self.record)) + b"\n")


def read_record(path: str | Path) -> RunRecord:
    """The record in the folder of a run. RecordError if there is none, or one that cannot be read."""
    file = Path(path) / RECORD
    if not file.is_file():
        raise RecordError(f"{path} is no folder of a run: it has no {RECORD}")
    data = file.read_bytes()
    try:
        head = msgspec.json.decode(data, type=built(_Head))
    except (msgspec.MsgspecError, ValueError) as error:
        raise RecordError(f"{file} is no record of a run: {error}") from None
    if (head.format, head.version) != (FORMAT, VERSION):
        raise RecordError(
            f"{file} is {head.format!r} version {head.version}; this hecore reads {FORMAT!r} {VERSION}"
        )
    try:
        return msgspec.json.decode(data, type=built(RunRecord))
    except (msgspec.MsgspecError, ValueError) as error:
        raise RecordError(f"{file} is damaged: {error}") from None


def read_rounds(path: str | Path) -> dict[str, list[RoundRecord]]:
    """Rounds by metric, in order. A round that was done again counts from there on; a torn end is dropped.

    Raises RecordError for a line that is none, naming the file and the line.
    """
    file = Path(path) / METRICS
    if not file.is_file():
        return {}
    *lines, _torn = file.read_bytes().split(b"\n")
    rounds: dict[str, list[RoundRecord]] = {}
    for number, line in enumerate(lines, 1):
        try:
            record = msgspec.json.decode(line, type=built(RoundRecord))
        except (msgspec.MsgspecError, ValueError) as error:
            raise RecordError(f"{file}, line {number}: {error}") from None
        earlier = rounds.setdefault(record.metric, [])
        while earlier and earlier[-1].number >= record.number:
            earlier.pop()
        earlier.append(record)
    return rounds


class _Head(msgspec.Struct):
    format: str
    version: int


def _now() -> datetime:
    return datetime.now(UTC)


def _cut_torn(file: Path) -> None:
    """Remove what stands behind the last whole line: new lines must not grow on it."""
    if file.is_file():
        data = file.read_bytes()
        os.truncate(file, data.rfind(b"\n") + 1)


def _checked(fields: Mapping[str, Any]) -> dict[str, Any]:
    for name in fields:
        if name not in _TYPES or name in _FIXED:
            raise TypeError(f"a run has no field {name!r} that can be set")
    plain = {name: _plain(value) for name, value in fields.items()}
    if "configuration" in plain:
        plain["configuration"] = _without_secrets(plain["configuration"])
    return {name: _convert(value, _TYPES[name], name) for name, value in plain.items()}


def _convert(value: Any, kind: Any, what: str) -> Any:
    try:
        return msgspec.convert(value, type=built(kind))
    except (msgspec.MsgspecError, ValueError) as error:
        raise RecordError(f"{what} cannot be recorded: {error}") from None


def _plain(value: Any) -> Any:
    """Plain JSON values: numpy numbers as Python's, paths and other things as text, NaN and ∞ as None."""
    return _finite(msgspec.to_builtins(value, builtin_types=(datetime,), enc_hook=_unknown))


def _unknown(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else str(value)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    if isinstance(value, float) and not abs(value) < float("inf"):
        return None
    return value


def _without_secrets(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: WITHHELD if inner is not None and _SECRET.search(str(name)) else _without_secrets(inner)
            for name, inner in value.items()
        }
    return [_without_secrets(inner) for inner in value] if isinstance(value, list) else value
