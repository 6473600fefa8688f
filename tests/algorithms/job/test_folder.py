"""The folder of a run: what goes in comes out, over kills and restarts, and nothing else."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

import hecore
from hecore import Meter
from hecore.algorithms.channel import Metrics, loopback_pair
from hecore.algorithms.errors import ConfigurationError, RecordError
from hecore.algorithms.job import folder as folder_module
from hecore.algorithms.job.folder import METRICS, RECORD, WITHHELD, RunFolder, read_record, read_rounds
from hecore.algorithms.job.messages import JobHello
from hecore.algorithms.job.records import Amount, Importance, RoundRecord, Rows, ranked
from hecore.algorithms.job.timeline import TimelineRecord
from hecore.meter import Timeline


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "credit"


def created(path: Path, **fields: object) -> RunFolder:
    return RunFolder.create(path, job="credit", party="bank", role="active", peers=["shop"], **fields)


def test_a_record_comes_back_as_it_was(path: Path) -> None:
    with created(path, backend="simd") as run:
        run.update(
            algorithm="gbdt",
            protocols=["psi", "gbdt"],
            rows={"own": np.int64(10), "train": 8, "test": 2},
            columns=4,
            key_bits=2048,
            results={"auc": {"train": np.float64(0.75), "test": 0.5}},
            importances=ranked(["a", "b"], [1, 3], [0.5, 2.0]),
            configuration={"data": {"file": Path("a.csv"), "columns": ("x", "y")}},
        )
        run.peer_timeline("shop", TimelineRecord(width=1.0, phases={"wait": (0.5,)}))
        run.finish("failed", "no")
        wanted = run.record
    record = read_record(path)
    assert record == wanted
    assert (record.job, record.party, record.role, record.peers) == ("credit", "bank", "active", ["shop"])
    assert (record.status, record.error, record.backend) == ("failed", "no", "simd")
    assert record.hecore == hecore.__version__
    assert record.rows == Rows(own=10, train=8, test=2)
    assert record.results == {"auc": {"train": 0.75, "test": 0.5}}
    assert record.importances[0] == Importance(column="b", share=0.75, gain=2.0)
    assert record.configuration == {"data": {"file": "a.csv", "columns": ["x", "y"]}}
    assert record.started <= record.finished <= record.updated
    assert record.elapsed == (record.finished - record.started).total_seconds()


def test_only_the_owner_reads_it(path: Path) -> None:
    with created(path) as run:
        run.round(1, seconds=1.0, metric="auc", train=0.5)
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.iterdir()} == {
        RECORD: 0o600,
        METRICS: 0o600,
    }


def test_a_run_is_not_written_over(path: Path) -> None:
    created(path).close()
    with pytest.raises(ConfigurationError, match="holds the record of a run already"):
        created(path)


def test_what_a_meter_and_channels_counted(path: Path) -> None:
    meter = Meter()
    bank, _ = loopback_pair("bank", "shop")
    with meter.activate(), meter.phase("encrypt"):
        meter.count("encrypt", 5)
    meter.timeline = Timeline(0.0, 1.0, {"encrypt": [0.5]})
    bank.send(JobHello(role="active", terms="{}"))
    with created(path) as run:
        run.measure(meter, [bank])
    record = read_record(path)
    assert record.operations == {"encrypt": {"encrypt": 5}}
    assert record.totals == {"encrypt": 5}
    assert record.seconds == dict(meter.seconds)
    assert record.traffic["shop"].sent.by_type == {
        "job.hello": Amount(messages=1, bytes=bank.traffic.sent.bytes)
    }
    assert record.timelines == {"bank": TimelineRecord(width=1.0, phases={"encrypt": (0.5,)})}
    assert record.links == {}  # a loopback channel has no connection


def process(path: Path, monkeypatch: pytest.MonkeyPatch, start: float, again: bool) -> None:
    """One process of a run: it begins `start` seconds after an hour, and works for two seconds."""
    begin = datetime(2026, 5, 4, 12, tzinfo=UTC) + timedelta(seconds=start)
    monkeypatch.setattr(folder_module, "_now", lambda: begin)
    monkeypatch.setattr(folder_module.time, "perf_counter", lambda: 50.0)
    link = {"sent_bytes": 10, "resent_bytes": 1, "round_trip": 0.25 if again else 0.5, "credit": 7}
    both = {"messages": 1, "bytes": 4, "by_type": {"a": {"messages": 1, "bytes": 4}}}
    meter = Meter(timeline=Timeline(50.0, 1.0, {"wait": [1.0, 1.0]}))
    meter.seconds["wait"] += 2.0  # type: ignore[assignment]
    meter.count("add", 3)
    with RunFolder.open(path) if again else created(path) as run:
        for _ in range(2):  # a second look at the same counts adds nothing
            run.measure(meter)
            run.update(traffic={"shop": {"sent": both, "received": both}}, links={"shop": link})


def test_a_run_that_is_gone_on_with_adds_up(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process(path, monkeypatch, 0.0, again=False)
    process(path, monkeypatch, 5.0, again=True)
    record = read_record(path)
    assert record.starts == 2
    assert record.status == "running"
    assert record.operations == {"": {"add": 6}}
    assert record.seconds == {"wait": 4.0}
    assert record.traffic["shop"].sent.by_type == {"a": Amount(messages=2, bytes=8)}
    assert record.traffic["shop"].received.bytes == 8
    link = record.links["shop"]
    assert (link.sent_bytes, link.resent_bytes, link.round_trip) == (20, 2, 0.25)
    assert record.timelines["bank"].phases == {"wait": (1.0, 1.0, 0, 0, 0, 1.0, 1.0)}


def test_a_clock_that_was_set_back_shifts_nothing_onto_old_work(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process(path, monkeypatch, 0.0, again=False)
    process(path, monkeypatch, -3600.0, again=True)
    assert read_record(path).timelines["bank"].phases == {"wait": (1.0, 1.0, 1.0, 1.0)}


def test_metrics_of_a_channel_are_kept_in_part(path: Path) -> None:
    class End:
        peer = "shop"
        traffic = loopback_pair()[0].traffic
        metrics = Metrics(sent_bytes=3, resent_bytes=2, round_trip=0.125, queued_bytes=9)

    with created(path) as run:
        run.measure(Meter(), [End()])
        link = run.record.links["shop"]
    assert (link.sent_bytes, link.resent_bytes, link.round_trip) == (3, 2, 0.125)


# --- rounds -------------------------------------------------------------------------------------------------


def test_rounds_by_metric(path: Path) -> None:
    with created(path) as run:
        for number in (1, 2):
            run.round(number, seconds=number, metric="loss", train=np.float64(1 / number), validation=0.75)
            run.round(number, seconds=number, metric="auc", train=float("nan"))
    assert read_rounds(path) == {
        "loss": [
            RoundRecord(number=n, seconds=n, metric="loss", train=1 / n, validation=0.75) for n in (1, 2)
        ],
        "auc": [RoundRecord(number=n, seconds=n, metric="auc") for n in (1, 2)],
    }


def test_rounds_done_again_take_the_place_of_the_old_ones(path: Path) -> None:
    with created(path) as run:
        for number in (1, 2, 3, 4):
            run.round(number, seconds=number, train=1.0)
    with RunFolder.open(path) as run:
        run.round(3, seconds=9.0, train=2.0)
    assert [(r.number, r.train) for r in read_rounds(path)[""]] == [(1, 1.0), (2, 1.0), (3, 2.0)]


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_torn_last_line_is_dropped(path: Path, cut: int) -> None:
    with created(path) as run:
        run.round(1, seconds=1.0, train=1.0)
        run.round(2, seconds=2.0, train=2.0)
    file = path / METRICS
    os.truncate(file, file.stat().st_size - cut)
    assert [r.number for r in read_rounds(path)[""]] == [1]
    with RunFolder.open(path) as run:
        run.round(2, seconds=3.0, train=3.0)
    assert [(r.number, r.train) for r in read_rounds(path)[""]] == [(1, 1.0), (2, 3.0)]


def test_a_broken_line_in_the_middle_is_an_error(path: Path) -> None:
    with created(path) as run:
        run.round(1, seconds=1.0)
    (path / METRICS).write_text('{"number":1,"seconds":1}\n{"number":"x"}\n{"number":2,"seconds":1}\n')
    with pytest.raises(RecordError, match=r"metrics.jsonl, line 2: .*number"):
        read_rounds(path)


def test_a_kill_loses_no_round(path: Path) -> None:
    program = f"""
