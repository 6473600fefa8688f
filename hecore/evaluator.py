"""Arithmetic on encrypted numbers without the private key: the operators of `CipherBatch`.

    add               c_a · c_b                 encrypts a + b
    add plain         c · (1 + m·n)             encrypts a + m
    multiply plain    c^k                       encrypts k·a; negative k by batch inversion
    total             ∏ c                       encrypts Σ a

Operands must agree in key, scale and layout; errors say what to do. Results are not fresh: their noise is
a function of the inputs' noise until `rerandomize`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import noise, packing
from .encoding import FixedPoint, Shape, at_place, broadcast_indices, encode, whole_scale
from .errors import (
    EncodingError,
    EncodingOverflow,
    KeyMismatch,
    LayoutMismatch,
    ScaleMismatch,
    ShapeMismatch,
)
from .kernels import Backend
from .kernels import limbs as lb
from .kernels.backend import Residues
from .kernels.offsets import even_offsets
from .kernels.select import resolve
from .keys import PublicKey
from .meter import count
from .packing import SlotLayout

if TYPE_CHECKING:
    from .ciphertext import CipherBatch


def add(a: CipherBatch, b: Any) -> CipherBatch:
    """a + b for a batch or plain numbers b, broadcast like numpy.

    Plain numbers are encoded at a's scale. Raises KeyMismatch, ScaleMismatch, LayoutMismatch, ShapeMismatch,
    SlotOverflow when the sum could leave its slots.
    """
    if not _is_batch(a, b):
        return _add_plain(a, b)
    check_compatible(a, b)
    terms = checked_terms(a.layout, a.terms + b.terms)
    left, right, shape = _aligned(a, on_backend(b, a.backend))
    count("add", len(left))
    product = a.backend.mod_mul(left, right)
    return replace(a, residues=product, shape=shape, terms=terms, fresh=False)


def subtract(a: CipherBatch, b: Any) -> CipherBatch:
    """a − b for a batch or plain numbers b."""
    if _is_batch(a, b):
        check_compatible(a, b)
        return add(a, negate(b))
    return _add_plain(a, -encode_at_scale(b, a.scale_bits))


def negate(a: CipherBatch) -> CipherBatch:
    """−a: c⁻¹ mod n², one inversion for the batch."""
    count("negate", len(a.residues))
    return replace(a, residues=a.backend.mod_inv(a.residues), fresh=False)


def multiply(a: CipherBatch, values: Any, scale_bits: int | None = None) -> CipherBatch:
    """a · values for plain numbers, broadcast like numpy; the scales add up.

    Integers keep a's scale; floats are encoded with `scale_bits` (default 40) and raise it by that. A packed
    batch takes one integer for all. Raises ShapeMismatch, SlotOverflow, LayoutMismatch, EncodingOverflow when
    the scale outgrows the key.
    """
    if _is_batch(a, values):
        raise EncodingError("two encrypted batches cannot be multiplied: one factor must be plain")
    factors = encode(values, scale_bits)
    check_range(factors, a.public)
    scale = check_scale(a.scale_bits + factors.scale_bits, a.public)
    if a.layout is not None:
        return _multiply_slots(a, factors, scale)
    left, right, shape = broadcast_indices(a.shape, factors.shape)
    base = _gathered(a, left, shape)
    exponents = factors.limbs if len(factors.limbs) == 1 else factors.limbs[right]
    count("multiply", len(base))
    return replace(a, residues=_power(a.backend, base, exponents), shape=shape, scale_bits=scale, fresh=False)


def rescale(a: CipherBatch, scale_bits: int) -> CipherBatch:
    """The same numbers at a larger scale. ScaleMismatch for a smaller one: that needs the private key.

    EncodingOverflow for one that outgrows the key, EncodingError for one that is no whole number.
    """
    scale_bits = whole_scale(scale_bits)
    bits = scale_bits - a.scale_bits
    if bits < 0:
        raise ScaleMismatch(
            f"an encrypted scale of {a.scale_bits} bits cannot be lowered to {scale_bits}:"
            " rescale the other operand up"
        )
    if bits == 0:
        return a
    check_scale(scale_bits, a.public)
    return replace(multiply(a, 1 << bits), scale_bits=scale_bits)


def total(a: CipherBatch, axis: int | None = None) -> CipherBatch:
    """The sum over one axis of `lead_shape`, or over all of it.

    A packed row stays a row: summing shape (n, k) over all gives shape (k,). LayoutMismatch for the packed
    axis itself, SlotOverflow when the sum could leave its slots, TypeError for several axes at once.
    """
    axis = None if axis is None else _one_axis(axis)
    lead, tail = a.lead_shape, a.shape[len(a.lead_shape) :]
    length = a.row_length
    if axis is None:
        kept: Shape = ()
        rows = prod(lead)
        index = np.arange(rows, dtype=np.int64).reshape(1, rows)
    else:
        if not -a.ndim <= axis < a.ndim:
            raise ShapeMismatch(f"axis {axis} of a batch of shape {a.shape}")
        position = axis % a.ndim
        if position >= len(lead):
            raise LayoutMismatch(
                f"axis {axis} of {a.shape} is packed: slots cannot be summed; decrypt, then sum"
            )
        kept = (*lead[:position], *lead[position + 1 :])
        numbers = np.arange(prod(lead), dtype=np.int64).reshape(lead)
        rows = lead[position]
        index = np.moveaxis(numbers, position, -1).reshape(prod(kept), rows)
    terms = checked_terms(a.layout, a.terms * max(1, rows))
    places = index[:, None, :] * length + np.arange(length)[None, :, None]
    segments = index.shape[0] * length
    count("sum", len(a.residues))
    product = a.backend.segment_product(a.residues, places.ravel(), even_offsets(segments, rows))
    return replace(a, residues=product, shape=(*kept, *tail), terms=terms, fresh=False)


def pack(a: CipherBatch, layout: SlotLayout) -> CipherBatch:
    """Unpacked (…, k) into slots by shift-and-add: ⌈k/slots⌉ ciphertexts a row.

        Horner:  acc ← acc^(2^slot_bits) · c_i,   i = slots − 1 … 0

    The caller answers for |integer| ≤ 2^value_bits − 1: an encrypted value cannot be measured. Costs
    slot_bits squarings and one product a value.
    """
    if a.layout is not None:
        raise LayoutMismatch("the batch is packed already")
    if not a.shape:
        raise LayoutMismatch("a single number has no axis to pack along: reshape it to (1,)")
    layout.check_key(a.public)
    *lead, length = a.shape
    groups = layout.ciphertexts(length)
    zero = len(a.residues)  # position of an extra element: 1 encrypts 0
    rows = prod(lead)
    padded = np.full((rows, groups * layout.slots), zero, np.int64)
    padded[:, :length] = np.arange(zero, dtype=np.int64).reshape(rows, length)
    places = padded.reshape(rows * groups, layout.slots)
    backend = a.backend
    source = backend.concatenate([a.residues, backend.from_ints(a.public.square, [1])])
    packed = _shift_and_add(backend, source, places, layout.slot_bits)
    count("pack", len(a.residues))
    return replace(a, residues=packed, layout=layout, terms=1, fresh=False)


def pack_rows(a: CipherBatch) -> CipherBatch:
    """Packed rows side by side: (m, k), one ciphertext a row, to a packed (m·k,) of as few as hold it.

        before   (v00|v01)  (v10|v11)  (v20|v21)  …
        after    (v00|v01|v10|v11|v20|v21|…)        r = ⌊slots that the key holds / k⌋ rows a ciphertext

        Horner:  acc ← acc^(2^(k·slot_bits)) · c_i,   i = r − 1 … 0

    Slots keep their width and the headroom that they have used: what was proved for `a` holds for the result.
    LayoutMismatch for rows of more than one ciphertext. Costs k·slot_bits squarings and one product a row.
    """
    if a.layout is None or len(a.lead_shape) != 1 or a.row_length != 1 or a.shape[-1] == 0:
        raise LayoutMismatch(f"pack_rows takes packed rows of one ciphertext, not shape {a.shape}")
    rows, width = a.shape
    per = (a.public.bits - 1) // a.layout.slot_bits // width
    groups = -(-rows // per)
    layout = replace(a.layout, slots=per * width)
    padded = np.full(groups * per, rows, dtype=np.int64)  # `rows`: an extra element, 1 encrypts 0
    padded[:rows] = np.arange(rows)
    places = padded.reshape(groups, per)
    source = a.backend.concatenate([a.residues, a.backend.from_ints(a.public.square, [1])])
    packed = _shift_and_add(a.backend, source, places, width * layout.slot_bits)
    count("pack", rows)
    return replace(a, residues=packed, shape=(rows * width,), layout=layout, fresh=False)


def _shift_and_add(backend: Backend, source: Residues, places: NDArray[np.int64], bits: int) -> Residues:
    """∏_s source[places[:, s]]^(2^(bits·s)) for each row of `places`, by Horner from the last."""
    packed = backend.gather(source, places[:, -1])
    every = np.arange(len(places), dtype=np.int64)
    for slot in range(places.shape[1] - 2, -1, -1):
        shifted = backend.mod_pow(packed, 1 << bits)
        packed = backend.mod_mul_at(shifted, every, source, places[:, slot])
    return packed


def rerandomize(a: CipherBatch, randomness: str = "uniform") -> CipherBatch:
    """c · r^n with fresh noise: independent of how c came about, whoever looks (see `noise`).

    "uniform" covers all n-th residues of a key that hecore made; "classic" of any key, however its owner made
    it, at about eight times the cost. ValueError for another kind.
    """
    if randomness not in noise.RERANDOMIZING_KINDS:
        raise ValueError(f"randomness={randomness!r}: choose one of {', '.join(noise.RERANDOMIZING_KINDS)}")
    count("rerandomize", len(a.residues))
    fresh = noise.draw(a.backend, a.public, randomness, len(a.residues))
    return replace(a, residues=a.backend.mod_mul(a.residues, fresh), fresh=True)


# --- shared by the other verbs --------------------------------------------------------------------


def check_compatible(a: CipherBatch, b: CipherBatch) -> None:
    """Raise unless two batches share key, scale and layout."""
    if a.public != b.public:
        raise KeyMismatch(
            f"batches under different keys ({a.public.fingerprint.hex()[:16]},"
            f" {b.public.fingerprint.hex()[:16]}) cannot be combined"
        )
    if a.scale_bits != b.scale_bits:
        raise ScaleMismatch(
            f"batches with scale_bits {a.scale_bits} and {b.scale_bits}:"
            f" call .rescale({max(a.scale_bits, b.scale_bits)}) on the lower one"
        )
    if a.layout != b.layout:
        raise LayoutMismatch(f"batches with layouts {a.layout} and {b.layout} cannot be combined")


def check_range(numbers: FixedPoint, public: PublicKey) -> None:
    """EncodingOverflow, naming the first place, unless every |integer| < n/3: decryption refuses others."""
    outside = lb.first_not_below(lb.absolute(numbers.limbs), public.n // 3)
    if outside is not None:
        raise EncodingOverflow(
            f"the value{at_place(outside, numbers.shape)} is beyond n/3, the range of this"
            f" {public.bits}-bit key, at scale_bits={numbers.scale_bits}: lower the scale or use a longer key"
        )


def check_scale(scale_bits: int, public: PublicKey) -> int:
    """`scale_bits`, or EncodingOverflow where even ±1 would be beyond n/3.

    Larger numbers may wrap before that: of a wrapped result, decryption notices one in three.
    """
    if scale_bits >= (public.n // 3).bit_length():
        raise EncodingOverflow(
            f"scale_bits={scale_bits} leaves no room for numbers under this {public.bits}-bit key: multiply"
            " by integers, encode factors with fewer bits, or decrypt and encrypt in between"
        )
    return scale_bits


def encode_at_scale(values: Any, scale_bits: int) -> FixedPoint:
    """Plain numbers as integers of a batch's scale; EncodingError if that would drop a fraction."""
    numbers = encode(values, None if isinstance(values, FixedPoint) else scale_bits)
    if isinstance(values, FixedPoint):
        return numbers.rescale(scale_bits)
    array = np.asarray(values)
    if scale_bits == 0 and array.dtype.kind == "f" and not bool((array == np.rint(array)).all()):
        raise EncodingError(
            "a fraction cannot be added to encrypted integers (scale_bits=0):"
            " encrypt with scale_bits > 0, or round first"
        )
    return numbers


