"""Gains and leaf values from sums of (g, h), and the best of many candidate splits.

With T(G) = sign(G)·max(0, |G| − α) and one value a leaf and output:

    value  w* = −T(G) / (H + λ),  cut to ±max_delta_step        score  = T(G)² / (H + λ)
    gain   = score(left) + score(right) − score(node),  summed over outputs

(Chen and Guestrin, XGBoost, KDD'16, equations 5 to 7, without the factor ½ as in XGBoost's code.) Sums come
as exact integers and meet floating point here alone, in one order of operations, so that equal sums have
equal gains whoever owns the columns. Between equal gains the first party wins, then the first candidate in
natural order (see `candidates`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hecore.algorithms.gbdt.config import GBDTConfig
from hecore.algorithms.objectives import Floats

#: XGBoost's kRtEps: no split gains less.
LEAST_GAIN = 1e-6

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Penalty:
    """What shapes leaf values: λ, α, the bound of a value (0 for none), and the factors 2^−e of the sums."""

    reg_lambda: float
    reg_alpha: float
    max_delta_step: float
    scales: Floats

    @classmethod
    def of(cls, config: GBDTConfig, max_delta_step: float, scales: Floats) -> Penalty:
        """The penalty of a configuration, for sums at these scales."""
        return cls(config.reg_lambda, config.reg_alpha, max_delta_step, scales)

    def floats(self, sums: Integers) -> tuple[Floats, Floats]:
        """(G, H), each (…, K), of integer sums (…, 2·K)."""
        scaled = sums * self.scales
        return scaled[..., 0::2], scaled[..., 1::2]

    def value(self, sums: Integers) -> Floats:
        """w* of every output, (…, K)."""
        g, h = self.floats(sums)
        return self._value(g, h)

    def score(self, sums: Integers) -> Floats:
        """The score above, summed over outputs: (…,)."""
        g, h = self.floats(sums)
        if self.max_delta_step == 0:
            cut, below = self._cut(g), h + self.reg_lambda
            parts = np.divide(cut * cut, below, out=np.zeros_like(below), where=below > 0)
        else:
            w = self._value(g, h)
            parts = -(2.0 * g * w + (h + self.reg_lambda) * w * w + 2.0 * self.reg_alpha * np.abs(w))
        return np.asarray(parts.sum(axis=-1))

    def _value(self, g: Floats, h: Floats) -> Floats:
        below = h + self.reg_lambda
        w = np.divide(-self._cut(g), below, out=np.zeros_like(below), where=below > 0)
        return np.clip(w, -self.max_delta_step, self.max_delta_step) if self.max_delta_step else w

    def _cut(self, g: Floats) -> Floats:
        if self.reg_alpha == 0:
            return g
        return np.asarray(np.sign(g) * np.maximum(0.0, np.abs(g) - self.reg_alpha))


@dataclass(frozen=True)
class BestSplit:
    """The best candidates of one party for a node: their gain, all that reach it, and their left sums."""

    gain: float
    ties: tuple[int, ...]
    left: Integers


def best_split(
    left: Integers, allowed: NDArray[np.bool_], node: Integers, penalty: Penalty, config: GBDTConfig
) -> BestSplit | None:
    """The best of C candidates, or None where none gains more than `gamma`.

    left     (C, 2·K) sums of the left rows; `allowed` (C,) which may be taken; `node` (2·K,) sums of all rows

    Equal gains mean equal sums, or a mirrored split: `left` is that of the first of them.
    """
    chosen = np.flatnonzero(allowed)
    if config.min_child_weight > 0 and chosen.size:
        heavy = (penalty.scales * left[chosen])[:, 1::2].sum(axis=1) >= config.min_child_weight
        heavy &= (penalty.scales * (node - left[chosen]))[:, 1::2].sum(axis=1) >= config.min_child_weight
        chosen = chosen[heavy]
    if not chosen.size:
        return None
    gains = penalty.score(left[chosen]) + penalty.score(node - left[chosen]) - penalty.score(node)
    best = float(gains.max())
    if not best > max(config.gamma, LEAST_GAIN):
        return None
    ties = chosen[gains == best]
    return BestSplit(best, tuple(int(place) for place in ties), left[ties])
