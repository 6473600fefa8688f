"""Tables and CSV files: what is read, and what is refused with its place."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import coo_array

from hecore.algorithms.data import Table, read_csv
from hecore.algorithms.errors import TableError


def small(**changes) -> Table:
    table = Table("t", ("a", "b", "c"), ("x", "y"), np.arange(6.0).reshape(3, 2), np.array([0.0, 1.0, 1.0]))
    return replace(table, **changes)


# --- CSV: what is read -----------------------------------------------------------------------------------


def test_the_columns_are_told_apart_wherever_they_stand(written):
    path = written("x,label,id,y\n1,0,a,-2.5\n3e2,1,b, 4 \n")
    table = read_csv(path, label_column="label")
    assert table.name == "people.csv"
    assert table.ids == ("a", "b")
    assert table.columns == ("x", "y")
    assert table.values.tolist() == [[1.0, -2.5], [300.0, 4.0]]
    assert table.label is not None
    assert table.label.tolist() == [0.0, 1.0]
    assert table.values.dtype == table.label.dtype == np.float64


def test_without_a_label_the_other_columns_are_features(written):
    table = read_csv(str(written("key,x,label\na,1,0\n")), id_column="key")
    assert table.columns == ("x", "label")
    assert table.label is None


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfid,x\na,1\nb,2\n",
        b"id,x\r\na,1\r\nb,2\r\n",
        b"id,x\na,1\nb,2",
        b"\nid,x\n\na,1\n\nb,2\n\n\n",
        b'"id","x"\n"a","1"\n"b","2"\n',
    ],
    ids=["byte-order-mark", "CRLF", "no-last-newline", "blank-lines", "all-quoted"],
)
def test_common_dialects_read_alike(written, content):
    table = read_csv(written(content))
    assert table.ids == ("a", "b")
    assert table.columns == ("x",)
    assert table.values.tolist() == [[1.0], [2.0]]


def test_quoted_fields_hold_commas_quotes_and_newlines(written):
    table = read_csv(written('id,"income, yearly","say ""x"""\n"Doe, J.",1,2\n"two\nlines",3,4\n'))
    assert table.columns == ("income, yearly", 'say "x"')
    assert table.ids == ("Doe, J.", "two\nlines")


def test_ids_stay_text(written):
    assert read_csv(written("id,x\n007,1\n7,2\n 7,3\nÅsa,4\n")).ids == ("007", "7", " 7", "Åsa")


