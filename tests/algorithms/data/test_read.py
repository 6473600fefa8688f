"""CSV, Parquet and libsvm into tables: kinds, missing values, chunks, and errors by file, row and column."""

from __future__ import annotations

import math
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hecore.algorithms.data import (
    infer_schema,
    load_rows,
    read_csv,
    read_ids,
    read_libsvm,
    read_table,
    schema,
    sources,
)
from hecore.algorithms.errors import TableError

PEOPLE = "id,y,age,town,zip\na,1,41,Ulm,7\nb,0,,Bonn,8\nc,1, 2.5e1 ,NA,7\nd,0,nan,Ulm,\n"


def parquet(path: Path, **columns: object) -> Path:
    pq.write_table(pa.table(columns), path, row_group_size=3)
    return path


# --- kinds and values ------------------------------------------------------------------------------------


def test_numbers_categories_and_missing_values(written):
    table = read_table(written(PEOPLE), label_column="y", categorical=["zip"])
    assert table.columns == ("age", "town", "zip")
    assert table.categories == {"town": ("Bonn", "Ulm"), "zip": ("7", "8")}
    nan = math.nan
    expected = [[41, 1, 0], [nan, 0, 1], [25, nan, 0], [nan, 1, nan]]
    assert np.array_equal(table.values, expected, equal_nan=True)
    assert table.label is not None
    assert table.label.tolist() == [1, 0, 1, 0]
    assert table.missing


def test_the_schema_of_the_training_file_holds_for_others(written):
    trained = infer_schema(written(PEOPLE), label_column="y")
    other = written("town,extra,zip,id,age\nBonn,x,3,p,1\nKiel,y,4,q,2\n", "new.csv")
    table = read_table(other, schema=trained)
    assert table.columns == ("age", "town", "zip")
    assert np.array_equal(table.values, [[1, 0, 3], [2, math.nan, 4]], equal_nan=True)
    with pytest.raises(TableError, match=r"new\.csv has no column 'age'"):
        read_table(written("id,town,zip\na,Ulm,1\n", "new.csv"), schema=trained)


def test_the_schema_says_what_was_found(written):
    found = infer_schema(written(PEOPLE), label_column="y", categorical=["zip"])
    assert (found.name, found.rows) == ("people.csv", 4)
    assert [column.kind for column in found.columns] == [
        "id",
        "label",
        "numeric",
        "categorical",
        "categorical",
    ]
    age = found["age"]
    assert (age.missing, age.distinct, age.lowest, age.highest) == (2, 2, 25.0, 41.0)
    assert found["town"].missing == 1
    assert [column.name for column in found.features] == ["age", "town", "zip"]


def test_a_column_without_values_is_numeric_and_all_missing(written):
    found = infer_schema(written("id,x\na,\nb,NULL\n"))["x"]
    assert (found.kind, found.missing, found.distinct) == ("numeric", 2, 0)
    assert math.isnan(found.lowest)


def test_missing_values_can_be_refused(written):
    with pytest.raises(TableError, match=r"people\.csv: nan at line 3 \(id 'b'\), column 'age': a finite"):
        read_table(written("id,age\na,1\nb,\nc,\n"), missing=False)


@pytest.mark.parametrize(
    ("content", "options", "text"),
    [
        (
            "id,y,x\na,1,2\nb,yes,3\n",
            {"label_column": "y"},
            r"people\.csv: 'yes' at line 3 \(id 'b'\), column 'y'",
        ),
        ("id,x\na,1\n", {"label_column": "y"}, "people.csv has no column 'y'; it has 'id', 'x'"),
        ("id,x\na,1\n", {"categorical": ["z"]}, "has no column 'z'"),
        ("id,x\na,1\n", {"label_column": "id"}, "cannot be both id and label"),
        ("id,x\na,inf\n", {}, r"inf at line 2 \(id 'a'\), column 'x'"),
        ("id,x\na,1\nb,2,3\n", {}, r"line 3 has 3 fields"),
        ("id,x,x\na,1,2\n", {}, "column 'x' occurs twice"),
        ("id,x\na,1\na,2\n", {}, "id 'a' occurs twice, at places 0 and 1"),
    ],
)
def test_errors_name_file_row_and_column(written, content, options, text):
    with pytest.raises(TableError, match=text):
        read_table(written(content), **options)


