"""What the parties agree on before they grow trees."""

from __future__ import annotations

from typing import Literal

import msgspec

from hecore.algorithms.checks import check_kinds, check_range
from hecore.algorithms.errors import ConfigurationError
from hecore.algorithms.objectives import TreeObjective

#: Sums of (g, h) must be exact in float64 as well as in int64: value bits and row bits together.
EXACT_BITS = 52
DEPTH_WITHOUT_LIMIT = 62
MAX_OUTPUTS = 4096

Growth = Literal["depthwise", "lossguide"]
Outputs = Literal["multi_output_tree", "one_output_per_tree"]
Weights = Literal["none", "levels", "any"]


class GBDTConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parameters of a boosting; equal at all parties. Names and defaults are XGBoost's where it has them.

    objective              what is minimised; see `objectives`
    n_estimators           rounds; a round is one tree, or one a class with "one_output_per_tree"
    learning_rate          factor of leaf values
    max_depth              levels of splits; 0 sets no limit
    max_leaves             leaves of a tree; 0 sets no limit
    grow_policy            "depthwise": all leaves of a level; "lossguide": the leaf of largest gain first
    reg_lambda, reg_alpha  L2 and L1 penalty of leaf values
    gamma                  a split must gain more than this
    min_child_weight       least Σh of a leaf
    max_delta_step         bound of |leaf value| before learning_rate; 0 sets none (0.7 for count:poisson)
    max_bin                bins of a column, the bin of missing values apart
    min_samples_leaf       least rows of a leaf
    min_samples_bin        guard: no sum over fewer rows of a passive party's column is shown, nor follows
                           from those shown (see `guards`); bins have as many training rows. 1 switches it off
    sample_weights         guard: which the active party may use: "none", "levels" (few different ones), or
                           "any", as a custom objective needs (see `weights`)
    subsample              share of rows drawn for each tree
    goss_top, goss_other   gradient-based sampling: the share of rows with the largest |g|, all kept, and the
                           share of all rows drawn from the others, weighted up; 0 and 0 switch it off
    colsample_bytree       share of each party's columns drawn for each tree
    multi_strategy         for several classes: one tree a round with a value a class in each leaf, or one
                           tree a class
    early_stopping_rounds  end when the validation metric has not improved for so many rounds; 0 never
    first_trees_local      rounds at the start that use the active party's columns alone; the first trees tell
                           most about the label
    gradient_bits          bits of the largest |g| and the largest h as integers
    block_rows             rows encrypted and sent at a time; 0 lets the planner choose
    seed                   of row and column sampling
    reply_randomness       of sums returned under the active party's key: "uniform", or "classic", which needs
                           no trust in how it made its key, at about eight times the cost a ciphertext

    Raises ConfigurationError naming the field, its value and what is allowed.
    """

    objective: TreeObjective = "binary:logistic"
    n_estimators: int = 50
    learning_rate: float = 0.3
    max_depth: int = 6
    max_leaves: int = 0
    grow_policy: Growth = "depthwise"
    reg_lambda: float = 1.0
    reg_alpha: float = 0.0
    gamma: float = 0.0
    min_child_weight: float = 1.0
    max_delta_step: float = 0.0
    max_bin: int = 256
    min_samples_leaf: int = 5
    min_samples_bin: int = 5
    sample_weights: Weights = "none"
    subsample: float = 1.0
    goss_top: float = 0.0
    goss_other: float = 0.0
    colsample_bytree: float = 1.0
    multi_strategy: Outputs = "multi_output_tree"
    early_stopping_rounds: int = 0
    first_trees_local: int = 0
    gradient_bits: int = 24
    block_rows: int = 0
    seed: int = 0
    reply_randomness: Literal["uniform", "classic"] = "uniform"

    def __post_init__(self) -> None:
        check_kinds(self)
        check_range("n_estimators", self.n_estimators, 1, 100_000)
        check_range("learning_rate", self.learning_rate, 1e-9, 10.0)
        check_range("max_depth", self.max_depth, 0, DEPTH_WITHOUT_LIMIT)
        check_range("max_leaves", self.max_leaves, 0, 1 << 20)
        for name in ("reg_lambda", "reg_alpha", "gamma", "min_child_weight", "max_delta_step"):
            check_range(name, getattr(self, name), 0.0, 1e12)
        check_range("max_bin", self.max_bin, 2, 1 << 15)
        check_range("min_samples_leaf", self.min_samples_leaf, 1, 1 << 40)
        check_range("min_samples_bin", self.min_samples_bin, 1, 1 << 40)
        check_range("subsample", self.subsample, 1e-6, 1.0)
        check_range("goss_top", self.goss_top, 0.0, 1.0)
        check_range("goss_other", self.goss_other, 0.0, 1.0)
        check_range("colsample_bytree", self.colsample_bytree, 1e-6, 1.0)
        check_range("early_stopping_rounds", self.early_stopping_rounds, 0, 100_000)
        check_range("first_trees_local", self.first_trees_local, 0, 100_000)
        check_range("gradient_bits", self.gradient_bits, 8, 40)
        check_range("block_rows", self.block_rows, 0, 1 << 32)
        check_range("seed", self.seed, 0, 2**63 - 1)
        self._check_together()

    def _check_together(self) -> None:
        if self.max_depth == 0 and self.max_leaves == 0:
            raise ConfigurationError("max_depth = 0 and max_leaves = 0: a tree needs one of the two limits")
        if self.max_leaves == 1:
            raise ConfigurationError("max_leaves = 1 leaves nothing to split: take 0, or 2 and more")
        if (self.goss_top > 0) != (self.goss_other > 0) or self.goss_top + self.goss_other > 1:
            raise ConfigurationError(
                f"goss_top = {self.goss_top} and goss_other = {self.goss_other}: both or neither above 0,"
                " 1 at most together"
            )
        if self.goss_top > 0 and self.subsample < 1:
            raise ConfigurationError("subsample < 1 and GOSS both draw rows: choose one")

        if self.objective == "custom" and self.sample_weights != "any":
            raise ConfigurationError(
                f'objective = "custom" with sample_weights = {self.sample_weights!r}: it can weight rows as'
                ' it likes, which gets around min_samples_bin; where all agree, set sample_weights = "any"'
            )

    @property
    def depth_limit(self) -> int:
        """max_depth, or more levels than a tree of max_leaves leaves can have that fits in memory."""
        return self.max_depth or DEPTH_WITHOUT_LIMIT

    @property
    def most_outputs(self) -> int:
        """The most trees of a round. How many classes there are, a passive party is not told."""
        several = self.objective in ("multi:softprob", "custom")
        return MAX_OUTPUTS if several and self.multi_strategy == "one_output_per_tree" else 1

    def check_rows(self, rows: int) -> None:
        """ConfigurationError where sums over so many rows would not be exact."""
        if self.gradient_bits + rows.bit_length() > EXACT_BITS:
            raise ConfigurationError(
                f"gradient_bits = {self.gradient_bits} and {rows} rows make sums of more than"
                f" {EXACT_BITS} bits: take gradient_bits = {EXACT_BITS - rows.bit_length()} at most"
            )