# --- CSV: what is refused --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("", "people.csv is empty"),
        ("\n\n", "people.csv is empty"),
        ("id,x,y\n", "people.csv: 0 rows and 2 columns"),
        ("id\na\n", "people.csv: 1 row and 0 columns"),
        ("name,x\na,1\n", "people.csv has no column 'id'; it has 'name', 'x'"),
        ("id;x\na;1\n", "no column 'id'; it has 'id;x'"),
        ("id,x\na,1\nb\n", r"line 3 has 1 field, the header 2"),
        ("id,x\na,1\n\nb,1,2\n", r"line 4 has 3 fields, the header 2"),
        ('id,x\n"a\nb",1\nc\n', r"line 4 has 1 field"),
        ("id,x\na,1\nb,two\n", r"'two' at line 3 \(id 'b'\), column 'x' is no number"),
        ("id,x\na,1_000\n", "'1_000' at line 2"),
        ("id,x\na,0x10\n", "'0x10' at line 2"),
        ('id,x\na,"1,5"\n', "'1,5' at line 2"),
        ("id,x,y\na,1,2\nb,3,\n", r"nan at row 1 \(id 'b'\), column 'y': every value must be a finite"),
        ("id,x,y\na,,2\nb,  ,nan\n", r"nan at row 0 \(id 'a'\), column 'x', and 2 more: every value"),
        ("id,x\na,1\nb,-inf\n", r"-inf at row 1 \(id 'b'\), column 'x'"),
        ("id,x\na,1e999\n", r"inf at row 0 \(id 'a'\), column 'x'"),
        ("id,x\na,1\nb,2\na,3\n", "id 'a' occurs twice, at places 0 and 2"),
        ("id,x\na,1\n,2\n", "the id at place 1 is ''"),
        ("id,x,x\na,1,2\n", "column 'x' occurs twice, at places 1 and 2"),
        ("id,x,id\na,1,b\n", "column 'id' occurs twice, at places 0 and 2"),
        ("id,,x\na,1,2\n", "the column at place 0 is ''"),
        ('id,x\n"a,1\nb,2\n', "line 3: unexpected end of data"),
        ('id,x\n"a"b,1\n', "line 2: "),
        (b"id,x\n\xff\xfea,1\n", "is not UTF-8 text"),
        ("id,x\na,1\n".encode("utf-16"), "is not UTF-8 text"),
        ("id,x\n" + "a" * 200_000 + ",1\n", "line 2: field larger"),
    ],
)
def test_a_bad_file_is_refused_with_the_place(written, content, text):
    with pytest.raises(TableError, match=text):
        read_csv(written(content))


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("id,x\na,1\n", "has no column 'label'; it has 'id', 'x'"),
        ("id,x,label,label\na,1,0,1\n", "column 'label' occurs twice"),
        ("id,x,label\na,1,0\nb,2,\n", r"label nan at row 1 \(id 'b'\): drop"),
        ("id,x,label\na,1,\nb,2,\n", r"label nan at row 0 \(id 'a'\), and 1 more: drop"),
        ("id,x,label\na,1,yes\n", r"'yes' at line 2 \(id 'a'\), column 'label' is no number"),
        ("id,label\na,1\n", "1 row and 0 columns"),
    ],
)
def test_a_bad_label_is_refused_with_the_place(written, content, text):
    with pytest.raises(TableError, match=text):
        read_csv(written(content), label_column="label")


def test_one_column_is_not_id_and_label(written):
    with pytest.raises(TableError, match="'id' cannot be both id and label"):
        read_csv(written("id,x\na,1\n"), label_column="id")


def test_an_error_stays_short_however_wide_the_file(written):
    names = ",".join(f"column{i}" * 20 for i in range(1000))
    with pytest.raises(TableError, match="and 980 more") as caught:
        read_csv(written(names + "\n"))
    assert len(str(caught.value)) < 1500
    with pytest.raises(TableError, match="…' at line 2") as caught:
        read_csv(written("id,x\na," + "z" * 50_000 + "\n"))
    assert len(str(caught.value)) < 200


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.csv"):
        read_csv(tmp_path / "nowhere.csv")


# --- Table -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"ids": ("a", "b")}, r"values of shape \(3, 2\) for 2 ids and 2 columns"),
        ({"columns": ("x",)}, r"values of shape \(3, 2\) for 3 ids and 1 column"),
        ({"values": np.zeros(6)}, r"values of shape \(6,\)"),
        ({"ids": (), "values": np.zeros((0, 2)), "label": np.zeros(0)}, "0 rows and 2 columns"),
        ({"columns": (), "values": np.zeros((3, 0))}, "3 rows and 0 columns"),
        ({"ids": ("a", "b", "a")}, "t: id 'a' occurs twice, at places 0 and 2"),
        ({"columns": ("x", "x")}, "t: column 'x' occurs twice"),
        ({"ids": ("a", "", "c")}, "the id at place 1 is ''"),
        ({"ids": (1, 2, 3)}, "the id at place 0 is 1: a text is needed"),
        ({"columns": ("x", None)}, "the column at place 1 is None"),
        (
            {"values": np.array([[1, 2], [3, np.nan], [np.inf, 6]])},
            r"nan at row 1 \(id 'b'\), column 'y', and 1",
        ),
        ({"values": np.array([["1", "2"], ["3", "4"], ["5", "six"]])}, "values are not all numbers.*six"),
        ({"values": [[1, 2], [3], [5, 6]]}, "values are not all numbers"),
        ({"label": np.zeros(2)}, r"labels of shape \(2,\) for 3 rows"),
        ({"label": np.zeros((3, 1))}, r"labels of shape \(3, 1\) for 3 rows"),
        ({"label": np.array([0.0, np.nan, np.inf])}, r"label nan at row 1 \(id 'b'\), and 1 more"),
        ({"label": ["no", "yes", "no"]}, "labels are not all numbers"),
    ],
)
def test_a_bad_table_is_refused_with_the_place(changes, text):
    with pytest.raises(TableError, match=text):
        small(**changes)


