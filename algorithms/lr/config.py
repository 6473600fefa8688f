"""What both parties agree on before they train, and the bounds that follow from it."""

from __future__ import annotations

from typing import Literal

import msgspec

from hecore.algorithms.errors import ConfigurationError

MINIMUM_MASK_BITS = 40


class LogisticRegressionConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parameters of a training; equal at both parties.

    epochs, batch_size       passes over the rows; rows a step, spread evenly over the batches of an epoch
    learning_rate, momentum  of SGD: v ← momentum·v + gradient, w ← w − rate·v
    learning_rate_decay      rate of epoch t = learning_rate · decay^t
    alpha                    L2 penalty alpha/2·|w|², on the weights but not the intercept
    tolerance                stop when the loss of an epoch falls by less than this; 0 never stops
    loss                     open the training loss, one number an epoch, to both parties
    seed                     of the agreed, public shuffle of the rows
    feature_bits             fractional bits of standardised features
    weight_bits              fractional bits of weights and logits
    feature_limit_bits       |feature| < 2^this; a larger one is an error naming it
    weight_limit_bits        |weight| < 2^this is assumed; a diverging training breaks it
    mask_bits                masks are this many bits wider than what they hide: distance 2^−mask_bits
    output_bits              fractional bits of the weights that each party receives at the end
    reply_randomness         of replies under the peer's key: "uniform", or "classic", which needs no trust in
                             how the peer made its key and costs about eight times as much a ciphertext
    allow_small_data         allow batches with no more rows than columns, and fewer rows in all than the
                             delivered weights have bits: such results can give labels or features away

    Raises ConfigurationError naming the field, its value and what is allowed.
    """

    epochs: int = 4
    batch_size: int = 1024
    learning_rate: float = 0.05
    momentum: float = 0.9
    learning_rate_decay: float = 0.6
    alpha: float = 1e-3
    tolerance: float = 0.0
    loss: bool = True
    seed: int = 0
    feature_bits: int = 16
    weight_bits: int = 32
    feature_limit_bits: int = 8
    weight_limit_bits: int = 8
    mask_bits: int = 64
    output_bits: int = 16
    reply_randomness: Literal["uniform", "classic"] = "uniform"
    allow_small_data: bool = False

    def __post_init__(self) -> None:
        _check("epochs", self.epochs, 1, 100_000)
        _check("batch_size", self.batch_size, 1, 1 << 20)
        _check("learning_rate", self.learning_rate, 1e-9, 100.0)
        _check("momentum", self.momentum, 0.0, 0.999)
        _check("learning_rate_decay", self.learning_rate_decay, 0.01, 1.0)
        _check("alpha", self.alpha, 0.0, 100.0)
        _check("tolerance", self.tolerance, 0.0, 1.0)
        _check("seed", self.seed, 0, 2**63 - 1)
        _check("feature_bits", self.feature_bits, 4, 40)
        _check("weight_bits", self.weight_bits, 16, 48)
        _check("feature_limit_bits", self.feature_limit_bits, 1, 32)
        _check("weight_limit_bits", self.weight_limit_bits, 1, 32)
        _check("mask_bits", self.mask_bits, MINIMUM_MASK_BITS, 128)
        _check("output_bits", self.output_bits, 4, self.weight_bits)
        stable = 2 * (1 + self.momentum)
        if self.learning_rate * self.alpha >= stable:
            raise ConfigurationError(
                f"learning_rate · alpha = {self.learning_rate * self.alpha:g} diverges:"
                f" keep it below {stable:g}"
            )
        if self.tolerance > 0 and not self.loss:
            raise ConfigurationError("tolerance > 0 needs loss = true: stopping is decided on the loss")

    @property
    def residual_bits(self) -> int:
        """Fractional bits of the residual ¼z + ½ − y: two more than the logit, so ¼ costs nothing."""
        return self.weight_bits + 2

    def rate(self, epoch: int) -> float:
        """Learning rate of epoch 0, 1, …"""
        return self.learning_rate * self.learning_rate_decay**epoch

    def least_rows(self, columns: int) -> int:
        """Rows that a block of `columns` columns needs, so that its weights do not determine the labels.

        Each delivered weight is an equation of about output_bits + 2 bits on the labels of all rows.
        """
        return columns * (self.output_bits + 2)

    def forward_bits(self, columns: int) -> int:
        """Bits of |Σ_j x_j·w_j| as an integer, for `columns` columns in all."""
        feature = self.feature_bits + self.feature_limit_bits
        weight = self.weight_bits + self.weight_limit_bits
        return feature + weight + columns.bit_length()

    def backward_bits(self, columns: int, rows: int) -> int:
        """Bits of |Σ_i x_i·e_i| as an integer, for `rows` rows and `columns` columns in all."""
        # z is cut by feature_bits; e = ¼z + ½ − y at two more fractional bits has z's integer, plus one bit.
        residual = max(self.forward_bits(columns) - self.feature_bits, self.residual_bits) + 2
        return self.feature_bits + self.feature_limit_bits + residual + rows.bit_length()


def _check(name: str, value: float, lowest: float, highest: float) -> None:
    if not lowest <= value <= highest:
        raise ConfigurationError(f"{name} = {value} is not in {lowest} … {highest}")
