"""The meaning of every CUDA kernel in plain integers: a device for tests, and the oracle of the kernels.

`ReferenceDevice` carries out each entry point of `kernels/cuda/abi.py` on numpy buffers. It checks what a GPU
would not: types, contiguity, overlap, canonical rows, and that a grid reaches every element. Its memory can
be limited and it can be lost, so that the handling of both is tested without a GPU.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
from gmpy2 import mpz
from numpy.typing import NDArray

from hecore.kernels.cuda import abi
from hecore.kernels.cuda.device import ENTRIES, Device, Times
from hecore.kernels.cuda.shapes import Shape, blocks_for
from hecore.kernels.errors import DeviceLost, OutOfMemory

DTYPES = {
    abi.WORDS: np.uint32,
    abi.OUT: np.uint32,
    abi.ROWS: np.int32,
    abi.FLAG: np.int32,
    abi.FLOATS: np.float64,
}
Words = NDArray[np.uint32]


class HostDevice:
    """A Device whose memory is the host's: all but `launch`.

    memory     bytes it has; None for no limit
    lost       set it, and everything raises DeviceLost
    launched   (entry, shape, grid) of every launch
    """

    xp = np

    def __init__(self, index: int = 0, processors: int = 2, memory: int | None = None) -> None:
        self.index = index
        self.description = f"{type(self).__name__} {index}"
        self.processors = processors
        self.memory = memory
        self.used = 0
        self.highest = 0
        self.lost = False
        self.launched: list[tuple[str, Shape, int]] = []
        self.releases = 0
        self.from_peers = 0
        self.times = Times()

    @contextmanager
    def active(self) -> Iterator[None]:
        self._check()
        yield

    def empty(self, shape: tuple[int, ...], dtype: type[np.generic]) -> NDArray[Any]:
        self._check()
        out = np.empty(shape, dtype)
        # What was never written shows: no kernel may count on zeros.
        out.view(np.uint8).reshape(-1)[:] = 0xA5
        if self.memory is not None and self.used + out.nbytes > self.memory:
            raise OutOfMemory(f"{out.nbytes} bytes asked for, {self.memory - self.used} left")
        self._account(out.nbytes)
        weakref.finalize(out, self._account, -out.nbytes)
        return out

    def _account(self, size: int) -> None:
        self.used += size
        self.highest = max(self.highest, self.used)

    def from_host(self, array: NDArray[Any]) -> NDArray[Any]:
        assert array.flags.c_contiguous
        started = time.perf_counter()
        out = self.empty(array.shape, array.dtype.type)
        out[...] = array
        self.times.copies += time.perf_counter() - started
        return out

    def to_host(self, array: NDArray[Any], out: NDArray[Any] | None = None) -> NDArray[Any]:
        self._check()
        assert array.flags.c_contiguous
        if out is None:
            return array.copy()
        assert out.flags.c_contiguous
        out[...] = array
        return out

    def from_peer(self, array: NDArray[Any], peer: Device) -> NDArray[Any]:
        peer.synchronize()
        self.from_peers += 1
        return self.from_host(array)

    def launch(self, entry: str, shape: Shape, grid: int, arguments: Sequence[Any]) -> None:
        self._check()
        kernel = ENTRIES[entry]
        named = dict(zip((name for name, _ in kernel.parameters), arguments, strict=True))
        for name, kind in kernel.parameters:
            _check_argument(name, kind, named[name])
        for written in (name for name, kind in kernel.parameters if kind == abi.OUT and name != "table"):
            for read in (name for name, kind in kernel.parameters if kind == abi.WORDS):
                assert not np.may_share_memory(named[written], named[read]), f"{written} overlaps {read}"
        assert named["count"] > 0
        assert grid > 0
        assert kernel.strided or grid >= blocks_for(kernel, shape, named["count"])
        self.launched.append((entry, shape, grid))
        started = time.perf_counter()
        self.execute(entry, shape, grid, named)
        self.times.kernels += time.perf_counter() - started

    @contextmanager
    def timed(self) -> Iterator[Times]:
        self.times = Times()
        yield self.times

    def execute(self, entry: str, shape: Shape, grid: int, named: dict[str, Any]) -> None:
        """Carry out a checked launch."""
        raise NotImplementedError

    def free_memory(self) -> int:
        self._check()
        return 1 << 34 if self.memory is None else self.memory - self.used

    def release(self) -> None:
        self._check()
        self.releases += 1

    def synchronize(self) -> None:
        self._check()

    def _check(self) -> None:
        if self.lost:
            raise DeviceLost(f"{self.description} was lost")


def _check_argument(name: str, kind: str, value: Any) -> None:
    if kind == abi.INT:
        assert isinstance(value, int), name
        assert -(2**31) <= value < 2**31, name
    elif kind == abi.WORD:
        assert isinstance(value, int), name
        assert 0 <= value < 2**32, name
    elif value is None:
        assert name.endswith("_rows"), f"{name} may not be null"
    else:
        assert value.dtype == DTYPES[kind], f"{name} is {value.dtype}, not {kind}"
        assert value.flags.c_contiguous, name


class ReferenceDevice(HostDevice):
    """A device that computes with plain integers, GMP's."""

    def execute(self, entry: str, shape: Shape, grid: int, named: dict[str, Any]) -> None:
        kernel = ENTRIES[entry]
        digits = kernel.digits[kernel.entries().index(entry)]
        arguments = dict(named)
        for place in ("a", "b"):
            if f"{place}_rows" in named:
                rows, step = arguments.pop(f"{place}_rows"), arguments.pop(f"{place}_step")
                arguments[f"{place}_at"] = _picker(rows, step)
        if "table" in named and "bits" in named:  # a power's scratch
            entries = grid * shape.groups << named["window"]
            assert named["table"].size >= entries * digits * shape.words
        ring = None
        if "constants" in named:
            ring = Ring.read(arguments.pop("constants"), arguments.pop("inverse"), digits, shape)
        MEANINGS[kernel.name](ring, **arguments)


