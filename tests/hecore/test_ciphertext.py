"""CipherBatch against numpy: the same shapes and the same integers, whatever is done to it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import hecore
from hecore import LayoutMismatch, ShapeMismatch, SlotLayout, concatenate

LAYOUT = SlotLayout(3, 24, 10)
SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)

Batch = hecore.CipherBatch
FewExamples = settings(max_examples=60)


def numbers(shape: tuple[int, ...]) -> np.ndarray:
    """Different integers of both signs."""
    return np.arange(int(np.prod(shape))).reshape(shape) * 7 - 50


def assert_same(decryptor: hecore.Decryptor, batch: Batch, expected: Any) -> None:
    """Shape and values of numpy's result, exactly."""
    assert batch.shape == np.shape(expected)
    assert batch.ndim == np.ndim(expected)
    assert batch.size == np.size(expected)
    decrypted = decryptor.decrypt(batch)
    assert np.shape(decrypted) == np.shape(expected)
    assert np.array_equal(decrypted, expected)


# --- indexing -------------------------------------------------------------------------------------


@st.composite
def indexed(draw: st.DrawFn) -> tuple[tuple[int, ...], Any]:
    """A shape and a key that numpy takes for it."""
    shape = draw(SHAPES)
    keys = [hnp.basic_indices(shape, allow_newaxis=True, allow_ellipsis=True)]
    if shape and 0 not in shape:
        keys.append(hnp.integer_array_indices(shape))
        keys.append(hnp.arrays(bool, shape))
        keys.append(hnp.arrays(bool, shape[:1]))
        keys.append(st.lists(st.integers(-shape[0], shape[0] - 1), max_size=5))
    return shape, draw(st.one_of(keys))


@FewExamples
@given(indexed())
def test_indexing(encryptor: hecore.Encryptor, decryptor: hecore.Decryptor, case: Any) -> None:
    shape, key = case
    values = numbers(shape)
    assert_same(decryptor, encryptor.encrypt(values)[key], values[key])


@pytest.mark.parametrize(
    "key",
    [
        0,
        -1,
        slice(None, None, -1),
        [1, 0, 1],
        np.array([True, False]),
        (1, slice(1, 3)),
        ...,
        None,
        (..., 0),
        (0, None),
    ],
)
def test_indexing_of_packed_rows(encryptor: hecore.Encryptor, decryptor: hecore.Decryptor, key: Any) -> None:
    """All axes but the packed last one."""
    values = numbers((2, 3, 5))
    rows = np.arange(6).reshape(2, 3)[key]
    packed = encryptor.encrypt(values, layout=LAYOUT)[key]
    assert packed.layout == LAYOUT
    assert_same(decryptor, packed, values.reshape(6, 5)[rows])


@pytest.mark.parametrize(
    ("shape", "key", "message"),
    [
        ((3,), 3, "out of bounds"),
        ((3,), -4, "out of bounds"),
        ((3,), (0, 0), "too many indices"),
        ((), 0, "too many indices"),
        ((3,), "x", "only integers"),
        ((3,), 0.5, "only integers"),
        ((3,), [True, False], "boolean index did not match"),
        ((2, 2), ([0, 1], [0, 1, 1]), "broadcast"),
    ],
)
def test_indices_that_do_not_fit(
    encryptor: hecore.Encryptor, shape: tuple[int, ...], key: Any, message: str
) -> None:
    with pytest.raises(ShapeMismatch, match=message):
        encryptor.encrypt(numbers(shape))[key]


def test_the_packed_axis_is_not_indexed(encryptor: hecore.Encryptor) -> None:
    packed = encryptor.encrypt(numbers((2, 5)), layout=LAYOUT)
    with pytest.raises(ShapeMismatch, match=r"only the axes of \(2,\) can be indexed"):
        packed[0, 1]
    with pytest.raises(ShapeMismatch, match=r"only the axes of \(\) can be indexed"):
        packed[0][0]


def test_length_and_iteration(encryptor: hecore.Encryptor, decryptor: hecore.Decryptor) -> None:
    values = numbers((3, 2))
    batch = encryptor.encrypt(values)
    assert len(batch) == 3
    for row, expected in zip(batch, values, strict=True):
        assert_same(decryptor, row, expected)
    packed = encryptor.encrypt(values, layout=LAYOUT)
    for row, expected in zip(packed, values, strict=True):
        assert_same(decryptor, row, expected)
    assert list(encryptor.encrypt([])) == []
    with pytest.raises(TypeError, match="no length"):
        len(encryptor.encrypt(5))


# --- shapes ---------------------------------------------------------------------------------------


