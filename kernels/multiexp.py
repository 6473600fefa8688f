"""Integer matrix × encrypted vector: out[i] = ∏_j x[j]^M[i, j], planned once for every backend.

Four plans; C columns are the bases, R rows the outputs, N of the R·C exponents are not zero:

*powers*    The plain way: every non-zero entry is a power of its own, then one product per entry.
            Best where few entries share a base or an output (diagonals, single rows).
*tables*    Every base gets all its digit powers x[j]^(d·2^(w·t)) once, C·T·2^w products; each entry
            then is one product per non-zero digit. Best when many outputs share a base (tall).
*buckets*   Bases are multiplied into one bucket per (output, window, |d|), and Σ_d d·bucket[d] is
            taken by a running product: about R·T·2^w products. Best when many bases share an
            output (wide).
*joint*     Bases stand in groups of w with a table of all 2^w products of some of them, and
            exponents are read bit by bit: see `joint`. Best for large dense matrices.

For tables and buckets, exponents are cut into T windows of w bits, M[i, j] = Σ_t d(i, j, t)·2^(w·t)
with −2^(w−1) ≤ d < 2^(w−1), and zero digits cost nothing. Both spend one product per non-zero digit
on the main part, which is one `segment_product`: the encrypted histogram with digits as bins. See
Pippenger, "On the evaluation of powers and related problems" (1976).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import expm1
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from . import joint
from . import limbs as lb
from .errors import NotInvertible
from .joint import Dense
from .limbs import Limbs
from .offsets import counted_offsets, even_offsets

if TYPE_CHECKING:
    from .backend import Backend, Residues

#: One-bit signed digits are −1 and 0: they cannot write a positive number.
MIN_WINDOW = 2
MAX_WINDOW = 12
#: Exponents looked at to plan for all.
SAMPLE = 64
#: Largest intermediate batch, in elements: 2^19 of 512 bytes are 256 MiB.
MAX_ELEMENTS = 1 << 19


@dataclass(frozen=True)
class WindowPlan:
    """How one matrix is evaluated: `method`, window bits w and number of windows T (joint: columns
    a group, and bits), products.

    `products` is an estimate, squares included; every power is taken to be as long as the longest.
    """

    method: str
    window: int
    windows: int
    products: int


@dataclass(frozen=True)
class Entries:
    """The exponents of a matrix that are not zero, row by row.

    row, column  int64[entries], rows ascending
    exponents    two's complement uint64[entries, width]
    """

    rows: int
    columns: int
    row: NDArray[np.int64]
    column: NDArray[np.int64]
    exponents: Limbs

    @classmethod
    def of(cls, matrix: Limbs) -> Entries:
        """Those of a dense matrix, uint64[rows, columns, width]."""
        rows, columns, width = matrix.shape
        flat = np.ascontiguousarray(matrix).reshape(rows * columns, width)
        entry = np.flatnonzero(flat.any(axis=1))
        row, column = np.divmod(entry, columns) if columns else (entry, entry)
        return cls(rows, columns, row, column, flat[entry])


def matrix_power(backend: Backend, matrix: Limbs, x: Residues, plan: WindowPlan | None = None) -> Residues:
    """out[i] = ∏_j x[j]^matrix[i, j] for two's complement exponents uint64[rows, columns, width].

    Without `plan`, the cheapest. Every base is taken for invertible, whatever the sign of its
    exponents (positive ones have negative digits too): where a plan needs an inverse that there is
    not, NotInvertible names the first such base. Raises ValueError if the columns are not len(x), or
    if a joint `plan` is for another kind of matrix (`joint.spread`).
    """
    return entries_power(backend, Entries.of(matrix), x, plan)


def entries_power(backend: Backend, matrix: Entries, x: Residues, plan: WindowPlan | None = None) -> Residues:
    """`matrix_power` of a matrix given by its entries: no memory and no product for a zero."""
    rows, columns = matrix.rows, matrix.columns
    if columns != len(x):
        raise ValueError(f"the matrix has {columns} columns but the vector has {len(x)} elements")
    union = lb.magnitude_union(matrix.exponents)
    if union == 0:
        none = np.empty(0, dtype=np.int64)
        return backend.segment_product(x, none, even_offsets(rows, 0))
    used = np.flatnonzero(np.bincount(matrix.column, minlength=columns))
    if used.size < columns:  # bases without an exponent get no tables
        place = np.searchsorted(used, matrix.column)
        matrix = Entries(rows, used.size, matrix.row, place, matrix.exponents)
        try:
            return entries_power(backend, matrix, backend.gather(x, used), plan)
        except NotInvertible as error:
            raise NotInvertible(int(used[error.index])) from None
    dense = joint.spread(matrix, union)
    plan = plan or _cheapest(_plans_of(matrix, union, dense))
    if plan.method == "joint":
        if dense is None:
            raise ValueError("a joint plan needs a dense matrix of short exponents, and unlike rows")
        return _with_joint(backend, dense, x, plan.window)
    if plan.method == "powers":
        return _with_powers(backend, matrix, x)
    digits = signed_digits(matrix.exponents, plan.window, plan.windows)
    windows = np.flatnonzero(digits.any(axis=0))
    shifts = (plan.window * windows).tolist()
    evaluate = _with_tables if plan.method == "tables" else _with_buckets
    return evaluate(backend, matrix, digits[:, windows], shifts, x)


def plan_entries(matrix: Entries) -> WindowPlan:
    """The plan that `entries_power` chooses: the one with the fewest products. At least one exponent."""
    return _cheapest(entry_plans(matrix))


def entry_plans(matrix: Entries) -> list[WindowPlan]:
    """Every plan that may be chosen for a matrix."""
    union = lb.magnitude_union(matrix.exponents)
    return _plans_of(matrix, union, joint.spread(matrix, union))


def _plans_of(matrix: Entries, union: int, dense: Dense | None) -> list[WindowPlan]:
    sample = sample_entries(matrix.exponents)
    plans = window_plans(matrix.rows, matrix.columns, len(matrix.row), union, sample)
    return plans + (joint_plans(dense) if dense is not None else [])


def _cheapest(plans: list[WindowPlan]) -> WindowPlan:
    return min(plans, key=lambda plan: plan.products)


def plan_windows(
    rows: int, columns: int, entries: int, union: int, sample: Limbs | None = None
) -> WindowPlan:
    """The cheapest of `window_plans`: what can be said without the exponents themselves."""
    return _cheapest(window_plans(rows, columns, entries, union, sample))


def window_plans(
    rows: int, columns: int, entries: int, union: int, sample: Limbs | None = None
) -> list[WindowPlan]:
    """The plans by digits for `entries` non-zero exponents, the bitwise or of whose magnitudes is `union`.

    Those whose intermediate batches are not too large. `sample`, some of the exponents, tells how many of
    their digits are not zero; without it their bits are taken for random.
    """
    bits, inverses = union.bit_length(), 3 * columns
    plans = []
    # From w = bits + 1 on one window is enough, and a wider one holds the same digits.
    for window in range(MIN_WINDOW, max(MIN_WINDOW, min(bits + 1, MAX_WINDOW)) + 1):
        windows = windows_for(bits, window)
        highest = min(1 << (window - 1), (1 << bits) - 1)
        used = used_windows(union, window, windows)
        digits = entries * _digits_an_entry(sample, window, windows)
        tables = columns * used * 2 * highest
        buckets = rows * used * highest
        if window == MIN_WINDOW or tables <= MAX_ELEMENTS:
            squares = columns * (windows - 1) * window
            multiples = columns * used * (2 * highest - 2 - (windows > 1)) + inverses * used
            products = _segment_products(digits, rows) + multiples + squares
            plans.append(WindowPlan("tables", window, windows, products))
        if window == MIN_WINDOW or buckets <= MAX_ELEMENTS:
            sums = 2 * rows * used * (highest - 1) + rows * ((windows - 1) * window + used - 1)
            products = _segment_products(digits, buckets) + sums + inverses
            plans.append(WindowPlan("buckets", window, windows, products))
    if entries <= MAX_ELEMENTS:
        powers = entries * (2 * (bits - 1) + union.bit_count() - 1) // 2
        products = _segment_products(entries, rows) + powers + inverses
        plans.append(WindowPlan("powers", bits, 1, products))
    return plans


def joint_plans(dense: Dense) -> list[WindowPlan]:
    """The joint plans whose tables are not too large."""
    varying = dense.columns.size
    rows = len(dense.above)
    bits = dense.positions.size
    laid = joint.LaidBits(dense)
    shared = 0  # the product that gives every row its columns' least exponents back
    used = dense.least[dense.least != 0]
    if used.size:
        least = lb.from_int64(used)
        shared = rows + plan_windows(1, used.size, used.size, lb.magnitude_union(least), least).products
    plans = []
    for window in range(1, min(varying, joint.MAX_WINDOW) + 1):
        groups = joint.Groups.of(varying, window)
        if groups.window == window and (window == 1 or groups.count << window <= MAX_ELEMENTS):
            plans.append(WindowPlan("joint", window, bits, laid.products(groups) + shared))
    return plans


def sample_entries(flat: Limbs) -> Limbs:
    """At most 64 of the non-zero exponents, the same each time; a fixed step would see few columns."""
    entry = np.flatnonzero(flat.any(axis=1))
    if entry.size > SAMPLE:
        entry = np.random.default_rng(SAMPLE).choice(entry, SAMPLE)
    return flat[entry]


def _digits_an_entry(sample: Limbs | None, window: int, windows: int) -> float:
    """Mean number of non-zero digits."""
    if sample is None:
        return windows * (1 - 2.0**-window)
    return np.count_nonzero(signed_digits(sample, window, windows)) / len(sample)


def used_windows(union: int, window: int, windows: int) -> int:
    """Windows in which some exponent may have a digit: its bits stand there, or may carry into it."""
    fields = [union >> (window * t) & ((1 << window) - 1) for t in range(windows)]
    return sum(1 for below, field in pairwise([0, *fields]) if below or field)


def _segment_products(items: float, segments: int) -> int:
    """Products that combine items, spread by chance, over segments: the first of each is free."""
    occupied = -segments * expm1(-items / segments)
    return round(items - occupied)


def windows_for(bits: int, window: int) -> int:
    """Windows T for which every |v| ≤ 2^bits − 1 has signed digits: v + offset < 2^(w·T)."""
    windows = bits // window + 1
    while (1 << bits) - 1 + _digit_offset(window, windows) >= 1 << (window * windows):
        windows += 1
    return windows


def _digit_offset(window: int, windows: int) -> int:
    """Σ_t 2^(w−1) · 2^(w·t): added to v it turns signed digits into unsigned fields."""
    return sum(1 << (window - 1 + window * t) for t in range(windows))


def signed_digits(values: Limbs, window: int, windows: int) -> NDArray[np.int64]:
    """Digits d with value = Σ_t d[:, t]·2^(w·t), −2^(w−1) ≤ d < 2^(w−1); int64[count, windows].

    The unsigned fields of value + offset, each minus 2^(w−1).
    """
    width = max(values.shape[1], lb.width_for_bits(window * windows + 1))
    offset = lb.from_ints([_digit_offset(window, windows)], width)
    fields = lb.split_fields(lb.add(lb.resize(values, width), offset), window, windows)
    return fields[:, :, 0].astype(np.int64) - (1 << (window - 1))


def _with_powers(backend: Backend, matrix: Entries, x: Residues) -> Residues:
    """Every non-zero entry as a power of its own: no digits, no sharing."""
    negative = lb.is_negative(matrix.exponents)
    signed = x
    if bool(negative.any()):
        signed = backend.concatenate([x, backend.mod_inv(x)])  # element C + j is x[j]⁻¹
    bases = backend.gather(signed, (matrix.column + len(x) * negative).astype(np.int64))
    powers = backend.mod_pow(bases, lb.negate_where(matrix.exponents, negative))
    return backend.segment_product(powers, np.arange(len(negative)), counted_offsets(matrix.row, matrix.rows))


def _with_joint(backend: Backend, dense: Dense, x: Residues, window: int) -> Residues:
    """Joint tables for what the exponents exceed their column's least by, and one row for these."""
    above = joint.joint_power(backend, dense, x, window, MAX_ELEMENTS)
    if not dense.least.any():
        return above
    least = lb.from_int64(dense.least).reshape(1, -1, 1)
    return backend.mod_mul(above, matrix_power(backend, least, x))