def _picker(rows: Words | None, step: int) -> Callable[[int], int]:
    if rows is None:
        return lambda i: i * step
    return lambda i: int(rows[i])


class Ring:
    """Rows modulo r^digits; `residue` undoes Montgomery's form."""

    def __init__(self, r: int, digits: int, shape: Shape) -> None:
        self.r, self.digits, self.shape = mpz(r), digits, shape
        self.R = mpz(1) << (32 * shape.words)
        self.m = self.r**digits
        self.inverse = pow(self.R, -1, self.m)  # of R

    @classmethod
    def read(cls, constants: Words, inverse: int, digits: int, shape: Shape) -> Ring:
        """The ring of a buffer of constants, all of which must be right."""
        assert constants.size == (2 + digits) * shape.words
        return _ring(constants.tobytes(), inverse, digits, shape)

    @property
    def low(self) -> Ring:
        """Of one digit."""
        return Ring(self.r, 1, self.shape)

    def load(self, rows: Words, index: int, *, lazy: bool = False) -> int:
        """Row `index` as it stands, x·R mod m; `lazy`: one low digit that need not be canonical."""
        assert index >= 0
        size = 4 * self.shape.words
        row = rows.reshape(-1, self.digits * self.shape.words)[index].tobytes()
        low = int.from_bytes(row[:size], "little")
        high = int.from_bytes(row[size:], "little")
        assert (low < self.r and high < self.r) or (lazy and high == 0)
        return low + high * self.r if high else low

    def store(self, rows: Words, index: int, value: int) -> None:
        """Row `index` = value, canonical."""
        size = 4 * self.shape.words
        digits = (value,) if self.digits == 1 else divmod(value, self.r)[::-1]
        assert all(0 <= digit < self.r for digit in digits)
        data = b"".join(int(digit).to_bytes(size, "little") for digit in digits)
        rows.reshape(-1, self.digits * self.shape.words)[index] = np.frombuffer(data, dtype=np.uint32)

    def multiply(self, a: int, b: int) -> int:
        """a·b/R mod m."""
        return a * b * self.inverse % self.m

    def residue(self, row: int) -> int:
        return self.multiply(row, 1)

    def row(self, residue: int) -> int:
        return residue * self.R % self.m


