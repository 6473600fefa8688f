"""Plain matrix × encrypted vector or matrix, by multi-exponentiation (kernels/multiexp).

    (M·x)_i = Σ_j M_ij·x_j      encrypted as ∏_j c_j^(M_ij)

The scales of matrix and batch add up. Integer matrices have scale 0; floats get 40 bits unless encoded before
(`hecore.encode(matrix, scale_bits)`): fewer bits mean proportionally fewer products.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .encoding import FixedPoint, encode
from .errors import EncodingError, LayoutMismatch, ShapeMismatch
from .evaluator import check_range, check_scale, map_columns, pack
from .kernels import limbs as lb
from .kernels.limbs import Limbs
from .kernels.multiexp import Entries, plan_entries
from .meter import count
from .packing import SlotLayout
from .sparse import SparseNumbers

if TYPE_CHECKING:
    from .ciphertext import CipherBatch


def matmul_left(matrix: Any, batch: CipherBatch) -> CipherBatch:
    """matrix @ batch: (R, C) or (C,) plain, times (C,) or (C, K) encrypted. ShapeMismatch otherwise.
    SparseNumbers go to `matmul_sparse`.

    A packed batch (C, k) is a row of slots per j: its slots are combined all alike, and SlotOverflow is
    raised when max_i Σ_j |M_ij| terms do not fit the headroom.
    """
    if isinstance(matrix, SparseNumbers):
        return matmul_sparse(matrix, batch)
    plain = _plain_matrix(matrix, batch)
    if not batch.lead_shape or len(plain.shape) not in (1, 2) or batch.ndim > 2:
        raise ShapeMismatch(f"matmul of shapes {plain.shape} and {batch.shape}")
    columns = plain.shape[-1]
    if columns != batch.shape[0]:
        raise ShapeMismatch(
            f"matmul of shapes {plain.shape} and {batch.shape}: {columns} is not {batch.shape[0]}"
        )
    rows = 1 if len(plain.shape) == 1 else plain.shape[0]
    scale_bits = check_scale(batch.scale_bits + plain.scale_bits, batch.public)
    terms = _terms(plain, batch)
    exponents = plain.limbs.reshape(rows, columns, plain.limbs.shape[1])
    count("matrix_entries", rows * len(batch.residues))
    residues = map_columns(batch, lambda bases: batch.backend.matvec_exp(exponents, bases))
    lead = () if len(plain.shape) == 1 else (rows,)
    return replace(
        batch,
        residues=residues,
        shape=(*lead, *batch.shape[1:]),
        scale_bits=scale_bits,
        terms=terms,
        fresh=False,
    )


def matmul_packed(matrix: Any, batch: CipherBatch, layout: SlotLayout) -> CipherBatch:
    """matrix @ batch with the results packed into slots: (R, C) plain, (C,) encrypted, shape (R,).

    Two ways, whichever takes fewer products: multiply, then shift-and-add the R results; or, best for few
    columns and very many rows, put the rows of a ciphertext side by side in one long exponent,
    E_gj = Σ_i M_ij·2^(slot_bits·i), which shifts each of C bases through all slots once:

        ∏_j c_j^(E_gj)   encrypts   Σ_i 2^(slot_bits·i) · (M·x)_i

    The caller answers for |(M·x)_i| ≤ 2^value_bits − 1. A SparseNumbers matrix is multiplied first.
    """
    if isinstance(matrix, SparseNumbers):
        return pack(matmul_sparse(matrix, batch), layout)
    plain = _plain_matrix(matrix, batch)
    if len(plain.shape) != 2 or batch.shape != plain.shape[1:] or batch.layout is not None:
        raise ShapeMismatch(f"matmul_packed of shapes {plain.shape} and {batch.shape}")
    layout.check_key(batch.public)
    scale_bits = check_scale(batch.scale_bits + plain.scale_bits, batch.public)
    rows, columns = plain.shape
    # Each base is shifted through all slots, which only many rows pay for.
    joined = _joined_rows(plain, layout) if 4 * columns * layout.slots <= rows else None
    if joined is None or not _saves_products(joined, plain, layout):
        return pack(matmul_left(plain, batch), layout)
    count("matrix_entries", rows * columns)
    return replace(
        batch,
        residues=batch.backend.matvec_exp(joined, batch.residues),
        shape=(rows,),
        scale_bits=scale_bits,
        layout=layout,
        terms=1,
        fresh=False,
    )


def _saves_products(joined: Limbs, plain: FixedPoint, layout: SlotLayout) -> bool:
    """Whether long exponents take fewer products than a product and slot_bits squarings for each row."""
    rows, columns = plain.shape
    apart = Entries.of(plain.limbs.reshape(rows, columns, plain.limbs.shape[1]))
    if not apart.row.size:
        return False
    packed = plan_entries(apart).products + rows * layout.slot_bits
    return plan_entries(Entries.of(joined)).products < packed


def matmul_sparse(matrix: SparseNumbers, batch: CipherBatch) -> CipherBatch:
    """matrix @ batch: (R, C) sparse, times (C,) encrypted and unpacked. ShapeMismatch otherwise."""
    if batch.shape != matrix.shape[1:] or batch.layout is not None:
        raise ShapeMismatch(f"a sparse product of shapes {matrix.shape} and {batch.shape}")
    check_range(FixedPoint(matrix.limbs, (len(matrix.limbs),), matrix.scale_bits), batch.public)
    entries = matrix.entries()
    count("matrix_entries", len(entries.row))
    return replace(
        batch,
        residues=batch.backend.entries_exp(entries, batch.residues),
        shape=matrix.shape[:1],
        scale_bits=check_scale(batch.scale_bits + matrix.scale_bits, batch.public),
        terms=1,
        fresh=False,
    )


def _joined_rows(plain: FixedPoint, layout: SlotLayout) -> Limbs:
    """Exponents of whole ciphertexts, uint64[groups, C, width]: `slots` rows of the matrix in each."""
    rows, columns = plain.shape
    groups = layout.ciphertexts(rows)
    width = plain.limbs.shape[1]
    padded = np.zeros((groups * layout.slots, columns, width), dtype=plain.limbs.dtype)
    padded[:rows] = plain.limbs.reshape(rows, columns, width)
    by_column = padded.reshape(groups, layout.slots, columns, width).swapaxes(1, 2)
    fields = by_column.reshape(groups * columns, layout.slots, width)
    joined = lb.join_fields(fields, layout.slot_bits, lb.width_for_bits(layout.slots * layout.slot_bits + 1))
    return joined.reshape(groups, columns, joined.shape[1])


def matmul_right(batch: CipherBatch, matrix: Any) -> CipherBatch:
    """batch @ matrix: (C,) or (K, C) encrypted, times (C,) or (C, R) plain: (matrixᵀ @ batchᵀ)ᵀ."""
    if batch.layout is not None:
        raise LayoutMismatch("batch @ matrix mixes slots: put the plain matrix on the left")
    if isinstance(matrix, SparseNumbers):
        return matmul_sparse(matrix.transpose(), batch)
    plain = _plain_matrix(matrix, batch)
    if len(plain.shape) not in (1, 2) or batch.ndim not in (1, 2):
        raise ShapeMismatch(f"matmul of shapes {batch.shape} and {plain.shape}")
    product = matmul_left(plain.transpose(), batch.transpose())
    return product.transpose() if product.ndim == 2 else product


def _plain_matrix(matrix: Any, batch: CipherBatch) -> FixedPoint:
    if isinstance(matrix, type(batch)):
        raise EncodingError("two encrypted batches cannot be multiplied: one factor must be plain")
    plain = encode(matrix)
    check_range(plain, batch.public)
    return plain


def _terms(plain: FixedPoint, batch: CipherBatch) -> int:
    """Headroom used by the largest row: max_i Σ_j |M_ij| fresh terms each."""
    if batch.layout is None:
        return 1
    rows = np.atleast_1d(np.abs(plain.to_integers()).sum(axis=-1))
    return batch.layout.check_terms(max(1, batch.terms * int(max(rows, default=0))))
