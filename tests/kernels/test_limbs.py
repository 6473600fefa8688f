"""Limb arithmetic against Python integers; floats against exact fractions."""

from __future__ import annotations

import random
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hecore.kernels import limbs as lb
from hecore.kernels.limbs import Limbs

MAX_WIDTH = 5
widths = st.integers(1, MAX_WIDTH)


def signed_range(width: int) -> tuple[int, int]:
    half = 1 << (64 * width - 1)
    return -half, half - 1


def wrapped(value: int, width: int) -> int:
    """`value` mod 2^(64·width), read as two's complement."""
    low, high = signed_range(width)
    return (value - low) % (high - low + 1) + low


def numbers(width: int) -> st.SearchStrategy[int]:
    """Signed integers of `width` limbs, rich in carries: near powers of two, and limbs of 0 and ffff…"""
    low, high = signed_range(width)
    near_power = st.builds(
        lambda k, step, sign: wrapped(sign * (1 << k) + step, width),
        st.integers(0, 64 * width - 1),
        st.integers(-2, 2),
        st.sampled_from([-1, 1]),
    )
    words = st.lists(st.sampled_from([0, 1, 2**63, 2**64 - 1]), min_size=width, max_size=width)
    sparse = words.map(lambda w: wrapped(sum(word << (64 * k) for k, word in enumerate(w)), width))
    return st.one_of(st.integers(low, high), near_power, sparse)


@st.composite
def batches(draw: st.DrawFn, columns: int = 1) -> tuple[int, list[Any]]:
    """A width and a list of numbers of that width (of tuples, with several columns); may be empty."""
    width = draw(widths)
    row = numbers(width) if columns == 1 else st.tuples(*[numbers(width)] * columns)
    return width, draw(st.lists(row, max_size=8))


def signed(values: list[int], width: int) -> Limbs:
    return lb.from_signed_ints(values, width)


def assert_limbs(limbs: Limbs, expected: list[int], width: int) -> None:
    """Signed limbs in the documented form: uint64, C-contiguous, (count, width)."""
    assert limbs.dtype == lb.LIMB_DTYPE
    assert limbs.shape == (len(expected), width)
    assert limbs.flags.c_contiguous
    assert lb.to_signed_ints(limbs) == expected


# --- conversions ---


@pytest.mark.parametrize(("bits", "width"), [(0, 1), (1, 1), (64, 1), (65, 2), (128, 2), (129, 3)])
def test_width_for_bits(bits: int, width: int) -> None:
    assert lb.width_for_bits(bits) == width


def test_layout_is_little_endian_words() -> None:
    limbs = lb.from_ints([1, 2**64 + 3, 2**128 - 1], 2)
    assert limbs.tolist() == [[1, 0], [3, 1], [2**64 - 1, 2**64 - 1]]
    assert lb.from_signed_ints([-1, -(2**64)], 2).tolist() == [[2**64 - 1] * 2, [0, 2**64 - 1]]


@given(batches())
def test_signed_and_unsigned_readings(batch: tuple[int, list[int]]) -> None:
    width, values = batch
    unsigned = [value % (1 << (64 * width)) for value in values]
    limbs = lb.from_ints(iter(unsigned), width)
    assert_limbs(limbs, values, width)
    assert lb.to_ints(limbs) == unsigned
    assert lb.from_signed_ints(iter(values), width).tolist() == limbs.tolist()
    assert lb.is_negative(limbs).tolist() == [value < 0 for value in values]


@pytest.mark.parametrize(
    ("convert", "value"),
    [
        (lb.from_ints, -1),
        (lb.from_ints, 2**128),
        (lb.from_signed_ints, 2**127),
        (lb.from_signed_ints, -(2**127) - 1),
    ],
)
def test_too_large_integers(convert: Callable[[list[int], int], Limbs], value: int) -> None:
    with pytest.raises(OverflowError):
        convert([0, value], 2)


@given(batches())
def test_bytes_are_the_memory(batch: tuple[int, list[int]]) -> None:
    width, values = batch
    data = b"".join(value.to_bytes(8 * width, "little", signed=True) for value in values)
    assert_limbs(lb.from_bytes(data, width), values, width)
    assert lb.to_bytes(lb.from_bytes(memoryview(data), width)) == data