import itertools, sys
from hecore.algorithms.job.folder import RunFolder
run = RunFolder.create({str(path)!r}, job="credit", party="bank", role="active")
for number in itertools.count(1):
    run.round(number, seconds=number, train=1 / number)
    run.update(seconds={{"wait": float(number)}})
    print(number, flush=True)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as child:
        for _ in range(30):
            told = child.stdout.readline()
        child.send_signal(signal.SIGKILL)
    numbers = [r.number for r in read_rounds(path)[""]]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) >= int(told) == 30
    assert read_record(path).seconds["wait"] >= 30
    assert read_record(path).status == "running"


# --- what cannot be recorded, or read -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["job", "started", "version", "nothing"])
def test_fields_that_cannot_be_set(path: Path, name: str) -> None:
    with created(path) as run, pytest.raises(TypeError, match=name):
        run.update(**{name: 1})


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"status": "sleeping"}, "status cannot be recorded"),
        ({"rows": {"train": -1}}, "rows cannot be recorded"),
        ({"rows": {"training": 1}}, "training"),
        ({"operations": {"encrypt": {"encrypt": -1}}}, "operations"),
        ({"timelines": {"bank": {"width": 0}}}, "a slot of 0"),
        ({"importances": [{"column": "a", "share": 2}]}, "importances"),
    ],
)
def test_values_that_belong_nowhere(path: Path, fields: dict[str, object], match: str) -> None:
    with created(path) as run:
        before = (path / RECORD).read_bytes()
        with pytest.raises(RecordError, match=match):
            run.update(**fields)
    assert (path / RECORD).read_bytes() == before


