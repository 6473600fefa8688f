"""Sparse plain matrices: the same products as dense ones, and none for a zero."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array, random_array

import hecore
from hecore.errors import EncodingError, ShapeMismatch
from hecore.linalg import matmul_packed, matmul_sparse
from hecore.sparse import encode_sparse

BITS = 12


def sparse(rows=40, columns=30, density=0.1, seed=0):
    matrix = random_array((rows, columns), density=density, rng=np.random.default_rng(seed), format="csr")
    matrix.data = matrix.data * 8 - 4
    return csr_array(matrix)


def test_products_are_those_of_the_dense_matrix(test_key):
    matrix = sparse()
    vector = np.arange(30) - 15
    batch = hecore.Encryptor(test_key).encrypt(vector)
    numbers = encode_sparse(matrix, BITS)
    product = hecore.Decryptor(test_key).decrypt_fixed(matmul_sparse(numbers, batch))
    exact = np.rint(matrix.toarray() * 2**BITS).astype(np.int64) @ vector
    assert product.scale_bits == BITS
    np.testing.assert_array_equal(product.to_integers().astype(np.int64), exact)
    layout = hecore.SlotLayout.for_key(test_key.public, 40)
    packed = hecore.Decryptor(test_key).decrypt_fixed(matmul_packed(numbers, batch, layout))
    np.testing.assert_array_equal(packed.to_integers().astype(np.int64), exact)


def test_rows_are_taken_and_turned_like_those_of_the_dense_matrix(test_key):
    matrix, rows = sparse(seed=1), np.array([7, 7, 0, 39])
    numbers = encode_sparse(matrix, BITS)[rows].transpose()
    assert numbers.shape == (30, 4)
    vector = np.array([3, -1, 2, 5])
    batch = hecore.Encryptor(test_key).encrypt(vector)
    product = hecore.Decryptor(test_key).decrypt_fixed(matmul_sparse(numbers, batch)).to_integers()
    exact = np.rint(matrix.toarray()[rows].T * 2**BITS).astype(np.int64) @ vector
    np.testing.assert_array_equal(product.astype(np.int64), exact)


def test_only_what_is_stored_is_multiplied(test_key):
    """A hundred thousand columns, of which a few have an entry: no table for the others."""
    matrix = csr_array((np.ones(3), ([0, 1, 1], [5, 70_000, 99_999])), shape=(2, 100_000))
    numbers = encode_sparse(matrix, 0)
    assert len(numbers.entries().row) == 3
    batch = hecore.Encryptor(test_key).encrypt(np.arange(1, 4))
    few = encode_sparse(csr_array(matrix[:, [5, 70_000, 99_999]]), 0)
    meter = hecore.Meter()
    with meter.activate():
        product = matmul_sparse(few, batch)
    assert meter.operations["matrix_entries"] == 3
    np.testing.assert_array_equal(hecore.Decryptor(test_key).decrypt(product), [1, 5])


def test_what_is_no_csr_matrix_is_refused(test_key):
    with pytest.raises(ShapeMismatch, match="CSR"):
        encode_sparse(np.eye(2), BITS)
    with pytest.raises(EncodingError, match="nan"):
        encode_sparse(csr_array(np.array([[np.nan]])), BITS)
    batch = hecore.Encryptor(test_key).encrypt(np.arange(3))
    with pytest.raises(ShapeMismatch, match="sparse product"):
        matmul_sparse(encode_sparse(sparse(), BITS), batch)
