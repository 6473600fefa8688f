"""Fixed point against exact fractions."""

from __future__ import annotations

import dataclasses
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hecore import EncodingError, EncodingOverflow, FixedPoint, ScaleMismatch, ShapeMismatch, decode, encode
from hecore.encoding import DEFAULT_SCALE_BITS, MAXIMUM_SCALE_BITS

FINITE = st.floats(allow_nan=False, allow_infinity=False)
SHAPES = st.sampled_from([(), (1,), (3,), (0,), (2, 3), (0, 2), (2, 0, 3), (1, 2, 2)])
SCALES = st.integers(0, MAXIMUM_SCALE_BITS)


def integers_of(shape: tuple[int, ...]) -> st.SearchStrategy[np.ndarray]:
    """Object arrays of integers of very different sizes."""
    sizes = st.sampled_from([1, 8, 62, 63, 64, 65, 127, 128, 500])
    return hnp.arrays(object, shape, elements=sizes.flatmap(lambda bits: st.integers(-(2**bits), 2**bits)))


INTEGER_ARRAYS = SHAPES.flatmap(integers_of)


def fractions(numbers: FixedPoint) -> list[Fraction]:
    """The exact values, row-major."""
    return [Fraction(int(v), 2**numbers.scale_bits) for v in numbers.to_integers().ravel()]


# --- integers -------------------------------------------------------------------------------------


@given(INTEGER_ARRAYS)
def test_integers_of_any_size_are_exact(array: np.ndarray) -> None:
    numbers = encode(array)
    assert numbers.scale_bits == 0
    assert numbers.shape == array.shape
    decoded = decode(numbers)
    assert np.shape(decoded) == array.shape
    assert np.asarray(decoded, dtype=object).ravel().tolist() == array.ravel().tolist()


@given(INTEGER_ARRAYS, SCALES)
def test_integers_at_a_scale_are_exact(array: np.ndarray, scale_bits: int) -> None:
    numbers = encode(array, scale_bits)
    assert numbers.scale_bits == scale_bits
    assert fractions(numbers) == [Fraction(v) for v in array.ravel()]


@pytest.mark.parametrize("dtype", ["b", "B", "h", "H", "i", "I", "q", "Q", ">i4", ">u8"])
def test_machine_integers(dtype: str) -> None:
    limits = np.iinfo(dtype)
    array = np.array([limits.min, limits.max, 0, 1], dtype=dtype)
    assert [int(v) for v in decode(encode(array))] == [limits.min, limits.max, 0, 1]


def test_types_of_decoded_integers() -> None:
    assert decode(encode([1, -(2**63), 2**63 - 1])).dtype == np.int64
    assert decode(encode([2**63])).dtype == object
    assert isinstance(decode(encode(5)), np.int64)
    assert decode(encode(2**70)) == 2**70
    assert isinstance(decode(encode(2**70)), int)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([True, False], [1, 0]),
        (np.array([[True], [False]]), [[1], [0]]),
        (7, 7),
        ([[1, 2], [3, 4]], [[1, 2], [3, 4]]),
        ((1, 2), [1, 2]),
        ([2**63, -1], [2**63, -1]),
        ([2**53 + 1, 2**63], [2**53 + 1, 2**63]),
        ([[2**64 - 1], [-(2**63)]], [[2**64 - 1], [-(2**63)]]),
        ([2**200, -(2**200)], [2**200, -(2**200)]),
        (range(3), [0, 1, 2]),
        (np.arange(12).reshape(3, 4)[::2, ::-1], [[3, 2, 1, 0], [11, 10, 9, 8]]),
        (np.int8(-128), -128),
        (np.array(2**64 - 1, dtype=np.uint64), 2**64 - 1),
    ],
)
def test_forms_of_integers(values: Any, expected: Any) -> None:
    numbers = encode(values)
    assert numbers.scale_bits == 0
    assert decode(numbers).tolist() == expected if isinstance(expected, list) else decode(numbers) == expected


@pytest.mark.parametrize(
    "values", [[], np.zeros(0), np.zeros((3, 0), dtype=int), [[], []], np.zeros((0, 2), "f4")]
)
@pytest.mark.parametrize("scale_bits", [None, 0, 7])
def test_empty_arrays(values: Any, scale_bits: int | None) -> None:
    numbers = encode(values, scale_bits)
    assert numbers.shape == np.shape(values)
    assert decode(numbers).shape == np.shape(values)


