"""K outputs of a row side by side in one plaintext, and the widths that follow from the configuration.

A source layer multiplies a party's rows by K columns of weights, and back by K columns of dL/dZ. The K numbers
that belong to one row (of weights, or of dL/dZ) stand in fields of one plaintext, so that K products cost one:

    v = Σ_k v_k · 2^(k · bits)        x·v = Σ_k (x·v_k) · 2^(k · bits)

This holds for integers of any sign and size, whatever stands in the fields meanwhile: only the results must fit.

Proof of the bound. Let |p_k| ≤ 2^value_bits − 1 for every product and 0 ≤ r_k < 2^value_bits for every mask, and
bits = value_bits + 2. Then |p_k + r_k| < 2^(bits − 1), so the signed fields are read back uniquely, and K joined
fields are below 2^(K·bits − 2) in magnitude before the mask and 2^(K·bits − 1) after it: a slot of K·bits bits
with room for two terms, as `hecore.packing` wants it.

    forward    value_bits = bits of |x·w|                         one passive party: nothing hides its product
               value_bits = bits of |x·w| + mask_bits + ⌈log2(parties)⌉    several: masks that cancel
    backward   value_bits = bits of |x·dL/dz| (+ mask_bits where the gradient is shared)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hecore import FixedPoint, SlotLayout, packing
from hecore.algorithms.errors import ConfigurationError
from hecore.algorithms.lr.config import LinearConfig
from hecore.kernels import limbs as lb
from hecore.keys import PublicKey

#: Fractional bits of what A reads: logits, and with Adam gradients. An exact product of integers would tell more
#: of its factors than a real number does, so P covers all digits below with random ones.
READ_BITS = 32
#: |dL/dz| of a row stays below 2^this; a larger one is an error: a label to be scaled, or a training that diverges.
ERROR_LIMIT_BITS = 20
#: A share of a weight is the sum of its steps' masks: these bits hold rate · steps / (1 − momentum) < 2^34.
STEP_BITS = 34


@dataclass(frozen=True)
class Fields:
    """`outputs` numbers a row, at most `per` to a plaintext, in fields of `bits` bits."""

    outputs: int
    value_bits: int
    per: int

    @classmethod
    def for_key(cls, public: PublicKey, outputs: int, value_bits: int, share_bits: int = 0) -> Fields:
        """As many to a plaintext as fit, where shares of up to `share_bits` bits go in.

        ConfigurationError if not even one fits.
        """
        bits, room = value_bits + 2, public.bits - 1
        # Σ_k s_k·2^(k·bits) of shares must stay below n/3, which `Encryptor` asks for.
        per = min(outputs, room // bits, (room - 3 - share_bits) // bits + 1)
        if per < 1 or room - 3 < share_bits:
            raise ConfigurationError(
                f"products of {value_bits} bits and shares of {share_bits} do not fit a {public.bits}-bit key:"
                " take a longer key, or fewer feature_bits, weight_bits or mask_bits"
            )
        return cls(outputs, value_bits, per)

    @property
    def bits(self) -> int:
        """Of a field."""
        return self.value_bits + 2

    @property
    def groups(self) -> list[slice]:
        """The outputs of each plaintext."""
        starts = range(0, self.outputs, self.per)
        return [slice(start, min(start + self.per, self.outputs)) for start in starts]

    def layout(self, public: PublicKey, outputs: int) -> SlotLayout:
        """Slots that hold `outputs` joined fields each, and one mask."""
        return SlotLayout.for_key(public, outputs * self.bits - 2, terms=2)

    def join(self, values: FixedPoint) -> FixedPoint:
        """(rows, k) numbers to (rows,) plaintexts Σ_k v_k·2^(k·bits), of any size."""
        rows, count = values.shape
        fields = values.limbs.reshape(rows, count, values.limbs.shape[1])
        size = (count - 1) * self.bits + lb.signed_bits(values.limbs) + 1
        joined = lb.join_fields(fields, self.bits, FixedPoint.width_for(size))
        return FixedPoint(joined, (rows,), values.scale_bits)

    def split(self, joined: FixedPoint, count: int) -> FixedPoint:
        """The inverse of `join` for numbers below 2^(bits − 1). SlotOverflow for a plaintext that has none."""
        layout = SlotLayout(count, self.bits, self.value_bits)
        return packing.unpack(joined.reshape(-1, 1), layout, count)


def stack(parts: Sequence[FixedPoint]) -> FixedPoint:
    """(rows, k_1), (rows, k_2), … of one scale side by side."""
    width = max(part.limbs.shape[1] for part in parts)
    rows = parts[0].shape[0]
    wide = [lb.resize(part.limbs, width).reshape(rows, part.shape[1], width) for part in parts]
    joined = np.concatenate(wide, axis=1)
    shape = (rows, joined.shape[1])
    return FixedPoint(joined.reshape(-1, width), shape, parts[0].scale_bits)


def forward_bits(config: LinearConfig) -> int:
    """Bits of |Σ_j x_j·w_j| as an integer, over the columns of one party."""
    return config.feature_bits + config.weight_bits + config.logit_limit_bits


def backward_bits(config: LinearConfig, rows: int) -> int:
    """Bits of |Σ_i x_i·dL/dz_i| as an integer, over `rows` rows."""
    feature = config.feature_bits + config.feature_limit_bits
    return feature + config.weight_bits + ERROR_LIMIT_BITS + rows.bit_length()


def covered_bits(config: LinearConfig) -> int:
    """Digits of a product that are covered."""
    return max(0, config.feature_bits + config.weight_bits - READ_BITS)


def share_bits(config: LinearConfig, rows: int) -> int:
    """Bits of a share of a weight as an integer."""
    return backward_bits(config, rows) + config.mask_bits - config.feature_bits + STEP_BITS


def forward_fields(
    public: PublicKey, outputs: int, config: LinearConfig, rows: int, parties: int, *, shared: bool
) -> Fields:
    """Of weights and logits. `parties` are the passive ones; `shared`: weights are shares with masks in them.

    (parties − 1) masks below 2^m and one below 2^covered_bits, m = forward_bits + mask_bits, stay together below
    2^(m + ⌈log2(parties)⌉), since covered_bits < forward_bits.
    """
    value = forward_bits(config)
    if parties > 1:
        value += config.mask_bits + (parties - 1).bit_length()
    return Fields.for_key(public, outputs, value, share_bits(config, rows) if shared else 0)


def backward_fields(
    public: PublicKey, outputs: int, config: LinearConfig, rows: int, *, shared: bool
) -> Fields:
    """Of dL/dZ and gradients. `shared`: the gradient comes back masked."""
    value = backward_bits(config, rows) + (config.mask_bits if shared else 0)
    return Fields.for_key(public, outputs, value)
