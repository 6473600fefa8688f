"""Plain matrices times encrypted vectors and matrices, exactly numpy's."""

from __future__ import annotations

from collections.abc import Callable
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
    LayoutMismatch,
    ShapeMismatch,
    SlotLayout,
    SlotOverflow,
    encode,
)
from hecore.linalg import matmul_packed

Batch = hecore.CipherBatch
FewExamples = settings(max_examples=60)
LAYOUT = SlotLayout(3, 40, 10)
ENTRIES = st.sampled_from([0, 0, 0, 1, -1, 127, -128]) | st.integers(-(2**31), 2**31)
VALUES = st.integers(-1000, 1000)
SIDE = st.integers(0, 4)


def assert_same(decryptor: hecore.Decryptor, batch: Batch, expected: Any) -> None:
    assert batch.shape == np.shape(expected)
    assert np.array_equal(decryptor.decrypt(batch), expected)


@st.composite
def products(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """A plain factor and an encrypted one; every pair of dimensions, empty ones included."""
    inner = draw(SIDE)
    plain = draw(st.sampled_from([(inner,), (draw(SIDE), inner)]))
    secret = draw(st.sampled_from([(inner,), (inner, draw(SIDE))]))
    return (
        draw(hnp.arrays(np.int64, plain, elements=ENTRIES)),
        draw(hnp.arrays(np.int64, secret, elements=VALUES)),
    )


@FewExamples
@given(products())
def test_plain_on_the_left(encryptor: hecore.Encryptor, decryptor: hecore.Decryptor, case: Any) -> None:
    plain, secret = case
    assert_same(decryptor, plain @ encryptor.encrypt(secret), plain @ secret)


@FewExamples
@given(products())
def test_plain_on_the_right(encryptor: hecore.Encryptor, decryptor: hecore.Decryptor, case: Any) -> None:
    plain, secret = case[0].T, case[1].T
    assert_same(decryptor, encryptor.encrypt(secret) @ plain, secret @ plain)


@pytest.mark.parametrize("shape", [(40, 3), (3, 40), (1, 64), (64, 1), (12, 12)])
def test_every_plan(encryptor: hecore.Encryptor, decryptor: hecore.Decryptor, shape: tuple[int, int]) -> None:
    """Tall, wide, dense and sparse matrices are evaluated in different ways."""
    draw = np.random.default_rng(1)
    values = draw.integers(-1000, 1000, shape[1])
    x = encryptor.encrypt(values)
    for bits in (1, 8, 24, 45):
        dense = draw.integers(-(1 << bits), 1 << bits, shape, endpoint=True)
        sparse = np.where(draw.random(shape) < 0.9, 0, dense)
        for matrix in (dense, sparse, np.abs(dense), -np.abs(dense)):
            assert_same(decryptor, matrix @ x, matrix @ values)


def test_lists_and_huge_entries(encryptor: hecore.Encryptor, decryptor: hecore.Decryptor) -> None:
    x = encryptor.encrypt([1, -2])
    assert decryptor.decrypt([[1, 2], [3, 4]] @ x).tolist() == [-3, -5]
    assert decryptor.decrypt([2**200, -(2**100)] @ x) == 2**200 + 2**101
    assert decryptor.decrypt(x @ ((1, 0, 5), (0, 1, 5))).tolist() == [1, -2, -5]


def test_scales_add_up(encryptor: hecore.Encryptor, decryptor: hecore.Decryptor) -> None:
    x = encryptor.encrypt([1.5, -2.5])
    matrix = np.array([[0.5, 0.25], [-1.0, 3.0]])
    assert (matrix @ x).scale_bits == 80
    assert decryptor.decrypt(matrix @ x).tolist() == (matrix @ [1.5, -2.5]).tolist()
    assert (encode(matrix, 2) @ x).scale_bits == 42
    assert decryptor.decrypt(encode(matrix, 2) @ x).tolist() == (matrix @ [1.5, -2.5]).tolist()
    assert (np.array([[1, 2]]) @ x).scale_bits == 40


@FewExamples
@given(st.data())
def test_packed_rows(encryptor: hecore.Encryptor, decryptor: hecore.Decryptor, data: st.DataObject) -> None:
    """A matrix combines whole rows: all slots alike."""
    rows, inner, length = data.draw(SIDE), data.draw(SIDE), data.draw(st.integers(0, 7))
    shape = data.draw(st.sampled_from([(inner,), (rows, inner)]))
    plain = data.draw(hnp.arrays(np.int64, shape, elements=st.integers(-(2**20), 2**20)))
    secret = data.draw(hnp.arrays(np.int64, (inner, length), elements=VALUES))
    product = plain @ encryptor.encrypt(secret, layout=LAYOUT)
    assert product.layout == LAYOUT
    assert_same(decryptor, product, plain @ secret)


def test_headroom_of_packed_rows(encryptor: hecore.Encryptor, decryptor: hecore.Decryptor) -> None:
    """The largest Σ_j |M_ij| counts, not the sum of the entries."""
    layout = SlotLayout(3, 14, 10)
    extreme = np.full((3, 4), 1023)
    x = encryptor.encrypt(extreme, layout=layout)
    fits = np.array([[3, -3, 2], [8, 0, 0], [0, 0, 0], [-1, -1, -6]])
    assert (fits @ x).terms == 8
    assert_same(decryptor, fits @ x, fits @ extreme)
    for too_much in ([3, -3, 3], [[1, 1, 1], [-9, 0, 0]], [2**70, 0, 0]):
        with pytest.raises(SlotOverflow, match="headroom for 8"):
            too_much @ x


# --- products that come packed --------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1), (5, 2), (60, 1), (61, 2), (0, 2), (3, 0), (40, 0)])
def test_packed_products(
    encryptor: hecore.Encryptor, decryptor: hecore.Decryptor, shape: tuple[int, int]
) -> None:
    """Both ways, the joined exponents (many rows) included."""
    draw = np.random.default_rng(2)
    matrix = draw.integers(-50, 50, shape)
    values = draw.integers(-50, 50, shape[1])
    layout = SlotLayout.for_key(encryptor.public, 14, 2)
    product = matmul_packed(matrix, encryptor.encrypt(values), layout)
    assert (product.layout, product.terms, product.fresh) == (layout, 1, False)
    assert len(product.residues) == layout.ciphertexts(shape[0])
    assert_same(decryptor, product, matrix @ values)
    assert_same(decryptor, product + (matrix @ values), 2 * (matrix @ values))


def test_packed_products_of_fixed_point(encryptor: hecore.Encryptor, decryptor: hecore.Decryptor) -> None:
    matrix = np.linspace(-2, 2, 120).round(2).reshape(120, 1)
    x = encryptor.encrypt([3.0], scale_bits=4)
    product = matmul_packed(encode(matrix, 12), x, SlotLayout.for_key(encryptor.public, 20))
    assert product.scale_bits == 16
    assert decryptor.decrypt(product).tolist() == (np.rint(matrix * 2**12) * 3.0 / 2**12).ravel().tolist()


def test_packed_products_that_do_not_fit(encryptor: hecore.Encryptor, key: hecore.PrivateKey) -> None:
    x = encryptor.encrypt([1, 2])
    for matrix, batch in (
        ([1, 2], x),
        ([[1, 2, 3]], x),
        ([[1, 2]], x.reshape(2, 1)),
        ([[1]], encryptor.encrypt(1)),
    ):
        with pytest.raises(ShapeMismatch, match="matmul_packed of shapes"):
            matmul_packed(matrix, batch, LAYOUT)
    with pytest.raises(ShapeMismatch, match="matmul_packed"):
        matmul_packed([[1, 2]], encryptor.encrypt([1, 2], layout=LAYOUT), LAYOUT)
    with pytest.raises(LayoutMismatch, match="do not fit a plaintext of 511 bits"):
        matmul_packed([[1, 2]], x, SlotLayout.for_key(key.public, 20))
    with pytest.raises(EncodingOverflow, match="leaves no room"):
        matmul_packed(encode([[1, 2]], 300), encryptor.encrypt([1, 2], scale_bits=300), LAYOUT)


# --- factors that do not fit ----------------------------------------------------------------------


def test_errors_say_what_to_do(encryptor: hecore.Encryptor) -> None:
    x = encryptor.encrypt([[1, 2, 3], [4, 5, 6]])
    packed = encryptor.encrypt([[1, 2, 3], [4, 5, 6]], layout=LAYOUT)
    cube = encryptor.encrypt(np.zeros((2, 2, 2), dtype=int))
    failures: list[tuple[Callable[[], object], type[Exception], str]] = [
        (lambda: [[1, 2, 3]] @ x, ShapeMismatch, r"matmul of shapes \(1, 3\) and \(2, 3\): 3 is not 2"),
        (lambda: [1, 2, 3] @ x, ShapeMismatch, r"\(3,\) and \(2, 3\): 3 is not 2"),
        (lambda: x @ [1, 2], ShapeMismatch, r"\(2,\) and \(3, 2\): 2 is not 3"),
        (lambda: 2 @ x, ShapeMismatch, r"matmul of shapes \(\) and \(2, 3\)"),
        (lambda: x @ 2, ShapeMismatch, r"matmul of shapes \(2, 3\) and \(\)"),
        (lambda: np.zeros((2, 2, 2), dtype=int) @ x, ShapeMismatch, "matmul of shapes"),
        (lambda: [1, 2] @ cube, ShapeMismatch, "matmul of shapes"),
        (lambda: cube @ [1, 2], ShapeMismatch, "matmul of shapes"),
        (lambda: [1] @ encryptor.encrypt(5), ShapeMismatch, "matmul of shapes"),
        (lambda: [1, 2, 3] @ packed[0], ShapeMismatch, "matmul of shapes"),
        (lambda: packed @ [1, 2, 3], LayoutMismatch, "mixes slots: put the plain matrix on the left"),
        (lambda: x @ x, EncodingError, "one factor must be plain"),
        (lambda: np.array([[1.0, np.nan]]) @ x, EncodingError, "nan at row 0, column 1"),
        (lambda: [[1, 2**511]] @ x, EncodingOverflow, "row 0, column 1 is beyond n/3"),
    ]
    for fail, error, message in failures:
        with pytest.raises(error, match=message):
            fail()
