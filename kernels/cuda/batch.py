"""Batches of the cuda backend: rows of Montgomery digits in the memory of its first device."""

from __future__ import annotations

from typing import NamedTuple

from .. import checks
from ..backend import Residues
from .constants import Constants
from .device import Array


class CudaResidues(Residues):
    """`count` canonical rows uint32[count, D·L] on the first device (see `abi`)."""

    __slots__ = ("constants", "rows")

    def __init__(self, constants: Constants, rows: Array) -> None:
        super().__init__(constants.modulus)
        self.constants = constants
        self.rows = rows

    def __len__(self) -> int:
        return int(self.rows.shape[0])

    def spread(self, count: int) -> Operand:
        """As an operand of `count` elements: a batch of one repeats."""
        return Operand(self.rows, None, 1 if len(self) == count else 0)


class Operand(NamedTuple):
    """Rows as a kernel reads them: at `places[i]`, or at i·step."""

    rows: Array
    places: Array | None = None
    step: int = 1


def own(x: Residues) -> CudaResidues:
    """x itself; TypeError for a batch of another backend."""
    if not isinstance(x, CudaResidues):
        raise TypeError(f"the cuda backend was given {type(x).__name__}, a batch of another backend")
    return x


def own_pair(a: Residues, b: Residues) -> tuple[CudaResidues, CudaResidues]:
    """Two batches that are to be combined: of this backend, modulo one modulus."""
    left, right = own(a), own(b)
    checks.common_modulus(left, right)
    return left, right
