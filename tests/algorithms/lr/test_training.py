"""Federated equals centralised: the joint training against the same SGD in the clear."""

from __future__ import annotations

import numpy as np
import pytest

from hecore import generate_key
from hecore.algorithms.channel import CurveKeys, dial, listen, loopback_pair
from hecore.algorithms.lr import VerticalLogisticRegression

from .conftest import clear_fit, fit_pair, small_config, tables, together


def assert_equal_to_clear(pair, active, passive, config, tolerance=5e-6):
    clear = clear_fit(active, passive, config=config)
    np.testing.assert_allclose(pair.active.coef_, clear.active, atol=tolerance)
    np.testing.assert_allclose(pair.passive.coef_, clear.passive, atol=tolerance)
    assert pair.active.intercept_ == pytest.approx(clear.intercept[0], abs=tolerance)
    assert pair.passive.intercept_ is None
    if config.loss:
        # The last digits of the loss are blurred on purpose: 2 · 2^−20.
        np.testing.assert_allclose(pair.active.loss_, clear.loss, atol=max(5e-6, tolerance))
        assert pair.active.loss_ == pair.passive.loss_


@pytest.mark.parametrize(
    ("rows", "columns", "options"),
    [
        (60, (3, 4), {"epochs": 3, "batch_size": 20}),
        (61, (1, 1), {"epochs": 2, "batch_size": 16}),  # uneven batches, one column each
        (60, (2, 6), {"epochs": 2, "batch_size": 30, "momentum": 0.0, "alpha": 0.0}),
        (60, (6, 2), {"epochs": 2, "batch_size": 1000, "learning_rate": 0.5, "alpha": 0.1}),
        (60, (3, 3), {"epochs": 2, "batch_size": 20, "loss": False, "seed": 7}),
        (40, (3, 3), {"epochs": 1, "batch_size": 4}),
        (300, (2, 2), {"epochs": 1, "batch_size": 300}),  # long enough for joined exponents
        (60, (3, 3), {"epochs": 1, "batch_size": 20, "mask_bits": 40, "feature_bits": 10}),
        (60, (3, 3), {"epochs": 1, "batch_size": 20, "reply_randomness": "classic"}),
    ],
)
def test_joint_weights_and_losses_are_those_of_the_clear_training(small_keys, rows, columns, options):
    active, passive = tables(rows, *columns)
    config = small_config(**options)
    pair = fit_pair(active, passive, config, small_keys)
    tolerance = 5e-3 if options.get("feature_bits") else 2e-5
    assert_equal_to_clear(pair, active, passive, config, tolerance)


def test_weights_are_delivered_to_output_bits_only(small_keys):
    active, passive = tables(60, 3, 4)
    exact = small_config(epochs=2, batch_size=20)
    coarse = small_config(epochs=2, batch_size=20, output_bits=10)
    pair = fit_pair(active, passive, coarse, small_keys)
    clear = clear_fit(active, passive, config=exact)
    for got, wanted in ((pair.active.coef_, clear.active), (pair.passive.coef_, clear.passive)):
        assert 2.0**-17 < np.abs(got - wanted).max() <= 2.0**-10 + 1e-5


def test_full_size_keys(key):
    active, passive = tables(60, 3, 4)
    config = small_config(epochs=2, batch_size=30)
    pair = fit_pair(active, passive, config, (key, generate_key()))
    assert_equal_to_clear(pair, active, passive, config)


def test_scores_are_the_logistic_function_of_the_joint_logits(small_keys):
    active, passive = tables(90, 3, 4)
    train, test = np.arange(60), np.arange(60, 90)
    pair = fit_pair(
        active.take(train),
        passive.take(train),
        small_config(epochs=2, batch_size=30),
        small_keys,
        score=(active.take(test), passive.take(test)),
    )
    means = [table.values[train].mean(axis=0) for table in (active, passive)]
    scales = [table.values[train].std(axis=0) for table in (active, passive)]
    logits = (
        (active.values[test] - means[0]) / scales[0] @ pair.active.coef_
        + (passive.values[test] - means[1]) / scales[1] @ pair.passive.coef_
        + pair.active.intercept_
    )
    np.testing.assert_allclose(pair.scores[:, 1], 1 / (1 + np.exp(-logits)), atol=2.0**-17)
    np.testing.assert_allclose(pair.scores.sum(axis=1), 1.0)


def test_training_stops_when_the_loss_stops_falling(small_keys):
    active, passive = tables(60, 2, 2)
    config = small_config(epochs=30, batch_size=60, learning_rate=0.3, tolerance=0.02)
    pair = fit_pair(active, passive, config, small_keys)
    losses = pair.active.loss_
    assert losses == pair.passive.loss_
    assert 1 < len(losses) < 30
    falls = -np.diff(losses)
    assert falls[-1] < 0.02
    assert (falls[:-1] >= 0.02).all()


def test_progress_counts_every_batch(small_keys):
    active, passive = tables(60, 2, 2)
    config = small_config(epochs=2, batch_size=20)
    ends = loopback_pair()
    models = [VerticalLogisticRegression(e, config, key=k) for e, k in zip(ends, small_keys, strict=True)]
    seen = []
    together(lambda: models[0].fit(active, on_progress=seen.append), lambda: models[1].fit(passive))
    assert [(p.epoch, p.batch) for p in seen] == [(e, b) for e in (0, 1) for b in (1, 2, 3)]
    assert seen[-1].done == 1.0
    assert [p.loss for p in seen[:3]] == [None] * 3
    assert seen[3].loss == models[0].loss_[0]


def test_the_same_training_over_zeromq(small_keys):
    active, passive = tables(60, 3, 3)
    config = small_config(epochs=1, batch_size=30)
    keys = {name: CurveKeys.generate() for name in ("active", "passive")}
    allowed = {name: pair.public for name, pair in keys.items()}
    first = listen("active", "passive", "tcp://127.0.0.1:0", keys["active"], allowed, job="lr")
    second = dial("passive", "active", first.endpoint, keys["passive"], allowed, job="lr")
    with first, second:
        pair = fit_pair(active, passive, config, small_keys, channels=(first, second))
    assert_equal_to_clear(pair, active, passive, config, 2e-5)


def test_a_loaded_share_scores_like_the_one_that_was_saved(small_keys, tmp_path):
    active, passive = tables(60, 2, 3)
    config = small_config(epochs=2, batch_size=30)
    pair = fit_pair(active, passive, config, small_keys, score=(active, passive))
    paths = [tmp_path / "active.json", tmp_path / "passive.json"]
    for path, model in zip(paths, (pair.active, pair.passive), strict=True):
        model.save(path)
    loaded = [
        VerticalLogisticRegression(end, config, key=key).load(path)
        for end, key, path in zip(loopback_pair(), small_keys, paths, strict=True)
    ]
    decisions, nothing = together(lambda: loaded[0].predict(active), lambda: loaded[1].predict(passive))
    assert nothing is None
    np.testing.assert_array_equal(decisions, pair.scores[:, 1] > 0.5)
    assert 0 < decisions.sum() < 60
    assert "x2" not in paths[0].read_text()  # nothing of the peer's columns in the own share
    assert "x0" not in paths[1].read_text()
