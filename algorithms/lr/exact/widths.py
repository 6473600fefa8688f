"""The sizes of a source layer's numbers, and K outputs of a row side by side in one plaintext.

The K numbers that belong to one row (of weights, or of dL/dZ) stand in slots of one plaintext, so that K
products cost one:

    v = Σ_k v_k · 2^(k · slot_bits)        x·v = Σ_k (x·v_k) · 2^(k · slot_bits)

This holds for integers of any sign and size. Shares of weights are wider than their slot; what is read back
is a product with the weights themselves, and only that must fit.

Proof of the bound. Let |p_k| ≤ 2^value_bits − 1 for every product, |r_k| < 2^value_bits for every mask, and
slot_bits = value_bits + 2. Then |p_k + r_k| < 2^(slot_bits − 1), so the signed slots are read back uniquely,
and K joined numbers are below 2^(K·slot_bits − 2) in magnitude before the mask: a slot of K·slot_bits bits
with room for two terms, as `hecore.packing` wants it.

    forward    value_bits = bits of |x·w|: of one passive party nothing hides the product
               value_bits = bits of |x·w| + mask_bits + ⌈log2(parties)⌉: of several, masks that cancel
    backward   value_bits = bits of |x·dL/dz| (+ mask_bits where the gradient is shared)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import msgspec
import numpy as np

from hecore import FixedPoint
from hecore.algorithms.errors import ConfigurationError
from hecore.algorithms.lr.bounds import SLOT_SURPLUS_BITS, Packing
from hecore.algorithms.lr.config import LinearConfig
from hecore.kernels import limbs as lb
from hecore.keys import PublicKey

#: Fractional bits of features, at least: what is lossless otherwise must not end at the columns.
FEATURE_BITS = 24
#: Fractional bits of what A reads: logits, and with Adam gradients. An exact product of integers would tell
#: more of its factors than a real number does, so P covers all digits below with random ones.
READ_BITS = 32
#: |dL/dz| of a row stays below 2^this; a larger one is an error: a training that diverges.
ERROR_LIMIT_BITS = 20
#: A share of a weight is the sum of its steps' masks: these bits hold rate · steps / (1 − momentum) < 2^34.
STEP_BITS = 34


def precise(config: LinearConfig) -> LinearConfig:
    """In mode `exact` features of FEATURE_BITS at least."""
    if config.mode != "exact" or config.feature_bits >= FEATURE_BITS:
        return config
    return msgspec.structs.replace(config, feature_bits=FEATURE_BITS)


@dataclass(frozen=True)
class Widths:
    """What both sides of a layer derive alike.

    public    A's key
    outputs   K columns of weights
    rows      of the largest batch
    parties   passive ones in all

    ConfigurationError where not one number fits the key.
    """

    public: PublicKey
    config: LinearConfig
    outputs: int
    rows: int
    parties: int

    def __post_init__(self) -> None:
        _ = self.forward, self.backward

    @property
    def shared(self) -> bool:
        """Whether gradients come as shares: where the optimiser is linear in them."""
        return self.config.optimizer == "sgd"

    @property
    def scale_bits(self) -> int:
        """Of products."""
        return self.config.feature_bits + self.config.weight_bits

    @property
    def covered_bits(self) -> int:
        """Digits of what A reads that are random."""
        return max(0, self.scale_bits - READ_BITS)

    @property
    def forward_bits(self) -> int:
        """|Σ_j x_j·w_j| over the columns of one party."""
        return self.scale_bits + self.config.logit_limit_bits

    @property
    def backward_bits(self) -> int:
        """|Σ_i x_i·dL/dz_i| over a batch."""
        feature = self.config.feature_bits + self.config.feature_limit_bits
        return feature + self.config.weight_bits + ERROR_LIMIT_BITS + self.rows.bit_length()

    @property
    def cancelling_bits(self) -> int:
        """Each of a party's parties − 1 masks that cancel."""
        return self.forward_bits + self.config.mask_bits

    @cached_property
    def forward(self) -> Packing:
        """Of weights and logits.

        parties − 1 masks below 2^cancelling_bits and one below 2^covered_bits stay together below
        2^(cancelling_bits + ⌈log2(parties)⌉), since covered_bits < forward_bits.
        """
        value = self.forward_bits
        if self.parties > 1:
            value = self.cancelling_bits + (self.parties - 1).bit_length()
        gradient = self.backward_bits + self.config.mask_bits - self.config.feature_bits
        share_bits = gradient + STEP_BITS if self.shared else self.forward_bits
        return self._packing(value, value, share_bits)

    @cached_property
    def backward(self) -> Packing:
        """Of dL/dZ and gradients."""
        bound = self.backward_bits
        value = bound + (self.config.mask_bits if self.shared else 0)
        return self._packing(bound, value, 0)

    def _packing(self, bound_bits: int, value_bits: int, share_bits: int) -> Packing:
        slot_bits, room = value_bits + SLOT_SURPLUS_BITS, self.public.bits - 1
        # Σ_k s_k·2^(k·slot_bits) of shares s_k must stay below n/3, which `Encryptor` asks for.
        together = min(self.outputs, room // slot_bits, (room - 3 - share_bits) // slot_bits + 1)
        if together < 1 or share_bits > room - 3:
            raise ConfigurationError(
                f"products of {value_bits} bits and shares of {share_bits} do not fit a key of"
                f" {self.public.bits} bits: take a longer one, or lower mask_bits, weight_bits or"
                " feature_bits"
            )
        groups = -(-self.outputs // together)
        together = -(-self.outputs // groups)
        return Packing(together, slot_bits, room // (slot_bits * together), bound_bits, value_bits)


def join(values: FixedPoint, packing: Packing) -> FixedPoint:
    """(rows, K) numbers to (rows, groups) plaintexts Σ_k v_k·2^(k·slot_bits), of any size."""
    rows, outputs = values.shape
    groups, width = packing.groups(outputs), values.limbs.shape[1]
    padded = np.zeros((rows, groups * packing.outputs, width), dtype=values.limbs.dtype)
    padded[:, :outputs] = values.limbs.reshape(rows, outputs, width)
    size = (packing.outputs - 1) * packing.slot_bits + lb.signed_bits(values.limbs) + 1
    fields = padded.reshape(rows * groups, packing.outputs, width)
    joined = lb.join_fields(fields, packing.slot_bits, FixedPoint.width_for(size))
    return FixedPoint(joined, (rows, groups), values.scale_bits)