def test_limbs_from_bytes_are_read_only() -> None:
    for data in (bytes(16), bytearray(16)):
        with pytest.raises(ValueError, match="read-only"):
            lb.from_bytes(data, 2)[0, 0] = 1


@pytest.mark.parametrize("length", [1, 7, 8, 15, 17, 24])
def test_broken_bytes(length: int) -> None:
    with pytest.raises(ValueError, match=r"multiple|reshape"):
        lb.from_bytes(bytes(length), 2)


@pytest.mark.parametrize("dtype", [np.int64, np.uint64])
def test_machine_integers(dtype: type[np.integer[Any]]) -> None:
    info = np.iinfo(dtype)
    values = [0, 1, 2**32, 2**63 - 1, info.min, info.max, info.max - 1]
    array = np.array(values, dtype=dtype)
    read = lb.from_int64 if dtype is np.int64 else lb.from_uint64
    width = 1 if dtype is np.int64 else 2
    assert_limbs(read(array), values, width)
    assert_limbs(read(array[::-2]), values[::-2], width)
    assert_limbs(read(array[:0]), [], width)


@given(st.lists(st.integers(-(2**63), 2**63 - 1)), widths)
def test_to_int64(values: list[int], width: int) -> None:
    out = lb.to_int64(signed(values, width))
    assert out.dtype == np.int64
    assert out.tolist() == values


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 2**64, 2**127 - 1, -(2**128)])
def test_to_int64_overflow(value: int) -> None:
    with pytest.raises(OverflowError):
        lb.to_int64(signed([0, value], 3))


@given(st.data(), widths)
def test_from_shifted_int64(data: st.DataObject, width: int) -> None:
    values = data.draw(st.lists(st.integers(-(2**63) + 1, 2**63 - 1), max_size=6))
    tops = [64 * width - 1 - value.bit_length() if value else 5000 for value in values]
    values = [value for value, top in zip(values, tops, strict=True) if top >= 0]
    shifts = [data.draw(st.integers(0, top) | st.just(top)) for top in tops if top >= 0]
    out = lb.from_shifted_int64(np.array(values, np.int64), np.array(shifts, np.int64), width)
    assert_limbs(out, [v << s for v, s in zip(values, shifts, strict=True)], width)


# --- floats ---


def exact_float(value: int, exponent: int) -> float:
    return float(Fraction(value) * Fraction(2) ** exponent)


def half_way_cases() -> list[int]:
    """Around every kind of tie: 53 bits, then a half, then a tail far below or none."""
    cases = [0, 1, 2**53 - 1, 2**64 - 1, 2**64, 2**128 - 1]
    for mantissa in (2**52, 2**52 + 1, 2**53 - 1, 2**53 - 2):
        for shift in (1, 2, 10, 11, 12, 75, 139, 140, 200):
            tie = (2 * mantissa + 1) << (shift - 1)
            cases += [tie, tie - 1, tie + 1]
    return cases + [-case for case in cases]


def test_to_float64_rounds_half_to_even() -> None:
    values = half_way_cases()
    got = lb.to_float64(signed(values, MAX_WIDTH))
    assert got.dtype == np.float64
    assert got.tolist() == [exact_float(value, 0) for value in values]


@given(batches(), st.integers(-1500, 600))
def test_to_float64_is_correctly_rounded(batch: tuple[int, list[int]], exponent: int) -> None:
    width, values = batch
    got = lb.to_float64(signed(values, width), exponent)
    assert got.tolist() == [exact_float(value, exponent) for value in values]


def test_to_float64_rounds_once_among_subnormals() -> None:
    values = half_way_cases()
    limbs = signed(values, MAX_WIDTH)
    for exponent in range(-1340, -1000, 3):
        want = [exact_float(value, exponent) for value in values]
        assert lb.to_float64(limbs, exponent).tolist() == want


