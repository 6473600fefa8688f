"""Joint training against the centralised run: the same splits, gains, leaf values and predictions."""

from __future__ import annotations

import numpy as np

import hecore
from hecore.algorithms.gbdt import GBDTConfig

from .conftest import assert_lossless, fit_centrally, fit_jointly, tables


def test_two_parties_with_real_keys() -> None:
    """2048-bit keys, binary classes, level by level."""
    parts = tables(600, [3, 4])
    config = GBDTConfig(n_estimators=3, max_depth=3, max_bin=16)
    joint = fit_jointly(parts, config, [hecore.generate_key() for _ in range(2)])
    central = fit_centrally(parts, config)
    assert_lossless(joint, central, parts)
    owners = set(joint.models[0].share.forest.owner.tolist())
    assert owners == {-1, 0, 1}  # both parties have splits
    label = parts[0].label
    assert np.mean((joint.margins[:, 0] > 0) == label) > 0.8
