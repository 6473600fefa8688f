"""Parties in threads, the centralised run beside them, and small tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import hecore
from hecore.algorithms.channel import Channel, loopback_pair
from hecore.algorithms.data import Table
from hecore.algorithms.gbdt import GBDTConfig, VerticalGBDTClassifier, VerticalGBDTRegressor
from hecore.algorithms.gbdt.central import CentralModel, train_centrally
from hecore.algorithms.gbdt.estimators import VerticalGBDT
from hecore.algorithms.gbdt.tables import training_rows
from hecore.algorithms.objectives import CLASSES


@pytest.fixture(scope="session")
def small_keys() -> list[hecore.PrivateKey]:
    """Keys that are quick and insecure: for the flow of the protocol, not for its strength."""
    return [hecore.generate_key(512, insecure_test_key=True) for _ in range(3)]


def run_all(works: Sequence[Callable[[], Any]], timeout: float = 600) -> list[Any]:
    """Run all parties at once; an exception of one is raised, the first party's first."""
    with ThreadPoolExecutor(len(works)) as pool:
        futures = [pool.submit(work) for work in works]
        return [future.result(timeout=timeout) for future in futures]


def failures(works: Sequence[Callable[[], Any]]) -> list[Any]:
    """The exception that each party ended with, or None."""
    with ThreadPoolExecutor(len(works)) as pool:
        futures = [pool.submit(work) for work in works]
        return [future.exception(timeout=250) for future in futures]


def star(passive: int) -> tuple[list[Channel], list[Channel]]:
    """Loopback channels from the active party to each passive one: (its ends, theirs)."""
    names = [f"passive{number}" for number in range(1, passive + 1)]
    pairs = [loopback_pair("active", name) for name in names]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def tables(rows: int, columns: Sequence[int], seed: int = 0, label: str = "binary") -> list[Table]:
    """A learnable problem split between parties with so many columns each; the first has the label."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(rows, sum(columns))) * rng.uniform(0.1, 50, sum(columns)) + 3
    score = (values - values.mean(axis=0)) / values.std(axis=0) @ rng.normal(size=sum(columns))
    score = score + 0.5 * rng.logistic(size=rows) + np.abs(score) * np.sin(score)
    if label == "binary":
        y = (score > np.median(score)).astype(np.float64)
    elif label == "classes":
        y = np.searchsorted(np.quantile(score, [0.3, 0.6]), score).astype(np.float64)
    elif label == "counts":
        y = rng.poisson(np.exp(score / (2 * score.std()))).astype(np.float64)
    else:
        y = score
    ids = tuple(f"row {i}" for i in range(rows))
    names = tuple(f"x{i}" for i in range(sum(columns)))
    stops = np.cumsum([0, *columns])
    return [
        Table(
            f"party {place}",
            ids,
            names[stops[place] : stops[place + 1]],
            values[:, stops[place] : stops[place + 1]],
            y if place == 0 else None,
        )
        for place in range(len(columns))
    ]


@dataclass
class Joint:
    """All fitted estimators, the active party's first, and its margins of the rows given for scoring."""

    models: list[VerticalGBDT]
    margins: np.ndarray | None


def fit_jointly(
    parts: Sequence[Table],
    config: GBDTConfig,
    keys: Sequence[hecore.PrivateKey],
    *,
    evaluation: Sequence[Table] | None = None,
    score: Sequence[Table] | None = None,
    categorical: Sequence[Sequence[str]] | None = None,
    objective: Any = None,
    **fit: Any,
) -> Joint:
    """Train the estimators of the objective over loopback channels.

    Then score `score`, the training tables by default.
    """
    mine, theirs = star(len(parts) - 1)
    ends: list[Any] = [mine, *theirs]
    kind = VerticalGBDTClassifier if config.objective in CLASSES else VerticalGBDTRegressor
    models = [
        kind(
            end,
            config,
            key=keys[place % len(keys)],
            categorical=categorical[place] if categorical else (),
            objective=objective if place == 0 else None,
        )
        for place, end in enumerate(ends)
    ]

    def work(place: int) -> Any:
        options = fit if place == 0 else {}
        models[place].fit(parts[place], None if evaluation is None else evaluation[place], **options)
        return models[place].margins((score or parts)[place])

    results = run_all([lambda place=place: work(place) for place in range(len(parts))])
    assert results[1:] == [None] * (len(parts) - 1)  # passive parties get no scores
    return Joint(models, results[0])


def fit_centrally(
    parts: Sequence[Table],
    config: GBDTConfig,
    evaluation: Sequence[Table] | None = None,
    sample_weight: Any = None,
    **options: Any,
) -> CentralModel:
    """The centralised run of the same training."""
    names = ["active", *(f"passive{number}" for number in range(1, len(parts)))]
    rows = training_rows([parts[0]] if evaluation is None else [parts[0], evaluation[0]], sample_weight)
    return train_centrally(config, list(zip(names, parts, strict=True)), rows, evaluation, **options)


def assert_lossless(joint: Joint, central: CentralModel, score: Sequence[Table]) -> None:
    """Equal splits; gains, leaf values and margins within 1e-6 (they are equal bit for bit, in fact)."""
    active = joint.models[0].share
    for mine, theirs in zip((m.share.splits for m in joint.models), central.splits, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(mine.parts(), theirs.parts(), strict=True))
    for name in ("start", "output", "owner", "left", "right"):
        assert np.array_equal(getattr(active.forest, name), getattr(central.forest, name))
    for name in ("value", "gain", "cover"):
        np.testing.assert_allclose(
            getattr(active.forest, name), getattr(central.forest, name), rtol=1e-6, atol=1e-6
        )
    np.testing.assert_allclose(joint.margins, central.margins(score), rtol=1e-6, atol=1e-6)
