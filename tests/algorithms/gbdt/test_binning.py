"""Bins: thresholds between values, enough rows in each, missing values and categories apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hecore.algorithms.errors import TableError
from hecore.algorithms.gbdt.binning import apply_bins, fit_bins
from hecore.algorithms.gbdt.candidates import goes_left, left_sums, list_candidates
from hecore.algorithms.gbdt.histograms import histogram

numbers = st.one_of(
    st.floats(-1e6, 1e6, width=32),
    st.integers(-3, 3).map(float),
    st.sampled_from([float("nan"), 0.0, -0.0, 1e-40, 1.0, 1.0000001]),
)


def column(values: list[float], max_bin: int = 8, least: int = 1, categories: bool = False) -> Any:
    matrix = np.array(values, dtype=np.float64).reshape(-1, 1)
    (bins,) = fit_bins(["x"], matrix, max_bin, least, ["x"] if categories else [])
    return bins, apply_bins([bins], matrix).codes[:, 0]


@settings(max_examples=200)
@given(st.lists(numbers, min_size=1, max_size=60), st.integers(2, 10), st.integers(1, 7))
def test_thresholds(values: list[float], max_bin: int, least: int) -> None:
    bins, codes = column(values, max_bin, least)
    single = np.array(values, dtype=np.float32)
    present = single[~np.isnan(single)]
    assert bins.missing == (present.size < single.size)
    edges = np.array(bins.edges, dtype=np.float32)
    assert edges.tolist() == bins.edges  # float32 numbers
    assert (np.diff(edges) > 0).all()
    # Code c holds t_{c−1} ≤ x < t_c, as an exported model compares.
    for value, code in zip(single, codes, strict=True):
        if np.isnan(value):
            assert code == bins.bins
        else:
            assert code == sum(value >= edge for edge in edges)
    used = np.bincount(codes[~np.isnan(single)], minlength=bins.bins)
    real = used[:-1] if bins.missing and present.size else used  # the last is for larger values to come
    assert real.size <= max_bin
    if present.size >= least:
        assert (real >= least).all()
    else:
        assert np.count_nonzero(real) <= 1


@settings(max_examples=100)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=60), st.integers(2, 8), st.integers(1, 6))
def test_categories(values: list[int], max_bin: int, least: int) -> None:
    bins, codes = column([float(v) for v in values], max_bin, least, categories=True)
    kept = [int(edge) for edge in bins.edges]
    assert kept == sorted(kept)
    assert len(kept) < max_bin
    for value, code in zip(values, codes, strict=True):
        assert code == (kept.index(value) + 1 if value in kept else 0)
    counts = np.bincount(values)
    assert all(counts[value] >= least for value in kept)
    if len(kept) < max_bin - 1:
        assert set(kept) == set(np.flatnonzero((counts >= least) & (counts > 0)).tolist())


def test_unseen_and_missing_categories_are_the_rest() -> None:
    bins, _ = column([0.0, 0, 1, 1, 2], max_bin=3, categories=True)
    codes = bins.codes(np.array([0.0, 1, 2, 7, np.nan, -4, 0.5]))
    assert codes.tolist() == [1, 2, 0, 0, 0, 0, 0]


def test_many_values_spread_evenly() -> None:
    values = np.random.default_rng(0).normal(size=10_000)
    bins, codes = column(values.tolist(), 32)
    counts = np.bincount(codes)
    assert bins.bins == 32
    assert counts.min() >= 300
    assert counts.max() <= 320


def test_a_frequent_value_does_not_empty_other_bins() -> None:
    values = np.concatenate([np.zeros(9_000), np.arange(1, 1001)])
    bins, codes = column(values.tolist(), 11)
    assert bins.bins == 11
    assert np.bincount(codes)[1:].min() >= 90


@pytest.mark.parametrize(
    ("values", "categories", "message"),
    [
        ([1e39, 0.0], [], "'x' has a value beyond float32"),
        ([0.5], ["x"], "'x' is categorical, but holds 0.5"),
        ([-1.0], ["x"], "'x' is categorical, but holds -1"),
        ([0.0], ["y"], "no column 'y'"),
    ],
)
def test_columns_that_cannot_be_binned(values: list[float], categories: list[str], message: str) -> None:
    with pytest.raises(TableError, match=message):
        fit_bins(["x"], np.array(values).reshape(-1, 1), 8, 1, categories)


@settings(max_examples=60)
@given(st.lists(numbers, min_size=1, max_size=40), st.booleans(), st.data())
def test_left_sums_are_sums_of_the_rows_that_go_left(
    values: list[float], categories: bool, data: st.DataObject
) -> None:
    """The plan of candidates against one pass a candidate."""
    if categories:
        values = [v if np.isnan(v) else float(int(abs(v)) % 7) for v in values]
    bins, codes = column(values, 6, 1, categories)
    weights = np.array(data.draw(st.lists(st.integers(-99, 99), min_size=len(values), max_size=len(values))))
    candidates = list_candidates([bins], [0])
    sums = histogram(
        codes.reshape(-1, 1), np.arange(len(values)), [0], candidates.offsets, weights.reshape(-1, 1)
    )
    left = left_sums(sums, candidates, 1)
    for place in range(len(candidates)):
        rows = goes_left(codes, bins, candidates.bin[place], candidates.missing_left[place])
        assert left[place, 0] == weights[rows].sum()
