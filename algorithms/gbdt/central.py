"""The centralised run: the same code on the same integers, with all columns in one place.

It is what joint training is held against: equal splits, gains, leaf values and predictions. Parties keep
their names and blocks, since the names seed the column sampling and the order of blocks decides between equal
gains.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hecore import Meter
from hecore.algorithms.data import Table
from hecore.algorithms.data.table import Matrix
from hecore.algorithms.gbdt.active import ActiveTraining, Block, Progress, TrainingRows
from hecore.algorithms.gbdt.binning import ColumnBins, apply_bins, fit_bins
from hecore.algorithms.gbdt.config import GBDTConfig
from hecore.algorithms.gbdt.objectives import Floats, Gradient, Objective, make_objective, transform
from hecore.algorithms.gbdt.planner import SUMS_AT_ONCE, Plan
from hecore.algorithms.gbdt.predict import by_place
from hecore.algorithms.gbdt.trees import Forest, SplitTable


@dataclass(frozen=True)
class CentralModel:
    """All shares in one place."""

    objective: Objective
    bins: list[tuple[ColumnBins, ...]]
    forest: Forest
    splits: list[SplitTable]
    metrics: list[tuple[float, float | None]]

    def margins(self, values: Sequence[Matrix]) -> Floats:
        """Margins (rows, outputs) of rows whose blocks of columns are given."""
        parts = [
            splits.directions(apply_bins(bins, block))
            for splits, bins, block in zip(self.splits, self.bins, values, strict=True)
        ]
        goes_left = by_place(self.forest, parts)
        return self.forest.margins(goes_left, len(values[0]), self.objective.outputs, self.objective.start)

    def predict(self, values: Sequence[Matrix]) -> Floats:
        """Predictions: probabilities or means."""
        return transform(self.objective.name, self.margins(values))


def train_centrally(
    config: GBDTConfig,
    tables: Sequence[tuple[str, Table]],
    rows: TrainingRows,
    evaluation: Sequence[Table] | None = None,
    *,
    custom: Gradient | None = None,
    categorical: Sequence[Sequence[str]] | None = None,
    meter: Meter | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> CentralModel:
    """Train on the (party, table) blocks given, the active party's first; rows as in `training_rows`."""
    weight = None if rows.weight is None else rows.weight[rows.training]
    objective = make_objective(config, rows.label[rows.training], weight, custom)
    bins, blocks = [], []
    for place, (party, table) in enumerate(tables):
        names = categorical[place] if categorical else ()
        own = fit_bins(table.columns, table.values, config.max_bin, config.min_samples_bin, names)
        values = table.values
        if evaluation is not None:
            values = np.concatenate([values, evaluation[place].values])
        bins.append(own)
        blocks.append(Block(party, apply_bins(own, values)))
    trained = ActiveTraining(
        config,
        objective,
        rows,
        blocks,
        plan=Plan(len(rows.label), SUMS_AT_ONCE),
        meter=meter or Meter(),
        on_progress=on_progress,
    ).run()
    return CentralModel(objective, bins, trained.forest, trained.splits, trained.metrics)