@cache
def _ring(constants: bytes, inverse: int, digits: int, shape: Shape) -> Ring:
    words = shape.words
    buffer = np.frombuffer(constants, dtype=np.uint32)
    ring = Ring(_integer(buffer[:words]), digits, shape)
    assert ring.r % 2 == 1
    assert ring.r < ring.R
    assert ring.r * inverse % 2**32 == 2**32 - 1
    assert _integer(buffer[words : 2 * words]) == -ring.R % ring.r + 1
    assert ring.load(buffer[2 * words :], 0) == ring.R % ring.m
    return ring


def _integer(words: Words) -> int:
    return int.from_bytes(np.ascontiguousarray(words).tobytes(), "little")


def _words(value: int, count: int) -> Words:
    return np.frombuffer(int(value).to_bytes(4 * count, "little"), dtype=np.uint32)


# --- product.cu ---


def multiply(ring, out, a, a_at, b, b_at, count):
    for i in range(count):
        x, y = ring.load(a, a_at(i), lazy=True), ring.load(b, b_at(i))
        ring.store(out, i, ring.multiply(x, y))


def shift(ring, out, a, a_at, squarings, count):
    for i in range(count):
        x = ring.residue(ring.load(a, a_at(i)))
        ring.store(out, i, ring.row(pow(x, 1 << squarings, ring.m)))


def squares(ring, out, a, count):
    x = ring.residue(ring.load(a, 0))
    for i in range(count):
        ring.store(out, i, ring.row(x))
        x = x * x % ring.m


def add(ring, out, a, a_at, b, b_at, count):
    for i in range(count):
        ring.store(out, i, (ring.load(a, a_at(i)) + ring.load(b, b_at(i))) % ring.m)


def subtract(ring, out, a, a_at, b, b_at, count):
    for i in range(count):
        ring.store(out, i, (ring.load(a, a_at(i)) - ring.load(b, b_at(i))) % ring.m)


def add_message(ring, out, a, a_at, b, b_at, count):
    low = ring.low
    for i in range(count):
        message = low.residue(low.load(b, b_at(i)))
        ring.store(out, i, ring.load(a, a_at(i)) * (1 + message * ring.r) % ring.m)


# --- power.cu, comb.cu, segment.cu ---


def power(ring, out, a, a_at, exponents, exponent_step, words, bits, window, table, count):
    assert window >= 1
    for i in range(count):
        start = i * exponent_step * words
        exponent = _integer(exponents.reshape(-1)[start : start + words])
        assert exponent < 1 << bits
        x = ring.residue(ring.load(a, a_at(i)))
        ring.store(out, i, ring.row(pow(x, exponent, ring.m)))


def comb(ring, out, table, stride, exponents, words, window, windows, count):
    assert windows <= stride
    for i in range(count):
        exponent = _integer(exponents.reshape(-1)[i * words : (i + 1) * words])
        product = ring.row(1)
        for t in range(windows):
            digit = exponent >> (window * t) & ((1 << window) - 1)
            product = ring.multiply(product, ring.load(table, digit * stride + t))
        ring.store(out, i, product)


def segment_product(ring, out, x, indices, firsts, lasts, count):
    for s in range(count):
        product = ring.row(1)
        assert 0 <= firsts[s] <= lasts[s] <= len(indices)
        for index in indices[firsts[s] : lasts[s]].tolist():
            product = ring.multiply(product, ring.load(x, index))
        ring.store(out, s, product)


# --- convert.cu ---


def import_(ring, out, numbers, words, factors, count):
    length = ring.shape.words
    for i in range(count):
        number = numbers.reshape(-1)[i * words : (i + 1) * words]
        total = 0
        for c, start in enumerate(range(0, words, length)):
            total += ring.multiply(_integer(number[start : start + length]), ring.load(factors, c))
        ring.store(out, i, total % ring.m)


def export(ring, out, x, words, count):
    for i in range(count):
        out.reshape(-1)[i * words : (i + 1) * words] = _words(ring.residue(ring.load(x, i)), words)


