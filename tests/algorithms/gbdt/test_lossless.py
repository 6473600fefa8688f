"""Joint training against the centralised run: the same splits, gains, leaf values and predictions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hecore
from hecore.algorithms.data import Table
from hecore.algorithms.errors import TableError
from hecore.algorithms.gbdt import GBDTConfig

from .conftest import assert_lossless, fit_centrally, fit_jointly, tables

SMALL = {"n_estimators": 3, "max_depth": 3, "max_bin": 12, "min_samples_leaf": 2}


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


@pytest.mark.parametrize(
    "options",
    [
        {"grow_policy": "lossguide", "max_leaves": 9, "max_depth": 0},
        {"max_leaves": 5},
        {"reg_lambda": 0.0, "reg_alpha": 0.3, "gamma": 0.5, "min_child_weight": 3.0},
        {"max_delta_step": 0.2},
        {"subsample": 0.6, "colsample_bytree": 0.5},
        {"goss_top": 0.2, "goss_other": 0.2},
        {"first_trees_local": 2},
        {"block_rows": 37},
        {"gradient_bits": 40, "reply_randomness": "classic", "n_estimators": 1},
        {"min_samples_leaf": 40, "min_samples_bin": 30},
        {"max_depth": 1},
    ],
    ids=" ".join,
)
def test_options(small_keys: list[hecore.PrivateKey], options: dict[str, Any]) -> None:
    parts = tables(250, [2, 3], seed=1)
    config = GBDTConfig(**SMALL | options)
    joint = fit_jointly(parts, config, small_keys)
    assert_lossless(joint, fit_centrally(parts, config), parts)
    assert joint.models[0].share.forest.trees == config.n_estimators
    if config.first_trees_local:
        forest = joint.models[0].share.forest
        local = forest.owner[: forest.start[config.first_trees_local]]
        assert set(local.tolist()) == {-1, 0}


@pytest.mark.parametrize(
    ("label", "options"),
    [
        ("classes", {"objective": "multi:softprob"}),
        ("classes", {"objective": "multi:softprob", "multi_strategy": "one_output_per_tree"}),
        ("numbers", {"objective": "reg:squarederror"}),
        ("counts", {"objective": "count:poisson"}),
    ],
)
def test_objectives(small_keys: list[hecore.PrivateKey], label: str, options: dict[str, Any]) -> None:
    parts = tables(250, [2, 3], seed=2, label=label)
    config = GBDTConfig(**SMALL | options)
    joint = fit_jointly(parts, config, small_keys)
    assert_lossless(joint, fit_centrally(parts, config), parts)
    metrics = joint.models[0].evals_result_["train"]
    assert metrics == sorted(metrics, reverse=True)  # each round is better
    assert joint.models[1].evals_result_ == {}


def test_many_classes_fill_more_than_one_ciphertext(small_keys: list[hecore.PrivateKey]) -> None:
    """Ten classes: twenty slots a row, more than a 512-bit plaintext has."""
    parts = tables(260, [2, 2], label="numbers")
    order = np.argsort(np.argsort(parts[0].label))
    parts[0] = replace(parts[0], label=(order * 10 // len(order)).astype(np.float64))
    config = GBDTConfig(**SMALL | {"objective": "multi:softprob", "n_estimators": 1, "max_depth": 2})
    joint = fit_jointly(parts, config, small_keys)
    assert_lossless(joint, fit_centrally(parts, config), parts)


def test_a_custom_objective(small_keys: list[hecore.PrivateKey]) -> None:
    """Only the active party has the function; pseudo-Huber loss."""

    def gradient(margins: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        scaled = 1 + (margins - label[:, None]) ** 2
        return (margins - label[:, None]) / np.sqrt(scaled), 1 / (scaled * np.sqrt(scaled))

    parts = tables(250, [2, 3], label="numbers")
    config = GBDTConfig(**SMALL | {"objective": "custom", "sample_weights": "any", "min_child_weight": 0.1})
    joint = fit_jointly(parts, config, small_keys, objective=gradient)
    central = fit_centrally(parts, config, custom=gradient)
    assert_lossless(joint, central, parts)
    assert joint.models[0].evals_result_["train"][-1] < joint.models[0].evals_result_["train"][0]


def test_three_parties(small_keys: list[hecore.PrivateKey]) -> None:
    parts = tables(300, [2, 3, 2], seed=3)
    config = GBDTConfig(**SMALL | {"n_estimators": 4})
    joint = fit_jointly(parts, config, small_keys)
    assert_lossless(joint, fit_centrally(parts, config), parts)
    assert set(joint.models[0].share.forest.owner.tolist()) == {-1, 0, 1, 2}


def test_weights(small_keys: list[hecore.PrivateKey]) -> None:
    parts = tables(250, [2, 3])
    weight = np.random.default_rng(0).uniform(0, 5, 250)
    weight[:20] = 0
    config = GBDTConfig(**SMALL | {"sample_weights": "any"})
    joint = fit_jointly(parts, config, small_keys, sample_weight=weight)
    assert_lossless(joint, fit_centrally(parts, config, sample_weight=weight), parts)
    plain = fit_centrally(parts, config)
    assert not np.array_equal(plain.forest.value, joint.models[0].share.forest.value)


def gappy(parts: list[Table], share: float = 0.3) -> list[Table]:
    """The tables with a share of missing values, more of them in rows of class 1."""
    rng = np.random.default_rng(5)
    label = parts[0].label
    out = []
    for part in parts:
        values = part.values.copy()
        odds = np.where(label > np.median(label), 1.5, 0.5)[:, None] * share
        values[rng.random(values.shape) < odds] = np.nan
        values[:, -1] = part.values[:, -1]  # one column without gaps
        out.append(replace(part, values=values, missing=True))
    return out


def test_missing_values(small_keys: list[hecore.PrivateKey]) -> None:
    parts = gappy(tables(300, [3, 3], seed=4))
    config = GBDTConfig(**SMALL | {"n_estimators": 4})
    joint = fit_jointly(parts, config, small_keys)
    assert_lossless(joint, fit_centrally(parts, config), parts)
    directions = [model.share.splits.missing_left for model in joint.models]
    assert any(direction.any() for direction in directions)
    assert not all(direction.all() for direction in directions)


def test_categories(small_keys: list[hecore.PrivateKey]) -> None:
    rng = np.random.default_rng(6)
    parts = tables(400, [2, 2], seed=6)
    effect = np.array([0, 3, -3, 0, 3, -3, 0])
    kinds = rng.integers(0, 7, 400)
    label = (effect[kinds] + rng.logistic(size=400) > 0).astype(np.float64)
    values = np.column_stack([kinds, rng.integers(0, 3, 400)]).astype(float)
    values[:10, 0] = np.nan
    parts = [replace(parts[0], label=label), replace(parts[1], values=values, missing=True)]
    names = [[], parts[1].columns]
    config = GBDTConfig(**SMALL)
    joint = fit_jointly(parts, config, small_keys, categorical=names)
    assert_lossless(joint, fit_centrally(parts, config, categorical=names), parts)
    assert np.mean((joint.margins[:, 0] > 0) == label) > 0.75
    chosen = {int(b) for b in joint.models[1].share.splits.bin[joint.models[1].share.splits.column == 0]}
    assert {2, 3} & chosen  # categories 1 and 2 tell most; bin 0 is the rest


def test_sparse_columns(small_keys: list[hecore.PrivateKey]) -> None:
    """0/1 columns that are mostly 0: two bins each, one of them taken from the total."""
    rng = np.random.default_rng(7)
    parts = tables(500, [2, 12], seed=7)
    values = (rng.random((500, 12)) < 0.08).astype(float)
    label = (values @ rng.normal(size=12) * 3 + rng.logistic(size=500) > 0).astype(np.float64)
    parts = [replace(parts[0], label=label), replace(parts[1], values=values)]
    config = GBDTConfig(**SMALL)
    joint = fit_jointly(parts, config, small_keys)
    assert_lossless(joint, fit_centrally(parts, config), parts)


def test_early_stopping(small_keys: list[hecore.PrivateKey]) -> None:
    """Pure noise: the best round is early, and later trees are dropped at both parties."""
    rng = np.random.default_rng(8)
    parts = tables(200, [2, 2])
    parts[0] = replace(parts[0], label=(rng.random(200) > 0.5).astype(float))
    train, test = np.arange(120), np.arange(120, 200)
    fit, evaluation = [part.take(train) for part in parts], [part.take(test) for part in parts]
    config = GBDTConfig(**SMALL | {"n_estimators": 20, "early_stopping_rounds": 2, "learning_rate": 0.5})
    joint = fit_jointly(fit, config, small_keys, evaluation=evaluation, score=evaluation)
    assert_lossless(joint, fit_centrally(fit, config, evaluation), evaluation)
    metrics = joint.models[0].evals_result_["evaluation"]
    trees = joint.models[0].share.forest.trees
    assert trees == int(np.argmin(metrics)) + 1 < len(metrics) < 20
    assert all((model.share.splits.tree < trees).all() for model in joint.models)


@pytest.mark.parametrize(
    ("label", "objective", "wrong"),
    [
        ("binary", "binary:logistic", 2.0),
        ("classes", "multi:softprob", 3.0),
        ("classes", "multi:softprob", 0.5),
        ("counts", "count:poisson", -1.0),
    ],
)
def test_labels_that_evaluation_rows_cannot_have(label: str, objective: Any, wrong: float) -> None:
    parts = tables(100, [2, 2], label=label)
    train, test = np.arange(60), np.arange(60, 100)
    fit, evaluation = [part.take(train) for part in parts], [part.take(test) for part in parts]
    config = GBDTConfig(**SMALL | {"objective": objective})
    fit_centrally(fit, config, evaluation)
    evaluation[0] = replace(evaluation[0], label=np.where(np.arange(40) == 7, wrong, evaluation[0].label))
    with pytest.raises(TableError, match=f"label {wrong:g}"):
        fit_centrally(fit, config, evaluation)


def test_a_backend_asked_for(monkeypatch: pytest.MonkeyPatch, small_keys: list[hecore.PrivateKey]) -> None:
    """gmp, where all other tests take the fastest: the same trees."""
    monkeypatch.setenv("HECORE_BACKEND", "gmp")
    parts = tables(150, [2, 3])
    config = GBDTConfig(**SMALL | {"n_estimators": 1})
    joint = fit_jointly(parts, config, small_keys)
    assert {model.backend.name for model in joint.models} == {"gmp"}
    assert_lossless(joint, fit_centrally(parts, config), parts)


def test_columns_that_offer_nothing(small_keys: list[hecore.PrivateKey]) -> None:
    """A passive party whose only column is constant has no candidates at all."""
    parts = tables(150, [2, 1])
    parts[1] = replace(parts[1], values=np.ones((150, 1)))
    config = GBDTConfig(**SMALL)
    joint = fit_jointly(parts, config, small_keys)
    assert_lossless(joint, fit_centrally(parts, config), parts)
    assert len(joint.models[1].share.splits) == 0


def test_equal_gains_go_to_the_first_column_of_the_first_party(small_keys: list[hecore.PrivateKey]) -> None:
    """The same columns everywhere, and twice at each party: every best split is a tie."""
    parts = tables(200, [2, 2])
    twice = np.repeat(parts[0].values[:, :1], 2, axis=1)
    parts = [replace(part, values=twice) for part in parts]
    config = GBDTConfig(**SMALL | {"first_trees_local": 0})
    joint = fit_jointly(parts, config, small_keys)
    assert_lossless(joint, fit_centrally(parts, config), parts)
    assert len(joint.models[1].share.splits) == 0
    assert set(joint.models[0].share.splits.column.tolist()) == {0}


def test_ties_inside_the_passive_party(small_keys: list[hecore.PrivateKey]) -> None:
    """Two equal columns at the passive party: the first is taken, whatever the secret order."""
    parts = tables(200, [1, 2])
    parts[1] = replace(parts[1], values=np.repeat(parts[1].values[:, :1], 2, axis=1))
    config = GBDTConfig(**SMALL)
    joint = fit_jointly(parts, config, small_keys)
    assert_lossless(joint, fit_centrally(parts, config), parts)
    assert set(joint.models[1].share.splits.column.tolist()) == {0}


@st.composite
def trainings(draw: st.DrawFn) -> tuple[list[Table], GBDTConfig]:
    """Small problems of any kind: parties, labels, gaps, growth, sampling and guards."""
    label, objective = draw(
        st.sampled_from(
            [
                ("binary", "binary:logistic"),
                ("classes", "multi:softprob"),
                ("numbers", "reg:squarederror"),
                ("counts", "count:poisson"),
            ]
        )
    )
    columns = draw(st.lists(st.integers(1, 4), min_size=2, max_size=3))
    parts = tables(draw(st.integers(40, 160)), columns, seed=draw(st.integers(0, 99)), label=label)
    if draw(st.booleans()):
        parts = gappy(parts)
    leafwise = draw(st.booleans())
    config = GBDTConfig(
        objective=objective,
        n_estimators=2,
        max_depth=draw(st.integers(0 if leafwise else 1, 4)),
        max_leaves=draw(st.integers(2, 9)) if leafwise else 0,
        grow_policy="lossguide" if leafwise else "depthwise",
        multi_strategy=draw(st.sampled_from(["multi_output_tree", "one_output_per_tree"])),
        max_bin=draw(st.integers(2, 20)),
        min_samples_leaf=draw(st.integers(1, 6)),
        min_samples_bin=draw(st.integers(1, 8)),
        min_child_weight=draw(st.sampled_from([0.0, 1.0])),
        subsample=draw(st.sampled_from([0.7, 1.0])),
        colsample_bytree=draw(st.sampled_from([0.5, 1.0])),
        block_rows=draw(st.sampled_from([0, 17])),
        seed=draw(st.integers(0, 99)),
    )
    return parts, config


@settings(max_examples=25)
@given(trainings())
def test_any_training_is_lossless(
    small_keys: list[hecore.PrivateKey], case: tuple[list[Table], GBDTConfig]
) -> None:
    parts, config = case
    joint = fit_jointly(parts, config, small_keys)
    assert_lossless(joint, fit_centrally(parts, config), parts)
