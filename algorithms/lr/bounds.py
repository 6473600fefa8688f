"""How large the numbers of a training may become: the bounds that masks and slots are made for.

Every bound follows from what all parties know: the configuration, the number of columns and rows, and four
limits. Features are checked where they are encoded, targets and row weights at the active party before the
first message; |w| < 2^weight_limit_bits and |part of a logit| < 2^logit_limit_bits hold in a training that
converges, and one that does not is stopped by `steps.cut_reply`.

    forward    Σ_j x_j·w_j         < columns · 2^(feature + weight), and < 2^(logit limit) by itself
    logit      Σ over the parties  < parties · the same, cut by the features' scale
    link       ω·P(z)              < 2^weight · Σ_i |c_i|·|z|^i            (see `link`)
    residual   link − ω·target     < the sum of both
    backward   Σ_i x_i·e_i         < rows · 2^(feature + residual)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from hecore import SlotLayout
from hecore.algorithms.errors import ConfigurationError
from hecore.algorithms.lr.config import LinearConfig
from hecore.algorithms.lr.messages import Terms
from hecore.algorithms.lr.polynomials import Polynomial
from hecore.keys import PublicKey

#: Row weights have mean 1 and are below 2^10, in steps of 2^−12.
ROW_WEIGHT_BITS, ROW_WEIGHT_LIMIT_BITS = 12, 10
#: Logits enter a polynomial with 16 fractional bits, coefficients with 20.
LINK_BITS, COEFFICIENT_BITS = 16, 20
#: A slot has a sign bit, and one of headroom: a product and its mask are two terms.
SLOT_SURPLUS_BITS = 2


@dataclass(frozen=True)
class Leg:
    """The sizes of one masked product.

    bound_bits   of |product| as an integer
    share_bits   of the shares that are encrypted for it
    """

    name: str
    bound_bits: int
    share_bits: int


@dataclass(frozen=True)
class Bounds:
    """The sizes of a training's numbers, in bits of the integers."""

    config: LinearConfig
    terms: Terms
    polynomial: Polynomial
    batch_rows: int

    @property
    def parties(self) -> int:
        return 1 + len(self.terms.passive)

    @property
    def by_link(self) -> bool:
        """Whether residuals take a leg of their own: a polynomial beyond degree 1, or rows with weights."""
        return self.polynomial.degree > 1 or self.terms.weighted

    @property
    def feature_bits(self) -> int:
        return self.config.feature_bits + self.config.feature_limit_bits

    @property
    def forward_bits(self) -> int:
        """|Σ_j x_j·w_j| over one party's columns."""
        weight = self.config.weight_bits + self.config.weight_limit_bits
        by_weights = self.feature_bits + weight + self.terms.columns.bit_length()
        scale = self.config.feature_bits + self.config.weight_bits
        return min(by_weights, scale + self.config.logit_limit_bits)

    @property
    def logit_bits(self) -> int:
        """|z| at weight_bits."""
        return self.forward_bits - self.config.feature_bits + self.parties.bit_length()

    @property
    def residual_scale(self) -> int:
        """Fractional bits of a residual: those of a logit, and of ¼ for the linear sigmoid."""
        return self.config.weight_bits + (2 if self.polynomial.is_quarter and not self.by_link else 0)

    @property
    def link_scale(self) -> int:
        """Fractional bits of ω·P(z) as it leaves the ciphertexts."""
        weights = ROW_WEIGHT_BITS if self.terms.weighted else 0
        return COEFFICIENT_BITS + LINK_BITS * self.polynomial.degree + weights

    @property
    def link_bits(self) -> int:
        """|ω·P(z)| at link_scale."""
        largest = 2.0 ** (self.logit_bits - self.config.weight_bits)
        value = sum(abs(c) * largest**power for power, c in enumerate(self.polynomial.coefficients))
        weight = ROW_WEIGHT_LIMIT_BITS if self.terms.weighted else 0
        return math.ceil(math.log2(value)) + weight + self.link_scale + 1

    @property
    def residual_bits(self) -> int:
        """|e| at residual_scale."""
        if self.by_link:
            value = self.link_bits - self.link_scale + self.residual_scale
            weight = ROW_WEIGHT_LIMIT_BITS if self.terms.weighted else 0
        else:  # ¼z at two more bits is z's integer; z itself is z's integer as well
            value, weight = self.logit_bits, 0
        target = self.residual_scale + self.config.logit_limit_bits + weight
        return max(value, target) + 1

    @property
    def backward_bits(self) -> int:
        """|Σ_i x_i·e_i| over a batch."""
        return self.feature_bits + self.residual_bits + self.batch_rows.bit_length()

    # --- shares: what masks leave behind ------------------------------------------------------------

    @property
    def residual_share_bits(self) -> int:
        """Of a share of a logit, or of what the link makes of it; a mask bit wider for each party."""
        logit = self.logit_bits + self.config.mask_bits + 2
        link = self.link_bits - self.link_scale + self.residual_scale + self.config.mask_bits + 2
        return (link if self.by_link else logit) + 1

    def weight_share_bits(self, steps: int) -> int:
        """Of a share of a weight after so many steps: Σ rate·|v|, |v| ≤ |gradient share|/(1 − momentum)."""
        scale = self.config.feature_bits + self.residual_scale
        gradient = self.backward_bits + self.config.mask_bits + 2 - scale + self.config.weight_bits
        reach = self.config.learning_rate * max(1, steps) / (1.0 - self.config.momentum)
        growth = math.ceil(math.log2(max(1.0, reach)))
        return max(gradient, self.config.weight_bits) + growth + 2

    def forward_leg(self, steps: int) -> Leg:
        return Leg("forward", self.forward_bits, self.weight_share_bits(steps))

    def backward_leg(self) -> Leg:
        return Leg("backward", self.backward_bits, self.residual_share_bits)

    def link_leg(self) -> Leg:
        return Leg("link", self.link_bits, 0)


