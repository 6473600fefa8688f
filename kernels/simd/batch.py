"""Batches of the simd backend, and the index arrays with which kernels pick their rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..backend import Residues
from .constants import Constants, Rows, aligned
from .lanes import LANES

Indices = NDArray[np.int64]


class SimdResidues(Residues):
    """`count` rows of lazily reduced Montgomery digits (see `constants`); the row behind them holds 1."""

    __slots__ = ("constants", "count", "rows")

    def __init__(self, constants: Constants, rows: Rows, count: int) -> None:
        super().__init__(constants.modulus)
        self.constants = constants
        self.rows = rows
        self.count = count
        rows[count] = constants.one[0]

    def __len__(self) -> int:
        return self.count


def own(x: Residues) -> SimdResidues:
    """x itself; TypeError for a batch of another backend."""
    if not isinstance(x, SimdResidues):
        raise TypeError(f"the simd backend was given {type(x).__name__}, a batch of another backend")
    return x


def allocate(constants: Constants, count: int) -> Rows:
    """Rows for whole blocks of LANES, and at least one to spare."""
    return aligned((count // LANES + 1) * LANES, constants.stride)


def one(constants: Constants) -> SimdResidues:
    """A batch of one: the number 1."""
    rows = allocate(constants, 1)
    rows[:] = constants.one
    return SimdResidues(constants, rows, 1)


def take(x: SimdResidues, indices: Indices) -> SimdResidues:
    """x[indices]; index len(x) is the spare row, 1."""
    out = allocate(x.constants, indices.size)
    np.take(x.rows, indices, axis=0, out=out[: indices.size], mode="clip")
    return SimdResidues(x.constants, out, indices.size)


def stretch(x: SimdResidues, count: int) -> SimdResidues:
    """A batch of one repeated; any other as it is."""
    return x if len(x) == count else take(x, np.zeros(count, dtype=np.int64))


def spread_indices(length: int, count: int) -> Indices:
    """0, 1, 2, … of a batch of `count`, or only zeros of a batch of one."""
    return np.arange(count) if length == count else np.zeros(count, dtype=np.int64)


def blocks_of(count: int) -> int:
    """Blocks of LANES: ⌈count / LANES⌉."""
    return -(-count // LANES)


def choice(indices: Indices) -> Indices:
    """Indices padded to whole blocks by repeating the last, 64-byte aligned."""
    count = len(indices)
    out = aligned(blocks_of(count) * LANES).view(np.int64)
    out[:count] = indices
    out[count:] = indices[-1] if count else 0
    return out
