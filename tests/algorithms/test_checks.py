"""Settings that Python code makes are held to the rules of those that a file brings."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from hecore.algorithms.channel import loopback_pair
from hecore.algorithms.data import Table
from hecore.algorithms.errors import ConfigurationError
from hecore.algorithms.gbdt import GBDTConfig, VerticalGBDTClassifier, VerticalGBDTRegressor
from hecore.algorithms.gbdt.tables import settings_hash
from hecore.algorithms.lr import LinearConfig, VerticalLinearRegression, VerticalLogisticRegression
from hecore.algorithms.psi import PsiConfig

KINDS: list[Any] = [GBDTConfig, LinearConfig, PsiConfig]
WRONG: list[Any] = [None, True, 1.5, -3, float("nan"), "no such choice", ["a"], b"x"]


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_a_file_may_not_say_python_may_not_either(kind: Any) -> None:
    refused = 0
    for name in kind.__struct_fields__:
        for value in WRONG:
            try:
                expected = msgspec.convert({name: value}, kind)
            except msgspec.ValidationError:
                refused += 1
                with pytest.raises(ConfigurationError, match=name):
                    kind(**{name: value})
            else:
                assert kind(**{name: value}) == expected
    assert refused > 5 * len(kind.__struct_fields__)


@pytest.mark.parametrize(
    ("kind", "options", "told"),
    [
        (GBDTConfig, {"objective": "binary"}, r"objective = 'binary' is not one of 'binary:logistic', 'mult"),
        (GBDTConfig, {"grow_policy": "leaf"}, "grow_policy = 'leaf' is not one of 'depthwise', 'lossguide'"),
        (GBDTConfig, {"sample_weights": None}, "sample_weights = None is not one of 'none', 'levels', 'any'"),
        (GBDTConfig, {"max_depth": 2.5}, "max_depth = 2.5: expected `int`, got `float`"),
        (GBDTConfig, {"n_estimators": "5"}, "n_estimators = '5': expected `int`, got `str`"),
        (LinearConfig, {"schedule": "linear"}, "schedule = 'linear' is not one of 'exponential', 'inverse'"),
        (LinearConfig, {"loss": "no"}, "loss = 'no': expected `bool`, got `str`"),
        (PsiConfig, {"reveal": "passive"}, "reveal = 'passive' is not one of 'both', 'active'"),
    ],
)
def test_the_value_and_what_is_allowed_are_named(kind: Any, options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        kind(**options)


def test_equal_settings_are_equal_at_all_parties_however_they_are_written() -> None:
    """Parties compare hashes: 1 and 1.0, numpy's numbers and Python's, must not differ."""
    plain = GBDTConfig(n_estimators=7, learning_rate=1.0)
    for written in (
        GBDTConfig(n_estimators=7, learning_rate=1),
        GBDTConfig(n_estimators=np.int64(7), learning_rate=np.float64(1)),
        msgspec.convert({"n_estimators": 7, "learning_rate": 1}, GBDTConfig),
    ):
        assert settings_hash(written) == settings_hash(plain)
        assert (type(written.n_estimators), type(written.learning_rate)) == (int, float)


@pytest.mark.parametrize(
    ("kind", "config", "allowed"),
    [
        (
            VerticalGBDTClassifier,
            GBDTConfig(objective="count:poisson"),
            "'binary:logistic', 'multi:softp",
        ),
        (VerticalGBDTRegressor, GBDTConfig(), "'reg:squarederror', 'count:poisson', 'custom'"),
        (VerticalLinearRegression, LinearConfig(), "'reg:squarederror'"),
    ],
)
def test_an_estimator_refuses_another_objective(kind: Any, config: Any, allowed: str) -> None:
    told = f"objective = '{config.objective}' is not one of {kind.__name__}: {allowed}"
    with pytest.raises(ConfigurationError, match=told):
        kind(loopback_pair()[0], config)


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        (VerticalGBDTClassifier, GBDTConfig(early_stopping_rounds=3)),
        (VerticalLogisticRegression, LinearConfig(early_stopping_rounds=3)),
    ],
)
def test_early_stopping_needs_evaluation_rows(kind: Any, config: Any) -> None:
    model = kind(loopback_pair()[0], config)
    table = Table("bank", ["a", "b"], ["x"], np.ones((2, 1)), np.arange(2.0))
    with pytest.raises(ConfigurationError, match="early_stopping_rounds = 3 needs evaluation rows"):
        model.fit(table)