@dataclass(frozen=True)
class Packing:
    """How the outputs of a row stand in ciphertexts under one key, for one leg.

        ciphertext of a row:   | … | output 1 | output 0 |          `outputs` slots of slot_bits
        ciphertext of a reply: | row 1: … | row 0: … |              `rows` rows

    One output of a row stands alone; several share a ciphertext while they fit.

    bound_bits, mask_bits   of |product|, and of the masks that cover it
    """

    outputs: int
    slot_bits: int
    rows: int
    bound_bits: int
    mask_bits: int

    @classmethod
    def of(cls, public: PublicKey, leg: Leg, config: LinearConfig, outputs: int) -> Packing:
        """ConfigurationError where the key is too short for a single number of the leg, or a share."""
        slot_bits = leg.bound_bits + config.mask_bits + SLOT_SURPLUS_BITS
        if outputs > 1:
            slot_bits = max(slot_bits, leg.share_bits + SLOT_SURPLUS_BITS)
        room = public.bits - 1
        needed = max(slot_bits, leg.share_bits + SLOT_SURPLUS_BITS)
        if needed > room - SLOT_SURPLUS_BITS:
            raise ConfigurationError(
                f"the {leg.name} leg needs numbers of {needed} bits, but a key of {public.bits} bits has room"
                f" for {room - SLOT_SURPLUS_BITS}: take a longer key, or lower mask_bits, weight_bits,"
                " feature_bits or the limits"
            )
        together = min(outputs, room // slot_bits)
        groups = -(-outputs // together)
        together = -(-outputs // groups)
        mask_bits = leg.bound_bits + config.mask_bits
        return cls(together, slot_bits, room // (slot_bits * together), leg.bound_bits, mask_bits)

    def groups(self, outputs: int) -> int:
        """Ciphertexts of a row."""
        return -(-outputs // self.outputs)

    @property
    def of_row(self) -> SlotLayout:
        """The slots of a row's ciphertext."""
        return SlotLayout(self.outputs, self.slot_bits, self.slot_bits - SLOT_SURPLUS_BITS)

    @property
    def as_one(self) -> SlotLayout:
        """A row as one wide number among others."""
        width = self.slot_bits * self.outputs
        return SlotLayout(self.rows, width, width - SLOT_SURPLUS_BITS)

    @property
    def of_reply(self) -> SlotLayout:
        """All slots of a reply's ciphertext."""
        return SlotLayout(self.rows * self.outputs, self.slot_bits, self.slot_bits - SLOT_SURPLUS_BITS)
