"""numpy's names on encrypted numbers: five are our operators, all others say what to write instead."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array

import hecore
from hecore.numpy_names import INSTEAD, OPERATORS, WHY_NOT
from hecore.sparse import encode_sparse

PLAIN = np.array([[2, -1], [0, 3]])


@pytest.mark.parametrize(
    "compute",
    [
        lambda x: PLAIN + x,
        lambda x: PLAIN - x,
        lambda x: PLAIN * x,
        lambda x: PLAIN @ x,
        lambda x: np.int64(3) * x,
        lambda x: np.float64(3) - x,
        lambda x: np.add(PLAIN, x),
        lambda x: np.subtract(x, PLAIN),
        lambda x: np.multiply(x, PLAIN),
        lambda x: np.matmul(PLAIN, x),
        lambda x: np.matmul(x, PLAIN),
        np.negative,
    ],
)
def test_ufuncs_that_are_operators(
    encryptor: hecore.Encryptor, decryptor: hecore.Decryptor, compute: Any
) -> None:
    values = np.array([[5, 7], [-11, 13]])
    result = compute(encryptor.encrypt(values))
    assert isinstance(result, hecore.CipherBatch)
    assert np.array_equal(decryptor.decrypt(result), compute(values))


def test_two_batches_through_a_ufunc(encryptor: hecore.Encryptor, decryptor: hecore.Decryptor) -> None:
    x = encryptor.encrypt([1, 2])
    assert decryptor.decrypt(np.add(x, x)).tolist() == [2, 4]
    with pytest.raises(hecore.EncodingError, match="one factor must be plain"):
        np.multiply(x, x)


def in_place(x: hecore.CipherBatch) -> None:
    plain = np.ones(2)
    plain += x


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda x: np.dot(np.eye(2), x), r"numpy's dot .*: write a @ x"),
        (np.sum, r"numpy's sum .*: write x\.sum\(axis\)"),
        (np.add.reduce, r"write x\.sum\(axis\)"),
        (np.add.accumulate, r"numpy's add\.accumulate .*decrypt first"),
        (lambda x: np.concatenate([x, x]), r"write hecore\.concatenate\(\[x, y\], axis\)"),
        (lambda x: np.vstack([x, x]), r"numpy's vstack .*write hecore\.concatenate"),
        (lambda x: np.stack([x, x]), r"write hecore\.concatenate\(\[x\[None\], y\[None\]\]\)"),
        (np.mean, r"numpy's mean .*: write x\.sum\(axis\), and divide after decrypting"),
        (np.copy, r"write x itself: a batch is immutable"),
        (np.exp, r"numpy's exp cannot compute with encrypted numbers: .* decrypt first"),
        (lambda x: np.divide(x, 2), r"numpy's divide .*: multiply by the reciprocal"),
        (lambda x: np.maximum(x, 0), "numpy's maximum .* cannot be compared"),
        (lambda x: np.less(x, 0), "numpy's less .* cannot be compared"),
        (lambda x: np.where(x, 1, 0), "numpy's where .* cannot be compared"),
        (in_place, r"takes no out: .*write a = a \+ x for a \+= x"),
        (np.asarray, r"is no numpy array: .*Decryptor\(key\)\.decrypt"),
        (lambda x: np.array([x, x]), r"is no numpy array"),
        (lambda x: np.ma.MaskedArray([1, 2]) * x, r"with a masked array, the batch comes first"),
        (lambda x: csr_array(np.eye(2)) @ x, r"hecore\.sparse\.encode_sparse\(matrix, scale_bits\) @ x"),
    ],
)
def test_other_functions_say_what_to_write(encryptor: hecore.Encryptor, function: Any, said: str) -> None:
    with pytest.raises(TypeError, match=said):
        function(encryptor.encrypt([1, 2]))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mean", r"no 'mean', as numpy's arrays have: write x\.sum\(axis\), and divide"),
        ("flatten", r"write x\.reshape\(-1\)"),
        ("dot", "write a @ x"),
        ("tolist", r"Decryptor\(key\)\.decrypt\(x\)"),
        ("argmax", "cannot be compared"),
        ("summ", "has no 'summ'$"),
    ],
)
def test_methods_that_arrays_have(encryptor: hecore.Encryptor, name: str, said: str) -> None:
    x = encryptor.encrypt([1])
    with pytest.raises(AttributeError, match=said):
        getattr(x, name)
    assert not hasattr(x, name)


def test_what_the_table_says_to_write_can_be_written(
    encryptor: hecore.Encryptor, decryptor: hecore.Decryptor
) -> None:
    """Every remedy of the table that is an expression, on batches for which it was made."""
    names = {
        "hecore": hecore,
        "a": PLAIN,
        "axis": 0,
        "k": 1,
        "places": [0, 0, 1],
        "shape": (4,),
        "x": encryptor.encrypt([[1, 2], [3, 4]]),
        "y": encryptor.encrypt([[5, 6], [7, 8]]),
    }
    for name, text in INSTEAD.items():
        expression = text.split(", and ")[0].split(", or ")[0].split(", of vectors")[0].split(", where ")[0]
        for part in expression.split(": a batch")[0].replace("x itself", "x").split(" and "):
            result = eval(part, {}, names)  # noqa: S307
            assert isinstance(result, hecore.CipherBatch | bytes), name
    vectors = {"hecore": hecore, "x": encryptor.encrypt([1, 2]), "y": encryptor.encrypt([3, 4])}
    stacked = eval(INSTEAD["vstack"].split("of vectors ")[1], {}, vectors)  # noqa: S307
    assert decryptor.decrypt(stacked).tolist() == [[1, 2], [3, 4]]


def test_every_name_of_the_tables_is_numpys() -> None:
    known = set(dir(np)) | set(dir(np.ndarray))
    newer = {"concat", "matvec", "permute_dims", "vecdot", "vecmat"}
    assert {*INSTEAD, *WHY_NOT} - newer <= known
    assert not {ufunc.__name__ for ufunc in OPERATORS} & {*INSTEAD, *WHY_NOT}


def test_a_sparse_matrix_beside_a_batch(encryptor: hecore.Encryptor, decryptor: hecore.Decryptor) -> None:
    matrix, x = csr_array(PLAIN), encryptor.encrypt([5, 7])
    assert decryptor.decrypt(encode_sparse(matrix, 0) @ x).tolist() == [3, 21]
    assert decryptor.decrypt(x @ encode_sparse(matrix, 0)).tolist() == [10, 16]
    for multiply in (lambda: x @ matrix, lambda: x * matrix):
        with pytest.raises(
            hecore.EncodingError, match=r"csr_array .*encode_sparse\(matrix, scale_bits\) @ x"
        ):
            multiply()
