"""Shuffling, comparing and packing, held against Python's own sets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hecore.algorithms.data import Ids
from hecore.algorithms.errors import AlignmentError, ProtocolError
from hecore.algorithms.psi import group, steps
from hecore.randomness import random_bytes

tags = st.lists(st.integers(0, 40), unique=True, max_size=30)


def rows(numbers: list[int]) -> np.ndarray:
    """Tags that differ in the first half, in the second half or in both."""
    data = b"".join((n % 5).to_bytes(8, "little") + (n // 5).to_bytes(8, "big") for n in numbers)
    return np.frombuffer(data, np.uint8).reshape(-1, 16)


@given(tags, tags)
def test_matches_are_those_of_sets(own, peers):
    mine, theirs = steps.match(rows(own), rows(peers))
    assert {own[i] for i in mine} == set(own) & set(peers)
    assert [own[i] for i in mine] == [peers[j] for j in theirs]


@pytest.mark.parametrize(("own", "peers"), [([1, 1], []), ([], [4, 4]), ([1, 2, 1], [1]), ([3], [3, 3])])
def test_a_repeated_tag_is_refused(own, peers):
    with pytest.raises(ProtocolError, match="occurs twice"):
        steps.match(rows(own), rows(peers))


@given(st.integers(0, 300), st.binary(min_size=32, max_size=32))
def test_a_shuffle_is_a_permutation(count, seed):
    order = steps.shuffled(count, seed)
    assert sorted(order) == list(range(count))
    assert np.array_equal(order, steps.shuffled(count, seed))


def test_a_shuffle_depends_on_the_seed_and_leaves_no_row_where_it_was():
    first, second = (steps.shuffled(2000, bytes([i]) * 32) for i in (1, 2))
    assert np.count_nonzero(first == second) < 10
    assert np.count_nonzero(first == np.arange(2000)) < 10
    places = np.array([np.flatnonzero(steps.shuffled(4, i.to_bytes(32, "big")) == 0)[0] for i in range(4000)])
    counts = np.bincount(places, minlength=4)
    assert abs(counts - 1000).max() < 120  # four standard deviations


def test_masked_chunks_join_to_the_shuffled_list():
    ids = Ids([f"id {i}" for i in range(23)])
    scalar, order = random_bytes(group.SCALAR_BYTES), steps.shuffled(23, bytes(32))
    masked = steps.MaskedList(ids, scalar, order, chunk_rows=10)
    whole = np.concatenate([masked.chunk(0), masked.chunk(1), masked.chunk(2)])
    expected = group.multiply(scalar, group.hash_to_group(ids.digests(0, 23, group.PERSON)))
    assert np.array_equal(whole, expected[order])
    assert scalar.hex() not in repr(masked)
    assert repr(scalar) not in repr(masked)


@given(st.lists(st.booleans(), max_size=50))
def test_rows_survive_packing(chosen):
    data = steps.pack_rows(np.array(chosen, bool))
    assert len(data) == -(-len(chosen) // 8)
    assert steps.unpack_rows(data, len(chosen)).tolist() == chosen
    with pytest.raises(ProtocolError, match="one bit each"):
        steps.unpack_rows(data + b"\0", len(chosen))


def test_replies_of_another_length_are_refused():
    with pytest.raises(ProtocolError, match="31 bytes of returned ids instead of 32"):
        steps.read_tags(bytes(31), 2)


def test_common_rows_are_sorted_by_the_bytes_of_their_ids():
    ids = Ids(["b", "Å", "a", "B", "aa", "😀", "ﬀ"])
    assert [ids[i] for i in steps.aligned_rows(ids, np.arange(7))] == ["B", "a", "aa", "b", "Å", "ﬀ", "😀"]
    assert steps.aligned_rows(ids, np.array([0, 3])).tolist() == [3, 0]


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        ((0, 0, 0), "bank has no ids"),
        ((9, 1, 0), "bank: of 9 ids, 1 row repeats an id of an earlier row"),
        ((9, 3, 0), "3 rows repeat an id"),
        ((9, 0, 1), "of 9 ids, 1 empty id;"),
        ((9, 2, 4), "4 empty ids and 2 rows repeat"),
    ],
)
def test_bad_ids_are_told_by_party_and_count(counts, text):
    with pytest.raises(AlignmentError, match=text):
        steps.check_ids("bank", *counts)
