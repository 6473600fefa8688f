"""Encrypted histograms of many features: every plan on every backend, and what the plans cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hecore.kernels import Backend, Modulus, NotInvertible, histogram
from hecore.kernels.histogram import MAX_JOINT_BINS, HistogramPlan, joint_codes, plan_groups

Codes = NDArray[np.integer[Any]]

PRIME = Modulus(2**61 - 1)
SQUARE = Modulus.square_of(Modulus(2**127 - 1))


def naive(values: list[int], codes: Codes, bins: int, m: int) -> list[int]:
    """One product a row and feature."""
    out = [1] * (codes.shape[1] * bins)
    for value, row in zip(values, codes.tolist(), strict=True):
        for feature, code in enumerate(row):
            out[feature * bins + code] = out[feature * bins + code] * value % m
    return out


def units(count: int) -> list[int]:
    return np.random.default_rng(count).integers(1, 2**61 - 2, count).tolist()


def uniform(rows: int, features: int, bins: int) -> Codes:
    return np.random.default_rng(rows + features).integers(0, bins, (rows, features))


def sparse(rows: int, features: int, bins: int, share: float = 0.05) -> Codes:
    """Each column in a default bin of its own, but for a share of the rows."""
    rng = np.random.default_rng(rows * features)
    default = np.arange(features) % bins
    return np.where(rng.random((rows, features)) < share, rng.integers(0, bins, (rows, features)), default)


def mixed(rows: int, features: int, bins: int) -> Codes:
    """Dense and sparse columns in turn."""
    codes = uniform(rows, features, bins)
    codes[:, ::2] = sparse(rows, features, bins, 0.03)[:, ::2]
    return codes


MAKERS: list[Callable[[int, int, int], Codes]] = [uniform, sparse, mixed]
SHAPES = [
    (0, 3, 4),
    (1, 1, 1),
    (1, 3, 2),
    (2, 5, 3),
    (7, 0, 4),
    (40, 4, 1),
    (60, 1, 4),
    (60, 7, 2),
    (200, 6, 3),
    (500, 9, 2),
    (1000, 5, 4),
    (300, 3, 32),
    (30, 2, 1000),
]


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(("rows", "features", "bins"), SHAPES)
def test_histogram(
    backend: Backend, make: Callable[[int, int, int], Codes], rows: int, features: int, bins: int
) -> None:
    codes, values = make(rows, features, bins), units(rows)
    got = histogram(backend, backend.from_ints(SQUARE, values), codes, bins)
    assert got.modulus == SQUARE
    assert backend.to_ints(got) == naive(values, codes, bins, SQUARE.value)


@pytest.mark.parametrize("code", [0, 2, 4])
@pytest.mark.parametrize("features", [1, 2, 6])
def test_all_rows_in_one_bin(backend: Backend, features: int, code: int) -> None:
    codes, values = np.full((80, features), code), units(80)
    got = histogram(backend, backend.from_ints(PRIME, values), codes, 5)
    assert backend.to_ints(got) == naive(values, codes, 5, PRIME.value)


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"])
def test_every_integer_type(backend: Backend, dtype: str) -> None:
    """Joint codes do not overflow a narrow type; memory may be of any order."""
    codes = mixed(150, 4, 100).astype(dtype)
    values = units(150)
    x = backend.from_ints(PRIME, values)
    want = naive(values, codes, 100, PRIME.value)
    for view in (codes, np.asfortranarray(codes), np.repeat(codes, 2, axis=1)[:, ::2]):
        assert backend.to_ints(histogram(backend, x, view, 100)) == want


def test_plans_of_these_shapes_cover_both_savings() -> None:
    """The shapes above do what their names say: joint tables, default bins, both, and neither."""

    def kinds(codes: Codes, bins: int) -> set[tuple[bool, bool]]:
        groups = plan_groups(codes, bins).groups
        return {(group.stop - group.start > 1, group.default_bin is not None) for group in groups}

    assert kinds(uniform(60, 1, 4), 4) == {(False, False)}
    assert kinds(uniform(1000, 5, 4), 4) >= {(True, False)}
    assert kinds(sparse(300, 30, 32), 32) == {(False, True)}
    assert kinds(sparse(500, 9, 2), 2) >= {(True, True)}
    assert kinds(mixed(300, 3, 32), 32) == {(False, False), (False, True)}


@pytest.mark.parametrize(
    ("codes", "bins"),
    [
        (np.zeros(3, dtype=int), 2),
        (np.zeros((2, 1), dtype=int), 2),
        (np.zeros((4, 1), dtype=int), 2),
        (np.zeros((3, 1, 1), dtype=int), 2),
        (np.zeros((3, 1)), 2),
        (np.zeros((3, 1), dtype=bool), 2),
        (np.array([[0], [1], [2]]), 2),
        (np.array([[0], [-1], [1]]), 2),
        (np.array([[0], [2**63], [1]], dtype=np.uint64), 2),
        (np.zeros((3, 1), dtype=int), 0),
        (np.zeros((3, 0), dtype=int), 0),
        (np.zeros((3, 1), dtype=int), -1),
        (np.zeros((3, 1), dtype=int), MAX_JOINT_BINS + 1),
    ],
)
def test_wrong_codes(backend: Backend, codes: Codes, bins: int) -> None:
    x = backend.from_ints(PRIME, [1, 2, 3])
    with pytest.raises(ValueError, match=r"codes must|bins are more"):
        histogram(backend, x, codes, bins)


def test_a_row_without_inverse(backend: Backend) -> None:
    """Where nothing is divided it is a product like any other; a default bin cannot do with it."""
    codes = sparse(200, 6, 4)
    values = [0 if i == 20 else 2 for i in range(200)]
    x = backend.from_ints(PRIME, values)
    assert any(group.default_bin is not None for group in plan_groups(codes, 4).groups)
    with pytest.raises(NotInvertible):
        histogram(backend, x, codes, 4)
    one = codes[:, :1]
    assert backend.to_ints(histogram(backend, x, one, 4)) == naive(values, one, 4, PRIME.value)


def test_joint_codes() -> None:
    codes = np.array([[2, 0, 1], [0, 0, 0], [2, 2, 2]], dtype=np.uint8)
    assert joint_codes(codes, 3).tolist() == [19, 0, 26]
    assert joint_codes(codes[:, :0], 3).tolist() == [0, 0, 0]
    assert joint_codes(np.full((1, 8), 255, dtype=np.uint8), 256 - 56)[0] == sum(
        255 * 200**k for k in range(8)
    )


# --- costs ---


def spent(counting: Any, codes: Codes, bins: int) -> int:
    x = counting.from_ints(PRIME, units(codes.shape[0]))
    counting.products = counting.inversions = 0
    histogram(counting, x, codes, bins)
    return int(counting.products)


def check_plan(plan: HistogramPlan, features: int) -> None:
    covered = [f for group in plan.groups for f in range(group.start, group.stop)]
    assert covered == list(range(features))


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(("rows", "features", "bins"), SHAPES)
def test_the_plan_counts_exactly_and_is_never_worse_than_naive(
    counting: Any, make: Callable[[int, int, int], Codes], rows: int, features: int, bins: int
) -> None:
    """Naive: one segment product a feature, where the first of each bin is free."""
    codes = make(rows, features, bins)
    plan = plan_groups(codes, bins)
    check_plan(plan, features)
    products = spent(counting, codes, bins)
    assert products == plan.products
    assert products <= sum(rows - len(np.unique(codes[:, f])) for f in range(features))


def test_one_inversion_for_all_features(counting: Any) -> None:
    codes = mixed(800, 12, 32)
    assert sum(group.default_bin is not None for group in plan_groups(codes, 32).groups) > 2
    spent(counting, codes, 32)
    assert counting.inversions == 1


def test_savings_that_kernels_md_promises(counting: Any) -> None:
    """n·features products are naive: joint bins halve them, default bins leave what is not default."""
    assert spent(counting, uniform(10_000, 4, 10), 10) < 0.55 * 4 * 10_000
    a9a_like = sparse(3000, 62, 2, share=2 * 5.3 / 62)
    assert spent(counting, a9a_like, 2) < 62 * 3000 / 8


def test_a_smaller_table_takes_fewer_columns() -> None:
    """The widest group keeps within the table that is allowed; one column always fits."""
    codes = np.random.default_rng(0).integers(0, 4, (5000, 8))
    for table_bins, widest in ((1 << 18, 4), (64, 3), (16, 2), (1, 1)):
        groups = plan_groups(codes, 4, table_bins).groups
        assert max(group.stop - group.start for group in groups) <= widest
    assert max(g.stop - g.start for g in plan_groups(codes, 4, 64).groups) == 3
