"""Some rows in another order, as Parquet or CSV, through buckets on disk."""

from __future__ import annotations

import math
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hecore.algorithms.data import open_source, read_table, sources, write_rows
from hecore.algorithms.data.write import check_table_out
from hecore.algorithms.errors import ConfigurationError, TableError

ROWS = 25
CONTENT = "id,x,town\n" + "".join(f"r{i},{i / 4 if i % 5 else ''},t{i % 3}\n" for i in range(ROWS))


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.permutations(range(ROWS)), st.integers(0, ROWS), st.sampled_from([1, 4, 1000]))
def test_rows_come_out_in_the_order_asked_for(written, monkeypatch, order, count, bucket_rows):
    monkeypatch.setattr(sources, "CSV_ROWS", 6)
    path = written(CONTENT)
    out = path.parent / "out.parquet"
    out.unlink(missing_ok=True)
    rows = np.array(order[:count], dtype=np.int64)
    write_rows(open_source(path), rows, out, bucket_rows=bucket_rows)
    table = pq.read_table(out)
    assert table.column("id").to_pylist() == [f"r{i}" for i in rows]
    assert table.column("x").to_pylist() == [str(i / 4) if i % 5 else "" for i in rows]
    assert table.column("town").to_pylist() == [f"t{i % 3}" for i in rows]
    assert {file.name for file in path.parent.iterdir()} == {"people.csv", "out.parquet"}


def test_what_was_written_reads_as_the_rows_taken(written, tmp_path):
    path = written(CONTENT)
    out = tmp_path / "out.parquet"
    rows = np.array([7, 3, 20])
    write_rows(open_source(path), rows, out)
    got, whole = read_table(out), read_table(path).take(rows)
    assert got.ids == whole.ids
    assert np.array_equal(got.values[:, 0], whole.values[:, 0], equal_nan=True)
    assert math.isnan(got.values[2, 0])


def test_the_name_says_the_form(written, tmp_path):
    source = open_source(written(CONTENT))
    out, rows = tmp_path / "out.CSV", np.array([7, 0, 20])
    write_rows(source, rows, out, bucket_rows=2)
    lines = out.read_text().splitlines()
    assert lines == ['"id","x","town"', '"r7","1.75","t1"', '"r0","","t0"', '"r20","","t2"']
    assert read_table(out).ids == read_table(written(CONTENT)).take(rows).ids
    with pytest.raises(ConfigurationError, match=r"out\.xlsx: a table is written as \.parquet or \.csv"):
        write_rows(source, rows, tmp_path / "out.xlsx")
    nested = pa.schema([("id", pa.string()), ("visits", pa.list_(pa.int64()))])
    with pytest.raises(TableError, match=r"out\.csv: CSV cannot hold .*list.*: write \.parquet"):
        check_table_out(tmp_path / "out.csv", nested)
    check_table_out(tmp_path / "out.parquet", nested)


def test_nothing_is_overwritten_and_nothing_left_behind(written, tmp_path):
    path = written(CONTENT)
    out = tmp_path / "out.parquet"
    out.write_text("kept")
    with pytest.raises(TableError, match=r"out\.parquet exists"):
        write_rows(open_source(path), np.arange(3), out)
    assert out.read_text() == "kept"
    out.unlink()
    path.write_text(CONTENT + "r25,1\n")
    with pytest.raises(TableError, match=r"line 27 has 2 fields"):
        write_rows(open_source(path), np.arange(3), out)
    path.write_text(CONTENT)
    for row, text in ((25, "there is no row 25, it has 25 rows"), (-1, "there is no row -1")):
        with pytest.raises(TableError, match=text):
            write_rows(open_source(path), np.array([3, row]), out)
    assert [file.name for file in tmp_path.iterdir()] == ["people.csv"]


def test_cells_stay_as_they_are(written, tmp_path, monkeypatch):
    """Integers beyond 2^53, leading zeros, dates, truth values: nothing is read into them."""
    monkeypatch.setattr(sources, "PARQUET_ROWS", 2)
    path = written('id,zip,big\n7,00123,9007199254740993\n8," 4 ",1e3\n')
    write_rows(open_source(path), np.array([1, 0]), tmp_path / "texts.parquet")
    texts = pq.read_table(tmp_path / "texts.parquet")
    assert texts.to_pydict() == {
        "id": ["8", "7"],
        "zip": [" 4 ", "00123"],
        "big": ["1e3", "9007199254740993"],
    }
    columns = {
        "id": pa.array([f"c{i}" for i in range(5)]),
        "big": pa.array([2**63 - 1 - i for i in range(5)]),
        "small": pa.array([1, None, 3, 4, 5], pa.uint8()),
        "single": pa.array([0.1, math.nan, None, 4, 5], pa.float32()),
        "money": pa.array([None, *map(Decimal, ("0.10", "2.00", "3", "4"))], pa.decimal128(20, 2)),
        "day": pa.array(range(5), pa.date32()),
        "at": pa.array(range(5), pa.timestamp("us", "UTC")),
        "is": pa.array([True, False, None, True, False]),
        "town": pa.array(["Ulm", "Bonn", "Ulm", None, "Köln"]).dictionary_encode(),
    }
    source, out = tmp_path / "typed.parquet", tmp_path / "out.parquet"
    pq.write_table(pa.table(columns), source)
    rows = np.array([4, 0, 2, 1])
    write_rows(open_source(source), rows, out, bucket_rows=3)
    got, whole = pq.read_table(out), pq.read_table(source)
    assert got.schema == whole.schema
    assert got.drop_columns("single").equals(whole.drop_columns("single").take(rows))
    assert str(got.column("single").to_pylist()) == str(whole.column("single").take(rows).to_pylist())