def test_too_many_texts_are_no_category(written, monkeypatch):
    monkeypatch.setattr(schema, "MAX_CATEGORIES", 3)
    path = written("id,x\n" + "".join(f"r{i},t{i}\n" for i in range(5)))
    found = infer_schema(path)["x"]
    assert (found.kind, found.distinct, found.categories) == ("text", None, ())
    with pytest.raises(TableError, match="column 'x' has too many different texts"):
        read_table(path)


@pytest.mark.parametrize("rows", [1, 2, 3, 100])
def test_chunks_do_not_show(written, monkeypatch, rows):
    """Also where a column of numbers turns out to hold a text in a late chunk."""
    content = "id,x,y\n" + "".join(f"r{i},{i if i != 6 else 'seven'},{i}\n" for i in range(8))
    whole = read_table(written(content), categorical=["x"])
    monkeypatch.setattr(sources, "CSV_ROWS", rows)
    parts = [len(chunk) for chunk in sources.CsvSource(written(content)).chunks()]
    assert max(parts) <= rows
    assert sum(parts) == 8
    table = read_table(written(content), categorical=["x"])
    assert table.ids == whole.ids
    assert table.categories == whole.categories
    assert table.categories["x"] == ("0", "1", "2", "3", "4", "5", "7", "seven")
    assert np.array_equal(table.values, whole.values)
    told = r"'seven' at line 8 \(id 'r6'\), column 'x' is no number"
    with pytest.raises(TableError, match=f"{told}, all others are: mend it, or name the column in data.cat"):
        read_table(written(content))
    with pytest.raises(TableError, match=told):
        read_csv(written(content))


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        ("1 2 3", "numeric"),
        ("+1 -.5 2.e-3 1E5 inf -Infinity \u0663\u0664", "numeric"),
        ("1 NA 4o", "mixed"),
        ("1 x 2 y", "mixed"),
        ("1 x y", "categorical"),
        ("x NA y", "categorical"),
        ("1_000 0x10 1,5 1", "categorical"),
    ],
)
@pytest.mark.parametrize("rows", [1, 100])
def test_one_wrong_cell_makes_no_categories_of_numbers(written, monkeypatch, rows, cells, kind):
    monkeypatch.setattr(sources, "CSV_ROWS", rows)
    path = written("id,x\n" + "".join(f'r{i},"{cell}"\n' for i, cell in enumerate(cells.split())))
    assert infer_schema(path)["x"].kind == kind
    assert infer_schema(path, categorical=["x"])["x"].kind == "categorical"


def test_several_wrong_cells_are_counted(written):
    path = written("id,x\na,1\nb,4o\nc,\nd,2\ne,oops\n")
    told = r"people\.csv: '4o' at line 3 \(id 'b'\), column 'x' is no number, nor 1 other cell; 2 are: mend"
    with pytest.raises(TableError, match=told):
        read_table(path)


def test_a_label_that_counts_as_one_may_be_a_text(written):
    path = written("id,y,x\na,yes,1\nb,no,2\nc, yes ,3\n")
    found = infer_schema(path, label_column="y")
    assert (found["y"].kind, found["y"].categories) == ("label", ("no", "yes"))
    assert load_rows(path, None, found, positive="yes").label.tolist() == [1, 0, 1]
    assert load_rows(path, np.array([1, 0]), found, positive="no").label.tolist() == [1, 0]
    with pytest.raises(TableError, match=r"'yes' at line 2 \(id 'a'\), column 'y' is no number"):
        load_rows(path, None, found)
    for positive in ("yes", 1.0):
        gap = written(f"id,y,x\na,{'yes' if positive == 'yes' else 1},1\nb,,2\n", "gap.csv")
        with pytest.raises(TableError, match=r"gap\.csv: no label at line 3 \(id 'b'\), column 'y': drop"):
            load_rows(gap, None, infer_schema(gap, label_column="y"), positive=positive)


def test_ids_alone_are_read_without_judging_them(written):
    assert read_ids(written("x,id\n1,a\n2,\n3,a\n")) == ["a", "", "a"]
    assert read_ids(written("x,key\n1,a\n"), "key") == ["a"]


def test_a_csv_file_with_a_header_alone_has_no_ids(written):
    assert len(read_ids(written("id,x\n"))) == 0