def test_secrets_of_a_configuration_are_not_written(path: Path) -> None:
    settings = {
        "file": "key.pem",
        "Passphrase": "tell nobody",
        "inner": [{"token": "tell nobody", "secret": None}],
    }
    created(path, configuration={"keys": settings}).close()
    assert b"tell nobody" not in (path / RECORD).read_bytes()
    kept = read_record(path).configuration["keys"]
    assert kept == {"file": "key.pem", "Passphrase": WITHHELD, "inner": [{"token": WITHHELD, "secret": None}]}


def test_no_folder_of_a_run(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"is no folder of a run: it has no run\.json"):
        read_record(tmp_path)
    assert read_rounds(tmp_path) == {}


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda fields: fields | {"version": 2}, "'hecore run' version 2; this hecore reads 'hecore run' 1"),
        (lambda fields: fields | {"format": "other"}, "is 'other' version 1"),
        (lambda fields: fields | {"extra": 1}, "is damaged: .*extra"),
        (lambda fields: fields | {"status": "asleep"}, "is damaged: .*status"),
        (lambda fields: fields | {"started": "2026-01-01T00:00:00"}, "is damaged: .*started"),
        (lambda fields: {k: v for k, v in fields.items() if k != "party"}, "is damaged: .*party"),
        (lambda fields: [fields], "is no record of a run"),
    ],
)
def test_a_damaged_record(path: Path, change, match: str) -> None:
    created(path).close()
    fields = json.loads((path / RECORD).read_text())
    (path / RECORD).write_text(json.dumps(change(fields)))
    with pytest.raises(RecordError, match=match):
        read_record(path)


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"null"])
def test_bytes_that_are_no_record(path: Path, data: bytes) -> None:
    created(path).close()
    (path / RECORD).write_bytes(data)
    with pytest.raises(RecordError, match="is no record of a run"):
        read_record(path)