def test_lists_and_other_numbers_are_taken_as_they_mean():
    table = Table("t", ["a", "b"], ["x"], np.array([[1], [2]], dtype=np.int8), [True, False])
    assert (table.ids, table.columns) == (("a", "b"), ("x",))
    assert table.values.dtype == np.float64
    assert table.label is not None
    assert table.label.tolist() == [1.0, 0.0]
    assert len(table) == 2


def test_take_keeps_ids_values_and_labels_together():
    part = small().take(np.array([2, 0]))
    assert part.ids == ("c", "a")
    assert part.values.tolist() == [[4.0, 5.0], [0.0, 1.0]]
    assert part.label is not None
    assert part.label.tolist() == [1.0, 0.0]
    assert (part.name, part.columns) == ("t", ("x", "y"))
    assert small(label=None).take(np.array([1])).label is None


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        (np.array([True, False, True]), "taken by a list of places, not by bool"),
        (np.array([0.0, 1.0]), "not by float64"),
        (np.array([[0], [1]]), r"not by int64 \(2, 1\)"),
        (np.array([0, 3]), "there is no row 3, it has 3 rows"),
        (np.array([-1]), "there is no row -1"),
        (np.array([1, 1]), "id 'b' occurs twice"),
        (np.array([], dtype=np.int64), "0 rows"),
    ],
)
def test_what_cannot_be_taken(rows, text):
    with pytest.raises(TableError, match=text):
        small().take(rows)


# --- alignment -------------------------------------------------------------------------------------------


def test_alignment_depends_on_the_ids_and_their_order_alone():
    table = small()
    assert table.alignment() == small(values=np.ones((3, 2)), label=None, name="other").alignment()
    assert table.alignment() == small(columns=("p", "q")).alignment()
    different = {
        small(ids=ids).alignment()
        for ids in [("a", "b", "c"), ("b", "a", "c"), ("a", "b", "d"), ("a", "b", "C"), ("ab", "c", "d")]
    }
    assert len(different) == 5
    assert table.take(np.array([0, 1])).alignment() not in different


def test_alignment_is_fixed_bytes():
    """Both parties must compute it alike, whatever version each runs."""
    ids = ("a", "Åsa")
    fed = b"hecore alignment v1" + b"\x01\0\0\0a" + b"\x04\0\0\0" + "Åsa".encode()
    table = Table("t", ids, ("x",), np.zeros((2, 1)))
    assert table.alignment() == hashlib.sha256(fed).digest()


@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1), min_size=1, max_size=6, unique=True))
def test_ids_that_run_into_each_other_are_told_apart(ids):
    """("ab", "c") and ("a", "bc") have the same letters, not the same hash."""
    joined = Table("t", ("".join(ids),), ("x",), np.zeros((1, 1)))
    apart = Table("t", tuple(ids), ("x",), np.zeros((len(ids), 1)))
    assert (joined.alignment() == apart.alignment()) == (len(ids) == 1)


# --- missing values, categories, sparse columns ----------------------------------------------------------


def test_missing_values_are_kept_where_they_are_allowed():
    values = np.array([[1, np.nan], [np.nan, 2], [3, 4]])
    table = small(values=values, missing=True)
    assert np.array_equal(table.values, values, equal_nan=True)
    assert table.take(np.array([1])).missing
    assert table.select(["y"]).missing
    with pytest.raises(TableError, match=r"inf at row 1 \(id 'b'\), column 'y', and 1 more"):
        small(values=np.array([[1, 2], [np.nan, np.inf], [-np.inf, 4]]), missing=True)


