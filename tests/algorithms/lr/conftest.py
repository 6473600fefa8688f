"""Two parties in two threads, the same training in the clear, and small tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

import hecore
from hecore.algorithms.channel import Channel, loopback_pair
from hecore.algorithms.data import Table
from hecore.algorithms.lr import LinearConfig, VerticalLogisticRegression


@pytest.fixture(scope="session")
def small_keys() -> tuple[hecore.PrivateKey, hecore.PrivateKey]:
    """Two keys that are quick and insecure: for the flow of a protocol, not for its strength."""
    first, second = (hecore.generate_key(512, insecure_test_key=True) for _ in range(2))
    return first, second


def small_config(**options: Any) -> LinearConfig:
    """A configuration for tables of a few rows, with weights delivered in full."""
    return LinearConfig(**{"allow_small_data": True, "output_bits": 32} | options)


def together(active: Callable[[], Any], passive: Callable[[], Any]) -> tuple[Any, Any]:
    """Run both parties at once; an exception of either is raised, the active one's first."""
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(active), pool.submit(passive)]
        return futures[0].result(timeout=600), futures[1].result(timeout=600)


def failures(active: Callable[[], Any], passive: Callable[[], Any]) -> tuple[Any, Any]:
    """The exception that each party ended with, or None."""
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(active), pool.submit(passive)]
        return futures[0].exception(timeout=60), futures[1].exception(timeout=60)


def tables(rows: int, active: int, passive: int, seed: int = 0) -> tuple[Table, Table]:
    """A learnable problem over columns of different scales, split between two parties."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(rows, active + passive)) * rng.uniform(0.1, 50, active + passive) + 3
    direction = rng.normal(size=active + passive) / values.std(axis=0)
    noise = rng.logistic(size=rows)
    label = ((values - values.mean(axis=0)) @ direction + noise > 0).astype(np.float64)
    ids = tuple(f"row {i}" for i in range(rows))
    names = tuple(f"x{i}" for i in range(active + passive))
    return (
        Table("active", ids, names[:active], values[:, :active], label),
        Table("passive", ids, names[active:], values[:, active:]),
    )


@dataclass
class Pair:
    """Both fitted estimators, and the active one's scores of the rows given for scoring."""

    active: VerticalLogisticRegression
    passive: VerticalLogisticRegression
    scores: np.ndarray | None


def fit_pair(
    active: Table,
    passive: Table,
    config: LinearConfig,
    keys: tuple[hecore.PrivateKey, hecore.PrivateKey],
    *,
    score: tuple[Table, Table] | None = None,
    channels: tuple[Channel, Channel] | None = None,
) -> Pair:
    """Train, and score if asked to, over a loopback pair or the channels given."""
    ends = channels or loopback_pair()
    models = [VerticalLogisticRegression(end, config, key=key) for end, key in zip(ends, keys, strict=True)]

    def run(model: VerticalLogisticRegression, table: Table, test: Table | None) -> Any:
        model.fit(table)
        return None if test is None else model.predict_proba(test)

    tests = score or (None, None)
    scores, nothing = together(
        lambda: run(models[0], active, tests[0]), lambda: run(models[1], passive, tests[1])
    )
    assert nothing is None  # the passive party gets no scores
    return Pair(models[0], models[1], scores)


def clear_steps(active: Table, passive: Table, config: LinearConfig) -> Iterator[SimpleNamespace]:
    """The same mini-batch SGD in the clear, float64, batch by batch, before each step's update."""
    own = StandardScaler().fit_transform(active.values)
    xa = np.column_stack([own, np.ones(len(active))])
    xb = StandardScaler().fit_transform(passive.values)
    x = np.column_stack([xa, xb])
    columns = xa.shape[1]
    penalty = np.full(x.shape[1], config.alpha)
    penalty[columns - 1] = 0
    weights, velocity = np.zeros(x.shape[1]), np.zeros(x.shape[1])
    order_of_rows = np.random.default_rng(config.seed)
    count = max(1, round(len(active) / config.batch_size))
    for epoch in range(config.epochs):
        order = order_of_rows.permutation(len(active))
        for batch, places in enumerate(np.array_split(np.arange(len(active)), count)):
            rows = order[places]
            za, zb = xa[rows] @ weights[:columns], xb[rows] @ weights[columns:]
            residual = 0.25 * (za + zb) + 0.5 - active.label[rows]
            gradient = x[rows].T @ residual / rows.size + penalty * weights
            velocity = config.momentum * velocity + gradient
            weights = weights - config.rate(epoch) * velocity
            yield SimpleNamespace(
                epoch=epoch,
                batch=batch,
                rows=rows,
                xa=xa[rows],
                xb=xb[rows],
                za=za,
                zb=zb,
                residual=residual,
                gradient=gradient,
                weights=weights,
                columns=columns,
            )


def clear_fit(active: Table, passive: Table, config: LinearConfig) -> SimpleNamespace:
    """The outcome of `clear_steps`: both blocks' weights, the intercept, and the loss of each epoch."""
    losses: dict[int, float] = {}
    step = None
    for step in clear_steps(active, passive, config):
        losses[step.epoch] = losses.get(step.epoch, 0.0) + 2 * float(step.residual @ step.residual)
    assert step is not None
    return SimpleNamespace(
        active=step.weights[: step.columns - 1],
        intercept=step.weights[step.columns - 1],
        passive=step.weights[step.columns :],
        loss=[total / len(active) + np.log(2) - 0.5 for total in losses.values()],
    )
