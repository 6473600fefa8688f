"""Which rows and columns a tree is grown on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hecore.algorithms.gbdt.config import GBDTConfig
from hecore.algorithms.objectives import Floats

#: Streams of the public seed.
ROWS, COLUMNS = 0, 1


def draw_rows(
    config: GBDTConfig, tree: int, training: NDArray[np.bool_], g: Floats
) -> tuple[NDArray[np.bool_], Floats | None]:
    """(drawn rows, factors of g and h or None): all `training` rows, a random share, or GOSS.

    GOSS (Ke et al., LightGBM, NIPS'17): the rows with the largest Σ|g| are kept, of the others a share of all
    is drawn and weighted by (1 − top)/other, which keeps sums unbiased.
    """
    rng = np.random.default_rng((config.seed, ROWS, tree))
    places = np.flatnonzero(training)
    drawn = np.zeros_like(training)
    if config.goss_top > 0:
        top = max(1, round(config.goss_top * places.size))
        other = min(places.size - top, max(1, round(config.goss_other * places.size)))
        order = places[np.argsort(-np.abs(g[places]).sum(axis=1), kind="stable")]
        rest = rng.choice(order[top:], size=other, replace=False)
        drawn[order[:top]] = True
        drawn[rest] = True
        factor = np.ones((len(training), 1))
        factor[rest] = (places.size - top) / max(1, other)
        return drawn, factor
    if config.subsample < 1:
        size = max(1, round(config.subsample * places.size))
        drawn[rng.choice(places, size=size, replace=False)] = True
        return drawn, None
    return training.copy(), None


def draw_columns(config: GBDTConfig, tree: int, party: str, columns: int) -> NDArray[np.int64]:
    """The columns of the party of this name for a tree, increasing.

    The seed is public: everybody knows which numbers of columns are drawn, nobody else what they mean.
    """
    if config.colsample_bytree >= 1:
        return np.arange(columns, dtype=np.int64)
    rng = np.random.default_rng((config.seed, COLUMNS, tree, *party.encode()))
    size = max(1, round(config.colsample_bytree * columns))
    return np.sort(rng.choice(columns, size=size, replace=False)).astype(np.int64)