# --- floats ---------------------------------------------------------------------------------------


def rounded(value: float, scale_bits: int) -> int:
    """value·2^scale_bits, half to even, exactly (as Python rounds fractions)."""
    return round(Fraction(value) * 2**scale_bits)


@given(st.lists(FINITE, max_size=6), SCALES)
def test_floats_round_half_to_even(values: list[float], scale_bits: int) -> None:
    numbers = encode(np.array(values, dtype=np.float64), scale_bits)
    assert numbers.to_integers().tolist() == [rounded(v, scale_bits) for v in values]


@given(st.integers(-(2**52), 2**52), st.integers(0, 300), st.integers(1, 60))
def test_ties_round_to_even(integer: int, scale_bits: int, below: int) -> None:
    """Halves and their neighbours, where rounding goes wrong first."""
    value = float(Fraction(2 * (integer >> 2) + 1, 2 ** (scale_bits + 1)))
    near = [value, np.nextafter(value, np.inf), np.nextafter(value, -np.inf), value / 2**below]
    numbers = encode(np.array(near), scale_bits)
    assert numbers.to_integers().tolist() == [rounded(float(v), scale_bits) for v in near]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
@pytest.mark.parametrize("scale_bits", [0, 3, 24, 40, 149, 1024])
def test_all_widths_of_floats(dtype: Any, scale_bits: int) -> None:
    limits = np.finfo(dtype)
    values = [0.0, -0.0, 0.5, 1.5, -2.5, 0.1, limits.max, limits.min, limits.tiny, limits.smallest_subnormal]
    array = np.array(values, dtype=dtype)
    expected = [rounded(float(v), scale_bits) for v in array]
    assert encode(array, scale_bits).to_integers().tolist() == expected


@given(
    st.lists(st.integers(-(2**300), 2**300) | st.integers(-(2**60), 2**60), max_size=5), st.integers(1, 1024)
)
def test_decoding_rounds_once(integers: list[int], scale_bits: int) -> None:
    """Half to even from the exact value, subnormal results included (as int / int does)."""
    decoded = decode(FixedPoint.from_integers(integers, scale_bits))
    assert decoded.dtype == np.float64
    assert decoded.tolist() == [value / 2**scale_bits for value in integers]


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=5))
def test_what_fits_in_the_scale_comes_back(values: list[float]) -> None:
    assert decode(encode(np.array(values), 149)).tolist() == values


def test_the_default_scale() -> None:
    assert encode([0.1]).scale_bits == DEFAULT_SCALE_BITS == 40
    assert abs(decode(encode([0.1]))[0] - 0.1) <= 2.0**-41
    assert encode([1]).scale_bits == 0
    assert decode(encode(1.5)) == 1.5


@pytest.mark.parametrize("sign", [1, -1])
def test_numbers_beyond_float64(sign: int) -> None:
    largest = int(np.finfo(np.float64).max)
    assert decode(FixedPoint.from_integers([sign * largest << 7], 7)).tolist() == [float(sign * largest)]
    with pytest.raises(
        EncodingOverflow,
        match=r"row 1, column 0 is beyond float64: .* may be damaged; .* take it as a FixedPoint",
    ):
        decode(FixedPoint.from_integers([[0], [sign << 1031]], 7))
    assert decode(FixedPoint.from_integers([sign << 1031])).tolist() == [sign << 1031]


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "place", "name"),
    [
        ((), (), " cannot be encoded: impute"),
        ((5,), (3,), r" at row 3 cannot be encoded \(1 such values\): impute"),
        ((4, 6), (2, 5), " at row 2, column 5 "),
        ((2, 3, 4), (1, 0, 2), r" at index \(1, 0, 2\) "),
    ],
)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_no_nan_and_no_infinity(
    shape: tuple[int, ...], place: tuple[int, ...], name: str, value: float
) -> None:
    array = np.ones(shape)
    array[place] = value
    with pytest.raises(EncodingError, match=f"^{value}{name}"):
        encode(array)
    with pytest.raises(EncodingError, match=name):
        encode(array.astype(np.float16), 3)


