"""Integer matrix × encrypted vector: every plan on every backend, and what the plans cost."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hecore.kernels import Backend, Modulus, NotInvertible, Residues, multiexp
from hecore.kernels import limbs as lb
from hecore.kernels.joint import FEWEST
from hecore.kernels.limbs import Limbs
from hecore.kernels.multiexp import (
    MAX_ELEMENTS,
    Entries,
    WindowPlan,
    entry_plans,
    matrix_power,
    plan_windows,
    sample_entries,
    window_plans,
)

Matrix = list[list[int]]

SMALL = Modulus(2**89 - 1)
ODD_SQUARE = Modulus.square_of(Modulus(2**67 + 3))
SHAPES = [(1, 1), (1, 7), (7, 1), (5, 9), (64, 2), (2, 64)]
BITS = [1, 2, 3, 24, 63, 64, 65, 128, 200]


def as_limbs(matrix: Matrix, columns: int, width: int) -> Limbs:
    flat = [value for row in matrix for value in row]
    return lb.from_signed_ints(flat, width).reshape(len(matrix), columns, width)


def as_powers(matrix: Matrix, bases: list[int], m: int) -> list[int]:
    out = []
    for row in matrix:
        product = 1
        for base, exponent in zip(bases, row, strict=True):
            product = product * pow(base, exponent, m) % m
        out.append(product)
    return out


def random_matrix(rows: int, columns: int, bits: int, *, density: float = 1.0, shift: int = 0) -> Matrix:
    """Exponents of `bits` random bits above `shift` zeros, of both signs."""
    rng = random.Random(f"{rows} {columns} {bits} {density}")

    def entry() -> int:
        if rng.random() >= density:
            return 0
        return rng.choice([-1, 1]) * (rng.getrandbits(bits) | 1 << (bits - 1)) << shift

    return [[entry() for _ in range(columns)] for _ in range(rows)]


def units(modulus: Modulus, count: int) -> list[int]:
    """Invertible bases, 1 and m − 1 among them."""
    rng = random.Random(count)
    candidates = (rng.randrange(1, modulus.value) for _ in range(10 * count + 10))
    good = (v for v in candidates if np.gcd.reduce([v, modulus.value], dtype=object) == 1)
    return [1, modulus.value - 1, *(next(good) for _ in range(count))][-count:] if count else []


def every_plan(limbs: Limbs) -> list[WindowPlan]:
    return entry_plans(Entries.of(limbs))


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize(("rows", "columns"), SHAPES)
def test_every_plan(backend: Backend, rows: int, columns: int, bits: int) -> None:
    """The plans are forced one after another: all windows of both methods, and plain powers."""
    matrix = random_matrix(rows, columns, bits)
    bases = units(SMALL, columns)
    want = as_powers(matrix, bases, SMALL.value)
    limbs, x = as_limbs(matrix, columns, bits // 64 + 1), backend.from_ints(SMALL, bases)
    plans = every_plan(limbs)
    methods = {plan.method for plan in plans}
    assert methods - {"joint"} == {"powers", "tables", "buckets"}
    assert ("joint" in methods) == (bits <= 62 and rows > 1)
    if rows * columns * bits > 5000:
        plans = [plan for plan in plans if plan.window in (2, 5) or plan.method == "powers"]
    for plan in plans:
        assert backend.to_ints(matrix_power(backend, limbs, x, plan)) == want, plan


@pytest.mark.parametrize("density", [0.02, 0.3, 1.0])
@pytest.mark.parametrize("bits", [1, 24, 70, 200])
@pytest.mark.parametrize(("rows", "columns"), SHAPES)
def test_matvec_both_ways_round(backend: Backend, rows: int, columns: int, bits: int, density: float) -> None:
    """Sparse and dense, signed; the transposed view is not contiguous, the limbs wider than needed."""
    matrix = random_matrix(rows, columns, bits, density=density)
    limbs = as_limbs(matrix, columns, 5)
    m = ODD_SQUARE.value
    tall, wide = units(ODD_SQUARE, columns), units(ODD_SQUARE, rows)
    got = backend.matvec_exp(limbs, backend.from_ints(ODD_SQUARE, tall))
    assert got.modulus == ODD_SQUARE
    assert backend.to_ints(got) == as_powers(matrix, tall, m)
    got = backend.matvec_exp(limbs, backend.from_ints(ODD_SQUARE, wide), transposed=True)
    assert backend.to_ints(got) == as_powers([list(column) for column in zip(*matrix, strict=True)], wide, m)


@pytest.mark.parametrize("bits", [64, 1024])
def test_matvec_of_large_residues(backend: Backend, bits: int) -> None:
    modulus = Modulus.square_of(Modulus(2**bits - 1))
    matrix, bases = random_matrix(3, 4, 30), units(modulus, 4)
    x = backend.from_ints(modulus, bases)
    got = backend.to_ints(backend.matvec_exp(as_limbs(matrix, 4, 1), x))
    assert got == as_powers(matrix, bases, modulus.value)


@pytest.mark.parametrize(
    "entries",
    [
        [-(2**63), 2**63 - 1, -(2**63), 0],  # the least int64: its magnitude does not fit in 63 bits
        [-(2**127), 2**127 - 1, 1, -1],
        [0, 0, -1, 0],
        [-5, -1, -(2**40), -3],
        [2**k for k in (0, 1, 62, 126)],
        [-(2**k) for k in (2, 11, 12, 127)],
        [(2**k - 1) * sign for k in (1, 12, 63, 100) for sign in (1, -1)],
        [1, 1, 1, 1],
        [2**11, -(2**11), 2**11 - 1, -(2**11) - 1],
    ],
    ids=str,
)
def test_special_exponents(backend: Backend, entries: list[int]) -> None:
    half = len(entries) // 2
    matrix = [entries[:half], entries[half:]]
    bases = units(SMALL, half)
    x, limbs = backend.from_ints(SMALL, bases), as_limbs(matrix, half, 2)
    want = as_powers(matrix, bases, SMALL.value)
    for plan in (None, *every_plan(limbs)):
        assert backend.to_ints(matrix_power(backend, limbs, x, plan)) == want, plan


@pytest.mark.parametrize(("rows", "columns"), [(0, 0), (0, 3), (3, 0), (1, 1), (4, 3)])
def test_zero_and_empty_matrices(backend: Backend, rows: int, columns: int) -> None:
    """Nothing to multiply: 1 for every row, invertible bases or not."""
    x = backend.from_ints(SMALL, [0, 1, SMALL.value - 1][:columns])
    limbs = np.zeros((rows, columns, 2), dtype=np.uint64)
    assert backend.to_ints(backend.matvec_exp(limbs, x)) == [1] * rows
    assert backend.to_ints(backend.matvec_exp(limbs.swapaxes(0, 1), x, transposed=True)) == [1] * rows


@pytest.mark.parametrize("columns", [0, 1, 2, 4])
def test_columns_must_be_the_bases(backend: Backend, columns: int) -> None:
    x = backend.from_ints(SMALL, [1, 2, 3])
    limbs = np.ones((3, columns, 1), dtype=np.uint64)
    with pytest.raises(ValueError, match=f"{columns} columns .* 3 elements"):
        backend.matvec_exp(limbs, x)
    with pytest.raises(ValueError, match=f"{columns} columns .* 3 elements"):
        backend.matvec_exp(limbs.swapaxes(0, 1), x, transposed=True)


def test_bases_without_inverse(backend: Backend) -> None:
    """Whatever the plan, the first such base is named, by its place in the vector."""
    x = backend.from_ints(Modulus(15), [1, 2, 5, 3])
    matrix = [[0, 0, -3, 1], [-1, 1, 0, 0]]
    limbs = as_limbs(matrix, 4, 1)
    for plan in (None, *every_plan(limbs)):
        with pytest.raises(NotInvertible) as caught:
            matrix_power(backend, limbs, x, plan)
        assert caught.value.index == 2, plan


def test_a_base_without_inverse_is_named_by_its_place(backend: Backend) -> None:
    """Not by its place among the bases that have an exponent."""
    x = backend.from_ints(Modulus(15), [1, 3, 2, 5])
    limbs = as_limbs([[-1, 0, -1, -1], [1, 0, 1, -1]], 4, 1)
    for plan in (None, *every_plan(limbs)):
        with pytest.raises(NotInvertible) as caught:
            matrix_power(backend, limbs, x, plan)
        assert caught.value.index == 3, plan


# --- joint tables ---


@pytest.mark.parametrize("columns", range(1, 15))
def test_joint_groups_of_every_width(backend: Backend, columns: int) -> None:
    """Whole groups, groups of one column less, columns that do not vary, and bits that no exponent has."""
    matrix = random_matrix(9, columns, 12, shift=5)
    for row in matrix:
        row[0] = -7
        row[-1] = abs(row[-1]) | 1
    bases = units(SMALL, columns)
    limbs, x = as_limbs(matrix, columns, 1), backend.from_ints(SMALL, bases)
    plans = [plan for plan in every_plan(limbs) if plan.method == "joint"]
    assert [plan.window for plan in plans if columns % plan.window == 0] or columns == 1
    for plan in plans:
        assert backend.to_ints(matrix_power(backend, limbs, x, plan)) == as_powers(matrix, bases, SMALL.value)


@pytest.mark.parametrize("most", [1, 30, 64])
def test_joint_rows_in_parts(backend: Backend, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """Outputs that stand side by side are bounded; the parts give the same."""
    matrix = random_matrix(10, 6, 20)
    bases = units(SMALL, 6)
    limbs, x = as_limbs(matrix, 6, 1), backend.from_ints(SMALL, bases)
    monkeypatch.setattr(multiexp, "MAX_ELEMENTS", most)
    got = matrix_power(backend, limbs, x, WindowPlan("joint", 3, 20, 0))
    assert backend.to_ints(got) == as_powers(matrix, bases, SMALL.value)


def test_joint_takes_what_is_dense_and_short(counting: Any) -> None:
    def offered(limbs: Limbs) -> bool:
        return any(plan.method == "joint" for plan in every_plan(limbs))

    assert offered(as_limbs(random_matrix(20, 20, 62), 20, 1))
    assert not offered(as_limbs(random_matrix(20, 20, 63), 20, 1))
    assert not offered(as_limbs(random_matrix(20, 20, 24, density=0.15), 20, 1))
    sparse = as_limbs(random_matrix(20, 20, 24, density=0.1), 20, 1)
    with pytest.raises(ValueError, match="dense matrix"):
        spent(counting, sparse, WindowPlan("joint", 3, 24, 0))


def test_joint_groups_are_no_wider_than_patterns(counting: Any) -> None:
    limbs = as_limbs(random_matrix(6, 18, 3), 18, 1)
    with pytest.raises(ValueError, match="groups of 18 columns"):
        spent(counting, limbs, WindowPlan("joint", 18, 2, 0))


def test_few_rows_are_not_joint() -> None:
    """Their Horner steps are as many as those of many rows, and each takes as long as fifty products."""
    for rows, columns in ((4, 4), (8, 16), (16, 16), (16, 100)):
        limbs = as_limbs(random_matrix(rows, columns, 24), columns, 1)
        assert multiexp.plan_entries(Entries.of(limbs)).method != "joint"


def test_large_dense_matrices_are_joint() -> None:
    """X·[w] and Xᵀ·[e] of a batch of features of 24 bits take 2.4 and 2.8 products an entry (rounded)."""
    values = np.random.default_rng(1).integers(-(1 << 23), 1 << 23, size=(1024, 300))
    for part, most in ((values, 2.5), (values.T, 2.9)):
        limbs = lb.from_int64(part.ravel()).reshape(*part.shape, 1)
        plan = multiexp.plan_entries(Entries.of(limbs))
        assert plan.method == "joint"
        assert plan.products < most * values.size


# --- digits ---


@given(st.data(), st.integers(2, 12), st.integers(1, 200))
def test_signed_digits(data: st.DataObject, window: int, bits: int) -> None:
    top = (1 << bits) - 1
    number = st.integers(-top, top) | st.sampled_from([top, -top, 0, 1, -1, 1 << (bits - 1)])
    values = data.draw(st.lists(number, max_size=6))
    windows = multiexp.windows_for(bits, window)
    digits = multiexp.signed_digits(lb.from_signed_ints(values, bits // 64 + 1), window, windows)
    assert digits.shape == (len(values), windows)
    sums = [sum(d << (window * t) for t, d in enumerate(row)) for row in digits.tolist()]
    assert sums == values
    if values:
        assert -(1 << (window - 1)) <= digits.min() <= digits.max() < 1 << (window - 1)


@pytest.mark.parametrize("window", range(2, 13))
def test_windows_are_as_few_as_possible(window: int) -> None:
    for bits in range(1, 300):
        windows = multiexp.windows_for(bits, window)
        # The largest number of T digits is all digits at 2^(w−1) − 1.
        largest = [
            sum(((1 << (window - 1)) - 1) << (window * t) for t in range(count))
            for count in (windows - 1, windows)
        ]
        assert largest[0] < (1 << bits) - 1 <= largest[1]


# --- costs ---

COSTS = [(1, 1), (2, 1), (1, 2), (1, 30), (30, 1), (3, 3), (20, 20), (200, 4), (4, 200)]


def spent(counting: Any, limbs: Limbs, plan: WindowPlan | None) -> int:
    x = counting.from_ints(SMALL, units(SMALL, limbs.shape[1]))
    counting.products = 0
    matrix_power(counting, limbs, x, plan)
    return int(counting.products)


@pytest.mark.parametrize("zeros", [0, 24])
@pytest.mark.parametrize("bits", [1, 2, 8, 24, 60, 200])
@pytest.mark.parametrize(("rows", "columns"), COSTS)
def test_estimates(counting: Any, rows: int, columns: int, bits: int, zeros: int) -> None:
    """What random exponents cost, above `zeros` bits that none of them uses.

    Slack: a quarter. In small matrices the largest digits may not occur, and above unused bits they do
    not fill their windows: less is spent than planned.
    """
    matrix = random_matrix(rows, columns, bits, shift=zeros)
    limbs = as_limbs(matrix, columns, (bits + zeros) // 64 + 1)
    for plan in every_plan(limbs):
        if plan.window <= 6 or plan.method == "powers":
            products = spent(counting, limbs, plan)
            assert products <= 1.25 * plan.products + 2, plan
            filled = zeros == 0 or (bits >= 24 and zeros % plan.window == 0)
            few = rows * columns < 50 or (plan.method == "joint" and rows < FEWEST)
            assert products >= 0.9 * plan.products or not filled or few, plan


@pytest.mark.parametrize("density", [0.05, 0.3, 1.0])
@pytest.mark.parametrize("bits", [1, 2, 5, 24, 60, 200])
@pytest.mark.parametrize(("rows", "columns"), COSTS)
def test_the_plan_is_never_worse_than_plain_powers(
    counting: Any, rows: int, columns: int, bits: int, density: float
) -> None:
    """Slack: a tenth and two products, since some plans are equally good."""
    matrix = random_matrix(rows, columns, bits, density=density)
    matrix[0][0] = 1 << (bits - 1)
    limbs = as_limbs(matrix, columns, bits // 64 + 1)
    plain = next(plan for plan in every_plan(limbs) if plan.method == "powers")
    chosen = spent(counting, limbs, None)
    assert chosen <= 1.1 * spent(counting, limbs, plain) + 2


@pytest.mark.parametrize(
    ("rows", "columns", "method"), [(5000, 5, "tables"), (5, 5000, "buckets"), (1, 1, "powers")]
)
def test_the_shape_chooses_the_method(rows: int, columns: int, method: str) -> None:
    plan = plan_windows(rows, columns, rows * columns, 2**24 - 1)
    assert plan.method == method
    if method != "powers":  # kernels.md promises about 3 products per 24-bit entry of a large matrix
        assert plan.products < 4.5 * rows * columns


def test_a_diagonal_is_plain_powers(counting: Any) -> None:
    matrix = [[3**30 if i == j else 0 for j in range(50)] for i in range(50)]
    assert plan_windows(50, 50, 50, 3**30).method == "powers"
    each = (3**30).bit_length() + (3**30).bit_count() - 2
    assert spent(counting, as_limbs(matrix, 50, 1), None) == 50 * each


@pytest.mark.parametrize(("low", "high"), [(0, 0), (3, 0), (0, 150), (150, 0)])
def test_one_long_exponent_does_not_spoil_the_plan(counting: Any, low: int, high: int) -> None:
    """A sample of the exponents misses it; its windows are counted all the same."""
    matrix = random_matrix(40, 40, 8, shift=low)
    matrix[20][7] = (3 << high) + 1
    limbs = as_limbs(matrix, 40, 3)
    plan = min(every_plan(limbs), key=lambda plan: plan.products)
    assert spent(counting, limbs, None) <= 1.2 * plan.products
    assert spent(counting, limbs, None) <= 40 * 40 * (8 + 4) + 5 * 150


def test_the_sample_sees_every_column() -> None:
    """A column of ones (an intercept) among full ones is seen in its share, whatever the period."""
    for columns in (2, 5, 8, 10, 64):
        flat = np.full((6400, columns, 1), 2**40 - 1, dtype=np.uint64)
        flat[:, 0] = 1
        flat[:, -1] = 0  # and a column of zeros is not seen
        seen = lb.to_ints(sample_entries(flat.reshape(-1, 1)))
        assert len(seen) == 64
        assert 0 not in seen
        assert abs(seen.count(1) - 64 / (columns - 1)) <= 12


@pytest.mark.parametrize(("rows", "columns"), [(10**6, 50), (50, 10**6), (10**4, 10**4)])
def test_intermediate_batches_are_bounded(rows: int, columns: int) -> None:
    for plan in window_plans(rows, columns, rows * columns, 2**40 - 1):
        size = {"tables": columns * plan.windows << plan.window, "powers": rows * columns}.get(
            plan.method, rows * plan.windows << (plan.window - 1)
        )
        assert size <= MAX_ELEMENTS or plan.window == 2


def test_zeros_and_ones_are_one_segment_product(counting: Any) -> None:
    calls: list[str] = []

    def record(name: str) -> Callable[..., Residues]:
        original = getattr(counting, name)

        def call(*args: Any) -> Residues:
            calls.append(name)
            return original(*args)

        return call

    for name in ("mod_mul", "mod_pow", "mod_inv"):
        setattr(counting, name, record(name))
    matrix = [[1, 0, 1], [1, 1, 1], [0, 0, 0], [1, 0, 0]]
    assert spent(counting, as_limbs(matrix, 3, 1), None) == 3
    assert calls == []
