"""Fixed point and slots on the device: 8 bytes a value cross the bus, not a ciphertext's worth of limbs."""

from __future__ import annotations

import numpy as np

from .. import limbs as lb
from ..backend import MachineNumbers, Residues, Slots
from ..errors import OutOfMemory
from ..limbs import Limbs
from ..modulus import Modulus
from .batch import CudaResidues, own
from .device import Array
from .host_form import HostForm, on_device
from .shapes import MOST_PLACES

#: Integers of the device are int64; wider ones are encoded on the host.
INTEGER_WORDS = 2
INTEGER_BITS = 63


class Numbers(HostForm):
    """The operations of CudaBackend on machine numbers."""

    @on_device
    def from_numbers(
        self, modulus: Modulus, values: MachineNumbers, scale_bits: int, value_bits: int, slots: Slots | None
    ) -> CudaResidues | None:
        if len(values) > MOST_PLACES:
            return None
        try:
            return self._from_numbers(modulus, values, scale_bits, value_bits, slots)
        except OutOfMemory:  # the host's way works in pieces
            self.home.device.release()
            return None

    @on_device
    def to_slots(self, x: Residues, slots: Slots) -> Limbs | None:
        batch = own(x)
        if len(batch) == 0 or len(batch) // slots.numbers * slots.length > MOST_PLACES:
            return None
        try:
            return self._to_slots(batch, slots)
        except OutOfMemory:
            self.home.device.release()
            return None

    def _from_numbers(
        self, modulus: Modulus, values: MachineNumbers, scale_bits: int, value_bits: int, slots: Slots | None
    ) -> CudaResidues | None:
        integers = self._integers(values, scale_bits, value_bits)
        if integers is None:
            return None
        if slots is not None:
            integers = self._pack(integers, slots, 2 * lb.width_for_bits(slots.per_number * slots.bits + 1))
        k = self.home.constants(modulus)
        out = self.home.allocate(k, len(integers))

        def piece(first: int, last: int) -> None:
            self.home.import_signed(k, integers[first:last], out[first:last])

        self.home.in_pieces(len(integers), 4 * k.row, piece)
        return CudaResidues(k, out)

    def _to_slots(self, batch: CudaResidues, slots: Slots) -> Limbs | None:
        packed = self.home.export_words(batch.constants, batch.rows, 2 * batch.modulus.width)
        self._centre(batch.modulus, packed)
        rows = len(batch) // slots.numbers
        width = lb.width_for_bits(slots.bits)
        values = self.home.device.empty((rows * slots.length, 2 * width), np.uint32)
        arguments = (2 * width, packed, packed.shape[1], *slots)
        self.home.call_plain("unpack_slots", len(values), values, *arguments)
        # Only what is a packing of these values comes back as it was.
        if not bool((self._pack(values, slots, packed.shape[1]) == packed).all()):
            return None
        return self.home.device.to_host(values).view(lb.LIMB_DTYPE)

    def _integers(self, values: MachineNumbers, scale_bits: int, value_bits: int) -> Array | None:
        """round(values·2^scale_bits) as uint32[count, 2]; None unless all are |integer| < 2^value_bits."""
        home, count = self.home, len(values)
        if values.dtype == np.int64:
            if scale_bits:
                return None
            integers = home.device.from_host(np.ascontiguousarray(values))
        else:
            integers = home.device.empty((count,), np.int64)
            bad = home.device.from_host(np.array([count], dtype=np.int32))
            uploaded = home.device.from_host(np.ascontiguousarray(values, dtype=np.float64))
            words = integers.view(np.uint32)
            home.call_plain("encode_floats", count, words, uploaded, scale_bits, INTEGER_WORDS, bad)
            if int(home.device.to_host(bad)[0]) < count:
                return None
        if count and value_bits <= INTEGER_BITS:
            limit = (1 << value_bits) - 1
            if not -limit <= int(integers.min()) <= int(integers.max()) <= limit:
                return None
        return integers.view(np.uint32).reshape(count, INTEGER_WORDS)

    def _pack(self, values: Array, slots: Slots, words: int) -> Array:
        """Two's complement numbers uint32[…, words] of values uint32[rows·length, value words]."""
        rows = len(values) // slots.length
        out = self.home.device.empty((rows * slots.numbers, words), np.uint32)
        arguments = (words, values, values.shape[1], *slots)
        self.home.call_plain("pack_slots", len(out), out, *arguments)
        return out
