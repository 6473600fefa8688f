"""Feature importances of a party's own columns."""

from __future__ import annotations

import numpy as np

from hecore.algorithms.errors import ConfigurationError
from hecore.algorithms.gbdt.model import ActiveShare, PassiveShare

WEIGHT, GAIN, COVER = "weight", "gain", "cover"  # XGBoost's names


def importances(share: ActiveShare | PassiveShare, kind: str = WEIGHT) -> dict[str, float]:
    """Importance of each of the party's own columns, unused ones included.

    kind   "weight": number of splits. "gain", "cover": mean gain and mean Σh of its splits; only the active
           party has them, since they tell about the label: ConfigurationError elsewhere
    """
    columns = len(share.columns)
    counts = np.bincount(share.splits.column, minlength=columns)
    if kind == WEIGHT:
        return dict(zip(share.columns, counts.astype(float).tolist(), strict=True))
    if kind not in (GAIN, COVER):
        raise ConfigurationError(f"importance = {kind!r} is not one of {WEIGHT}, {GAIN}, {COVER}")
    if not isinstance(share, ActiveShare):
        raise ConfigurationError(f"importance = {kind!r} is known to the active party alone: use {WEIGHT!r}")
    values = (share.forest.gain if kind == GAIN else share.forest.cover)[share.forest.splits_of(0)]
    totals = np.bincount(share.splits.column, values, minlength=columns)
    means = np.divide(totals, counts, out=np.zeros(columns), where=counts > 0)
    return dict(zip(share.columns, means.tolist(), strict=True))