def test_categories_stay_with_their_columns():
    table = small(
        values=np.array([[0, 1], [2, 0], [1, 1]]), categories={"x": ("a", "b", "c"), "y": ("n", "m")}
    )
    assert table.select(["y"]).categories == {"y": ("n", "m")}
    assert table.take(np.array([1])).categories == table.categories


@pytest.mark.parametrize(
    ("categories", "text"),
    [
        (
            {"x": ("a", "b", "c", "d", "e"), "y": ("n",)},
            "1 in column 'y' is none of the places 0 … 0 of its categories",
        ),
        ({"z": ("a",)}, "categories for 'z', but no such column"),
    ],
)
def test_categories_fit_their_codes(categories, text):
    with pytest.raises(TableError, match=text):
        small(categories=categories)
    for wrong in (0.5, -1.0):
        with pytest.raises(TableError, match="none of the places 0 … 8 of its categories"):
            small(values=np.array([[wrong, 0], [0, 0], [0, 0]]), categories={"x": tuple("abcdefghi")})


def sparse(**changes) -> Table:
    """0 1 / 2 0 / 0 5"""
    values = coo_array(([1.0, 2.0, 5.0], ([0, 1, 2], [1, 0, 1])), shape=(3, 2))
    return Table("t", ("a", "b", "c"), ("x", "y"), values, **changes)


def test_a_sparse_table_gives_rows_columns_and_a_dense_one():
    table = sparse()
    assert table.is_sparse
    assert table.values.tocsc()[:, [1]].toarray()[:, 0].tolist() == [1, 0, 5]
    assert table.take(np.array([2, 0])).values.toarray().tolist() == [[0, 5], [0, 1]]
    assert table.select(["y"]).values.toarray().tolist() == [[1], [0], [5]]
    assert table.select(["y"]).is_sparse
    dense = table.dense()
    assert not dense.is_sparse
    assert dense.values.tolist() == [[0, 1], [2, 0], [0, 5]]
    assert dense.dense() is dense
    assert table.alignment() == dense.alignment()


def test_a_cell_given_twice_is_their_sum():
    values = coo_array(([1.0, 2.0], ([0, 0], [1, 1])), shape=(1, 2))
    assert Table("t", ("a",), ("x", "y"), values).values.data.tolist() == [3.0]


def test_a_bad_stored_value_is_named_by_row_and_column():
    values = coo_array(([1.0, np.nan, np.inf], ([0, 1, 2], [1, 0, 1])), shape=(3, 2))
    with pytest.raises(TableError, match=r"nan at row 1 \(id 'b'\), column 'x', and 1 more"):
        Table("t", ("a", "b", "c"), ("x", "y"), values)
    with pytest.raises(TableError, match=r"inf at row 2 \(id 'c'\), column 'y'"):
        Table("t", ("a", "b", "c"), ("x", "y"), values, missing=True)


def test_a_model_of_numbers_can_ask_for_them():
    assert small().require_numbers().values.tolist() == small().values.tolist()
    assert not small(missing=True).require_numbers().missing
    with pytest.raises(TableError, match=r"nan at row 1 \(id 'b'\), column 'x'"):
        small(values=np.array([[1, 2], [np.nan, 3], [4, 5]]), missing=True).require_numbers()
    with pytest.raises(TableError, match="column 'x' holds categories"):
        small(values=np.zeros((3, 2)), categories={"x": ("a",)}).require_numbers()
    with pytest.raises(TableError, match=r"t is sparse: table\.dense\(\)"):
        sparse().require_numbers()


def test_values_whose_sum_is_beyond_float64_are_still_finite():
    assert small(values=np.full((3, 2), 1e308)).values.max() == 1e308
