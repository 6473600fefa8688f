"""One device's share of the work: kernels on rows, temporary memory in pieces. It knows no contract.

Methods take and return device arrays; `k` are the constants of their modulus on this device.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from ..errors import OutOfMemory
from ..modulus import Modulus
from ..windows import best_window
from .abi import KERNELS
from .batch import Operand
from .constants import Constants, to_words
from .device import Array, Device
from .shapes import SHAPES, Shape, blocks_for, full_grid, shape_for

#: Moduli whose constants are kept, oldest first out.
KEPT_MODULI = 64
#: A piece's temporary arrays take at most this share of the free memory …
SHARE_OF_MEMORY = 4
#: … and this many bytes: more would not make a launch faster.
PIECE_BYTES = 1 << 30

_BY_NAME = {kernel.name: kernel for kernel in KERNELS}


class Engine:
    """Launches kernels on one device and keeps the constants there."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self._constants: dict[Modulus, Constants] = {}
        self._lock = Lock()

    def constants(self, modulus: Modulus) -> Constants:
        """The constants of a modulus, computed once."""
        with self._lock:
            if modulus not in self._constants:
                while len(self._constants) >= KEPT_MODULI:
                    del self._constants[next(iter(self._constants))]
                self._constants[modulus] = Constants(self.device, modulus)
            return self._constants[modulus]

    def allocate(self, k: Constants, count: int) -> Array:
        """Rows for `count` elements."""
        return self.device.empty((count, k.row), np.uint32)

    def call(
        self,
        name: str,
        k: Constants,
        count: int,
        *arguments: Array | Operand | int,
        shape: Shape | None = None,
        grid: int | None = None,
    ) -> None:
        """Launch the kernel `name` of `abi` for `count` elements; constants and count are added."""
        if count == 0:
            return
        shape = shape or shape_for(k.words, count, self.device.processors)
        flat: list[Array | int | None] = []
        for argument in arguments:
            flat.extend(argument if isinstance(argument, Operand) else [argument])
        entry = name.replace("_D", f"_{k.digits}")
        grid = grid or blocks_for(_BY_NAME[name], shape, count)
        self.device.launch(entry, shape, grid, [*flat, k.buffer, k.inverse, count])

    def call_plain(self, name: str, count: int, *arguments: Array | int) -> None:
        """Launch a kernel that knows no modulus."""
        if count:
            grid = blocks_for(_BY_NAME[name], SHAPES[0], count)
            self.device.launch(name, SHAPES[0], grid, [*arguments, count])

    # --- arithmetic -------------------------------------------------------------------------------

    def multiply(self, k: Constants, count: int, a: Operand, b: Operand, out: Array | None = None) -> Array:
        """a·b."""
        out = self.allocate(k, count) if out is None else out
        self.call("multiply_D", k, count, out, a, b)
        return out

    def power(self, k: Constants, out: Array, a: Operand, exponents: NDArray[np.uint32], bits: int) -> None:
        """out = a^exponents: uint32[1, words] for all or uint32[count, words], all below 2^bits."""
        count = len(out)
        step, words = int(len(exponents) > 1), exponents.shape[1]
        window = best_window(bits)
        shape = shape_for(k.words, count, self.device.processors)
        grid = min(blocks_for(_BY_NAME["power_D"], shape, count), full_grid(self.device.processors))
        table = self.device.empty((grid * shape.groups << window, k.row), np.uint32)
        uploaded = self.device.from_host(exponents)
        self.call(
            "power_D", k, count, out, a, uploaded, step, words, bits, window, table, shape=shape, grid=grid
        )

    def invert(self, k: Constants, rows: Array, invert_one: Callable[[Array], Array]) -> Array:
        """Inverses of at least one row by a tree of products: 3 an element, and `invert_one` of them all.

        level 0   x0  x1  x2  x3  x4          up: products of pairs, the odd one as it is
        level 1   x01     x23     x4          down: the inverse of one of a pair is the pair's inverse
        level 2   x0123           x4              times the other
        level 3   x01234
        """
        xp = self.device.xp
        levels = [rows]
        while len(levels[-1]) > 1:
            below = levels[-1]
            pairs = len(below) // 2
            above = self.allocate(k, len(below) - pairs)
            self.multiply(k, pairs, Operand(below, None, 2), Operand(below[1:], None, 2), above[:pairs])
            above[pairs:] = below[2 * pairs :]
            levels.append(above)
        inverse = invert_one(levels.pop())
        while levels:
            level = levels.pop()
            paired = len(level) // 2 * 2
            out = self.allocate(k, len(level))
            place = xp.arange(paired, dtype=np.int32)
            self.multiply(k, paired, Operand(inverse, place // 2), Operand(level, place ^ 1), out[:paired])
            out[paired:] = inverse[paired // 2 :]
            inverse = out
        return inverse

    # --- plain numbers ----------------------------------------------------------------------------

    def import_words(self, k: Constants, numbers: Array, out: Array, times: int = 1) -> None:
        """out = numbers·times mod m for unsigned uint32[count, words] of any width."""
        words = numbers.shape[1]
        self.call("import_D", k, len(numbers), out, numbers, words, k.factors(words, times))

    def import_signed(self, k: Constants, numbers: Array, out: Array) -> None:
        """out = numbers mod m for two's complement uint32[count, words]: 2^(32·words) less where negative."""
        count, words = numbers.shape
        unsigned = self.allocate(k, count)
        self.import_words(k, numbers, unsigned)
        negative = (numbers[:, -1] >> 31).astype(np.int32)
        borrowed = k.rows(0, 1 << (32 * words))
        self.call("subtract_D", k, count, out, Operand(unsigned), Operand(borrowed, negative))

    def export_words(self, k: Constants, rows: Array, words: int) -> Array:
        """Canonical integers uint32[count, words]; words ≥ those of the modulus."""
        out = self.device.empty((len(rows), words), np.uint32)
        self.call("export_D", k, len(rows), out, rows, words)
        return out

    def first_not_below(self, numbers: Array, bound: int) -> int | None:
        """The first row whose unsigned value is at least `bound`; None if there is none."""
        count, words = numbers.shape
        if bound >= 1 << (32 * words):
            return None
        flag = self.device.from_host(np.array([count], dtype=np.int32))
        self.call_plain(
            "first_not_below", count, flag, numbers, words, self.device.from_host(to_words(bound, words))
        )
        first = int(self.device.to_host(flag)[0])
        return first if first < count else None

    # --- memory -----------------------------------------------------------------------------------

    def in_pieces(self, count: int, bytes_each: int, work: Callable[[int, int], None]) -> None:
        """work(first, last) over 0 … count in pieces whose temporary arrays, `bytes_each` an element, fit.

        A piece for which memory runs out is halved. OutOfMemory if there is no room for one element.
        """
        room = min(self.device.free_memory() // SHARE_OF_MEMORY, PIECE_BYTES)
        size = max(1, min(count, room // max(1, bytes_each)))
        first = 0
        while first < count:
            last = min(first + size, count)
            try:
                with self.device.active():
                    work(first, last)
            except OutOfMemory:
                self.device.release()
                if last - first == 1:
                    raise
                size = (last - first) // 2
                continue
            first = last
