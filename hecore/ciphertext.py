"""CipherBatch: an array of encrypted numbers with numpy's manners.

A batch has a shape, a fixed-point scale, a key fingerprint and, if packed, a slot layout. Packing runs along
the last axis: a packed batch of shape (…, k) stands in a grid of (…, ⌈k/slots⌉) ciphertexts.

    unpacked, shape (2, 3)        packed with 2 slots, shape (2, 3)
    c00 c01 c02                   (v00|v01)  (v02|–)
    c10 c11 c12                   (v10|v11)  (v12|–)

Values are added, multiplied by plain numbers, summed and moved without the private key; each operator is
a function of `evaluator` or `linalg`. Batches are immutable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any, Never, NoReturn

import numpy as np
from numpy.typing import NDArray

from . import evaluator, linalg, numpy_names, wire
from .encoding import Shape
from .errors import KeyMismatch, LayoutMismatch, ShapeMismatch
from .kernels import Backend
from .kernels.backend import Residues
from .keys import PublicKey
from .packing import SlotLayout


@dataclass(frozen=True, eq=False, repr=False)
class CipherBatch:
    """Encrypted numbers; made by `Encryptor.encrypt` or `CipherBatch.from_bytes`, not by hand.

    public      the key they are encrypted under
    backend     where `residues` (ciphertexts modulo n², row-major over the grid) live
    shape       of the numbers; `scale_bits` their common scale
    layout      slots, or None for one number a ciphertext
    terms       how many fresh values a slot may hold the sum of (headroom used up)
    fresh       whether all noise is new, and no ciphertext stands in two places: only then may they be shown
                without re-randomising
    """

    public: PublicKey
    backend: Backend
    residues: Residues
    shape: Shape
    scale_bits: int
    layout: SlotLayout | None = None
    terms: int = 1
    fresh: bool = False

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        # `array * batch` comes here too; without it numpy would loop over elements.
        return numpy_names.apply_ufunc(ufunc, method, inputs, kwargs, CipherBatch)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NoReturn:
        # Without it, np.asarray makes an object array: one batch an element, and every product in Python.
        raise TypeError(
            "a CipherBatch is no numpy array: its numbers are encrypted; Decryptor(key).decrypt gives them."
            " A product with a sparse matrix is hecore.sparse.encode_sparse(matrix, scale_bits) @ x; with"
            " a masked array, the batch comes first"
        )

    def __array_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if function in _SIZES and len(args) == 1 and args[0] is self and not kwargs:
            return _SIZES[function](self)
        raise numpy_names.no_function(function.__name__)

    if not TYPE_CHECKING:  # a type checker knows the names that there are

        def __getattr__(self, name: str) -> NoReturn:
            raise numpy_names.no_attribute(name)

    # --- what only decrypted numbers can do ---------------------------------------------------------

    def __eq__(self, other: object) -> NoReturn:
        raise TypeError(f"{numpy_names.COMPARED} (whether two names are one batch: x is y)")

    __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __eq__
    #: By identity: a batch may be a key of a dict.
    __hash__ = object.__hash__

    def __contains__(self, value: object) -> NoReturn:
        raise TypeError(numpy_names.COMPARED)

    def __bool__(self) -> NoReturn:
        raise TypeError(
            "whether encrypted numbers are zero is not known: decrypt them first"
            " (whether there is a batch at all: x is None)"
        )

    def __truediv__(self, other: Any) -> NoReturn:
        raise TypeError(f"encrypted numbers cannot be divided: {numpy_names.DIVIDED}")

    __rtruediv__ = __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = __truediv__

    def __pow__(self, other: Any) -> NoReturn:
        raise TypeError(
            "encrypted numbers have no powers: Paillier multiplies by plain numbers only; decrypt first"
        )

    __rpow__ = __pow__

    # --- shape ------------------------------------------------------------------------------------

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of encrypted numbers."""
        return prod(self.shape)

    @property
    def lead_shape(self) -> Shape:
        """The shape that can be indexed and summed over: all of it, or all but the packed axis."""
        return self.shape if self.layout is None else self.shape[:-1]

    @property
    def row_length(self) -> int:
        """Ciphertexts for one element of `lead_shape`: 1, or those of a packed row."""
        return 1 if self.layout is None else self.layout.ciphertexts(self.shape[-1])

    @property
    def grid(self) -> Shape:
        """The shape of the array of ciphertexts."""
        return self.shape if self.layout is None else (*self.lead_shape, self.row_length)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("a single encrypted number has no length")
        return self.shape[0]

    def __iter__(self) -> Iterator[CipherBatch]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        packed = "" if self.layout is None else f", {self.layout.slots} slots a ciphertext"
        return (
            f"CipherBatch(shape={self.shape}, scale_bits={self.scale_bits}{packed},"
            f" key={self.public.fingerprint.hex()[:16]})"
        )

    def __reduce__(self) -> NoReturn:
        # The backend may hold tables made from a private key: pickling it along would give the key away.
        raise TypeError("a CipherBatch is not pickled: use to_bytes and CipherBatch.from_bytes")

    def __copy__(self) -> CipherBatch:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> CipherBatch:
        return self

    # --- movement ---------------------------------------------------------------------------------

    def __getitem__(self, key: Any) -> CipherBatch:
        """numpy indexing over `lead_shape`: integers, slices, masks, index arrays."""
        return self.move(lambda places: places[key])

    def reshape(self, *shape: Any) -> CipherBatch:
        """The same numbers in another shape; one dimension may be −1. A packed last axis must stay."""
        wanted = tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], Sequence) else shape
        if self.layout is None:
            return self.move(lambda places: places.reshape(wanted))
        if not wanted or wanted[-1] != self.shape[-1]:
            raise LayoutMismatch(f"the last axis of {self.shape} is packed and must keep its length")
        return self.move(lambda places: places.reshape(wanted[:-1]))

    @property
    def T(self) -> CipherBatch:  # noqa: N802 - numpy's name
        """`transpose()`."""
        return self.transpose()

    def transpose(self) -> CipherBatch:
        """Axes reversed. LayoutMismatch for a packed batch."""
        if self.layout is not None:
            raise LayoutMismatch("a packed axis cannot be transposed: decrypt, or pack afterwards")
        return self.move(lambda places: places.T)

    def move(self, rearrange: Callable[[NDArray[np.int64]], NDArray[np.int64]]) -> CipherBatch:
        """The batch whose leading elements are `rearrange(numbers 0, 1, … in lead_shape)`.

        A result that repeats an element is not fresh: equal ciphertexts would show that it does.
        """
        count = prod(self.lead_shape)
        numbers = np.arange(count, dtype=np.int64).reshape(self.lead_shape)
        try:
            chosen = np.asarray(rearrange(numbers))
        except IndexError as error:
            raise ShapeMismatch(f"{error}; only the axes of {self.lead_shape} can be indexed") from None
        except ValueError as error:
            raise ShapeMismatch(f"shape {self.shape}: {error}") from None
        places = chosen.reshape(-1, 1) * self.row_length + np.arange(self.row_length)
        tail = self.shape[len(self.lead_shape) :]
        return replace(
            self,
            residues=self.backend.gather(self.residues, places.ravel()),
            shape=(*chosen.shape, *tail),
            fresh=self.fresh and bool(np.bincount(chosen.ravel(), minlength=1).max() <= 1),
        )

    # --- arithmetic -------------------------------------------------------------------------------

    def __add__(self, other: Any) -> CipherBatch:
        return evaluator.add(self, other)

    __radd__ = __add__

    def __neg__(self) -> CipherBatch:
        return evaluator.negate(self)

    def __sub__(self, other: Any) -> CipherBatch:
        return evaluator.subtract(self, other)

    def __rsub__(self, other: Any) -> CipherBatch:
        return evaluator.add(evaluator.negate(self), other)

    def __mul__(self, other: Any) -> CipherBatch:
        return evaluator.multiply(self, other)

    __rmul__ = __mul__

    def __matmul__(self, other: Any) -> CipherBatch:
        return linalg.matmul_right(self, other)

    def __rmatmul__(self, other: Any) -> CipherBatch:
        return linalg.matmul_left(other, self)

    def sum(self, axis: int | None = None, **others: Never) -> CipherBatch:
        """The encrypted sum over one axis, or over all; shape () for all.

        TypeError for several axes, and for numpy's other arguments: `x.sum(0).sum(0)`, `x.sum(0)[None]`.
        """
        if others:
            raise TypeError(
                f"sum takes an axis only, not {next(iter(others))}: x.sum(0)[None] keeps a dimension"
            )
        return evaluator.total(self, axis)

    def rescale(self, scale_bits: int) -> CipherBatch:
        """The same numbers at a larger scale, by multiplication with a power of two.

        ScaleMismatch for a smaller one, EncodingError for one that is no whole number.
        """
        return evaluator.rescale(self, scale_bits)

    def rerandomize(self, randomness: str = "uniform") -> CipherBatch:
        """The same numbers under new noise: nothing of how they were computed remains.

        "classic" noise holds for any key, however its owner made it, and costs more (see `noise`).
        """
        return evaluator.rerandomize(self, randomness)

    def pack(self, layout: SlotLayout) -> CipherBatch:
        """The last axis packed into slots; the caller answers for the bound of the values."""
        return evaluator.pack(self, layout)

    # --- wire -------------------------------------------------------------------------------------

    def to_bytes(self, *, rerandomize: bool = True) -> bytes:
        """The wire form (see `wire`). Computed batches are re-randomised first, fresh ones are not.

        A computed packed batch then says that all its headroom is used up: how much is would tell about plain
        factors. To let the receiver add to it, send `batch.rerandomize().to_bytes()`. `rerandomize=False` is
        for storage at home: such bytes must not reach anybody who knows the noise of the inputs.
        """
        if self.fresh or not rerandomize:
            return wire.dump_batch(self)
        ready = self.rerandomize()
        return wire.dump_batch(replace(ready, terms=ready.layout.max_terms if ready.layout else 1))

    @classmethod
    def from_bytes(
        cls, data: bytes | memoryview, public: PublicKey, backend: Backend | str | None = None
    ) -> CipherBatch:
        """Read and validate a batch under `public`.

        Raises WireFormatError for truncated or foreign bytes, KeyMismatch for another key's batch,
        InvalidCiphertext naming the first c with c = 0, c ≥ n² or gcd(c, n) ≠ 1; TypeError unless `public` is
        a PublicKey.
        """
        if not isinstance(public, PublicKey):
            raise TypeError(
                f"from_bytes takes a PublicKey, not {type(public).__name__}: of a private key, key.public"
            )
        return wire.load_batch(cls, data, public, backend)


