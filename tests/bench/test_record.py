"""The JSON form: what is written is read again, and nothing else is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from hecore.bench import record as record_module
from hecore.bench.record import Failure, Record, RecordError, dump, load, parse, save

from .conftest import make_record, make_row


def test_round_trip(record: Record, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    save(record, path)
    assert load(path) == record
    assert list(tmp_path.iterdir()) == [path]


def test_round_trip_of_everything() -> None:
    row = make_row("add", "cuda", 0.5)
    full = make_record(
        [msgspec.structs.replace(row, device_seconds=row.seconds)],
        source=None,
        failures=[Failure(case="sum", subject="cuda", key_bits=2048, message="WrongResult: 1 of 2")],
    )
    assert parse(dump(full), "run") == full


def test_figures(record: Record) -> None:
    assert record.rows[0].rate == 250_000
    assert record.rows[0].spread == pytest.approx(0.02)
    assert record.key_bits == [2048, 3072]
    assert record.subjects == ["gmp", "simd", "phe"]


def changed(record: Record, **changes: Any) -> bytes:
    return msgspec.json.encode({**msgspec.json.decode(dump(record)), **changes})


def test_foreign_files_are_refused(record: Record) -> None:
    with pytest.raises(RecordError, match="x is no hecore-bench record: "):
        parse(b"\x89PNG", "x")
    with pytest.raises(RecordError, match="x is no hecore-bench record: "):
        parse(b"[1, 2]", "x")
    with pytest.raises(RecordError, match="its format is 'other'"):
        parse(changed(record, format="other"), "x")


def test_other_versions_are_named(record: Record) -> None:
    with pytest.raises(RecordError, match=r"x has format version 2, but this hecore-bench reads 1: use"):
        parse(changed(record, version=2), "x")


@pytest.mark.parametrize("changes", [{"rows": 7}, {"machine": None}, {"rows": [{"case": "add"}]}])
def test_damage_is_named(changes: dict[str, Any], record: Record) -> None:
    with pytest.raises(RecordError, match="x is damaged: "):
        parse(changed(record, **changes), "x")


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_impossible_times_are_refused(seconds: float) -> None:
    with pytest.raises(RecordError, match="'add' has no positive time"):
        parse(dump(make_record([make_row("add", "gmp", seconds)])), "x")
    with pytest.raises(RecordError, match="'add' has no positive time or no items"):
        parse(dump(make_record([make_row("add", "gmp", 1.0, items=0)])), "x")


def test_unreadable_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RecordError, match=r"none\.json cannot be read: No such file"):
        load(tmp_path / "none.json")
    monkeypatch.setattr(record_module, "MAXIMUM_BYTES", 3)
    (tmp_path / "big.json").write_bytes(b"1234")
    with pytest.raises(RecordError, match="too large"):
        load(tmp_path / "big.json")