def test_to_float64_beyond_the_range() -> None:
    limbs = signed([1, -1, 0, 2**100], 2)
    with np.errstate(over="ignore"):
        assert lb.to_float64(limbs, 1023).tolist() == [2.0**1023, -(2.0**1023), 0, np.inf]
    with pytest.warns(RuntimeWarning, match="overflow"):
        lb.to_float64(limbs, 1023)


# --- arithmetic ---


@given(batches(columns=2))
def test_add_subtract_negate_less(batch: tuple[int, list[tuple[int, int]]]) -> None:
    width, pairs = batch
    a = signed([x for x, _ in pairs], width)
    b = signed([y for _, y in pairs], width)
    assert_limbs(lb.add(a, b), [wrapped(x + y, width) for x, y in pairs], width)
    assert_limbs(lb.subtract(a, b), [wrapped(x - y, width) for x, y in pairs], width)
    assert_limbs(lb.negate(a), [wrapped(-x, width) for x, _ in pairs], width)
    top = 1 << (64 * width)
    assert lb.less(a, b).tolist() == [x % top < y % top for x, y in pairs]


@given(batches(), st.data())
def test_rows_broadcast(batch: tuple[int, list[int]], data: st.DataObject) -> None:
    width, values = batch
    one = data.draw(numbers(width))
    limbs, single = signed(values, width), signed([one], width)
    assert_limbs(lb.add(limbs, single), [wrapped(v + one, width) for v in values], width)
    assert_limbs(lb.add(single, limbs), [wrapped(v + one, width) for v in values], width)
    assert_limbs(lb.subtract(single, limbs), [wrapped(one - v, width) for v in values], width)
    top = 1 << (64 * width)
    assert lb.less(limbs, single).tolist() == [v % top < one % top for v in values]


@pytest.mark.parametrize("function", [lb.add, lb.subtract, lb.less])
@pytest.mark.parametrize(("left", "right"), [(1, 2), (2, 1), (2, 3)])
def test_widths_do_not_broadcast(
    function: Callable[[Limbs, Limbs], NDArray[Any]], left: int, right: int
) -> None:
    with pytest.raises(ValueError, match=f"width {left} and {right}"):
        function(signed([1, 2], left), signed([3, 4], right))


@given(batches())
def test_negate_where(batch: tuple[int, list[int]]) -> None:
    width, values = batch
    mask = np.arange(len(values)) % 2 == 0
    limbs = signed(values, width)
    got = lb.negate_where(limbs, mask)
    assert_limbs(got, [wrapped(-v, width) if i % 2 == 0 else v for i, v in enumerate(values)], width)
    untouched = lb.negate_where(limbs, np.zeros(len(values), dtype=bool))
    assert not np.shares_memory(untouched, limbs)


@given(batches(), st.integers(1, MAX_WIDTH + 2))
def test_resize(batch: tuple[int, list[int]], to: int) -> None:
    width, values = batch
    limbs = signed(values, width)
    low, high = signed_range(to)
    if all(low <= value <= high for value in values):
        assert_limbs(lb.resize(limbs, to), values, to)
    else:
        with pytest.raises(OverflowError, match=f"{64 * to} bits"):
            lb.resize(limbs, to)


@given(batches(), st.integers(0, 64 * (MAX_WIDTH + 2)))
def test_shifts(batch: tuple[int, list[int]], bits: int) -> None:
    width, values = batch
    limbs = signed(values, width)
    assert_limbs(lb.shift_left(limbs, bits), [wrapped(v << bits, width) for v in values], width)
    assert_limbs(lb.shift_right(limbs, bits), [v >> bits for v in values], width)


@given(batches())
def test_signed_bits(batch: tuple[int, list[int]]) -> None:
    width, values = batch
    want = max((abs(value).bit_length() for value in values), default=0)
    assert lb.signed_bits(signed(values, width)) == want


@given(batches())
def test_absolute_and_unsigned_bits(batch: tuple[int, list[int]]) -> None:
    width, values = batch
    absolute = lb.absolute(signed(values, width))
    assert lb.to_ints(absolute) == [abs(value) for value in values]
    assert lb.unsigned_bits(absolute) == max((abs(value) for value in values), default=0).bit_length()


