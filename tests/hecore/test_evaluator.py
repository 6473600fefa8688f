"""Arithmetic without the private key: exactly numpy's on integers, and exact on fixed point."""

from __future__ import annotations

import operator
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import hecore
from hecore import (
    EncodingError,
    EncodingOverflow,
    KeyMismatch,
    LayoutMismatch,
    ScaleMismatch,
    ShapeMismatch,
    SlotLayout,
    encode,
)

Batch = hecore.CipherBatch
LAYOUT = SlotLayout(3, 40, 20)
FewExamples = settings(max_examples=60)
SMALL = st.integers(-1000, 1000)


def assert_same(decryptor: hecore.Decryptor, batch: Batch, expected: Any) -> None:
    """Shape and values of numpy's result, exactly."""
    assert batch.shape == np.shape(expected)
    decrypted = decryptor.decrypt(batch)
    assert np.shape(decrypted) == np.shape(expected)
    assert np.array_equal(decrypted, expected)


@st.composite
def operands(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Two integer arrays that broadcast, empty and single ones included."""
    shapes = draw(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, min_side=0, max_side=3))
    first, second = (draw(hnp.arrays(np.int64, shape, elements=SMALL)) for shape in shapes.input_shapes)
    return first, second


# --- unpacked -------------------------------------------------------------------------------------


@FewExamples
@given(operands())
def test_batch_and_batch(encryptor: hecore.Encryptor, decryptor: hecore.Decryptor, case: Any) -> None:
    a, b = case
    x, y = encryptor.encrypt(a), encryptor.encrypt(b)
    assert_same(decryptor, x + y, a + b)
    assert_same(decryptor, x - y, a - b)
    assert_same(decryptor, -x, -a)


@FewExamples
@given(operands())
def test_batch_and_array(encryptor: hecore.Encryptor, decryptor: hecore.Decryptor, case: Any) -> None:
    """The array on either side: numpy must leave the operator to the batch."""
    a, b = case
    x = encryptor.encrypt(a)
    for operation in (operator.add, operator.sub, operator.mul):
        assert_same(decryptor, operation(x, b), operation(a, b))
        assert_same(decryptor, operation(b, x), operation(b, a))


@pytest.mark.parametrize(
    "plain",
    [
        0,
        1,
        -1,
        7,
        True,
        np.int64(-3),
        np.uint8(200),
        np.array(5),
        np.array([2]),
        [1, -2, 3],
        (4, 5, 6),
        2**100,
        -(2**70),
    ],
)
@pytest.mark.parametrize("operation", [operator.add, operator.sub, operator.mul])
def test_forms_of_plain_numbers(
    encryptor: hecore.Encryptor,
    decryptor: hecore.Decryptor,
    plain: Any,
    operation: Callable[[Any, Any], Any],
) -> None:
    values = np.array([5, -6, 0])
    exact = np.asarray(plain, dtype=object) + 0
    x = encryptor.encrypt(values)
    assert_same(decryptor, operation(x, plain), operation(values.astype(object), exact))
    assert_same(decryptor, operation(plain, x), operation(exact, values.astype(object)))


@FewExamples
@given(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4), st.data())
def test_sums(
    encryptor: hecore.Encryptor, decryptor: hecore.Decryptor, shape: tuple[int, ...], data: st.DataObject
) -> None:
    values = data.draw(hnp.arrays(np.int64, shape, elements=SMALL))
    x = encryptor.encrypt(values)
    assert_same(decryptor, x.sum(), values.sum())
    for axis in range(-len(shape), len(shape)):
        assert_same(decryptor, x.sum(axis), values.sum(axis))
        assert_same(decryptor, x.sum(axis=axis), values.sum(axis=axis))


@pytest.mark.parametrize("axis", [2, -3])
def test_sums_over_an_axis_that_is_not_there(encryptor: hecore.Encryptor, axis: int) -> None:
    with pytest.raises(ShapeMismatch, match=rf"axis {axis} of a batch of shape \(2, 2\)"):
        encryptor.encrypt([[1, 2], [3, 4]]).sum(axis)


def test_factors_of_both_signs_and_zero(encryptor: hecore.Encryptor, decryptor: hecore.Decryptor) -> None:
    values = np.arange(1, 7).reshape(2, 3)
    x = encryptor.encrypt(values)
    for factors in (
        np.array([[0, 0, 0], [0, 0, 0]]),
        np.array([[-1, -2, -3], [-4, -5, -6]]),
        np.array([[1, -1, 0], [2, -2, 3]]),
        np.array([-(2**31), 2**31 - 1, 0]),
        np.array([[2], [-3]]),
    ):
        assert_same(decryptor, x * factors, values * factors)


def test_numbers_as_large_as_the_key(encryptor: hecore.Encryptor, decryptor: hecore.Decryptor) -> None:
    limit = encryptor.public.n // 3
    x = encryptor.encrypt([limit - 1, 1 - limit, 0])
    assert_same(decryptor, x, np.array([limit - 1, 1 - limit, 0], dtype=object))
    assert_same(decryptor, x - [limit - 1, 1 - limit, 1], np.array([0, 0, -1]))
    assert_same(
        decryptor, encryptor.encrypt([1, -1]) * (limit - 1), np.array([limit - 1, 1 - limit], dtype=object)
    )


def test_results_do_not_follow_their_operands(
    encryptor: hecore.Encryptor, decryptor: hecore.Decryptor
) -> None:
    """An operation is complete when it returns: whoever changes an array afterwards changes no result."""
    values, plain = np.array([1.5, 2.5]), np.array([3, 4])
    x = encryptor.encrypt(values)
    results = [x, x + plain, x - plain, x * plain, plain @ x, hecore.histogram(x, plain[:, None], 5)[0, 3:]]
    values[:] = 99
    plain[:] = 77
    expected = [[1.5, 2.5], [4.5, 6.5], [-1.5, -1.5], [4.5, 10.0], 14.5, [1.5, 2.5]]
    assert [decryptor.decrypt(result).tolist() for result in results] == expected


def test_every_backend(test_key: hecore.PrivateKey, backend: hecore.kernels.Backend) -> None:
    a, b = np.arange(-6, 6).reshape(3, 4), np.arange(12).reshape(3, 4) - 3
    decryptor = hecore.Decryptor(test_key, backend)
    for who in (test_key, test_key.public):
        encryptor = hecore.Encryptor(who, backend)
        x, y = encryptor.encrypt(a), encryptor.encrypt(b)
        assert x.backend is (x + y).backend is backend
        assert_same(decryptor, x + y, a + b)
        assert_same(decryptor, x - b, a - b)
        assert_same(decryptor, x * b, a * b)
        assert_same(decryptor, x.sum(1), a.sum(1))
        assert_same(decryptor, b.T @ x, b.T @ a)
        assert_same(decryptor, x.rerandomize(), a)
        assert_same(decryptor, (x * 2).pack(LAYOUT), a * 2)


def test_batches_of_two_backends(encryptor: hecore.Encryptor, decryptor: hecore.Decryptor) -> None:
    """The second operand comes over to the first one's backend."""
    other = hecore.kernels.gmp.GmpBackend()
    x, y = encryptor.encrypt([1, 2]), hecore.Encryptor(encryptor.public, other).encrypt([10, 20])
    assert (x + y).backend is x.backend
    assert (y - x).backend is other
    assert_same(decryptor, x + y, [11, 22])
    assert_same(decryptor, y - x, [9, 18])
    assert_same(decryptor, hecore.concatenate([y, x]), [10, 20, 1, 2])


# --- scales ---------------------------------------------------------------------------------------


@FewExamples
@given(
    st.lists(st.floats(-1000, 1000), min_size=1, max_size=3),
    st.integers(0, 60),
    st.floats(-1000, 1000),
    st.integers(0, 60),
)
def test_fixed_point_is_exact(
    encryptor: hecore.Encryptor,
    decryptor: hecore.Decryptor,
    values: list[float],
    scale_bits: int,
    factor: float,
    factor_bits: int,
) -> None:
    x = encryptor.encrypt(np.array(values), scale_bits=scale_bits)
    plain = encode(np.array([factor]), factor_bits)
    product = x * plain
    assert product.scale_bits == scale_bits + factor_bits
    integers = [round(Fraction(v) * 2**scale_bits) * round(Fraction(factor) * 2**factor_bits) for v in values]
    assert decryptor.decrypt_fixed(product).to_integers().tolist() == integers
    total = (x + plain.rescale(60).floor_shift(60 - scale_bits)).sum()
    added = round(Fraction(factor) * 2**factor_bits) * 2**60 >> factor_bits + 60 - scale_bits
    expected = sum(round(Fraction(v) * 2**scale_bits) + added for v in values)
    assert decryptor.decrypt_fixed(total).to_integers().item() == expected


def test_scales_add_up(encryptor: hecore.Encryptor, decryptor: hecore.Decryptor) -> None:
    x = encryptor.encrypt([1.5, -2.25])
    assert (x * 3).scale_bits == 40
    assert (x * 0.5).scale_bits == 80
    assert decryptor.decrypt(x * 0.5).tolist() == [0.75, -1.125]
    assert decryptor.decrypt(x * np.float32(-2)).tolist() == [-3.0, 4.5]
    assert decryptor.decrypt((x * 2 + np.array([1.0, 1.0])).sum()) == 0.5


def test_rescale(encryptor: hecore.Encryptor, decryptor: hecore.Decryptor) -> None:
    x = encryptor.encrypt([1.5, -2.25], scale_bits=10)
    assert x.rescale(10) is x
    assert x.rescale(30).scale_bits == 30
    assert decryptor.decrypt(x.rescale(30)).tolist() == [1.5, -2.25]
    assert decryptor.decrypt(x.rescale(40) + encryptor.encrypt([1.0, 1.0])).tolist() == [2.5, -1.25]
    with pytest.raises(
        ScaleMismatch, match="scale of 10 bits cannot be lowered to 9: rescale the other operand up"
    ):
        x.rescale(9)


def test_integers_stay_integers(encryptor: hecore.Encryptor, decryptor: hecore.Decryptor) -> None:
    x = encryptor.encrypt([1, 2])
    assert decryptor.decrypt(x + 1.0).tolist() == [2, 3]
    assert decryptor.decrypt(2.0 - x).tolist() == [1, 0]
    for wrong in (lambda: x + 0.5, lambda: x - [1.0, 0.25], lambda: 1e-9 + x):
        with pytest.raises(
            EncodingError, match=r"fraction cannot be added to encrypted integers.*scale_bits > 0"
        ):
            wrong()


def test_scales_that_outgrow_the_key(encryptor: hecore.Encryptor, decryptor: hecore.Decryptor) -> None:
    """512 bits hold 12 factors of 40 bits; one more would wrap, and two results in three not show it."""
    x = encryptor.encrypt([1.0])
    for _ in range(11):
        x = x * 1.0
    assert decryptor.decrypt(x).tolist() == [1.0]
    for grow in (lambda: x * 1.0, lambda: x @ [1.0], lambda: [[1.0]] @ x, lambda: x.rescale(511)):
        with pytest.raises(
            EncodingOverflow, match=r"leaves no room for numbers under this 512-bit key: multiply by"
        ):
            grow()
    assert decryptor.decrypt(x * -3).tolist() == [-3.0]


def test_fixed_point_on_the_left(encryptor: hecore.Encryptor, decryptor: hecore.Decryptor) -> None:
    x, plain = encryptor.encrypt([1.5, 2.5], scale_bits=8), encode([1.0, 0.5], 8)
    assert decryptor.decrypt(plain + x).tolist() == [2.5, 3.0]
    assert decryptor.decrypt(plain - x).tolist() == [-0.5, -2.0]
    assert decryptor.decrypt(plain * x).tolist() == [1.5, 1.25]
    assert decryptor.decrypt(plain @ x) == 2.75


# --- packed ---------------------------------------------------------------------------------------


@st.composite
def packed_operands(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Two arrays whose leading axes broadcast and whose last axes are equal."""
    shapes = draw(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=2, min_side=0, max_side=3))
    length = draw(st.integers(0, 7))
    first, second = (
        draw(hnp.arrays(np.int64, (*shape, length), elements=SMALL)) for shape in shapes.input_shapes
    )
    return first, second


@FewExamples
@given(packed_operands())
def test_packed_batches(encryptor: hecore.Encryptor, decryptor: hecore.Decryptor, case: Any) -> None:
    a, b = case
    x, y = encryptor.encrypt(a, layout=LAYOUT), encryptor.encrypt(b, layout=LAYOUT)
    assert (x + y).layout == LAYOUT
    assert_same(decryptor, x + y, a + b)
    assert_same(decryptor, x - y, a - b)
    assert_same(decryptor, -x, -a)
    assert_same(decryptor, x + b, a + b)
    assert_same(decryptor, b - x, b - a)
    assert_same(decryptor, x * 3, a * 3)
    assert_same(decryptor, -5 * x, a * -5)
    assert_same(decryptor, x + 7, a + 7)
    for axis in range(a.ndim - 1):
        assert_same(decryptor, x.sum(axis), a.sum(axis))
    assert_same(decryptor, x.sum(), a.sum(axis=tuple(range(a.ndim - 1))))


def test_what_slots_do_not_allow(encryptor: hecore.Encryptor) -> None:
    values = np.arange(10).reshape(2, 5)
    x, plain = encryptor.encrypt(values, layout=LAYOUT), encryptor.encrypt(values)
    other = encryptor.encrypt(values, layout=SlotLayout(3, 41, 20))
    failures: list[tuple[Callable[[], object], type[Exception], str]] = [
        (
            lambda: x * values,
            LayoutMismatch,
            "multiplied by one number for all slots: multiply before packing",
        ),
        (lambda: x * [1, 2, 3, 4, 5], LayoutMismatch, "one number for all slots"),
        (lambda: x + plain, LayoutMismatch, "layouts SlotLayout.*None cannot be combined"),
        (lambda: x + other, LayoutMismatch, "cannot be combined"),
        (lambda: x.sum(1), LayoutMismatch, r"axis 1 of \(2, 5\) is packed: slots cannot be summed; decrypt"),
        (lambda: x.sum(-1), LayoutMismatch, "axis -1"),
        (lambda: x.sum(2), ShapeMismatch, "axis 2"),
        (lambda: x @ np.ones((5, 1), dtype=int), LayoutMismatch, "put the plain matrix on the left"),
        (lambda: x + np.zeros((2, 1, 2, 6), dtype=int), ShapeMismatch, "broadcast"),
        (
            lambda: x + encryptor.encrypt([1], layout=LAYOUT),
            ShapeMismatch,
            "packed rows",
        ),
        (
            lambda: encryptor.encrypt([[1]], layout=LAYOUT) + np.arange(2),
            ShapeMismatch,
            "a packed axis cannot grow",
        ),
    ]
    for fail, error, message in failures:
        with pytest.raises(error, match=message):
            fail()


# --- operands that do not fit ---------------------------------------------------------------------


def test_errors_say_what_to_do(encryptor: hecore.Encryptor, other_key: hecore.PrivateKey) -> None:
    x, floats = encryptor.encrypt([1, 2, 3]), encryptor.encrypt([1.0, 2.0, 3.0])
    foreign = hecore.Encryptor(other_key).encrypt([1, 2, 3])
    names = (encryptor.public.fingerprint.hex()[:16], other_key.public.fingerprint.hex()[:16])
    limit = encryptor.public.n // 3
    failures: list[tuple[Callable[[], object], type[Exception], str]] = [
        (lambda: x + foreign, KeyMismatch, rf"different keys \({names[0]}, {names[1]}\) cannot be combined"),
        (lambda: foreign - x, KeyMismatch, rf"\({names[1]}, {names[0]}\)"),
        (lambda: x + floats, ScaleMismatch, r"scale_bits 0 and 40: call \.rescale\(40\) on the lower one"),
        (lambda: floats - x, ScaleMismatch, r"scale_bits 40 and 0"),
        (
            lambda: x + encryptor.encrypt([1, 2]),
            ShapeMismatch,
            r"shapes \(3,\) and \(2,\) cannot be broadcast",
        ),
        (lambda: x + np.ones(2), ShapeMismatch, r"shapes \(3,\) and \(2,\)"),
        (lambda: x * [[1, 2]], ShapeMismatch, r"shapes \(3,\) and \(1, 2\)"),
        (
            lambda: x * x,
            EncodingError,
            "two encrypted batches cannot be multiplied: one factor must be plain",
        ),
        (lambda: x @ x, EncodingError, "one factor must be plain"),
        (
            lambda: x + np.array([1, limit, 0]),
            EncodingOverflow,
            "value at row 1 is beyond n/3.*512-bit key.*longer key",
        ),
        (lambda: x - [[1], [-limit]], EncodingOverflow, "row 1, column 0"),
        (lambda: x * (limit + 1), EncodingOverflow, "beyond n/3"),
        (lambda: floats + np.array([np.nan, 0, 0]), EncodingError, "nan at row 0"),
        (lambda: floats * np.array([[0.0], [-np.inf]]), EncodingError, "-inf at row 1, column 0"),
        (lambda: floats + encode([1.0, 2.0, 3.0], 41), ScaleMismatch, "scale_bits=40 is below the 41"),
        (lambda: x + "a", EncodingError, "cannot encode values of dtype"),
        (lambda: x * None, EncodingError, "cannot encode values of dtype"),
    ]
    for fail, error, message in failures:
        with pytest.raises(error, match=message):
            fail()


def test_operators_that_do_not_exist(encryptor: hecore.Encryptor) -> None:
    x = encryptor.encrypt([1, 2])
    for operation in (operator.truediv, operator.floordiv, operator.mod, operator.pow, operator.lt):
        with pytest.raises(TypeError):
            operation(x, 2)


# --- re-randomising -------------------------------------------------------------------------------


def test_rerandomize(
    encryptor: hecore.Encryptor, decryptor: hecore.Decryptor, residues: Callable[[Batch], list[int]]
) -> None:
    x = (encryptor.encrypt(np.arange(20)) * 3).reshape(4, 5)
    again = x.rerandomize()
    assert again.fresh
    assert (again.shape, again.scale_bits, again.layout) == (x.shape, x.scale_bits, x.layout)
    assert not set(residues(x)) & set(residues(again))
    assert not set(residues(again)) & set(residues(x.rerandomize()))
    assert_same(decryptor, again, np.arange(20).reshape(4, 5) * 3)
