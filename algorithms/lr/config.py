"""What all parties agree on before they train a linear model."""

from __future__ import annotations

import math
from typing import Literal

import msgspec

from hecore.algorithms.checks import check_kinds, check_range
from hecore.algorithms.errors import ConfigurationError
from hecore.algorithms.objectives import CLASSES, LinearObjective

MINIMUM_MASK_BITS = 40

Mode = Literal["shared", "exact"]
Schedule = Literal["exponential", "inverse", "cosine"]


class LinearConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parameters of a training of a linear model; equal at all parties.

    objective                "binary:logistic", "multi:logistic" (one class against the rest),
                             "multi:softprob" (mode "exact"), "reg:squarederror" or "count:poisson"; see
                             `objectives`
    mode                     "shared": nothing per row is opened; "exact": the active party sees the logits of
                             the training rows (see `exact`)
    epochs, batch_size       passes over the rows; rows a step, spread evenly over the batches of an epoch
    optimizer                "sgd": v ← momentum·v + gradient, w ← w − rate·v; "adam" in mode "exact" only
    learning_rate, momentum  of the optimiser; momentum is Adam's β₁
    adam_beta_2, adam_epsilon  of Adam
    schedule                 rate of epoch t = 0, 1, …: "exponential" learning_rate·decay^t, "inverse"
                             learning_rate/(1 + (1/decay − 1)·t), "cosine" learning_rate·½(1 + cos(πt/epochs))
    learning_rate_decay      decay; 1 keeps the rate. "cosine" does not use it
    alpha                    L2 penalty alpha/2·|w|², on the weights but not the intercept
    sigmoid                  σ on shares: "linear" ½ + z/4, or "cubic" and "quintic", the best polynomials of
                             degree 3 and 5 on −8 … 8 (one message more a batch, see `polynomials`); for the
                             logistic objectives in mode "shared"
    class_weight             "balanced" weighs each row by rows/(classes · rows of its class); "none" by 1
    loss                     open the training loss, one number an epoch, to all parties
    tolerance, patience      stop when the loss has not fallen by `tolerance` or more for `patience` epochs; 0
                             never stops
    evaluate_every           epochs between two scorings of the evaluation rows
    early_stopping_rounds    stop when the metric of the evaluation rows has not improved for so many
                             scorings, and keep the best weights; 0 never stops
    seed                     of the agreed, public shuffle of the rows
    feature_bits             fractional bits of standardised features; in mode "exact" 24 at least
    weight_bits              fractional bits of weights and logits
    feature_limit_bits       |feature| < 2^this; a larger one is an error naming it
    weight_limit_bits        |weight| < 2^this is assumed; a diverging training breaks it and is stopped
    logit_limit_bits         |part of a logit from one party| < 2^this is assumed likewise
    mask_bits                masks are this many bits wider than what they hide: distance 2^−mask_bits
    output_bits              fractional bits of the weights that each party receives at the end
    reply_randomness         of replies under another's key: "uniform", or "classic", which needs no trust in
                             how it made its key and costs about eight times as much a ciphertext
    allow_small_data         allow batches with no more rows than columns, and fewer rows in all than the
                             delivered weights have bits: such results can give labels or features away

    Raises ConfigurationError naming the field, its value and what is allowed.
    """

    objective: LinearObjective = "binary:logistic"
    mode: Mode = "shared"
    epochs: int = 4
    batch_size: int = 1024
    optimizer: Literal["sgd", "adam"] = "sgd"
    learning_rate: float = 0.05
    momentum: float = 0.9
    adam_beta_2: float = 0.999
    adam_epsilon: float = 1e-8
    schedule: Schedule = "exponential"
    learning_rate_decay: float = 0.6
    alpha: float = 1e-3
    sigmoid: Literal["linear", "cubic", "quintic"] = "linear"
    class_weight: Literal["none", "balanced"] = "none"
    loss: bool = True
    tolerance: float = 0.0
    patience: int = 1
    evaluate_every: int = 1
    early_stopping_rounds: int = 0
    seed: int = 0
    feature_bits: int = 16
    weight_bits: int = 32
    feature_limit_bits: int = 8
    weight_limit_bits: int = 8
    logit_limit_bits: int = 10
    mask_bits: int = 64
    output_bits: int = 16
    reply_randomness: Literal["uniform", "classic"] = "uniform"
    allow_small_data: bool = False

    def __post_init__(self) -> None:
        check_kinds(self)
        for name, (lowest, highest) in _RANGES.items():
            check_range(name, getattr(self, name), lowest, highest)
        check_range("output_bits", self.output_bits, 4, self.weight_bits)
        self._check_together()

    def _check_together(self) -> None:
        stable = 2 * (1 + self.momentum)
        if self.optimizer == "sgd" and self.learning_rate * self.alpha >= stable:
            raise ConfigurationError(
                f"learning_rate · alpha = {self.learning_rate * self.alpha:g} diverges:"
                f" keep it below {stable:g}"
            )
        if self.optimizer == "adam" and self.mode == "shared":
            raise ConfigurationError(
                'optimizer = "adam" divides by roots, which shares cannot: take "sgd", or mode = "exact"'
            )
        if self.objective == "multi:softprob" and self.mode == "shared":
            raise ConfigurationError(
                'objective = "multi:softprob" needs logits in the clear: take "multi:logistic", or mode ='
                ' "exact"'
            )
        if self.tolerance > 0 and not self.loss:
            raise ConfigurationError(
                f"tolerance = {self.tolerance:g} needs loss = true: stopping is decided on the loss"
            )
        if self.sigmoid != "linear" and not (self.is_logistic and self.mode == "shared"):
            raise ConfigurationError(
                f'sigmoid = "{self.sigmoid}" is of logistic objectives in mode "shared", not of'
                f' {self.objective} in mode "{self.mode}": take "linear"'
            )
        if self.class_weight != "none" and not self.is_logistic:
            raise ConfigurationError(
                f'class_weight = "{self.class_weight}" needs classes, {self.objective} has none: take "none"'
            )

    @property
    def is_logistic(self) -> bool:
        """Whether the labels are classes."""
        return self.objective in CLASSES

    def rate(self, epoch: int) -> float:
        """Learning rate of epoch 0, 1, …"""
        if self.schedule == "cosine":
            return self.learning_rate * 0.5 * (1.0 + math.cos(math.pi * epoch / self.epochs))
        if self.schedule == "inverse":
            return self.learning_rate / (1.0 + (1.0 / self.learning_rate_decay - 1.0) * epoch)
        return self.learning_rate * self.learning_rate_decay**epoch

    def least_rows(self, columns: int, outputs: int = 1) -> int:
        """Rows that a block of `columns` columns needs, so that its weights do not determine the labels.

        Each delivered weight is an equation of about output_bits + 2 bits on the labels of all rows, of which
        each has log2(outputs) bits, or 1 of two classes.
        """
        return math.ceil(columns * outputs * (self.output_bits + 2) / max(1.0, math.log2(outputs)))


_RANGES: dict[str, tuple[float, float]] = {
    "epochs": (1, 100_000),
    "batch_size": (1, 1 << 20),
    "learning_rate": (1e-9, 100.0),
    "momentum": (0.0, 0.999),
    "adam_beta_2": (0.0, 0.999999),
    "adam_epsilon": (1e-15, 1.0),
    "learning_rate_decay": (0.01, 1.0),
    "alpha": (0.0, 100.0),
    "tolerance": (0.0, 1.0),
    "patience": (1, 100_000),
    "evaluate_every": (1, 100_000),
    "early_stopping_rounds": (0, 100_000),
    "seed": (0, 2**63 - 1),
    "feature_bits": (4, 40),
    "weight_bits": (16, 48),
    "feature_limit_bits": (1, 32),
    "weight_limit_bits": (1, 32),
    "logit_limit_bits": (3, 32),
    "mask_bits": (MINIMUM_MASK_BITS, 128),
}