@st.composite
def reshaped(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...]]:
    sides = draw(st.lists(st.integers(1, 4), max_size=3))
    size = int(np.prod(sides, dtype=int))
    first = draw(st.sampled_from([i for i in range(1, size + 1) if size % i == 0]))
    wanted = draw(st.sampled_from([(size,), (first, size // first), (-1, first), (1, first, -1), (-1,)]))
    return tuple(sides), wanted


@FewExamples
@given(reshaped())
def test_reshape(encryptor: hecore.Encryptor, decryptor: hecore.Decryptor, case: Any) -> None:
    shape, wanted = case
    values = numbers(shape)
    batch = encryptor.encrypt(values)
    expected = values.reshape(wanted)
    assert_same(decryptor, batch.reshape(wanted), expected)
    assert batch.reshape(*wanted).shape == batch.reshape(list(wanted)).shape == expected.shape


def test_reshape_to_a_single_number(encryptor: hecore.Encryptor, decryptor: hecore.Decryptor) -> None:
    assert_same(decryptor, encryptor.encrypt([5]).reshape(()), np.array(5))
    assert_same(decryptor, encryptor.encrypt([[]]).reshape(0, 7), np.zeros((0, 7)))


@pytest.mark.parametrize("wanted", [(4,), (2, -1, -1), (4, -1), (0, -1)])
def test_shapes_that_do_not_fit(encryptor: hecore.Encryptor, wanted: tuple[int, ...]) -> None:
    with pytest.raises(ShapeMismatch, match=r"shape \(2, 3\)"):
        encryptor.encrypt(numbers((2, 3))).reshape(wanted)


def test_reshape_of_packed_rows(encryptor: hecore.Encryptor, decryptor: hecore.Decryptor) -> None:
    values = numbers((2, 3, 5))
    packed = encryptor.encrypt(values, layout=LAYOUT)
    for wanted in ((6, 5), (3, 2, 5), (-1, 5), (1, 6, 1, 5)):
        assert_same(decryptor, packed.reshape(wanted), values.reshape(wanted))
    for wrong in ((5, 6), (30,), (2, 15), (), (6, -1)):
        with pytest.raises(LayoutMismatch, match=r"the last axis .* is packed and must keep its length"):
            packed.reshape(wrong)
    with pytest.raises(ShapeMismatch, match="cannot reshape"):
        packed.reshape(4, 5)


@FewExamples
@given(SHAPES)
def test_transpose(encryptor: hecore.Encryptor, decryptor: hecore.Decryptor, shape: tuple[int, ...]) -> None:
    values = numbers(shape)
    assert_same(decryptor, encryptor.encrypt(values).transpose(), values.T)


def test_a_packed_axis_is_not_transposed(encryptor: hecore.Encryptor) -> None:
    with pytest.raises(LayoutMismatch, match="decrypt, or pack afterwards"):
        encryptor.encrypt(numbers((2, 5)), layout=LAYOUT).transpose()


# --- concatenation --------------------------------------------------------------------------------


@st.composite
def joinable(draw: st.DrawFn) -> tuple[list[tuple[int, ...]], int]:
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=3))
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    lengths = draw(st.lists(st.integers(0, 3), min_size=1, max_size=4))
    position = axis % len(shape)
    return [(*shape[:position], length, *shape[position + 1 :]) for length in lengths], axis


@FewExamples
@given(joinable())
def test_concatenate(encryptor: hecore.Encryptor, decryptor: hecore.Decryptor, case: Any) -> None:
    shapes, axis = case
    parts = [numbers(shape) + 100 * i for i, shape in enumerate(shapes)]
    joined = concatenate([encryptor.encrypt(part) for part in parts], axis=axis)
    assert_same(decryptor, joined, np.concatenate(parts, axis=axis))


@pytest.mark.parametrize("axis", [0, 1, -2, -3])
def test_concatenate_packed_rows(encryptor: hecore.Encryptor, decryptor: hecore.Decryptor, axis: int) -> None:
    parts = [numbers((2, 2, 5)), numbers((2, 2, 5)) + 1]
    packed = [encryptor.encrypt(part, layout=LAYOUT) for part in parts]
    assert_same(decryptor, concatenate(packed, axis=axis), np.concatenate(parts, axis=axis))


@pytest.mark.parametrize("axis", [2, -1])
def test_the_packed_axis_is_not_concatenated(encryptor: hecore.Encryptor, axis: int) -> None:
    packed = encryptor.encrypt(numbers((2, 2, 5)), layout=LAYOUT)
    with pytest.raises(
        LayoutMismatch, match=rf"axis {axis} of \(2, 2, 5\) is packed: concatenate before packing"
    ):
        concatenate([packed, packed], axis=axis)


def test_what_cannot_be_concatenated(encryptor: hecore.Encryptor, other_key: hecore.PrivateKey) -> None:
    batch = encryptor.encrypt(numbers((2, 3)))
    packed = encryptor.encrypt(numbers((2, 3)), layout=LAYOUT)
    longer = encryptor.encrypt(numbers((2, 4)), layout=LAYOUT)
    failures: list[tuple[list[Batch], int, type[Exception], str]] = [
        ([], 0, ShapeMismatch, "nothing to concatenate"),
        ([batch, encryptor.encrypt(numbers((2, 4)))], 0, ShapeMismatch, "cannot concatenate along axis 0"),
        ([batch, batch], 2, ShapeMismatch, "cannot concatenate along axis 2"),
        ([batch, batch], -3, ShapeMismatch, "cannot concatenate along axis -3"),
        ([batch, encryptor.encrypt([1, 2, 3])], 0, ShapeMismatch, "cannot concatenate"),
        ([encryptor.encrypt(1), encryptor.encrypt(2)], 0, ShapeMismatch, r"the shape is \(\)"),
        ([packed, longer], 0, ShapeMismatch, "packed rows of different lengths"),
        ([batch, packed], 0, LayoutMismatch, "layouts None and SlotLayout"),
        ([batch, encryptor.encrypt(numbers((2, 3)) * 1.0)], 0, hecore.ScaleMismatch, r"\.rescale\(40\)"),
        (
            [batch, hecore.Encryptor(other_key).encrypt(numbers((2, 3)))],
            0,
            hecore.KeyMismatch,
            "different keys",
        ),
    ]
    for batches, axis, error, message in failures:
        with pytest.raises(error, match=message):
            concatenate(batches, axis=axis)


# --- fresh noise ----------------------------------------------------------------------------------


def test_only_untouched_noise_is_fresh(encryptor: hecore.Encryptor) -> None:
    batch = encryptor.encrypt(numbers((2, 3)))
    packed = encryptor.encrypt(numbers((2, 3)), layout=LAYOUT)
    fresh: list[Callable[[], Batch]] = [
        lambda: batch,
        lambda: packed,
        lambda: batch[1:],
        lambda: batch[:, ::-1],
        lambda: batch[[1, 0]],
        lambda: packed[[1, 0]],
        lambda: batch[np.array([True, False])],
        lambda: batch.reshape(6),
        batch.transpose,
        (batch + 1).rerandomize,
    ]
    computed: list[Callable[[], Batch]] = [
        lambda: batch + 0,
        lambda: batch + batch,
        lambda: batch - 1,
        lambda: batch * 1,
        lambda: -batch,
        lambda: batch.sum(0),
        lambda: batch.rescale(5),
        lambda: batch @ [1, 0, 0],
        lambda: [1, 0] @ batch,
        lambda: batch.pack(LAYOUT),
        lambda: hecore.histogram(batch[:, 0], [[0], [1]], 2),
        lambda: Batch.from_bytes(batch.to_bytes(), batch.public),
        lambda: (batch + 1)[0],
        lambda: (batch + 1).reshape(6),
        lambda: concatenate([batch, batch]),
        lambda: concatenate([batch[:1], batch[1:]]),
    ]
    assert [make().fresh for make in fresh] == [True] * len(fresh)
    assert [make().fresh for make in computed] == [False] * len(computed)


@pytest.mark.parametrize("key", [[0, 0], [1, 0, 1], (slice(None), [0, 0, 1])])
def test_a_repeated_ciphertext_is_not_shown(
    encryptor: hecore.Encryptor, decryptor: hecore.Decryptor, key: Any
) -> None:
    """Two classes encrypted once and indexed by labels would show every label."""
    values = numbers((2, 3))
    for batch in (encryptor.encrypt(values), encryptor.encrypt(values[..., None], layout=LAYOUT)[..., :]):
        chosen = batch[key]
        assert not chosen.fresh
        sent = Batch.from_bytes(chosen.to_bytes(), batch.public)
        shown = sent.backend.to_ints(sent.residues)
        assert len(set(shown)) == len(shown)
        assert_same(decryptor, sent, decryptor.decrypt(chosen))


# --- the rest -------------------------------------------------------------------------------------


def test_properties(encryptor: hecore.Encryptor, test_key: hecore.PrivateKey) -> None:
    batch = encryptor.encrypt(numbers((2, 5)), scale_bits=3)
    assert (batch.shape, batch.ndim, batch.size) == ((2, 5), 2, 10)
    assert (batch.scale_bits, batch.layout, batch.terms) == (3, None, 1)
    assert batch.lead_shape == batch.grid == (2, 5)
    assert batch.row_length == 1
    assert batch.public == test_key.public
    packed = encryptor.encrypt(numbers((2, 5)), layout=LAYOUT)
    assert (packed.shape, packed.lead_shape, packed.grid) == ((2, 5), (2,), (2, 2))
    assert packed.row_length == 2


def test_repr(encryptor: hecore.Encryptor, test_key: hecore.PrivateKey) -> None:
    name = test_key.public.fingerprint.hex()[:16]
    assert repr(encryptor.encrypt([1.5])) == f"CipherBatch(shape=(1,), scale_bits=40, key={name})"
    packed = encryptor.encrypt([1], layout=LAYOUT)
    assert repr(packed) == f"CipherBatch(shape=(1,), scale_bits=0, 3 slots a ciphertext, key={name})"


def test_batches_are_immutable(encryptor: hecore.Encryptor) -> None:
    batch = encryptor.encrypt([1, 2])
    with pytest.raises(dataclasses.FrozenInstanceError):
        batch.shape = (1,)  # type: ignore[misc]
    with pytest.raises(TypeError):
        batch[0] = 1  # type: ignore[index]


def test_in_place_operators_make_new_batches(
    encryptor: hecore.Encryptor, decryptor: hecore.Decryptor
) -> None:
    batch = kept = encryptor.encrypt([1, 2])
    batch += 5
    batch *= 2
    batch -= [1, 1]
    assert decryptor.decrypt(kept).tolist() == [1, 2]
    assert decryptor.decrypt(batch).tolist() == [11, 13]


@pytest.mark.parametrize(
    ("ask", "error", "said"),
    [
        (
            lambda x: x.sum(axis=(0, 1)),
            TypeError,
            r"axis=\(0, 1\): one whole number, .*x\.sum\(0\)\.sum\(0\)",
        ),
        (lambda x: x.sum("a"), TypeError, "axis='a': one whole number"),
        (lambda x: x.sum(0, keepdims=True), TypeError, r"not keepdims: x\.sum\(0\)\[None\]"),
        (lambda x: x.rescale("a"), hecore.EncodingError, "scale_bits='a' is not a whole number"),
        (lambda x: x.rescale(41.5), hecore.EncodingError, r"scale_bits=41\.5 is not a whole number"),
        (lambda x: x / 2, TypeError, r"cannot be divided: .*x \* 0\.5"),
        (lambda x: 2 % x, TypeError, "cannot be divided"),
        (lambda x: x**2, TypeError, "no powers"),
        (lambda x: x * np.nan, hecore.EncodingError, "^nan cannot be encoded: impute"),
        (lambda x: x * "a", hecore.EncodingError, "cannot encode values of dtype <U1"),
    ],
)
def test_what_cannot_be_computed_says_what_can(
    encryptor: hecore.Encryptor, ask: Any, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        ask(encryptor.encrypt([[1, 2]]))


@pytest.mark.parametrize(
    "ask",
    [
        lambda x: x == x,  # noqa: PLR0124
        lambda x: x != 1,
        lambda x: x == None,  # noqa: E711
        lambda x: x < 1,
        lambda x: x >= 1,
        lambda x: np.float64(1) == x,
        lambda x: np.ones(2) == x,
        lambda x: 1.5 in x,
        lambda x: [x] == [1],
        bool,
        lambda x: 1 if x else 0,
    ],
)
def test_encrypted_numbers_are_not_compared(encryptor: hecore.Encryptor, ask: Any) -> None:
    with pytest.raises(TypeError, match="decrypt them first"):
        ask(encryptor.encrypt([1, 2]))


def test_a_batch_is_a_key_of_a_dict_by_identity(encryptor: hecore.Encryptor) -> None:
    x, y = encryptor.encrypt([1]), encryptor.encrypt([1])
    assert {x: "x", y: "y"}[x] == "x"
    assert [x, y].index(x) == 0


def test_T_is_transpose(encryptor: hecore.Encryptor, decryptor: hecore.Decryptor) -> None:  # noqa: N802
    assert_same(decryptor, encryptor.encrypt(numbers((2, 3))).T, numbers((2, 3)).T)


def test_from_bytes_takes_the_public_key(key: hecore.PrivateKey, encryptor: hecore.Encryptor) -> None:
    data = encryptor.encrypt([1, 2]).to_bytes()
    with pytest.raises(TypeError, match=r"takes a PublicKey, not PrivateKey: of a private key, key\.public"):
        Batch.from_bytes(data, key)  # type: ignore[arg-type]
