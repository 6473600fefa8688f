"""Gains, leaf values and the best split against one candidate at a time, and against XGBoost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hecore.algorithms.gbdt.config import GBDTConfig
from hecore.algorithms.gbdt.gradients import quantise
from hecore.algorithms.gbdt.splits import LEAST_GAIN, Penalty, best_split

from .conftest import fit_centrally, tables


def brute_score(g: float, h: float, c: GBDTConfig) -> float:
    """max over w of −(2·g·w + (h + λ)·w² + 2·α·|w|), |w| ≤ max_delta_step, on a grid and at the optimum."""
    if h + c.reg_lambda <= 0:
        return 0.0
    w = -np.sign(g) * max(0.0, abs(g) - c.reg_alpha) / (h + c.reg_lambda)
    if c.max_delta_step:
        w = float(np.clip(w, -c.max_delta_step, c.max_delta_step))
    return float(-(2 * g * w + (h + c.reg_lambda) * w * w + 2 * c.reg_alpha * abs(w)))


@st.composite
def cases(draw: st.DrawFn) -> Any:
    outputs = draw(st.integers(1, 3))
    count = draw(st.integers(0, 12))
    left = draw(hnp.arrays(np.int64, (count, 2 * outputs), elements=st.integers(-(1 << 20), 1 << 20)))
    rest = draw(hnp.arrays(np.int64, (2 * outputs,), elements=st.integers(-(1 << 20), 1 << 20)))
    left[:, 1::2] = np.abs(left[:, 1::2])
    node = left.max(axis=0, initial=0) + np.abs(rest)
    config = GBDTConfig(
        reg_lambda=draw(st.sampled_from([0.0, 1.0, 7.5])),
        reg_alpha=draw(st.sampled_from([0.0, 0.25])),
        gamma=draw(st.sampled_from([0.0, 0.1])),
        min_child_weight=draw(st.sampled_from([0.0, 1.0])),
        max_delta_step=draw(st.sampled_from([0.0, 0.3])),
    )
    allowed = draw(hnp.arrays(np.bool_, (count,)))
    return left, allowed, node, config, outputs


@settings(max_examples=200)
@given(cases())
def test_best_of_many(case: Any) -> None:
    left, allowed, node, config, outputs = case
    scales = np.ldexp(1.0, -np.array([16, 18] * outputs))
    penalty = Penalty.of(config, config.max_delta_step, scales)
    gains = {}
    for place in np.flatnonzero(allowed):
        sides = [left[place] * scales, (node - left[place]) * scales]
        if any(side[1::2].sum() < config.min_child_weight for side in sides):
            continue
        score = [sum(brute_score(g, h, config) for g, h in zip(s[::2], s[1::2], strict=True)) for s in sides]
        whole = node * scales
        total = sum(brute_score(g, h, config) for g, h in zip(whole[::2], whole[1::2], strict=True))
        gains[int(place)] = score[0] + score[1] - total
    found = best_split(left, allowed, node, penalty, config)
    limit = max(config.gamma, LEAST_GAIN)
    best = max(gains.values(), default=0.0)
    if found is None:
        assert best <= limit + 1e-9 * (1 + abs(best))
    else:
        assert found.gain == pytest.approx(best, rel=1e-9, abs=1e-9)
        assert found.gain > limit
        for place, sums in zip(found.ties, found.left, strict=True):
            assert np.array_equal(left[place], sums)
            assert gains[place] == pytest.approx(best, rel=1e-9, abs=1e-9)
        assert list(found.ties) == sorted(found.ties)


def test_equal_and_mirrored_splits_are_ties() -> None:
    left = np.array([[5, 9], [100, 30], [-5, 9], [100, 30], [0, 0]])
    node = np.array([0, 60])
    mirrored = np.array([[-100, 30]])
    config = GBDTConfig(min_child_weight=0.0)
    penalty = Penalty.of(config, 0.0, np.ones(2))
    found = best_split(np.concatenate([left, mirrored]), np.ones(6, dtype=bool), node, penalty, config)
    assert found is not None
    assert found.ties == (1, 3, 5)


@settings(max_examples=100)
@given(
    hnp.arrays(np.float64, (5, 2), elements=st.floats(-1e9, 1e9)),
    st.integers(8, 40),
)
def test_quantised_gradients_fit_their_bits(values: np.ndarray, bits: int) -> None:
    gradients = quantise(values, np.abs(values), bits)
    assert np.abs(gradients.values).max() < 2**bits
    back = gradients.values * gradients.scales()
    largest = np.abs(values).max()
    assert np.abs(back[:, 0::2] - values).max() <= largest * 2.0 ** (1 - bits)
    if largest > 1e-300:  # no bit is given away
        assert np.abs(gradients.values).max() >= 2 ** (bits - 1) - 1


@pytest.mark.parametrize("options", [{}, {"reg_alpha": 0.5, "gamma": 0.4}, {"max_delta_step": 0.1}])
def test_the_same_trees_as_xgboost(options: dict[str, float]) -> None:
    """Few distinct values, so that both bin alike: the same number of leaves, and predictions within 1e-4."""
    xgboost = pytest.importorskip("xgboost", reason="XGBoost is not installed: pip install xgboost-cpu")
    parts = tables(500, [3, 3], seed=11)
    values = np.round(np.hstack([part.values / part.values.std(axis=0) for part in parts]) * 2) / 2
    shaped = [
        type(parts[0])("t", p.ids, p.columns, v, p.label)
        for p, v in zip(parts, np.split(values, 2, 1), strict=True)
    ]
    config = GBDTConfig(n_estimators=5, max_depth=4, min_samples_leaf=1, min_samples_bin=1, **options)
    central = fit_centrally(shaped, config)
    settings_ = {
        "objective": "binary:logistic",
        "max_depth": 4,
        "eta": config.learning_rate,
        "lambda": 1.0,
        "alpha": config.reg_alpha,
        "gamma": config.gamma,
        "max_delta_step": config.max_delta_step,
        "tree_method": "hist",
        "base_score": float(parts[0].label.mean()),
    }
    booster = xgboost.train(settings_, xgboost.DMatrix(values, parts[0].label), 5)
    margins = booster.predict(xgboost.DMatrix(values), output_margin=True)
    ours = central.margins(shaped)[:, 0]
    np.testing.assert_allclose(ours, margins, atol=1e-4)
