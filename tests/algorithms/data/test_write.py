"""Some rows in another order, as Parquet, through buckets on disk."""

from __future__ import annotations

import math

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hecore.algorithms.data import infer_schema, open_source, read_table, sources, write_rows
from hecore.algorithms.errors import TableError

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
    write_rows(open_source(path), rows, out, schema=infer_schema(path), bucket_rows=bucket_rows)
    table = pq.read_table(out)
    assert table.column("id").to_pylist() == [f"r{i}" for i in rows]
    assert table.column("x").to_pylist() == [i / 4 if i % 5 else None for i in rows]
    assert table.column("town").to_pylist() == [f"t{i % 3}" for i in rows]
    assert {file.name for file in path.parent.iterdir()} == {"people.csv", "out.parquet"}


def test_what_was_written_reads_as_the_rows_taken(written, tmp_path):
    path = written(CONTENT)
    out = tmp_path / "out.parquet"
    rows = np.array([7, 3, 20])
    write_rows(open_source(path), rows, out, schema=infer_schema(path))
    got, whole = read_table(out), read_table(path).take(rows)
    assert got.ids == whole.ids
    assert np.array_equal(got.values[:, 0], whole.values[:, 0], equal_nan=True)
    assert math.isnan(got.values[2, 0])


def test_nothing_is_overwritten_and_nothing_left_behind(written, tmp_path):
    path = written(CONTENT)
    out = tmp_path / "out.parquet"
    out.write_text("kept")
    with pytest.raises(TableError, match=r"out\.parquet exists"):
        write_rows(open_source(path), np.arange(3), out, schema=infer_schema(path))
    assert out.read_text() == "kept"
    out.unlink()
    found = infer_schema(path)
    path.write_text(CONTENT.replace("r24,6.0", "r24,six"))
    with pytest.raises(TableError, match="'six' at row 24"):
        write_rows(open_source(path), np.arange(3), out, schema=found)
    assert [file.name for file in tmp_path.iterdir()] == ["people.csv"]