def _window_powers(backend: Backend, x: Residues, shifts: list[int]) -> Residues:
    """x[j]^(2^shift), shift by shift: element t·C + j."""
    powers: list[Residues] = []
    for place, shift in enumerate(shifts):
        last, below = (powers[-1], shifts[place - 1]) if powers else (x, 0)
        powers.append(backend.mod_pow(last, 1 << (shift - below)) if shift > below else last)
    return backend.concatenate(powers)


def _with_tables(
    backend: Backend, matrix: Entries, digits: NDArray[np.int64], shifts: list[int], x: Residues
) -> Residues:
    """One product per non-zero digit, from tables of all digit powers of every base.

    table row r:  digit r + 1 for r < P, digit −(r − P + 1) from P on, P the highest digit
    element r·(T·C) + t·C + j  =  x[j]^(digit · 2^shifts[t])
    """
    columns, windows = matrix.columns, len(shifts)
    highest, lowest = int(digits.max(initial=0)), int(digits.min(initial=0))
    base = _window_powers(backend, x, shifts)
    tables = _multiples(backend, base, highest)
    if lowest < 0:
        tables += _multiples(backend, backend.mod_inv(base), -lowest)
    table = backend.concatenate(tables)

    entry, t = np.nonzero(digits)
    digit = digits[entry, t]
    table_row = np.where(digit > 0, digit - 1, highest - digit - 1)
    indices = (table_row * windows + t) * columns + matrix.column[entry]
    offsets = counted_offsets(matrix.row[entry], matrix.rows)
    return backend.segment_product(table, indices.astype(np.int64), offsets)