def test_the_first_of_many_is_named() -> None:
    array = np.zeros((3, 3))
    array[1, 2] = array[2, 0] = np.nan
    with pytest.raises(EncodingError, match=r"row 1, column 2.*\(2 such values\)"):
        encode(array)


@pytest.mark.parametrize(
    "values",
    [
        1j,
        "1",
        ["a"],
        None,
        [None, 1.0],
        [Fraction(1, 2)],
        [Decimal(1)],
        np.array([1.5], dtype=object),
        [2**70, 0.5],
        np.array(["2020-01-01"], dtype="M8[D]"),
        np.ones(2, dtype=np.longdouble),
        b"12",
        {"a": 1},
    ],
)
def test_what_is_no_number_is_refused(values: Any) -> None:
    with pytest.raises(EncodingError, match=r"cannot encode values of dtype .*: give integers, or floats"):
        encode(values)


def test_ragged_lists_are_refused() -> None:
    with pytest.raises(EncodingError, match="do not form an array"):
        encode([[1, 2], [3]])


def test_masked_values_are_refused() -> None:
    array = np.ma.MaskedArray([[1.0, 2.0], [3.0, 4.0]], mask=[[False, False], [True, False]])
    with pytest.raises(EncodingError, match="masked value at row 1, column 0"):
        encode(array)
    assert decode(encode(array[0])).tolist() == [1.0, 2.0]


@pytest.mark.parametrize("scale_bits", [1.5, "a", 40.0])
@pytest.mark.parametrize("values", [[1.0], [1], encode([1.0])])
def test_scales_that_are_no_whole_numbers(values: Any, scale_bits: Any) -> None:
    with pytest.raises(EncodingError, match=f"scale_bits={scale_bits!r} is not a whole number of bits"):
        encode(values, scale_bits)


def test_a_scale_of_numpys() -> None:
    assert encode([1.0], np.int64(3)).scale_bits == 3


@pytest.mark.parametrize("scale_bits", [-1, MAXIMUM_SCALE_BITS + 1])
def test_scales_out_of_range(scale_bits: int) -> None:
    with pytest.raises(EncodingError, match=rf"scale_bits={scale_bits} is not in 0 … 1024"):
        encode([1.0], scale_bits)


def test_numbers_are_checked_when_made() -> None:
    limbs = encode([1, 2]).limbs
    with pytest.raises(EncodingError, match="negative"):
        FixedPoint(limbs, (2,), -1)
    with pytest.raises(ShapeMismatch, match=r"2 integers cannot have shape \(3,\)"):
        FixedPoint(limbs, (3,), 0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        encode([1]).scale_bits = 3  # type: ignore[misc]


# --- arithmetic of fixed point --------------------------------------------------------------------


@st.composite
def pairs(draw: st.DrawFn) -> tuple[FixedPoint, FixedPoint]:
    """Two arrays that broadcast, at one scale."""
    shapes = draw(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3))
    scale_bits = draw(st.integers(0, 100))
    first, second = (encode(draw(integers_of(shape))) for shape in shapes.input_shapes)
    made = [FixedPoint(numbers.limbs, numbers.shape, scale_bits) for numbers in (first, second)]
    return made[0], made[1]


@given(pairs())
def test_sums_and_differences(pair: tuple[FixedPoint, FixedPoint]) -> None:
    a, b = pair
    for result, expected in (
        (a + b, a.to_integers() + b.to_integers()),
        (a - b, a.to_integers() - b.to_integers()),
        (-a, -a.to_integers()),
    ):
        assert result.scale_bits == a.scale_bits
        assert result.shape == np.shape(expected)
        assert np.array_equal(result.to_integers(), expected)


@pytest.mark.parametrize("limbs", [1, 2, 3])
@pytest.mark.parametrize("below", [0, 1, 2])
def test_sums_at_the_edge_of_a_limb(limbs: int, below: int) -> None:
    largest = 2 ** (64 * limbs - 1 - below) - 1
    numbers = encode([largest, -largest, -largest - 1, 1, -1])
    values = numbers.to_integers()
    for other in (largest, -largest, -largest - 1):
        assert (numbers + encode([other])).to_integers().tolist() == (values + other).tolist()
        assert (numbers - encode([other])).to_integers().tolist() == (values - other).tolist()
    assert (numbers[:1] + numbers[:1]).to_integers().tolist() == [2 * largest]
    assert (-numbers).to_integers().tolist() == (-values).tolist()


