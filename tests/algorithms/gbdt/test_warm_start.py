"""Continuing a model: trees added in two goes are those of one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import hecore
from hecore.algorithms.errors import ConfigurationError
from hecore.algorithms.gbdt import GBDTConfig, VerticalGBDTClassifier
from hecore.algorithms.gbdt.model import load_share, save_share

from .conftest import Joint, failures, fit_jointly, run_all, star, tables

CONFIG = GBDTConfig(n_estimators=4, max_depth=3, max_bin=12, subsample=0.7, first_trees_local=1)


def continued(
    joint: Joint, parts: Any, config: GBDTConfig, keys: Any, evaluation: Any, folder: Path
) -> Joint:
    """New estimators, with the shares from files, that add trees."""
    mine, theirs = star(len(parts) - 1)
    ends: list[Any] = [mine, *theirs]
    models = []
    for place, end in enumerate(ends):
        path = folder / f"{place}.safetensors"
        save_share(joint.models[place].share, path)
        model = VerticalGBDTClassifier(end, config, key=keys[place])
        model.share = load_share(path)
        models.append(model)

    def work(place: int) -> Any:
        extra = None if evaluation is None else evaluation[place]
        models[place].fit(parts[place], extra, warm_start=True)
        return models[place].margins(parts[place])

    return Joint(models, run_all([lambda p=p: work(p) for p in range(len(parts))])[0])


@pytest.mark.parametrize("evaluated", [False, True])
def test_two_goes_are_as_good_as_one(
    small_keys: list[hecore.PrivateKey], tmp_path: Path, evaluated: bool
) -> None:
    every = tables(260, [2, 3], seed=21)
    train, test = np.arange(200), np.arange(200, 260)
    parts = [part.take(train) for part in every]
    evaluation = [part.take(test) for part in every] if evaluated else None
    whole = fit_jointly(parts, CONFIG, small_keys, evaluation=evaluation)
    half = msgspec.structs.replace(CONFIG, n_estimators=2)
    first = fit_jointly(parts, half, small_keys, evaluation=evaluation)
    second = continued(first, parts, half, small_keys, evaluation, tmp_path)
    for one, two in zip(whole.models, second.models, strict=True):
        assert all(
            np.array_equal(a, b)
            for a, b in zip(one.share.splits.parts(), two.share.splits.parts(), strict=True)
        )
    np.testing.assert_allclose(second.margins, whole.margins, atol=1e-9)
    assert second.models[0].evals_result_ == whole.models[0].evals_result_
    assert second.models[0].share.model == second.models[1].share.model != first.models[0].share.model


def test_another_objective_does_not_continue(small_keys: list[hecore.PrivateKey], tmp_path: Path) -> None:
    parts = tables(150, [2, 2])
    joint = fit_jointly(parts, msgspec.structs.replace(CONFIG, n_estimators=1), small_keys)
    other = msgspec.structs.replace(CONFIG, objective="multi:softprob")
    with pytest.raises(ConfigurationError, match="cannot be continued with 'multi:softprob'"):
        continued(joint, parts, other, small_keys, None, tmp_path)


def test_one_party_alone_does_not_continue(small_keys: list[hecore.PrivateKey]) -> None:
    parts = tables(150, [2, 2])
    joint = fit_jointly(parts, msgspec.structs.replace(CONFIG, n_estimators=1), small_keys)
    mine, theirs = star(1)
    models = [
        VerticalGBDTClassifier(end, CONFIG, key=key)
        for end, key in zip([mine[0], theirs[0]], small_keys, strict=False)
    ]
    models[0].share = joint.models[0].share
    outcome = failures([lambda: models[0].fit(parts[0], warm_start=True), lambda: models[1].fit(parts[1])])
    assert all(outcome)
