"""Arrays of machine numbers that go to a device as they are, 8 bytes a value: it encodes and packs them."""

from __future__ import annotations

from typing import Any

import numpy as np

from .encoding import DEFAULT_SCALE_BITS, MAXIMUM_SCALE_BITS, FixedPoint, Shape
from .kernels import Backend
from .kernels.backend import MachineNumbers, Residues, Slots
from .keys import PublicKey
from .packing import SlotLayout

INT64_BITS = 64


def import_direct(
    backend: Backend, values: Any, scale_bits: int | None, layout: SlotLayout | None, public: PublicKey
) -> tuple[Residues, Shape, int] | None:
    """(residues modulo n, shape of the values, scale), as `encode`, `pack` and `import_plain` make them.

    None where the host has to do it: for other values than arrays of floats and machine integers, for all
    that is to be refused (the host path says why), and on backends that leave it to the host.
    """
    taken = _machine_numbers(values)
    if taken is None or not 0 <= (scale_bits or 0) <= MAXIMUM_SCALE_BITS:
        return None
    scale = scale_bits if scale_bits is not None else DEFAULT_SCALE_BITS * (taken.dtype == np.float64)
    value_bits, slots = INT64_BITS, None  # what a device takes is below n/3 for any key
    if layout is not None:
        if values.ndim == 0 or layout.slots * layout.slot_bits >= public.bits:
            return None
        value_bits, slots = layout.value_bits, layout.slots_of(values.shape[-1])
    residues = backend.from_numbers(public.modulus, taken, scale, value_bits, slots)
    return None if residues is None else (residues, tuple(values.shape), scale)


def export_direct(
    backend: Backend, messages: Residues, layout: SlotLayout | None, shape: Shape, scale_bits: int
) -> FixedPoint | None:
    """The numbers of a batch of `shape`, as `to_signed` and `unpack` make them of residues modulo n.

    None where the host has to do it: for numbers outside their slots or beyond int64, which it may refuse,
    and on backends that leave it to the host.
    """
    if 0 in shape:
        return None
    # Not packed, a number is a row with one slot of 64 bits: below n/3 for any key.
    slots = Slots(1, 1, INT64_BITS) if layout is None else layout.slots_of(shape[-1])
    limbs = backend.to_slots(messages, slots)
    return None if limbs is None else FixedPoint(limbs, shape, scale_bits)


def _machine_numbers(values: Any) -> MachineNumbers | None:
    """A flat float64 or int64 array of the same numbers; None for what is not exactly that."""
    if type(values) is not np.ndarray or values.size == 0:
        return None
    kind, size = values.dtype.kind, values.dtype.itemsize
    if kind == "f" and size <= np.dtype(np.float64).itemsize:
        return values.ravel().astype(np.float64, copy=False)
    if kind in "bi" or (kind == "u" and size < np.dtype(np.int64).itemsize):
        return values.ravel().astype(np.int64, copy=False)
    return None