def import_plain(backend: Backend, numbers: FixedPoint, public: PublicKey) -> Residues:
    """The integers modulo n. The caller has shown |integer| < n/2, by `check_range` or by a slot layout."""
    width = min(numbers.limbs.shape[1], public.modulus.width)
    return backend.from_signed(public.modulus, lb.resize(numbers.limbs, width))


def on_backend(batch: CipherBatch, backend: Backend | str | None) -> CipherBatch:
    """The batch with its residues in `backend`'s form."""
    target = resolve(backend)
    if batch.backend is target:
        return batch
    limbs = batch.backend.to_limbs(batch.residues)
    moved = target.from_limbs(batch.public.square, limbs)
    return replace(batch, backend=target, residues=moved)


def checked_terms(layout: SlotLayout | None, terms: int) -> int:
    """The headroom used by `terms` terms; SlotOverflow beyond the layout's. Always 1 where unpacked."""
    return 1 if layout is None else layout.check_terms(terms)


def map_columns(batch: CipherBatch, work: Callable[[Residues], Residues]) -> Residues:
    """`work` on each column of the grid (first axis × rest), its results interleaved row-major again.

    grid (n, w)  →  w vectors of n  →  w results of m  →  grid (m, w)
    """
    width = prod(batch.grid[1:])
    if width == 1:
        return work(batch.residues)
    if width == 0:
        return batch.residues
    backend = batch.backend
    places = np.arange(len(batch.residues), dtype=np.int64).reshape(-1, width)
    parts = [work(backend.gather(batch.residues, places[:, j])) for j in range(width)]
    joined = backend.concatenate(parts)
    order = np.arange(len(joined), dtype=np.int64).reshape(width, -1).T
    return backend.gather(joined, order.ravel())