def high_digit(ring, out, x, factor, count):
    low = ring.low
    assert low.load(factor, 0) == ring.R**2 % ring.r
    for i in range(count):
        low.store(out, i, low.row(ring.residue(ring.load(x, i)) // ring.r))


def first_not_below(_, first, numbers, words, bound, count):
    limit = _integer(bound[:words])
    for i in range(count):
        if _integer(numbers.reshape(-1)[i * words : (i + 1) * words]) >= limit:
            first[0] = min(int(first[0]), i)


def centre(_, numbers, words, modulus, half, count):
    top, middle = _integer(modulus[:words]), _integer(half[:words])
    for i in range(count):
        number = numbers.reshape(-1)[i * words : (i + 1) * words]
        value = _integer(number)
        if value >= middle:
            number[:] = _words((value - top) % (1 << 32 * words), words)


# --- fixed_point.cu ---


def encode_floats(_, out, values, scale_bits, words, bad, count):
    limit = 1 << (32 * words - 1)
    for i in range(count):
        value = float(values.reshape(-1)[i])
        number = _scaled(value, scale_bits) if np.isfinite(value) else limit
        if not -limit <= number < limit:
            bad[0] = min(int(bad[0]), i)
            continue
        out.reshape(-1)[i * words : (i + 1) * words] = _words(number % (1 << 32 * words), words)


def _scaled(value: float, scale_bits: int) -> int:
    """round(value·2^scale_bits), half to even, from the exact fraction."""
    top, bottom = value.as_integer_ratio()
    whole, rest = divmod(top << scale_bits, bottom)
    return whole + (2 * rest > bottom or (2 * rest == bottom and whole % 2 == 1))


def _signed(words: Words) -> int:
    return int.from_bytes(np.ascontiguousarray(words).tobytes(), "little", signed=True)


def pack_slots(_, out, out_words, values, words, length, slots, slot_bits, count):
    groups = -(-length // slots)
    for i in range(count):
        row, group = divmod(i, groups)
        total = 0
        for j in range(min(slots, length - group * slots)):
            start = (row * length + group * slots + j) * words
            total += _signed(values.reshape(-1)[start : start + words]) << (slot_bits * j)
        out.reshape(-1)[i * out_words : (i + 1) * out_words] = _words(
            total % (1 << 32 * out_words), out_words
        )


def unpack_slots(_, out, words, packed, packed_words, length, slots, slot_bits, count):
    groups = -(-length // slots)
    half = 1 << (slot_bits - 1)
    for i in range(count):
        row, place = divmod(i, length)
        group, j = divmod(place, slots)
        start = (row * groups + group) * packed_words
        number = _signed(packed.reshape(-1)[start : start + packed_words])
        shifted = number + sum(half << (slot_bits * k) for k in range(slots))
        value = (shifted >> (slot_bits * j) & ((1 << slot_bits) - 1)) - half
        out.reshape(-1)[i * words : (i + 1) * words] = _words(value % (1 << 32 * words), words)


# --- probe.cu ---


def word_products(_, out, rounds, count):
    for i in range(count):
        mixed = 0
        for a in range(i, i + abi.PROBE_CHAINS):
            for _round in range(rounds):
                a = (a % 2**32 * (2 * i + 1) + a) % 2**64  # noqa: PLW2901
            mixed ^= a % 2**32 ^ a >> 32
        out[i] = mixed


#: Kernel of `abi` → its meaning: (ring, its parameters by name), operands' rows chosen by `…_at`.
MEANINGS: dict[str, Callable[..., None]] = {
    "multiply_D": multiply,
    "shift_D": shift,
    "squares_D": squares,
    "add_D": add,
    "subtract_D": subtract,
    "add_message": add_message,
    "power_D": power,
    "comb_D": comb,
    "segment_product_D": segment_product,
    "import_D": import_,
    "export_D": export,
    "high_digit": high_digit,
    "first_not_below": first_not_below,
    "centre": centre,
    "encode_floats": encode_floats,
    "pack_slots": pack_slots,
    "unpack_slots": unpack_slots,
    "word_products": word_products,
}
assert set(MEANINGS) == {kernel.name for kernel in abi.KERNELS}