# --- some rows -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["csv", "parquet", "libsvm"])
@pytest.mark.parametrize("rows", [[], [5], [3, 0, 7], [7, 6, 5, 4, 3, 2, 1, 0], [2, 2, 1]])
def test_rows_are_loaded_as_they_would_be_taken(written, tmp_path, monkeypatch, kind, rows):
    monkeypatch.setattr(sources, "CSV_ROWS", 3)
    monkeypatch.setattr(sources, "PARQUET_ROWS", 3)
    texts = ["Ulm", "Bonn", "", "Kiel", "Ulm", "NA", "Bonn", "Ulm"]
    path = written("id,y,x,town,out\n" + "".join(f"r{i},{i % 2},{i / 8},{texts[i]},t{i}\n" for i in range(8)))
    options = {"label_column": "y", "drop": ["out"]}
    if kind == "parquet":
        table = pa.table({"id": [f"r{i}" for i in range(8)], "y": [i % 2 for i in range(8)],
                          "x": [i / 8 for i in range(8)], "town": texts, "out": texts})  # fmt: skip
        pq.write_table(table, path := tmp_path / "people.parquet")
    elif kind == "libsvm":
        path = written("".join(f"{i % 2} {i + 1}:1 9:{i} 12:7 # r{i}\n" for i in range(8)), "a.svm")
        options = {"label_column": "label", "drop": ["12"]}
    found = infer_schema(path, **options)
    whole = load_rows(path, None, found)
    assert len(whole) == found.rows == 8
    assert whole.label is not None
    assert whole.label.tolist() == [0, 1] * 4
    if kind == "libsvm":
        assert whole.columns == tuple(str(place) for place in range(1, 12))
        same = read_libsvm(path).values[:, :11].toarray()
        assert np.array_equal(whole.values.toarray(), same)
    else:
        assert whole.columns == ("x", "town")
        assert whole.categories == {"town": ("Bonn", "Kiel", "Ulm")}
    if len(set(rows)) < len(rows) or not rows:
        with pytest.raises(TableError, match="id 'r2' occurs twice" if rows else "0 rows"):
            load_rows(path, np.array(rows, int), found)
        return
    table, expected = load_rows(path, np.array(rows), found), whole.take(np.array(rows))
    assert table.ids == expected.ids == [f"r{row}" for row in rows]
    assert table.digest() == expected.digest()


def test_only_what_is_loaded_must_be_right(written):
    path = written('id,y,x\na,1,2\n\n"b",,1e999\nc,0,\n')
    found = infer_schema(path, label_column="y")
    assert load_rows(path, np.array([2, 0]), found).label.tolist() == [0, 1]
    with pytest.raises(TableError, match=r"people\.csv: inf at line 4 \(id 'b'\), column 'x': a finite"):
        load_rows(path, np.array([1]), infer_schema(path))
    with pytest.raises(TableError, match=r"no label at line 4 \(id 'b'\), column 'y': drop the rows"):
        load_rows(written(path.read_text().replace("1e999", "3")), np.array([0, 1]), found)
    with pytest.raises(TableError, match=r"nan at line 5 \(id 'c'\), column 'x'"):
        load_rows(path, np.array([2]), found, missing=False)
    with pytest.raises(TableError, match="there is no row 3, it has 3 rows"):
        load_rows(path, np.array([0, 3]), found)


def test_a_row_of_parquet_is_named_by_its_number(tmp_path):
    path = parquet(tmp_path / "p.parquet", id=["a", "b", "c"], x=[1.0, 2.0, math.inf])
    with pytest.raises(TableError, match=r"p\.parquet: inf at row 2 \(id 'c'\), column 'x'"):
        load_rows(path, np.array([2, 0]), infer_schema(path))


def test_memory_holds_the_rows_asked_for(written, monkeypatch):
    """A tenth of 2,000 rows of 60 columns: 1 MB in all; a chunk of texts is bounded by its cells."""
    monkeypatch.setattr(sources, "CSV_CELLS", 2_000)
    columns, count = 60, 2_000
    cells = ",".join(["1.5"] * columns)
    header = ",".join(f"x{i}" for i in range(columns))
    path = written(f"id,{header}\n" + "".join(f"r{i},{cells}\n" for i in range(count)))
    found, rows = infer_schema(path), np.arange(0, count, 10)[::-1]
    load_rows(path, rows[:5], found)  # whatever is made once
    tracemalloc.start()
    try:
        table = load_rows(path, rows, found)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert table.values.nbytes == 8 * 200 * columns
    assert peak < 8 * count * columns / 2


def test_ids_and_labels_cannot_be_left_out(written):
    for name, what in (("id", "id"), ("y", "label")):
        with pytest.raises(TableError, match=f"column '{name}' is the {what} and cannot be left out"):
            infer_schema(written(PEOPLE), label_column="y", drop=[name])


