"""Launches that a kernel must get right: for every entry point, arguments at the edges of what it takes.

`cases(entry, shape)` makes them, `fault(case, device)` compares what a device computes with what Python
integers say, word for word. The same launches go through the emulator, the PTX, and a GPU if there is one.

What goes wrong in carries is rare in random numbers: a carry crosses a limb in one of 2^32. So there are

    moduli     R − 1, R − 2^32 ± 1, 2^(B−1) ± 1, one word, two words, half a digit, 3 and 5, sparse limbs
    numbers    0, 1, m − 1, r ± 1, m − r, digits next to r, lanes of all ones, limbs out of {0, 2^32 − 1, …}
    results    forced to 0, 1, r − 1, r, m − r and m − 1, by a division
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import gmpy2
import numpy as np
from numpy.typing import NDArray

from hecore.kernels.cuda import abi
from hecore.kernels.cuda.device import ENTRIES
from hecore.kernels.cuda.shapes import Shape, blocks_for

from .reference import HostDevice, ReferenceDevice, Ring

Arguments = list[Any]
EDGE_WORDS = (0, 0xFFFFFFFF, 0xFFFFFFFF, 1, 0xFFFFFFFE, 0x80000000)
NO_INDEX = 2**31 - 1
WRITTEN = (abi.OUT, abi.FLAG)


@dataclass(frozen=True)
class Case:
    """A launch: arguments in the order of `abi`, arrays as they are before it."""

    entry: str
    shape: Shape
    arguments: Arguments
    label: str

    def launched(self, device: HostDevice) -> list[NDArray[Any]]:
        """What a device makes of the arrays that the kernel writes to, scratch left out."""
        kernel = ENTRIES[self.entry]
        copies = [x.copy() if isinstance(x, np.ndarray) else x for x in self.arguments]
        count = self.arguments[-1]
        grid = 1 if kernel.strided else blocks_for(kernel, self.shape, count)
        device.launch(self.entry, self.shape, grid, copies)
        named = zip(kernel.parameters, copies, strict=True)
        return [x for (name, kind), x in named if kind in WRITTEN and name != "table"]


def fault(case: Case, device: HostDevice) -> str | None:
    """How a device's results differ from Python's integers; None if they do not."""
    expected, found = case.launched(ReferenceDevice()), case.launched(device)
    for right, wrong in zip(expected, found, strict=True):
        if right.tobytes() != wrong.tobytes():
            rows = np.flatnonzero((right != wrong).reshape(len(right), -1).any(axis=1))
            return (
                f"{case.entry} {case.shape}, {case.label}: {len(rows)} of {len(right)} rows, first {rows[0]}"
            )
    return None


def cases(entry: str, shape: Shape, effort: int = 1) -> Iterator[Case]:
    """The launches of an entry point, the same in every run.

    effort  0: few moduli; 1: all moduli for products and conversions; more: as many times the numbers
    """
    kernel = ENTRIES[entry]
    rng = random.Random(zlib.crc32(f"{entry} {shape}".encode()))
    if not kernel.lanes:
        for arguments in PLAIN[kernel.name](rng, max(effort, 1)):
            yield Case(entry, shape, arguments, "plain")
        return
    digits = kernel.digits[kernel.entries().index(entry)]
    amount = max(effort, 1)
    for label, r in moduli(shape, rng, amount):
        few = effort == 0 or (effort == 1 and kernel.name in OF_MANY_PRODUCTS)
        if few and label not in FEW_MODULI:
            continue
        numbers = Numbers(Ring(r, digits, shape), rng, amount)
        for arguments in LANES[kernel.name](numbers):
            yield Case(entry, shape, arguments, f"modulo {label}")


def moduli(shape: Shape, rng: random.Random, effort: int) -> Iterator[tuple[str, int]]:
    """Odd moduli of up to L words, by name."""
    bits = 32 * shape.words
    R = 1 << bits
    yield "R − 1", R - 1
    yield "R − 2^32 + 1", R - (1 << 32) + 1
    yield "R − 2^32 − 1", R - (1 << 32) - 1
    yield "2^(B−1) + 1", (R >> 1) + 1
    yield "2^(B−1) − 1", (R >> 1) - 1
    yield "R − 2^(B−32) + 1", R - (R >> 32) + 1
    yield "R − 2^(B/2) + 1", R - (1 << bits // 2) + 1
    yield "2^(B/2) − 1", (1 << bits // 2) - 1
    yield "2^32 − 1", (1 << 32) - 1
    yield "2^33 + 1", (1 << 33) + 1
    yield "3", 3
    yield "5", 5
    for _ in range(effort):
        yield "random, all bits", rng.getrandbits(bits) | (R >> 1) | 1
        yield "random, fewer bits", rng.getrandbits(rng.randrange(40, bits)) | 5
        yield "sparse limbs", edge_number(rng, shape.words) | (R >> 1) | 1


def edge_number(rng: random.Random, words: int) -> int:
    """A number of `words` words, most of them at an edge."""
    return sum(rng.choice((*EDGE_WORDS, rng.getrandbits(32))) << (32 * i) for i in range(words))


class Numbers:
    """Residues and rows modulo one modulus, in the order in which `rng` chooses them."""

    def __init__(self, ring: Ring, rng: random.Random, effort: int) -> None:
        self.ring, self.rng, self.effort = ring, rng, effort
        self.r, self.m, self.shape = ring.r, ring.m, ring.shape

    def special(self) -> list[int]:
        """Numbers below m that stand out."""
        r, m, R = self.r, self.m, self.ring.R
        lane = 32 * self.shape.limbs
        found = [0, 1, 2, r - 1, r, r + 1, m - 1, m - 2, m - r, m - r - 1, m // 2, (r >> 1) * r]
        found += [R % m, R * R % m, R - 1, (1 << lane) - 1, ((1 << lane) - 1) << lane, (r - 2) + (r - 1) * r]
        return [x % m for x in found]

    def edge(self) -> int:
        """Digits of edge words."""
        return sum(
            edge_number(self.rng, self.shape.words) % self.r * self.r**d for d in range(self.ring.digits)
        )

    def some(self, count: int) -> list[int]:
        """`count` numbers below m: special ones, edge limbs, random."""
        kinds: list[Callable[[], int]] = [
            lambda: self.rng.choice(self.special()),
            self.edge,
            lambda: self.rng.randrange(self.m),
        ]
        return [kinds[i % 3]() for i in range(count)]

    def pairs(self) -> list[tuple[int, int]]:
        """Pairs for a product, some with a result at an edge."""
        count = 18 * self.effort
        found = list(zip(self.some(count), self.rng.sample(self.some(count), count), strict=True))
        found += [(self.m - 1, self.m - 1), (self.r - 1, self.m - 1), (self.m - self.r, self.m - 1)]
        for result in (0, 1, self.r - 1, self.r % self.m, self.m - self.r, self.m - 1):
            x = self.rng.randrange(1, self.m)
            with suppress(ZeroDivisionError):  # no inverse
                found.append((x, int(result * self.ring.R * gmpy2.invert(x, self.m) % self.m)))
        return found

    def rows(self, values: list[int], ring: Ring | None = None) -> NDArray[np.uint32]:
        """Rows that hold values as they stand."""
        ring = ring or self.ring
        out = np.zeros((len(values), ring.digits, self.shape.words), np.uint32)
        for index, value in enumerate(values):
            ring.store(out, index, value)
        return out

    def room(self, count: int, digits: int | None = None) -> NDArray[np.uint32]:
        """Rows for results."""
        return np.full((count, digits or self.ring.digits, self.shape.words), 0xA5A5A5A5, np.uint32)

    def modulus(self) -> Arguments:
        """constants, inverse."""
        r, R = self.r, self.ring.R
        low = self.rows([r - 1], Ring(r, 1, self.shape))  # a row of r itself is not canonical
        low[0, 0, 0] += 1
        start = words([-R % r + 1], self.shape.words)
        one = self.rows([R % self.m])
        buffer = np.concatenate([x.reshape(-1) for x in (low, start, one)])
        return [buffer, int(-pow(r, -1, 1 << 32) % (1 << 32))]


def words(values: list[int], count: int) -> NDArray[np.uint32]:
    """Numbers modulo 2^(32·count), `count` words each."""
    data = b"".join(int(value % (1 << 32 * count)).to_bytes(4 * count, "little") for value in values)
    return np.frombuffer(data, np.uint32).reshape(len(values), count).copy()


def indices(values: list[int]) -> NDArray[np.int32]:
    return np.array(values, np.int32)


# --- kernels on rows: all arguments of each launch ---


def multiply(n: Numbers) -> Iterator[Arguments]:
    yield from binary(n)
    # A chunk on its way in: the low digit may be any number below R.
    R, count = n.ring.R, 4 * n.effort
    chunks = [R - 1, *(edge_number(n.rng, n.shape.words) for _ in range(count))]
    a = np.zeros((len(chunks), n.ring.digits, n.shape.words), np.uint32)
    a[:, 0] = words(chunks, n.shape.words)
    b = n.rows([n.m - 1, *n.some(count)])
    yield [n.room(len(a)), a, None, 1, b, None, 1, *n.modulus(), len(a)]
    # Operands by place, and one for all.
    places = indices([n.rng.randrange(len(b)) for _ in range(7)])
    yield [n.room(7), b, places, 1, b, None, 0, *n.modulus(), 7]


def binary(n: Numbers) -> Iterator[Arguments]:
    a, b = (n.rows(list(column)) for column in zip(*n.pairs(), strict=True))
    yield [n.room(len(a)), a, None, 1, b, None, 1, *n.modulus(), len(a)]


def shift(n: Numbers) -> Iterator[Arguments]:
    a = n.rows([*n.special(), *n.some(12 * n.effort)])
    yield [n.room(len(a)), a, None, 1, 1, *n.modulus(), len(a)]
    yield [n.room(3), a, indices([2, 0, 5]), 1, 3, *n.modulus(), 3]
    yield [n.room(2), a, None, 1, 0, *n.modulus(), 2]


def squares(n: Numbers) -> Iterator[Arguments]:
    yield [n.room(5), n.rows(n.some(1)), *n.modulus(), 5]


def add_message(n: Numbers) -> Iterator[Arguments]:
    low = Numbers(n.ring.low, n.rng, n.effort)
    messages = [*low.special(), *low.some(6 * n.effort)]
    a = n.rows(n.some(len(messages)))
    b = low.rows(messages)
    yield [n.room(len(a)), a, None, 1, b, None, 1, *n.modulus(), len(a)]


def power(n: Numbers) -> Iterator[Arguments]:
    groups = n.shape.groups
    for window, bits, step in ((1, 5, 1), (3, 40, 1), (4, 8, 0), (2, 0, 1)):
        count = 5 if step else groups + 1  # more than one turn of the only block
        exponents = [n.rng.getrandbits(bits) if bits else 0 for _ in range(count)]
        exponents[:2] = [(1 << bits) - 1, 0][: len(exponents)]
        a = n.rows([*n.some(count - 1), 0][-count:])
        table = n.room(groups << window)
        arguments = [a, None, 1, words(exponents if step else exponents[:1], 2), step, 2, bits, window, table]
        yield [n.room(count), *arguments, *n.modulus(), count]


def comb(n: Numbers) -> Iterator[Arguments]:
    for window, windows, stride in ((3, 8, 9), (5, 1, 1), (8, 2, 2)):
        table = n.rows(n.some(stride << window))
        exponents = words([0, (1 << 32) - 1, *(n.rng.getrandbits(32) for _ in range(4))], 1)
        yield [n.room(6), table, stride, exponents, 1, window, windows, *n.modulus(), 6]


def segments(n: Numbers) -> Iterator[Arguments]:
    x = n.rows(n.some(9))
    places = indices([n.rng.randrange(9) for _ in range(20)])
    lengths = [0, 1, 2, 3, 9, 0, 4]
    firsts = [n.rng.randrange(20 - length) for length in lengths]
    lasts = [first + length for first, length in zip(firsts, lengths, strict=True)]
    yield [n.room(7), x, places, indices(firsts), indices(lasts), *n.modulus(), 7]


def imports(n: Numbers) -> Iterator[Arguments]:
    length = n.shape.words
    for size in (1, length - 1, length, 2 * length + 3):
        numbers = words([(1 << 32 * size) - 1, 0, *(edge_number(n.rng, size) for _ in range(3))], size)
        factors = n.rows([n.ring.R ** (c + 2) % n.m for c in range(-(-size // length))])
        yield [n.room(5), numbers, size, factors, *n.modulus(), 5]


def exports(n: Numbers) -> Iterator[Arguments]:
    values = [n.ring.row(x) for x in (*n.special(), *n.some(6 * n.effort))]
    least = -(-n.m.bit_length() // 32)
    for size in (least, n.ring.digits * n.shape.words + 3):
        out = np.full((len(values), size), 0xA5A5A5A5, np.uint32)
        yield [out, n.rows(values), size, *n.modulus(), len(values)]


def high_digit(n: Numbers) -> Iterator[Arguments]:
    x = n.rows([n.ring.row(x) for x in (*n.special(), *n.some(6 * n.effort))])
    factor = n.rows([n.ring.R**2 % n.r], n.ring.low)
    yield [n.room(len(x), 1), x, factor, *n.modulus(), len(x)]


LANES: dict[str, Callable[[Numbers], Iterator[Arguments]]] = {
    "multiply_D": multiply,
    "shift_D": shift,
    "squares_D": squares,
    "add_D": binary,
    "subtract_D": binary,
    "add_message": add_message,
    "power_D": power,
    "comb_D": comb,
    "segment_product_D": segments,
    "import_D": imports,
    "export_D": exports,
    "high_digit": high_digit,
}

#: They are made of the others' products: a few moduli will do.
OF_MANY_PRODUCTS = {"squares_D", "power_D", "comb_D", "segment_product_D", "import_D"}
FEW_MODULI = {"R − 1", "3", "random, all bits", "sparse limbs"}

# --- kernels on plain numbers ---


def first_not_below(rng: random.Random, effort: int) -> Iterator[Arguments]:
    for size in (1, 2, 5):
        for _ in range(4 * effort):
            bound = edge_number(rng, size)
            numbers = [rng.choice((bound, bound - 1, bound + 1, edge_number(rng, size))) for _ in range(140)]
            first = np.array([NO_INDEX], np.int32)
            yield [first, words(numbers, size), size, words([bound], size), 140]
        below = [first.copy(), words([0] * 3, size), size, words([1], size), 3]
        below[0][0] = NO_INDEX
        yield below


def centre(rng: random.Random, effort: int) -> Iterator[Arguments]:
    for size in (1, 2, 5):
        for _ in range(4 * effort):
            modulus = edge_number(rng, size) | 1
            numbers = [rng.choice((0, modulus // 2, modulus // 2 + 1, modulus - 1)) for _ in range(130)]
            half = words([modulus // 2 + 1], size)
            yield [words(numbers, size), size, words([modulus], size), half, 130]


def encode_floats(rng: random.Random, effort: int) -> Iterator[Arguments]:
    def value() -> float:
        scale = 2.0 ** rng.randrange(-90, 130)
        return rng.choice(
            (
                scale,
                -scale,
                1.5,
                -2.5,
                0.5 * (1 - 2**-53),
                -0.0,
                rng.uniform(-4, 4),
                rng.uniform(-1, 1) * scale,
            )
        )

    limits = [2.0**63, -(2.0**63), 2.0**31, -(2.0**31), float(2**53 - 1), 5e-324, 1.7e308, 0.5, -1.5]
    strange = [float("nan"), float("inf"), -float("inf")]
    for size in (1, 2, 4, 7):
        for scale_bits in (0, 1, 31, 52, 64):
            values = [*limits, *(value() for _ in range(150 * effort))]
            for some in (values, values + strange, [x / 2.0**40 for x in values if abs(x) < 2.0**60]):
                out = np.full((len(some), size), 0xA5A5A5A5, np.uint32)
                bad = np.array([NO_INDEX], np.int32)
                yield [out, np.array(some), scale_bits, size, bad, len(some)]


def slots(rng: random.Random, effort: int) -> Iterator[tuple[int, int, int, int, int, int]]:
    """words, length, slots, slot bits, groups, words of a packed number."""
    for _ in range(20 * effort):
        size, count, length = rng.choice((1, 2, 4)), rng.choice((1, 2, 3, 7)), rng.choice((1, 6, 7, 8, 15))
        bits = rng.choice((2, 5, 31, 32, 33, 40, 63, 64, 65, 100, 130))
        yield size, length, count, bits, -(-length // count), -(-(count * bits + 1) // 32) + rng.randrange(2)


def pack_slots(rng: random.Random, effort: int) -> Iterator[Arguments]:
    for size, length, count, bits, groups, room in slots(rng, effort):
        values = words([edge_number(rng, size) for _ in range(3 * length)], size)
        out = np.full((3 * groups, room), 0xA5A5A5A5, np.uint32)
        yield [out, room, values, size, length, count, bits, 3 * groups]


def unpack_slots(rng: random.Random, effort: int) -> Iterator[Arguments]:
    for size, length, count, bits, groups, room in slots(rng, effort):
        half = 1 << (bits - 1)
        fields = (half - 1, half, 0, -half, half - 1, rng.randrange(-half, half))
        sums = [sum(rng.choice(fields) << (bits * j) for j in range(count)) for _ in range(2 * groups)]
        packed = words([*sums, *(edge_number(rng, room) for _ in range(groups))], room)
        out = np.full((3 * length, size), 0xA5A5A5A5, np.uint32)
        yield [out, size, packed, room, length, count, bits, 3 * length]


def word_products(rng: random.Random, effort: int) -> Iterator[Arguments]:
    for rounds in (0, 1, 8, 20):
        yield [np.full(200, 0xA5A5A5A5, np.uint32), rounds, 200]


PLAIN: dict[str, Callable[[random.Random, int], Iterator[Arguments]]] = {
    "first_not_below": first_not_below,
    "centre": centre,
    "encode_floats": encode_floats,
    "pack_slots": pack_slots,
    "unpack_slots": unpack_slots,
    "word_products": word_products,
}