# numpy's functions of no number: what they ask for is not encrypted.
_SIZES: dict[Callable[..., Any], Callable[[CipherBatch], Any]] = {
    np.shape: lambda batch: batch.shape,
    np.ndim: lambda batch: batch.ndim,
    np.size: lambda batch: batch.size,
}


def concatenate(batches: Sequence[CipherBatch], axis: int = 0) -> CipherBatch:
    """Batches joined along an existing axis; all of one key, scale and layout.

    The result is not fresh, as the batches may share ciphertexts. LayoutMismatch for the packed axis.
    """
    if not batches:
        raise ShapeMismatch("there is nothing to concatenate")
    first = batches[0]
    for other in batches[1:]:
        evaluator.check_compatible(first, other)
    parts = [evaluator.on_backend(batch, first.backend) for batch in batches]
    joined = first.backend.concatenate([part.residues for part in parts])
    counts = [prod(batch.lead_shape) for batch in batches]
    starts = np.cumsum([0, *counts[:-1]])
    numbers = [
        start + np.arange(count, dtype=np.int64).reshape(batch.lead_shape)
        for batch, count, start in zip(batches, counts, starts, strict=True)
    ]
    tails = {batch.shape[len(batch.lead_shape) :] for batch in batches}
    if len(tails) > 1:
        raise ShapeMismatch("packed rows of different lengths cannot be concatenated")
    if not -first.ndim <= axis < first.ndim:
        raise ShapeMismatch(f"cannot concatenate along axis {axis}: the shape is {first.shape}")
    position = axis % first.ndim
    if first.layout is not None and position == first.ndim - 1:
        raise LayoutMismatch(f"axis {axis} of {first.shape} is packed: concatenate before packing")
    try:
        joined_places = np.concatenate(numbers, axis=position)
    except ValueError as error:
        raise ShapeMismatch(f"cannot concatenate along axis {axis}: {error}") from None
    flat = replace(
        first,
        residues=joined,
        shape=(sum(counts), *next(iter(tails))),
        terms=max(batch.terms for batch in batches),
        fresh=False,
    )
    return flat.move(lambda _: joined_places)


def check_key(batch: CipherBatch, public: PublicKey) -> None:
    """KeyMismatch unless `batch` is encrypted under `public`."""
    if batch.public != public:
        raise KeyMismatch(
            f"the batch is encrypted under key {batch.public.fingerprint.hex()[:16]},"
            f" not under {public.fingerprint.hex()[:16]}"
        )