# --- Parquet ---------------------------------------------------------------------------------------------


def test_parquet_reads_as_the_same_csv(tmp_path, written):
    path = parquet(
        tmp_path / "people.parquet",
        id=pa.array(["a", "b", "c", "d"]),
        y=pa.array([True, False, True, False]),
        age=pa.array([41.0, None, 25.0, math.nan], pa.float32()),
        town=pa.array(["Ulm", "Bonn", None, "Ulm"]).dictionary_encode(),
        zip=pa.array([7, 8, 7, None], pa.int16()),
    )
    options = {"label_column": "y", "categorical": ["zip"]}
    table, same = read_table(path, **options), read_table(written(PEOPLE), **options)
    assert (table.ids, table.columns, table.categories) == (same.ids, same.columns, same.categories)
    assert np.array_equal(table.values, same.values, equal_nan=True)
    assert np.array_equal(table.label, same.label)
    found = infer_schema(path)["age"]
    assert (found.kind, found.missing, found.distinct) == ("numeric", 2, 2)


def test_integer_ids_are_their_digits(tmp_path):
    assert read_ids(parquet(tmp_path / "n.parquet", id=[12, 7], x=[1.0, 2.0])) == ["12", "7"]


@pytest.mark.parametrize(
    ("column", "text"),
    [
        (pa.array([0.5, 1.0]), "column 'id': ids are texts or integers, not double"),
        (pa.array([[1], [2]]), "column 'id' is list<.*>: numbers and texts can be read"),
        (pa.array([1, 2], pa.timestamp("s")), r"people\.parquet: column 'id' is timestamp\[ms\]"),
    ],
)
def test_types_that_are_no_ids_are_named(tmp_path, column, text):
    with pytest.raises(TableError, match=text):
        read_ids(parquet(tmp_path / "people.parquet", id=column))


def test_a_spoilt_parquet_file_is_named(tmp_path):
    path = parquet(tmp_path / "people.parquet", id=["a"], x=[1])
    whole = path.read_bytes()
    path.write_bytes(whole[:-6])
    with pytest.raises(TableError, match=r"people\.parquet is no whole Parquet file"):
        read_ids(path)


# --- libsvm ----------------------------------------------------------------------------------------------


def test_libsvm_is_read_sparse(written):
    table = read_libsvm(
        written("1 1:0.5 3:-2\n\n0\n-1 2:1e1 # not an id? it is\n".replace(" # not an id? it is", ""))
    )
    assert table.is_sparse
    assert table.ids == ["0", "1", "2"]
    assert table.columns == ("1", "2", "3")
    assert table.values.toarray().tolist() == [[0.5, 0, -2], [0, 0, 0], [0, 10, 0]]
    assert table.label is not None
    assert table.label.tolist() == [1, 0, -1]


def test_libsvm_ids_stand_behind_a_hash_sign(written):
    table = read_libsvm(written("0 1:1 # ann\n0 1:2 #bob \n"), label=False, columns=4)
    assert table.ids == ["ann", "bob"]
    assert table.label is None
    assert table.columns == ("1", "2", "3", "4")
    assert read_libsvm(written("0 0:1 2:1\n"), first_place=0).columns == ("0", "1", "2")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("1 1:0.5\nyes 1:1\n", r"people\.csv: 'yes' in line 2, label, is no finite number"),
        ("1 1:0.5 2:x\n", "'x' in line 1, place 2, is no finite number"),
        ("1 1:inf\n", "'inf' in line 1, place 1"),
        ("1 1:1_0\n", "'1_0' in line 1"),
        ("1 a:1\n", "'a:1' in line 1 is not place:value"),
        ("1 1\n", "'1' in line 1 is not place:value"),
        ("1 -1:2\n", "'-1:2' in line 1 is not place:value"),
        ("1 0:2\n", "line 1: place 0 follows 0; places ascend from 1"),
        ("1 2:1 2:3\n", "line 1: place 2 follows 2"),
        ("1 1:1\n1 9:1\n", "line 2: place 9 is beyond the 8 columns"),
        ("1 1:1 # a\n1 1:1\n", "line 2: of 2 rows, 1 name their id"),
        ("# a\n", "line 1 has no label"),
        ("", "0 rows"),
        (b"1 1:1 # \xff\n", "is not UTF-8 text"),
    ],
)
def test_a_bad_libsvm_file_is_refused_with_the_place(written, content, text):
    with pytest.raises(TableError, match=text):
        read_libsvm(written(content), columns=8)
