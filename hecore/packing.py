"""Slots: several signed integers in one plaintext, with room proved for the additions to come.

    plaintext = Σ_i v_i · 2^(i · slot_bits)

    bits:  | unused | slot k−1 |  …  | slot 1 | slot 0 |
                    each slot:  | headroom | value_bits | with a sign bit on top

Proof of the bound. Let |v| ≤ 2^value_bits − 1 for every value put in, and let a result be a sum of at most
T = 2^headroom_bits such terms (a multiplication by k counts as |k| terms), headroom_bits = slot_bits −
value_bits − 1. Then every slot holds |s| ≤ T·(2^value_bits − 1) < 2^(slot_bits − 1), so the signed slots are
read back uniquely: adding 2^(slot_bits − 1) to each makes all of them unsigned fields of slot_bits bits. The
whole plaintext is below 2^(slots·slot_bits − 1) in magnitude, and slots·slot_bits ≤ |n| − 1 keeps that below
n/2, so it never wraps modulo n either.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from .encoding import FixedPoint, Shape, at_place
from .errors import EncodingOverflow, LayoutMismatch, SlotOverflow
from .kernels import limbs as lb
from .kernels.backend import Slots
from .kernels.limbs import Limbs
from .keys import PublicKey

#: Terms are counted in 64 bits, whatever headroom is left beyond.
MAXIMUM_HEADROOM_BITS = 62


@dataclass(frozen=True)
class SlotLayout:
    """`slots` values of up to `value_bits` bits and a sign, in slots of `slot_bits` bits.

    Raises LayoutMismatch if a slot is narrower than its value and sign.
    """

    slots: int
    slot_bits: int
    value_bits: int

    def __post_init__(self) -> None:
        if self.slots < 1 or self.value_bits < 1:
            raise LayoutMismatch("a layout needs at least one slot and one value bit")
        if self.slot_bits < self.value_bits + 1:
            raise LayoutMismatch(
                f"a slot of {self.slot_bits} bits cannot hold {self.value_bits} value bits and a sign"
            )

    @classmethod
    def for_key(cls, public: PublicKey, value_bits: int, terms: int = 1) -> SlotLayout:
        """As many slots as `public` holds, for values of `value_bits` bits and sums of `terms` terms.

        LayoutMismatch if not even one fits.
        """
        if value_bits < 1 or terms < 1:
            raise LayoutMismatch(f"{value_bits} value bits and {terms} terms: both must be at least 1")
        slot_bits = value_bits + 1 + (terms - 1).bit_length()
        slots = (public.bits - 1) // slot_bits
        if slots < 1:
            raise LayoutMismatch(
                f"{value_bits} value bits and {terms} terms need {slot_bits} bits,"
                f" but a plaintext of this key has {public.bits - 1}"
            )
        return cls(slots, slot_bits, value_bits)

    @property
    def max_terms(self) -> int:
        """T: terms that a slot can take in without leaving its bounds."""
        return 1 << min(self.slot_bits - self.value_bits - 1, MAXIMUM_HEADROOM_BITS)

    def slots_of(self, values: int) -> Slots:
        """Rows of `values` values as a backend packs them."""
        return Slots(values, self.slots, self.slot_bits)

    def ciphertexts(self, values: int) -> int:
        """Ciphertexts for a row of `values` values: ⌈values / slots⌉."""
        return -(-values // self.slots)

    def check_terms(self, terms: int) -> int:
        """`terms`, or SlotOverflow if a slot could overflow."""
        if terms > self.max_terms:
            raise SlotOverflow(
                f"a sum of {terms} terms could overflow slots with headroom for {self.max_terms}:"
                " use a layout with larger slot_bits, or decrypt and encrypt in between"
            )
        return terms

    def check_key(self, public: PublicKey) -> None:
        """LayoutMismatch if the slots do not fit below n/2."""
        if self.slots * self.slot_bits > public.bits - 1:
            raise LayoutMismatch(
                f"{self.slots} slots of {self.slot_bits} bits do not fit a plaintext of"
                f" {public.bits - 1} bits: use SlotLayout.for_key"
            )


def pack(numbers: FixedPoint, layout: SlotLayout) -> FixedPoint:
    """Values of shape (…, k) into plaintexts of shape (…, ⌈k/slots⌉); the last plaintext's rest is zero.

    EncodingOverflow names the first value that does not fit in value_bits.
    """
    if not numbers.shape:
        raise LayoutMismatch("a single number has no axis to pack along: reshape it to (1,)")
    _check_values(numbers, layout)
    *lead, count = numbers.shape
    groups = layout.ciphertexts(count)
    rows = prod(lead)
    width = numbers.limbs.shape[1]
    padded = np.zeros((rows, groups * layout.slots, width), dtype=lb.LIMB_DTYPE)
    padded[:, :count] = numbers.limbs.reshape(rows, count, width)
    fields = padded.reshape(rows * groups, layout.slots, width)
    plain_width = lb.width_for_bits(layout.slots * layout.slot_bits + 1)
    joined = lb.join_fields(fields, layout.slot_bits, plain_width)
    return FixedPoint(joined, (*lead, groups), numbers.scale_bits)


def unpack(plaintexts: FixedPoint, layout: SlotLayout, count: int) -> FixedPoint:
    """The inverse of `pack`: plaintexts of shape (…, ⌈count/slots⌉) to values of shape (…, count).

    SlotOverflow names the first plaintext that no sum within the layout's headroom can have.
    """
    *lead, groups = plaintexts.shape
    rows = prod(lead)
    half = 1 << (layout.slot_bits - 1)
    total_bits = layout.slots * layout.slot_bits
    width = max(lb.width_for_bits(total_bits + 2), plaintexts.limbs.shape[1])
    offset = sum(half << (layout.slot_bits * i) for i in range(layout.slots))
    shifted = lb.add(lb.resize(plaintexts.limbs, width), lb.from_ints([offset], width))
    _check_plaintexts(shifted, total_bits, plaintexts.shape)
    fields = lb.split_fields(shifted, layout.slot_bits, layout.slots)
    flat = fields.reshape(rows, groups * layout.slots, fields.shape[2])[:, :count]
    flat = np.ascontiguousarray(flat).reshape(rows * count, fields.shape[2])
    wide = lb.widen(flat, FixedPoint.width_for(layout.slot_bits))
    values = lb.subtract(wide, lb.from_ints([half], wide.shape[1]))
    narrow = lb.resize(values, FixedPoint.width_for(layout.slot_bits - 1))
    return FixedPoint(narrow, (*lead, count), plaintexts.scale_bits)


def _check_values(numbers: FixedPoint, layout: SlotLayout) -> None:
    outside = lb.first_not_below(lb.absolute(numbers.limbs), 1 << layout.value_bits)
    if outside is not None:
        raise EncodingOverflow(
            f"the value{at_place(outside, numbers.shape)} needs more than the {layout.value_bits} value"
            f" bits of its slot at scale_bits={numbers.scale_bits}: lower the scale or widen the slots"
        )


def _check_plaintexts(shifted: Limbs, total_bits: int, shape: Shape) -> None:
    outside = lb.first_not_below(shifted, 1 << total_bits)  # below zero they are large: the top bit is set
    if outside is not None:
        raise SlotOverflow(
            f"the plaintext{at_place(outside, shape)} is outside its slots: whoever computed"
            " the batch put in larger values or more terms than the layout allows, or the ciphertext"
            " is damaged"
        )
