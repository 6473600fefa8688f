"""Rows of two parties to train on: normal columns, the label of a noisy linear score."""

from __future__ import annotations

import numpy as np

from hecore.algorithms.data import Table


def make_tables(
    rows: int,
    columns: tuple[int, int],
    *,
    classes: int = 2,
    seed: int = 0,
    parties: tuple[str, str] = ("active", "passive"),
    prefix: str = "",
) -> tuple[Table, Table]:
    """The active party's table, with labels 0 … classes − 1 alike often, and the passive one's.

    prefix  of the ids, which are numbers otherwise
    """
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((rows, sum(columns)), dtype=np.float32).astype(np.float64)
    score = values @ rng.normal(size=sum(columns)) / np.sqrt(sum(columns)) + 0.3 * rng.logistic(size=rows)
    label = np.searchsorted(np.quantile(score, np.arange(1, classes) / classes), score).astype(np.float64)
    ids = tuple(f"{prefix}{row}" for row in range(rows))
    names = tuple(f"x{place}" for place in range(sum(columns)))
    own, other = np.split(values, [columns[0]], axis=1)
    return (
        Table(parties[0], ids, names[: columns[0]], own, label),
        Table(parties[1], ids, names[columns[0] :], other),
    )
