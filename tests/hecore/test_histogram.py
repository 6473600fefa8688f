"""Encrypted histograms against sums in the clear."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import hecore
from hecore import ShapeMismatch, SlotLayout, SlotOverflow, histogram
from hecore.histogram import prefix_sums

LAYOUT = SlotLayout(4, 30, 12)


def expected(values: np.ndarray, codes: np.ndarray, bins: int) -> np.ndarray:
    """out[f, b] = Σ values[i] over rows i with codes[i, f] = b."""
    out = np.zeros((codes.shape[1], bins, *values.shape[1:]), dtype=np.int64)
    for feature in range(codes.shape[1]):
        np.add.at(out[feature], codes[:, feature], values)
    return out


@st.composite
def tables(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int]:
    rows, features, bins = draw(st.integers(0, 12)), draw(st.integers(0, 4)), draw(st.integers(1, 5))
    tail = draw(st.sampled_from([(), (0,), (1,), (2,), (5,)]))
    values = draw(hnp.arrays(np.int64, (rows, *tail), elements=st.integers(-1000, 1000)))
    codes = draw(
        hnp.arrays(draw(st.sampled_from(["i8", "u1"])), (rows, features), elements=st.integers(0, bins - 1))
    )
    return values, codes, bins


@settings(max_examples=60)
@given(tables(), st.booleans())
def test_sums_by_bin(
    encryptor: hecore.Encryptor, decryptor: hecore.Decryptor, case: Any, packed: bool
) -> None:
    values, codes, bins = case
    layout = LAYOUT if packed and values.ndim == 2 else None
    result = histogram(encryptor.encrypt(values, layout=layout), codes, bins)
    wanted = expected(values, codes, bins)
    assert result.layout == layout
    assert result.shape == wanted.shape
    assert np.array_equal(decryptor.decrypt(result), wanted)


@pytest.mark.parametrize("share", [0.0, 0.9, 1.0])
def test_many_rows(encryptor: hecore.Encryptor, decryptor: hecore.Decryptor, share: float) -> None:
    """Joint bins, and a default bin that nearly all rows are in, which is filled from the total."""
    draw = np.random.default_rng(3)
    values = draw.integers(-1000, 1000, (400, 2))
    codes = np.where(draw.random((400, 6)) < share, 2, draw.integers(0, 4, (400, 6)))
    for layout in (None, LAYOUT):
        result = histogram(encryptor.encrypt(values, layout=layout), codes, 4)
        assert np.array_equal(decryptor.decrypt(result), expected(values, codes, 4))


def test_scale_and_noise(encryptor: hecore.Encryptor, decryptor: hecore.Decryptor) -> None:
    result = histogram(encryptor.encrypt([0.5, 0.25, 4.0]), np.array([[0], [0], [2]]), 3)
    assert (result.scale_bits, result.fresh) == (40, False)
    assert decryptor.decrypt(result).tolist() == [[0.75, 0.0, 4.0]]


def test_more_rows_than_headroom(encryptor: hecore.Encryptor) -> None:
    layout = SlotLayout(2, 14, 10)
    batch = encryptor.encrypt(np.full((9, 2), 1023), layout=layout)
    assert histogram(batch[:8], np.zeros((8, 1), dtype=int), 2).terms == 8
    with pytest.raises(SlotOverflow, match="9 terms could overflow slots with headroom for 8"):
        histogram(batch, np.zeros((9, 1), dtype=int), 2)


@pytest.mark.parametrize(
    ("codes", "bins", "message"),
    [
        (np.zeros((4, 1), dtype=int), 2, r"codes of shape \(4, 1\) for a batch of shape \(3, 2\)"),
        (np.zeros(3, dtype=int), 2, r"codes of shape \(3,\)"),
        (np.zeros((3, 1, 1), dtype=int), 2, r"codes are \(rows, features\)"),
        (np.zeros((3, 1)), 2, r"integers in 0 … 1"),
        (np.array([[0], [2], [1]]), 2, r"integers in 0 … 1"),
        (np.array([[0], [-1], [1]]), 2, r"integers in 0 … 1"),
        (np.zeros((3, 1), dtype=bool), 2, r"integers in 0 … 1"),
        (np.zeros((3, 1), dtype=int), 0, r"bins=0 is not in 1 … 262144"),
        (np.zeros((3, 1), dtype=int), 1 << 40, r"bins=1099511627776 is not in"),
    ],
)
def test_codes_that_do_not_fit(encryptor: hecore.Encryptor, codes: Any, bins: int, message: str) -> None:
    for layout in (None, LAYOUT):
        with pytest.raises(ShapeMismatch, match=message):
            histogram(encryptor.encrypt(np.zeros((3, 2), dtype=int), layout=layout), codes, bins)


def test_a_batch_without_rows(encryptor: hecore.Encryptor) -> None:
    codes = np.zeros((3, 1), dtype=int)
    for batch in (encryptor.encrypt(5), encryptor.encrypt([1, 2, 3], layout=SlotLayout(1, 20, 10))):
        with pytest.raises(ShapeMismatch, match="for a batch of shape"):
            histogram(batch, codes, 2)


@settings(max_examples=40)
@given(tables(), st.booleans())
def test_prefix_sums(
    encryptor: hecore.Encryptor, decryptor: hecore.Decryptor, case: Any, packed: bool
) -> None:
    values, codes, bins = case
    layout = LAYOUT if packed and values.ndim == 2 else None
    sums = histogram(encryptor.encrypt(values, layout=layout), codes, bins)
    running = prefix_sums(sums)
    assert (running.layout, running.shape, running.terms) == (layout, sums.shape, sums.terms)
    assert not running.fresh
    assert np.array_equal(decryptor.decrypt(running), np.cumsum(expected(values, codes, bins), axis=1))


def test_prefix_sums_of_another_shape(encryptor: hecore.Encryptor) -> None:
    with pytest.raises(ShapeMismatch, match="not shape"):
        prefix_sums(encryptor.encrypt(np.arange(3)))