@given(batches(), widths)
def test_widen(batch: tuple[int, list[int]], more: int) -> None:
    width, values = batch
    limbs = lb.absolute(signed(values, width))
    wide = lb.widen(limbs, width + more)
    assert wide.shape == (len(values), width + more)
    assert lb.to_ints(wide) == lb.to_ints(limbs)
    assert lb.widen(limbs, width) is limbs


@given(batches(), st.data())
def test_first_not_below(batch: tuple[int, list[int]], data: st.DataObject) -> None:
    width, values = batch
    unsigned = [abs(value) for value in values]
    near = [bound for value in unsigned for bound in (value, value + 1) if bound]
    bound = data.draw(st.sampled_from([1, 2 ** (64 * width), *near]))
    expected = next((i for i, value in enumerate(unsigned) if value >= bound), None)
    assert lb.first_not_below(lb.from_ints(unsigned, width), bound) == expected


def test_arguments_are_left_alone() -> None:
    """Every function on read-only, strided limbs: nothing is written to, nothing needs contiguity."""
    rng = random.Random(5)
    values = [rng.randrange(-(2**191), 2**191) for _ in range(8)]
    limbs = signed(values, 3)
    strided = limbs[::-2]
    before, picked = lb.to_signed_ints(limbs), values[::-2]
    assert lb.to_signed_ints(strided) == picked
    assert lb.to_signed_ints(lb.add(strided, strided)) == [wrapped(2 * v, 3) for v in picked]
    assert lb.to_signed_ints(lb.negate(strided)) == [-v for v in picked]
    assert lb.to_signed_ints(lb.shift_left(strided, 70)) == [wrapped(v << 70, 3) for v in picked]
    assert lb.to_signed_ints(lb.shift_right(strided, 70)) == [v >> 70 for v in picked]
    assert lb.to_float64(strided).tolist() == [float(v) for v in picked]
    assert lb.to_ints(lb.split_fields(strided, 48, 4)[:, 3]) == [v >> 144 & 0xFFFFFFFFFFFF for v in picked]
    assert lb.to_int64(lb.shift_right(strided, 128)).tolist() == [v >> 128 for v in picked]
    assert lb.to_signed_ints(limbs) == before


# --- bit fields ---


@given(batches(), st.integers(1, 200), st.integers(0, 9))
def test_split_fields(batch: tuple[int, list[int]], field_bits: int, count: int) -> None:
    width, values = batch
    fields = lb.split_fields(signed(values, width), field_bits, count)
    field_width = lb.width_for_bits(field_bits)
    assert fields.shape == (len(values), count, field_width)
    unsigned = [value % (1 << (64 * width)) for value in values]
    want = [[u >> (field_bits * k) & ((1 << field_bits) - 1) for k in range(count)] for u in unsigned]
    assert [lb.to_ints(row) for row in fields] == want


@given(st.data(), st.integers(1, 200), st.integers(0, 9), st.integers(1, 3), widths)
def test_join_fields(data: st.DataObject, field_bits: int, count: int, field_width: int, width: int) -> None:
    """Fields wider than their slot overlap and add up; what lies above the width falls off."""
    row = st.lists(numbers(field_width), min_size=count, max_size=count)
    rows = data.draw(st.lists(row, max_size=4))
    flat = [value for values in rows for value in values]
    fields = signed(flat, field_width).reshape(len(rows), count, field_width)
    want = [wrapped(sum(v << (field_bits * k) for k, v in enumerate(values)), width) for values in rows]
    assert_limbs(lb.join_fields(fields, field_bits, width), want, width)


@given(batches(), st.integers(1, 130))
def test_split_then_join(batch: tuple[int, list[int]], field_bits: int) -> None:
    width, values = batch
    count = -(-64 * width // field_bits)
    fields = lb.split_fields(signed(values, width), field_bits, count)
    wider = np.zeros((*fields.shape[:2], fields.shape[2] + 1), dtype=np.uint64)  # fields are unsigned
    wider[:, :, :-1] = fields
    assert_limbs(lb.join_fields(wider, field_bits, width), values, width)
