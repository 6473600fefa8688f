"""A fast backend whose device may fail, and the CPU behind it: what "auto" takes where there is a GPU.

    memory runs out    nothing is lost: operands move to the host, the operation runs on the CPU, and its
                       result stays there. Later operations use the device again, except on such results.
    device lost        what was in its memory is gone: an operation on such a batch raises DeviceLost. One
                       whose operands are on the host is done on the CPU, and so is everything after.

Plaintexts are the same either way, and a RuntimeWarning says what happened. The verbs of hecore whose inputs
are all on the host (encrypting, reading bytes) begin again after DeviceLost, and then run on the CPU.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from .backend import Backend, FixedBase, MachineNumbers, Residues, Slots
from .combs import CombCache
from .errors import DeviceLost, OutOfMemory
from .limbs import Limbs
from .modulus import Modulus

logger = logging.getLogger("hecore.kernels")
Result = TypeVar("Result")


def despite_loss(work: Callable[[], Result]) -> Result:
    """work(), begun again if a device is lost on the way: for work whose inputs are all on the host.

    On "auto" the second attempt runs on the CPU; on a backend asked for by name it raises DeviceLost again.
    """
    try:
        return work()
    except DeviceLost:
        return work()


class FallbackBackend(Backend):
    """`fast`, and the CPU backend that `make_cpu` gives when it is first needed.

    kind   the batches of `fast`; all others are the CPU's
    lost   whether its device is: everything new is the CPU's then
    """

    def __init__(self, fast: Backend, kind: type[Residues], make_cpu: Callable[[], Backend]) -> None:
        self.fast = fast
        self.lost = False
        self._kind = kind
        self._make_cpu = make_cpu
        self._combs = CombCache(partial(FallbackFixedBase, self))

    @property
    def name(self) -> str:  # type: ignore[override]
        """Of the backend that new batches go to."""
        return self.cpu.name if self.lost else self.fast.name

    @property
    def least_count(self) -> int:  # type: ignore[override]
        """As of the backend that new batches go to."""
        return self.cpu.least_count if self.lost else self.fast.least_count

    @cached_property
    def cpu(self) -> Backend:
        """The backend that takes over."""
        return self._make_cpu()

    # --- where an operation runs ------------------------------------------------------------------

    def attempt(self, operation: Callable[..., Residues], *operands: Residues) -> Residues:
        """operation(backend, *operands) on the fast backend if all are there and it can, else on the CPU."""
        if not self.lost and all(isinstance(x, self._kind) for x in operands):
            try:
                return operation(self.fast, *operands)
            except (OutOfMemory, DeviceLost) as error:
                self._note(error)
        return operation(self.cpu, *map(self._on_cpu, operands))

    def _read(self, x: Residues, operation: Callable[[Backend, Residues], Result]) -> Result:
        """operation(backend, x) on the backend that has x."""
        if not isinstance(x, self._kind):
            return operation(self.cpu, x)
        if self.lost:
            raise DeviceLost(
                f"a batch of {len(x)} residues was in the memory of the lost device: make it anew from what"
                " it was computed from"
            )
        try:
            return operation(self.fast, x)
        except DeviceLost as error:
            self._note(error)
            raise

    def _on_cpu(self, x: Residues) -> Residues:
        if not isinstance(x, self._kind):
            return x
        return self.cpu.from_limbs(x.modulus, self._read(x, lambda backend, x: backend.to_limbs(x)))

    def _note(self, error: OutOfMemory | DeviceLost) -> None:
        if isinstance(error, DeviceLost):
            self.lost = True
            text = f"{error}; from now on everything runs on the {self.cpu.name} backend"
        else:
            text = f"{error}; this operation runs on the {self.cpu.name} backend"
        logger.warning("%s", text)
        warnings.warn(text, RuntimeWarning, stacklevel=4)

    # --- the contract -----------------------------------------------------------------------------

    def from_limbs(self, modulus: Modulus, limbs: Limbs) -> Residues:
        return self.attempt(lambda backend: backend.from_limbs(modulus, limbs))

    def to_limbs(self, x: Residues) -> Limbs:
        return self._read(x, lambda backend, x: backend.to_limbs(x))

    def from_signed(self, modulus: Modulus, limbs: Limbs) -> Residues:
        return self.attempt(lambda backend: backend.from_signed(modulus, limbs))

    def to_signed(self, x: Residues) -> Limbs:
        return self._read(x, lambda backend, x: backend.to_signed(x))

    def from_numbers(
        self, modulus: Modulus, values: MachineNumbers, scale_bits: int, value_bits: int, slots: Slots | None
    ) -> Residues | None:
        if self.lost:
            return None
        try:
            return self.fast.from_numbers(modulus, values, scale_bits, value_bits, slots)
        except (OutOfMemory, DeviceLost) as error:
            self._note(error)
            return None

    def to_slots(self, x: Residues, slots: Slots) -> Limbs | None:
        try:
            return self._read(x, lambda backend, x: backend.to_slots(x, slots))
        except OutOfMemory:
            return None

    def mod_mul(self, a: Residues, b: Residues) -> Residues:
        return self.attempt(lambda backend, a, b: backend.mod_mul(a, b), a, b)

    def mod_mul_at(
        self, a: Residues, a_indices: NDArray[np.int64], b: Residues, b_indices: NDArray[np.int64]
    ) -> Residues:
        return self.attempt(lambda backend, a, b: backend.mod_mul_at(a, a_indices, b, b_indices), a, b)

    def mod_pow(self, a: Residues, exponents: int | Limbs) -> Residues:
        return self.attempt(lambda backend, a: backend.mod_pow(a, exponents), a)

    def mod_inv(self, a: Residues) -> Residues:
        return self.attempt(lambda backend, a: backend.mod_inv(a), a)

    def fixed_base(self, modulus: Modulus, base: int, max_bits: int) -> FixedBase:
        return self._combs.get(modulus, base, max_bits)

    def mul_one_plus(self, x: Residues, m: Residues) -> Residues:
        return self.attempt(lambda backend, x, m: backend.mul_one_plus(x, m), x, m)

    def one_plus(self, square: Modulus, m: Residues) -> Residues:
        return self.attempt(lambda backend, m: backend.one_plus(square, m), m)

    def high_digit(self, x: Residues) -> Residues:
        return self.attempt(lambda backend, x: backend.high_digit(x), x)

    def reduce(self, x: Residues, modulus: Modulus) -> Residues:
        return self.attempt(lambda backend, x: backend.reduce(x, modulus), x)

    def crt_combine(self, a: Residues, b: Residues, target: Modulus) -> Residues:
        return self.attempt(lambda backend, a, b: backend.crt_combine(a, b, target), a, b)

    def segment_product(
        self, x: Residues, indices: NDArray[np.int64], offsets: NDArray[np.int64]
    ) -> Residues:
        return self.attempt(lambda backend, x: backend.segment_product(x, indices, offsets), x)

    def gather(self, x: Residues, indices: NDArray[np.int64]) -> Residues:
        return self.attempt(lambda backend, x: backend.gather(x, indices), x)

    def concatenate(self, parts: Sequence[Residues]) -> Residues:
        return self.attempt(lambda backend, *parts: backend.concatenate(parts), *parts)

    def select(self, mask: NDArray[np.bool_], a: Residues, b: Residues) -> Residues:
        return self.attempt(lambda backend, a, b: backend.select(mask, a, b), a, b)


class FallbackFixedBase(FixedBase):
    """A comb on either backend; each is made when it is first used."""

    def __init__(self, backend: FallbackBackend, modulus: Modulus, base: int, max_bits: int) -> None:
        self._backend = backend
        self._arguments = (modulus, base, max_bits)

    def pow(self, exponents: Limbs) -> Residues:
        """base^exponents[i]."""
        return self._backend.attempt(lambda backend: backend.fixed_base(*self._arguments).pow(exponents))
