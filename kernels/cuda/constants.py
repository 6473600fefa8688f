"""What the kernels need of a modulus, on one device; see `abi` for the layout of a row."""

from __future__ import annotations

from threading import Lock

import numpy as np
from numpy.typing import NDArray

from ..modulus import Modulus
from .device import Array, Device
from .shapes import words_for

Words = NDArray[np.uint32]


class Constants:
    """The constants of one modulus on one device, computed once.

    digits    D: 2 for a modulus with a known root, else 1
    words     L: 32-bit words of a digit; `row` those of a row, D·L
    buffer    r | (−R mod r) + 1 | 1·R mod m, as kernels take it; inverse = −1/r mod 2^32
    one       the row of 1
    """

    def __init__(self, device: Device, modulus: Modulus) -> None:
        root = modulus.root or modulus
        self.modulus = modulus
        self.digits = 2 if modulus.root is not None else 1
        self.words = words_for(root.bits)
        self.row = self.digits * self.words
        self._device = device
        self._r = root.value
        self.radix = 1 << (32 * self.words)
        self.inverse = -pow(self._r, -1, 1 << 32) % (1 << 32)
        self.buffer = device.from_host(
            np.concatenate(
                [
                    to_words(self._r, self.words),
                    to_words(-self.radix % self._r + 1, self.words),
                    self._row(self.radix),
                ]
            )
        )
        self.one = self.buffer[2 * self.words :].reshape(1, self.row)
        self._factors: dict[tuple[int, int], Array] = {}
        self._lock = Lock()

    def rows(self, *values: int) -> Array:
        """Rows of residues: values·R mod m."""
        return self._device.from_host(np.stack([self._row(value * self.radix) for value in values]))

    def factors(self, words: int, times: int = 1) -> Array:
        """R^(c+2)·times mod m for each chunk c of a number of `words` words, as import_D takes them."""
        key = (-(-words // self.words), times)
        with self._lock:
            if key not in self._factors:
                chunks = [self._row(times * self.radix ** (c + 2)) for c in range(key[0])]
                self._factors[key] = self._device.from_host(np.stack(chunks))
            return self._factors[key]

    def _row(self, value: int) -> Words:
        """A row that holds `value` mod m as it stands."""
        value %= self.modulus.value
        digits = (value,) if self.digits == 1 else (value % self._r, value // self._r)
        return np.concatenate([to_words(digit, self.words) for digit in digits])


def to_words(value: int, count: int) -> Words:
    """An unsigned integer as `count` 32-bit words, the lowest first."""
    return np.frombuffer(value.to_bytes(4 * count, "little"), dtype="<u4")