# --- pieces ---------------------------------------------------------------------------------------


def _one_axis(axis: Any) -> int:
    try:
        return operator.index(axis)
    except TypeError:
        raise TypeError(
            f"sum over axis={axis!r}: one whole number, or None for all; x.sum(0).sum(0) sums over two axes"
        ) from None


def _is_batch(a: CipherBatch, value: Any) -> bool:
    return isinstance(value, type(a))


def _add_plain(a: CipherBatch, values: Any) -> CipherBatch:
    numbers = encode_at_scale(values, a.scale_bits)
    _, spread, shape = broadcast_indices(a.shape, numbers.shape)
    plain = FixedPoint(numbers.limbs[spread], shape, numbers.scale_bits)
    terms = a.terms
    if a.layout is not None:
        if shape[-1:] != a.shape[-1:]:
            raise ShapeMismatch(f"shapes {a.shape} and {numbers.shape}: a packed axis cannot grow")
        terms = a.layout.check_terms(a.terms + 1)
        plain = packing.pack(plain, a.layout)
    else:
        check_range(numbers, a.public)
    rows, _, _ = broadcast_indices(a.lead_shape, shape[: len(shape) - a.ndim + len(a.lead_shape)])
    base = _gathered(a, rows, shape)
    count("add_plain", len(base))
    product = a.backend.mul_one_plus(base, import_plain(a.backend, plain, a.public))
    return replace(a, residues=product, shape=shape, terms=terms, fresh=False)


