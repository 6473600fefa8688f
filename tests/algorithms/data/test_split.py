"""Splits that two parties draw alike from ids and a key."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hecore.algorithms.data import Ids, split_rows
from hecore.algorithms.errors import ConfigurationError

KEY = b"agreed between us"
shares = st.floats(0, 0.49)


def names(ids: Ids, places: np.ndarray) -> set[str]:
    return set(ids.take(places))


@given(st.permutations([f"id{i}" for i in range(40)]), shares, shares)
def test_order_and_other_rows_do_not_matter(shuffled, validation, test):
    whole, part = Ids(sorted(shuffled)), Ids(shuffled[:25])
    one, two = (split_rows(ids, KEY, validation=validation, test=test) for ids in (whole, part))
    for mine, theirs in zip(
        (one.train, one.validation, one.test), (two.train, two.validation, two.test), strict=True
    ):
        assert names(whole, mine) & set(part) == names(part, theirs)
    assert sorted([*one.train, *one.validation, *one.test]) == list(range(40))


def test_shares_come_out_about_as_large_as_wanted():
    ids = Ids([f"id{i}" for i in range(70_000)])
    split = split_rows(ids, KEY, validation=0.1, test=0.25)
    assert abs(len(split.test) - 17_500) < 4 * 115
    assert abs(len(split.validation) - 7_000) < 4 * 80
    none = split_rows(ids, KEY, test=0.0)
    assert (len(none.train), len(none.validation), len(none.test)) == (70_000, 0, 0)


def test_another_key_draws_another_split():
    ids = Ids([f"id{i}" for i in range(400)])
    one, two = (split_rows(ids, key, test=0.5).test for key in (KEY, KEY + b"!"))
    assert 60 < len(set(one) & set(two)) < 140


def test_the_split_of_an_id_is_fixed():
    """Two parties with different versions must agree."""
    ids = Ids([f"id{i}" for i in range(1000)])
    chosen = []
    for place, text in enumerate(ids):
        data = len(text).to_bytes(8, "little") + text.encode()
        digest = hashlib.blake2b(data, digest_size=32, key=KEY, person=b"hecore split v1").digest()
        if int.from_bytes(digest[:8], "little") / 2**64 < 0.2:
            chosen.append(place)
    assert split_rows(ids, KEY).test.tolist() == chosen


@pytest.mark.parametrize(
    ("key", "options", "text"),
    [
        (b"short", {}, "5 bytes, not 16 … 64"),
        (b"l" * 65, {}, "65 bytes"),
        (KEY, {"test": 1.0}, "test = 1.0 is not a share"),
        (KEY, {"test": -0.1}, "test = -0.1"),
        (KEY, {"validation": float("nan")}, "validation = nan"),
        (KEY, {"validation": 0.5, "test": 0.5}, r"validation \+ test = 1.0"),
    ],
)
def test_bad_keys_and_shares_are_refused(key, options, text):
    with pytest.raises(ConfigurationError, match=text):
        split_rows(Ids(["a"]), key, **options)