@given(INTEGER_ARRAYS, st.integers(-(2**130), 2**130) | st.sampled_from([0, 1, -1]))
def test_products_with_an_integer(array: np.ndarray, factor: int) -> None:
    result = encode(array).times_integer(factor)
    assert result.to_integers().ravel().tolist() == [v * factor for v in array.ravel()]
    assert result.shape == array.shape


@given(INTEGER_ARRAYS, st.integers(0, 200))
def test_cuts_round_down(array: np.ndarray, bits: int) -> None:
    numbers = FixedPoint.from_integers(array, 200)
    cut = numbers.floor_shift(bits)
    assert cut.scale_bits == 200 - bits
    assert cut.to_integers().ravel().tolist() == [v >> bits for v in array.ravel()]


@given(INTEGER_ARRAYS, st.integers(0, 100), st.integers(0, 100))
def test_a_larger_scale_keeps_the_numbers(array: np.ndarray, scale_bits: int, more: int) -> None:
    numbers = FixedPoint.from_integers(array, scale_bits)
    assert fractions(numbers.rescale(scale_bits + more)) == fractions(numbers)


def test_a_smaller_scale_is_refused() -> None:
    with pytest.raises(ScaleMismatch, match=r"scale_bits=3 is below the 8"):
        encode([1.5], 8).rescale(3)
    with pytest.raises(ScaleMismatch, match="below"):
        encode(encode([1.5], 8), 3)
    with pytest.raises(EncodingError, match="negative"):
        encode([1.5], 8).floor_shift(9)


def test_operands_must_fit() -> None:
    with pytest.raises(ScaleMismatch, match=r"3 and 8 bits: rescale"):
        encode([1.0], 3) + encode([1.0], 8)
    with pytest.raises(ShapeMismatch, match=r"\(2,\) and \(3,\) cannot be broadcast"):
        encode([1, 2]) + encode([1, 2, 3])
    with pytest.raises(TypeError):
        encode([1, 2]) + np.array([1, 2])  # type: ignore[operator]
    with pytest.raises(TypeError):
        encode([1, 2]) - 1  # type: ignore[operator]


def test_indexing_and_reshaping() -> None:
    array = np.arange(-6, 6).reshape(3, 4)
    numbers = encode(array)
    for key in (0, (1, 2), slice(1, None), (slice(None), -1), array > 0, [2, 0], ..., None):
        assert np.array_equal(numbers[key].to_integers(), array[key])
        assert numbers[key].shape == array[key].shape
    assert np.array_equal(numbers.reshape(2, -1).to_integers(), array.reshape(2, -1))
    with pytest.raises(ShapeMismatch, match="reshape"):
        numbers.reshape(5, -1)


def test_zeros() -> None:
    zeros = FixedPoint.zeros((2, 3), 5)
    assert (zeros.shape, zeros.scale_bits) == ((2, 3), 5)
    assert decode(zeros).tolist() == [[0.0] * 3] * 2


# --- ownership ------------------------------------------------------------------------------------


@pytest.mark.parametrize("values", [np.arange(4), np.arange(4, dtype=np.uint64), np.arange(4) * 0.5])
def test_numbers_do_not_follow_their_array(values: np.ndarray) -> None:
    numbers = encode(values)
    expected = decode(numbers).tolist()
    values[:] = 9
    assert decode(numbers).tolist() == expected


@pytest.mark.parametrize("numbers", [encode([1, 2]), encode([1.5, 2.5]), FixedPoint.from_integers([1, 2])])
def test_numbers_do_not_follow_what_was_decoded(numbers: FixedPoint) -> None:
    before = numbers.to_integers().tolist()
    decoded = decode(numbers)
    decoded[0] = 99
    assert numbers.to_integers().tolist() == before


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 0), (2, 3, 4)])
def test_transpose(shape: tuple[int, ...]) -> None:
    values = np.arange(np.prod(shape, dtype=np.int64)).reshape(shape) - 2
    turned = FixedPoint.from_integers(values, 3).transpose()
    assert (turned.shape, turned.scale_bits) == (values.T.shape, 3)
    assert turned.to_integers().tolist() == values.T.tolist()