def _multiply_slots(a: CipherBatch, factors: FixedPoint, scale: int) -> CipherBatch:
    if len(factors.limbs) != 1 or a.layout is None:
        raise LayoutMismatch(
            "a packed batch is multiplied by one number for all slots:"
            " multiply before packing, or encrypt unpacked"
        )
    factor = int(factors.to_integers().ravel()[0])
    terms = checked_terms(a.layout, max(1, a.terms * abs(factor)))
    count("multiply", len(a.residues))
    residues = _power(a.backend, a.residues, factors.limbs)
    return replace(a, residues=residues, scale_bits=scale, terms=terms, fresh=False)


def _power(backend: Backend, base: Residues, exponents: lb.Limbs) -> Residues:
    """base^exponents for signed exponents, one for all or one an element; negative ones by inversion."""
    negative = lb.is_negative(exponents)
    magnitude = lb.negate_where(exponents, negative)
    if negative.all():
        base = backend.mod_inv(base)
    elif negative.any():
        rows = np.flatnonzero(negative)
        places = np.arange(len(base), dtype=np.int64)
        places[rows] = len(base) + np.arange(rows.size)
        inverses = backend.mod_inv(backend.gather(base, rows))
        base = backend.gather(backend.concatenate([base, inverses]), places)
    if len(magnitude) == 1:
        return backend.mod_pow(base, lb.to_ints(magnitude)[0])
    return backend.mod_pow(base, magnitude)


def _aligned(a: CipherBatch, b: CipherBatch) -> tuple[Residues, Residues, Shape]:
    """Residues of both, gathered to their common shape."""
    if a.shape == b.shape:
        return a.residues, b.residues, a.shape
    if a.layout is not None and a.shape[-1] != b.shape[-1]:
        raise ShapeMismatch(f"packed rows of lengths {a.shape[-1]} and {b.shape[-1]}")
    left, right, lead = broadcast_indices(a.lead_shape, b.lead_shape)
    shape = (*lead, *a.shape[len(a.lead_shape) :])
    return _gathered(a, left, shape), _gathered(b, right, shape), shape


def _gathered(a: CipherBatch, rows: NDArray[np.int64], shape: Shape) -> Residues:
    """Residues of the leading elements `rows`; untouched where the shape stays."""
    if shape == a.shape:
        return a.residues
    places = rows[:, None] * a.row_length + np.arange(a.row_length)
    return a.backend.gather(a.residues, places.ravel())