def _multiples(backend: Backend, base: Residues, highest: int) -> list[Residues]:
    """[base^1, base^2, …, base^highest], each a whole batch."""
    powers: list[Residues] = []
    for _ in range(highest):
        powers.append(backend.mod_mul(powers[-1], base) if powers else base)
    return powers


def _with_buckets(
    backend: Backend, matrix: Entries, digits: NDArray[np.int64], shifts: list[int], x: Residues
) -> Residues:
    """Buckets per (output, window, |digit|), Σ_d d·bucket[d] by running products, then Horner."""
    rows, columns, windows = matrix.rows, matrix.columns, len(shifts)
    signed = x
    if bool((digits < 0).any()):
        signed = backend.concatenate([x, backend.mod_inv(x)])  # element C + j is x[j]⁻¹
    highest = int(np.abs(digits).max())

    entry, place = np.nonzero(digits)
    row, column, digit = matrix.row[entry], matrix.column[entry], digits[entry, place]
    # Bucket (d, i, t) stands at ((d − 1)·rows + i)·T + t: one digit's buckets are contiguous.
    bucket = ((np.abs(digit) - 1) * rows + row) * windows + place
    order = np.argsort(bucket, kind="stable")
    indices = (column + columns * (digit < 0))[order]
    offsets = counted_offsets(bucket, highest * rows * windows)
    buckets = backend.segment_product(signed, indices.astype(np.int64), offsets)

    span = np.arange(rows * windows, dtype=np.int64)
    running = backend.gather(buckets, (highest - 1) * span.size + span)
    total = running
    for magnitude in range(highest - 1, 0, -1):
        running = backend.mod_mul_at(running, span, buckets, (magnitude - 1) * span.size + span)
        total = backend.mod_mul(total, running)

    return joint.horner(backend, total, shifts)
