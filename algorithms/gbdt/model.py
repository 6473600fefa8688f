"""Shares of a model: what each party keeps after training.

The active party's share has the shape of the trees, leaf values and its own splits; a passive party's share
has its own splits, and nothing of the label: no gain, no Σg, no Σh, no leaf value.
"""

from __future__ import annotations

from dataclasses import dataclass

from hecore.algorithms.gbdt.binning import ColumnBins
from hecore.algorithms.gbdt.trees import Forest, SplitTable


@dataclass(frozen=True)
class PassiveShare:
    """A passive party's half of a model; `model` is equal in all shares."""

    model: str
    party: str
    columns: tuple[str, ...]
    bins: tuple[ColumnBins, ...]
    splits: SplitTable


@dataclass(frozen=True)
class ActiveShare:
    """The active party's half of a model.

    peers     passive parties, as the owners 1, 2, … of `forest`; owner 0 is this party
    start     the margin before the first tree
    metrics   (training, evaluation or None) by round
    """

    model: str
    party: str
    peers: tuple[str, ...]
    columns: tuple[str, ...]
    bins: tuple[ColumnBins, ...]
    objective: str
    outputs: int
    start: float
    metric_name: str
    metrics: list[tuple[float, float | None]]
    splits: SplitTable
    forest: Forest
