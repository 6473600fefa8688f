"""Two parties in two threads, the same training in the clear, and small tables."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import hecore
from hecore.algorithms.channel import Channel, loopback_pair
from hecore.algorithms.data import Table
from hecore.algorithms.lr import (
    LinearConfig,
    VerticalLinearRegression,
    VerticalLogisticRegression,
    VerticalPoissonRegression,
)
from hecore.algorithms.lr.objectives import Objective, row_weights
from hecore.algorithms.lr.polynomials import polynomial_of
from hecore.algorithms.lr.scaling import fit_scaling, standardise, with_ones

ESTIMATORS = {
    "binary:logistic": VerticalLogisticRegression,
    "multi:logistic": VerticalLogisticRegression,
    "reg:squarederror": VerticalLinearRegression,
    "count:poisson": VerticalPoissonRegression,
}


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
        return futures[0].exception(timeout=250), futures[1].exception(timeout=250)


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


def star(parties: int) -> tuple[list[Channel], list[Channel]]:
    """Channels between the active party and each of the passive ones: its ends, and theirs."""
    pairs = [loopback_pair("active", f"passive {k}") for k in range(1, parties)]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def at_once(work: list[Callable[[], Any]]) -> list[Any]:
    """Run all parties at once; an exception of any is raised, the first one's first."""
    with ThreadPoolExecutor(len(work)) as pool:
        futures = [pool.submit(one) for one in work]
        return [future.result(timeout=600) for future in futures]


def fit_star(
    data: list[Table],
    config: LinearConfig,
    keys: list[hecore.PrivateKey],
    *,
    evaluation: list[Table] | None = None,
    sample_weight: np.ndarray | None = None,
    score: list[Table] | None = None,
    channels: tuple[list[Channel], list[Channel]] | None = None,
) -> tuple[list[Any], Any]:
    """The fitted estimators of all parties, the active one first, and its predictions of `score`."""
    mine, theirs = channels or star(len(data))
    kind = ESTIMATORS[config.objective]
    models = [kind(mine, config, key=keys[0])]
    models += [kind(end, config, key=key) for end, key in zip(theirs, keys[1:], strict=True)]

    def run(place: int) -> Any:
        model, table = models[place], data[place]
        rows = None if evaluation is None else evaluation[place]
        model.fit(table, rows, sample_weight if place == 0 else None)
        if score is None:
            return None
        return getattr(model, "predict_proba", model.predict)(score[place])

    scores, *nothing = at_once([lambda place=place: run(place) for place in range(len(data))])
    assert nothing == [None] * (len(data) - 1)  # the passive parties get no scores
    return models, scores


def split_table(table: Table, widths: tuple[int, ...]) -> list[Table]:
    """The columns of a table dealt out to parties; the first keeps the label."""
    starts = np.cumsum([0, *widths])
    parts = []
    for place, (start, end) in enumerate(itertools.pairwise(starts)):
        part = table.select(table.columns[start:end])
        parts.append(replace(part, name=f"party {place}", label=table.label if place == 0 else None))
    return parts


def problem(rows: int, columns: int, kind: str = "binary:logistic", seed: int = 0) -> Table:
    """A learnable problem of one objective, columns of different scales."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(rows, columns)) * rng.uniform(0.1, 50, columns) + 3
    logits = ((values - values.mean(axis=0)) / values.std(axis=0)) @ rng.normal(size=(columns, 3)) * 0.4
    label = {
        "binary:logistic": lambda: (logits[:, 0] + rng.logistic(size=rows) * 0.5 > 0).astype(float),
        "multi:logistic": lambda: np.argmax(logits + rng.gumbel(size=logits.shape) * 0.5, axis=1).astype(
            float
        ),
        "reg:squarederror": lambda: 1000.0 + 70 * logits[:, 0] + rng.normal(size=rows) * 10,
        "count:poisson": lambda: rng.poisson(2 * np.exp(logits[:, 0])).astype(float),
    }[kind]()
    names = tuple(f"x{i}" for i in range(columns))
    return Table("all", tuple(f"row {i}" for i in range(rows)), names, values, label)


def clear_steps(*data: Table, config: LinearConfig, weight: Any = None) -> Iterator[SimpleNamespace]:
    """The same mini-batch SGD in the clear, float64, batch by batch, before each step's update.

    blocks   places of each party's columns in `weights`; the active party's has the intercept last
    """
    parts = [standardise(table, *fit_scaling(table)) for table in data]
    parts = [part if isinstance(part, np.ndarray) else part.toarray() for part in parts]
    parts[0] = with_ones(parts[0])
    x = np.hstack(parts)
    starts = np.cumsum([0, *(part.shape[1] for part in parts)])
    blocks = [slice(a, b) for a, b in itertools.pairwise(starts)]
    objective = Objective.of(config, data[0])
    omega = row_weights(config, data[0], weight)
    omega = np.ones(len(data[0])) if omega is None else omega
    polynomial, targets = polynomial_of(config), objective.targets(data[0])
    penalty = np.full((x.shape[1], 1), config.alpha)
    penalty[blocks[0].stop - 1] = 0
    weights = np.zeros((x.shape[1], objective.outputs))
    velocity = np.zeros_like(weights)
    order_of_rows = np.random.default_rng(config.seed)
    count = max(1, round(len(data[0]) / config.batch_size))
    for epoch in range(config.epochs):
        order = order_of_rows.permutation(len(data[0]))
        for batch, places in enumerate(np.array_split(np.arange(len(data[0])), count)):
            rows = order[places]
            logits = x[rows] @ weights
            residual = omega[rows, None] * (polynomial(logits) - targets[rows])
            gradient = x[rows].T @ residual / rows.size
            step = gradient + penalty * weights
            velocity = config.momentum * velocity + step
            before, weights = weights, weights - config.rate(epoch) * velocity
            yield SimpleNamespace(
                epoch=epoch,
                batch=batch,
                rows=rows,
                x=[x[rows, block] for block in blocks],
                partial=[x[rows, block] @ before[block] for block in blocks],
                logits=logits,
                residual=residual,
                gradient=[gradient[block] for block in blocks],
                weights=weights,
                blocks=blocks,
            )


def clear_fit(*data: Table, config: LinearConfig, weight: Any = None) -> SimpleNamespace:
    """The outcome of `clear_steps`: each block's weights, the intercept, and Σ e² of each epoch by rows."""
    squares: dict[int, float] = {}
    step = None
    for step in clear_steps(*data, config=config, weight=weight):
        squares[step.epoch] = squares.get(step.epoch, 0.0) + float((step.residual**2).sum())
    assert step is not None
    blocks = [step.weights[block] for block in step.blocks]
    outputs = step.weights.shape[1]
    mean = np.array(list(squares.values())) / len(data[0])
    plain = config.is_logistic and config.sigmoid == "linear" and row_weights(config, data[0], weight) is None
    if plain:
        loss = 2 * mean + outputs * (np.log(2) - 0.5)
    else:
        loss = mean * (0.5 if config.objective == "reg:squarederror" else 1.0)
    return SimpleNamespace(
        active=blocks[0][:-1].squeeze(axis=1) if outputs == 1 else blocks[0][:-1],
        intercept=blocks[0][-1].tolist(),
        passive=blocks[1].squeeze(axis=1) if outputs == 1 else blocks[1],
        blocks=[blocks[0][:-1], *blocks[1:]],
        loss=loss.tolist(),
    )
