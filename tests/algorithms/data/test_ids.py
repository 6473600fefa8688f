"""Ids: a sequence of texts held in two buffers, against lists of Python's texts."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hecore.algorithms.data import Ids
from hecore.algorithms.data import ids as data_ids
from hecore.algorithms.data.ids import check_ids
from hecore.algorithms.errors import TableError

texts = st.lists(st.text(st.characters(codec="utf-8"), max_size=3), max_size=30)


@given(texts)
def test_it_is_a_sequence_of_its_texts(given_texts):
    ids = Ids(given_texts)
    assert list(ids) == given_texts
    assert ids == given_texts
    assert ids == tuple(given_texts)
    assert len(ids) == len(given_texts)
    assert [ids[i] for i in range(-len(ids), len(ids))] == given_texts * 2
    assert list(ids[1:4]) == given_texts[1:4]
    assert list(ids[::-2]) == given_texts[::-2]
    assert [ids[int(i)] for i in ids.order()] == sorted(given_texts, key=str.encode)
    assert ids.take(np.arange(len(ids))[::-1]) == given_texts[::-1]
    assert ids.encoded(0, len(ids)) == [text.encode() for text in given_texts]


@given(texts)
def test_empty_and_repeated_ids_are_found(given_texts):
    ids = Ids(given_texts)
    assert ids.empty().tolist() == [i for i, text in enumerate(given_texts) if not text]
    assert ids.repeated().tolist() == [i for i, text in enumerate(given_texts) if text in given_texts[:i]]


def test_it_differs_from_other_things():
    ids = Ids(["a", "b"])
    assert ids != ["a", "c"]
    assert ids != ["a"]
    assert ids != "ab"
    assert ids != 3
    assert ids != Ids(["b", "a"])
    with pytest.raises(IndexError, match="no id 2 of 2"):
        ids[2]


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (pa.array(["a", None, "c"]), ["a", "", "c"]),
        (pa.array([7, None, -1]), ["7", "", "-1"]),
        (pa.array(["b", "a", "b"]).dictionary_encode(), ["b", "a", "b"]),
        (pa.chunked_array([["a"], [], ["b", "c"]]), ["a", "b", "c"]),
        (pa.chunked_array([], pa.string()), []),
        ((str(i) for i in range(3)), ["0", "1", "2"]),
    ],
    ids=["missing", "integers", "dictionary", "chunks", "no chunks", "generator"],
)
def test_where_ids_come_from(array, expected):
    assert Ids(array) == expected


@pytest.mark.parametrize("kind", [pa.float64(), pa.bool_(), pa.date32()])
def test_what_is_no_id(kind):
    with pytest.raises(TypeError, match="texts or integers, not"):
        Ids(pa.array([None], kind))


def test_digests_tell_ids_uses_and_keys_apart():
    ids = Ids(["a", "Åsa", "ab"])
    got = ids.digests(1, 3, b"use", b"key")
    expected = [
        hashlib.blake2b(
            len(text).to_bytes(8, "little") + text, digest_size=32, person=b"use", key=b"key"
        ).digest()
        for text in ("Åsa".encode(), b"ab")
    ]
    assert [row.tobytes() for row in got] == expected
    assert not np.array_equal(got, ids.digests(1, 3, b"use"))
    assert not np.array_equal(got, ids.digests(1, 3, b"another use", b"key"))
    assert ids.digests(1, 1, b"use").shape == (0, 32)


def test_long_lists_go_in_pieces(monkeypatch):
    monkeypatch.setattr(data_ids, "ROWS", 4)
    names = [f"id{i}" for i in range(11)]
    assert list(Ids(names)) == names
    data = b"hecore alignment v1" + b"".join(
        len(name).to_bytes(4, "little") + name.encode() for name in names
    )
    assert Ids(names).fingerprint() == hashlib.sha256(data).digest()


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["a", "", "c"], "t: the id at place 1 is ''"),
        (["a", "b", "c", "b"], r"t: id 'b' occurs twice, at places 1 and 3$"),
        (
            ["c", "b", "c", "b", "c"],
            "id 'c' occurs twice, at places 0 and 2, and an id repeats in 2 more rows",
        ),
    ],
)
def test_bad_ids_are_named(names, text):
    with pytest.raises(TableError, match=text):
        check_ids("t", Ids(names))
