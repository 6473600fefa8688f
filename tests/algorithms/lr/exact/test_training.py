"""Lossless: the joint training in mode `exact` against the same optimiser in the clear."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array

from .conftest import ROWS, clear_fit, exact_config, label_of, train_layer

#: What the issue of being lossless means here.
LOSSLESS = 1e-6


def columns(*counts: int, rows: int = ROWS, seed: int = 3) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(rows, count)) for count in counts]


@pytest.mark.parametrize(
    ("objective", "optimizer", "counts"),
    [
        ("binary:logistic", "sgd", (3, 4)),
        ("binary:logistic", "adam", (2, 3, 2)),
        ("multi:softprob", "sgd", (2, 3, 2)),
        ("multi:softprob", "adam", (3, 4)),
        ("multi:logistic", "sgd", (3, 1)),
        ("reg:squarederror", "sgd", (1, 3, 2)),
        ("reg:squarederror", "adam", (3, 4)),
        ("count:poisson", "sgd", (3, 4)),
        ("count:poisson", "adam", (2, 2, 2)),
    ],
)
def test_weights_are_those_of_the_clear_training(exact_keys, objective, optimizer, counts):
    parts = columns(*counts)
    label = label_of(objective, np.hstack(parts))
    config = exact_config(objective=objective, optimizer=optimizer)
    layer = train_layer(config, parts, label, exact_keys)
    clear = clear_fit(config, parts, label)
    assert np.abs(clear).max() > 0.04
    np.testing.assert_allclose(layer.weights, clear, atol=LOSSLESS)


def test_full_size_keys(key, exact_keys):
    parts = columns(3, 4)
    label = label_of("multi:softprob", np.hstack(parts))
    config = exact_config(objective="multi:softprob")
    layer = train_layer(config, parts, label, [key, exact_keys[1]])
    np.testing.assert_allclose(layer.weights, clear_fit(config, parts, label), atol=LOSSLESS)


def test_rows_have_weights(exact_keys):
    parts = columns(2, 2)
    label = label_of("binary:logistic", np.hstack(parts))
    weight = np.where(label == 1, 3.0, 0.5)
    config = exact_config()
    layer = train_layer(config, parts, label, exact_keys, weight=weight)
    clear = clear_fit(config, parts, label, weight)
    np.testing.assert_allclose(layer.weights, clear, atol=LOSSLESS)
    assert np.abs(clear - clear_fit(config, parts, label)).max() > 0.01


def test_all_parties_tell_how_far_they_are_and_since_when(exact_keys):
    parts = columns(2, 1)
    layer = train_layer(exact_config(), parts, label_of("binary:logistic", np.hstack(parts)), exact_keys)
    for told in layer.told:
        assert [progress.done for progress in told] == [0.25, 0.5, 0.75, 1.0]
        seconds = [progress.seconds for progress in told]
        assert 0 < seconds[0] < seconds[1] < seconds[2] < seconds[3]


def test_sparse_columns_stay_sparse(exact_keys):
    rng = np.random.default_rng(0)
    parts = [(rng.random((ROWS, count)) < 0.2) * rng.normal(size=(ROWS, count)) for count in (4, 5)]
    label = label_of("binary:logistic", np.hstack(parts))
    config = exact_config()
    layer = train_layer(config, [csr_array(part) for part in parts], label, exact_keys)
    np.testing.assert_allclose(layer.weights, clear_fit(config, parts, label), atol=LOSSLESS)


def test_small_widths_of_the_configuration(exact_keys):
    """Scales of so few bits that nothing is covered, the narrowest masks, and `classic` replies."""
    parts = columns(2, 2)
    label = label_of("binary:logistic", np.hstack(parts))
    options = {"feature_bits": 8, "weight_bits": 20, "output_bits": 20, "mask_bits": 40}
    config = exact_config(**options, reply_randomness="classic")
    layer = train_layer(config, parts, label, exact_keys)
    np.testing.assert_allclose(layer.weights, clear_fit(config, parts, label), atol=5e-3)


def test_weights_are_delivered_to_output_bits(exact_keys):
    parts = columns(2, 3)
    label = label_of("binary:logistic", np.hstack(parts))
    layer = train_layer(exact_config(output_bits=8), parts, label, exact_keys)
    clear = clear_fit(exact_config(), parts, label)
    lost = np.abs(layer.outcomes[1].weights - clear[3:])
    assert 2.0**-12 < lost.max() < 2.0**-8


# --- what an epoch ends with --------------------------------------------------------------------------


def test_metrics_of_seen_and_evaluated_rows(exact_keys):
    parts, others = columns(2, 3), columns(2, 3, rows=40, seed=5)
    label, other = (label_of("binary:logistic", np.hstack(p)) for p in (parts, others))
    config = exact_config()
    layer = train_layer(config, parts, label, exact_keys, evaluation=(others, other))
    history = layer.active.history
    assert len(history) == 2
    assert list(history[0]) == [
        f"{kind} {name}" for kind in ("train", "evaluation") for name in ("logloss", "auc", "accuracy")
    ]
    losses = [record["train logloss"] for record in history]
    assert losses == layer.outcomes[0].loss
    assert losses == sorted(losses, reverse=True)
    z = np.column_stack([others[0], np.ones(40), others[1]]) @ layer.weights
    expected = np.mean(np.logaddexp(0, z[:, 0]) - other * z[:, 0])
    assert history[-1]["evaluation logloss"] == pytest.approx(expected, abs=1e-6)
    assert layer.outcomes[0].metrics == [record["evaluation auc"] for record in history]


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_early_stopping_keeps_the_best_weights_of_all(exact_keys, optimizer):
    """Evaluation rows whose label is the opposite: the first epoch is the best."""
    parts = columns(2, 2)
    label = label_of("binary:logistic", np.hstack(parts))
    options = {"optimizer": optimizer, "epochs": 8, "batch_size": 30, "learning_rate_decay": 1.0}
    config = exact_config(**options, early_stopping_rounds=2)
    layer = train_layer(config, parts, label, exact_keys, evaluation=(parts, 1 - label))
    scored = layer.outcomes[0].metrics
    assert len(scored) == 3 + int(np.argmax(scored))
    assert len(scored) < 8
    best = clear_fit(exact_config(**options | {"epochs": 1 + int(np.argmax(scored))}), parts, label)
    np.testing.assert_allclose(layer.weights, best, atol=LOSSLESS)


def test_training_stops_when_the_loss_stops_falling(exact_keys):
    parts = columns(2, 2)
    label = label_of("binary:logistic", np.hstack(parts))
    config = exact_config(epochs=30, batch_size=60, learning_rate=0.3, tolerance=0.01, patience=2)
    layer = train_layer(config, parts, label, exact_keys)
    falls = -np.diff(layer.outcomes[0].loss)
    assert 2 < len(falls) < 29
    assert (falls[-2:] < 0.01).all()
    assert not any((falls[i : i + 2] < 0.01).all() for i in range(len(falls) - 2))
