"""What surrounds the steps: sparse tables, evaluation rows, early stopping, guards on weights and keys."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.metrics import roc_auc_score

import hecore
from hecore.algorithms.channel import loopback_pair
from hecore.algorithms.data import Table
from hecore.algorithms.errors import ConfigurationError, TableError
from hecore.algorithms.lr import LinearConfig, VerticalLogisticRegression

from .conftest import clear_fit, failures, fit_star, problem, small_config, split_table, together


@pytest.fixture(scope="module")
def keys(small_keys):
    return [*small_keys, hecore.generate_key(512, insecure_test_key=True)]


def sparse_problem(rows=60, columns=12, density=0.2):
    rng = np.random.default_rng(3)
    values = (rng.random((rows, columns)) < density) * rng.integers(1, 5, columns).astype(float)
    values[0] = np.arange(1.0, columns + 1)  # no column is empty
    label = (values @ rng.normal(size=columns) + 0.3 * rng.logistic(size=rows) > 0.2).astype(float)
    names = tuple(f"x{i}" for i in range(columns))
    return Table("all", tuple(f"row {i}" for i in range(rows)), names, csr_array(values), label)


def test_sparse_tables_train_and_score_without_becoming_dense(keys, monkeypatch):
    data = split_table(sparse_problem(), (5, 7))
    config = small_config(epochs=2, batch_size=30)
    clear = clear_fit(*data, config=config)
    monkeypatch.setattr(csr_array, "toarray", None)
    monkeypatch.setattr(csr_array, "todense", None)
    models, scores = fit_star(data, config, keys[:2], score=data)
    np.testing.assert_allclose(models[0].coef_, clear.active, atol=2e-5)
    np.testing.assert_allclose(models[1].coef_, clear.passive, atol=2e-5)
    stored = data[1].values.nnz
    # Two legs an epoch; sparse entries, and the peer's none.
    assert models[1].meter.operations["matrix_entries"] == 2 * 2 * stored
    assert scores.shape == (60, 2)


def test_a_model_of_dense_columns_does_not_score_sparse_ones(keys):
    data = split_table(problem(60, 4), (2, 2))
    models, _ = fit_star(data, small_config(epochs=1, batch_size=60), keys[:2])
    with pytest.raises(TableError, match="is sparse"):
        models[1].predict_proba(replace(data[1], values=csr_array(data[1].values)))


@pytest.mark.parametrize("widths", [(3, 3), (2, 2, 2)])
def test_evaluation_rows_are_scored_every_so_many_epochs(keys, widths):
    table = problem(120, 6)
    train, test = (split_table(table.take(rows), widths) for rows in (np.arange(80), np.arange(80, 120)))
    config = small_config(epochs=4, batch_size=40, evaluate_every=2)
    models, _ = fit_star(train, config, keys[: len(widths)], evaluation=test)
    assert "evaluation" not in models[1].evals_result_
    found = models[0].evals_result_["evaluation"]
    assert len(found) == 2
    for epochs, auc in zip((2, 4), found, strict=True):
        clear = clear_fit(*train, config=small_config(epochs=epochs, batch_size=40))
        logits = clear.intercept[0]
        for part, fitted, block in zip(test, train, clear.blocks, strict=True):
            scaled = (part.values - fitted.values.mean(axis=0)) / fitted.values.std(axis=0)
            logits = logits + (scaled @ block)[:, 0]
        assert auc == pytest.approx(roc_auc_score(test[0].label, logits))


def test_training_stops_when_the_metric_stalls_and_keeps_the_best_weights(keys):
    """Evaluation labels turned round: the first weights are the best for them."""
    table = problem(120, 4)
    train, test = (split_table(table.take(rows), (2, 2)) for rows in (np.arange(80), np.arange(80, 120)))
    turned = [replace(test[0], label=1 - test[0].label), test[1]]
    config = small_config(
        epochs=20, batch_size=80, learning_rate=0.01, early_stopping_rounds=2, learning_rate_decay=1.0
    )
    models, _ = fit_star(train, config, keys[:2], evaluation=turned)
    metrics = models[0].evals_result_["evaluation"]
    best = int(np.argmax(metrics))
    assert len(metrics) == best + 3 < 20
    clear = clear_fit(*train, config=small_config(**_same(config), epochs=best + 1))
    np.testing.assert_allclose(models[0].coef_, clear.active, atol=2e-5)
    np.testing.assert_allclose(models[1].coef_, clear.passive, atol=2e-5)


def _same(config):
    return {
        "batch_size": config.batch_size,
        "learning_rate": config.learning_rate,
        "learning_rate_decay": 1.0,
    }


def test_patience_waits_for_a_fall_of_the_loss(keys):
    data = split_table(problem(60, 4), (2, 2))
    options = {"epochs": 12, "batch_size": 60, "learning_rate": 0.3, "tolerance": 0.02}
    lengths = []
    for patience in (1, 3):
        models, _ = fit_star(data, small_config(**options, patience=patience), keys[:2])
        lengths.append(len(models[0].loss_))
    assert 1 < lengths[0] < lengths[1]


# --- what is refused before anything is sent ----------------------------------------------------------


def test_a_key_too_short_for_the_numbers_is_named_before_anything_of_the_data_is_sent(keys):
    data = split_table(problem(60, 4), (2, 2))
    wide = small_config(mask_bits=128, weight_bits=48, feature_bits=40, logit_limit_bits=32, sigmoid="cubic")
    ends = loopback_pair()
    models = [VerticalLogisticRegression(end, wide, key=key) for end, key in zip(ends, keys[:2], strict=True)]
    errors = failures(lambda: models[0].fit(data[0]), lambda: models[1].fit(data[1]))
    assert any(isinstance(error, ConfigurationError) and "longer key" in str(error) for error in errors)
    for end in ends:
        assert not {"lr.share", "lr.product", "lr.link"} & set(end.traffic.sent.by_type)


def test_weights_that_rest_on_few_rows_are_refused(keys):
    data = split_table(problem(400, 4), (2, 2))
    config = LinearConfig(epochs=1, batch_size=200)
    weight = np.full(400, 1e-3)
    weight[:20] = 1.0
    ends = loopback_pair()
    models = [
        VerticalLogisticRegression(end, config, key=key) for end, key in zip(ends, keys[:2], strict=True)
    ]
    ours, theirs = failures(
        lambda: models[0].fit(data[0], sample_weight=weight), lambda: models[1].fit(data[1])
    )
    assert isinstance(ours, TableError)
    assert "rest on" in str(ours)
    assert "rest on" not in str(theirs)  # how weights are spread is told to nobody
    assert not {"lr.share", "lr.link"} & set(ends[0].traffic.sent.by_type)


@pytest.mark.parametrize(
    ("weight", "text"),
    [
        (np.ones(59), "60 numbers"),
        (-np.ones(60), "60 numbers"),
        (np.zeros(60), "all sample weights are 0"),
        (np.where(np.arange(60) == 0, 1e9, 0.0), "largest row weight|rest on"),
    ],
)
def test_weights_that_cannot_be_used(keys, weight, text):
    data = split_table(problem(60, 4), (2, 2))
    ends = loopback_pair()
    models = [
        VerticalLogisticRegression(end, LinearConfig(epochs=1, batch_size=60), key=key)
        for end, key in zip(ends, keys[:2], strict=True)
    ]
    ours, _ = failures(lambda: models[0].fit(data[0], sample_weight=weight), lambda: models[1].fit(data[1]))
    assert isinstance(ours, TableError)
    assert re.search(text, str(ours))


def test_sample_weights_belong_to_the_active_party(keys):
    passive = split_table(problem(60, 4), (2, 2))[1]
    model = VerticalLogisticRegression(loopback_pair()[1], small_config(), key=keys[1])
    with pytest.raises(TableError, match="where the label is"):
        model.fit(passive, sample_weight=np.ones(60))


def test_a_loaded_share_of_several_outputs_scores_alike(keys, tmp_path):
    long = [hecore.generate_key(1024, insecure_test_key=True) for _ in range(2)]
    data = split_table(problem(60, 4, "multi:logistic"), (2, 2))
    config = small_config(objective="multi:logistic", epochs=1, batch_size=60)
    models, scores = fit_star(data, config, long, score=data)
    assert scores.shape == (60, 3)
    np.testing.assert_allclose(scores.sum(axis=1), 1.0)
    for place, model in enumerate(models):
        model.save(tmp_path / f"{place}.json")
    loaded = [
        VerticalLogisticRegression(end, config, key=key).load(tmp_path / f"{place}.json")
        for place, (end, key) in enumerate(zip(loopback_pair(), long, strict=True))
    ]
    again, _ = together(lambda: loaded[0].predict_proba(data[0]), lambda: loaded[1].predict_proba(data[1]))
    np.testing.assert_array_equal(again, scores)
