"""The trees of `hecore demo`: parameters, progress in the demo's words, and what they are compared with."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hecore.algorithms.data.table import Matrix
from hecore.algorithms.gbdt import GBDTConfig, Progress
from hecore.algorithms.lr import Progress as DemoProgress

DEPTH, BINS, RATE = 3, 32, 0.3


def tree_config(trees: int) -> GBDTConfig:
    """The training parameters of the demo. ConfigurationError for a number of trees out of range."""
    return GBDTConfig(n_estimators=trees, max_depth=DEPTH, max_bin=BINS, learning_rate=RATE)


def told(progress: Progress) -> DemoProgress:
    """A round as the demo's progress line counts."""
    at = (progress.round - 1, progress.rounds, 1, 1)
    return DemoProgress(*at, progress.train, progress.seconds, unit="tree")


def trees_in_the_clear(config: GBDTConfig, values: Matrix, label: NDArray[np.float64]) -> Any:
    """scikit-learn's trees with the same parameters, trained on these rows."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    model = HistGradientBoostingClassifier(
        max_iter=config.n_estimators,
        max_depth=config.max_depth,
        max_bins=config.max_bin,
        learning_rate=config.learning_rate,
        min_samples_leaf=config.min_samples_leaf,
        early_stopping=False,
    )
    return model.fit(values, label)
