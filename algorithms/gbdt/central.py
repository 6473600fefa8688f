"""The centralised run: the same code on the same integers, with all columns in one place.

It is what joint training is held against: equal splits, gains, leaf values and predictions. Parties keep
their names and blocks, since the names seed the column sampling and the order of blocks decides between equal
gains.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hecore import Meter
from hecore.algorithms.data import Table
from hecore.algorithms.gbdt.active import ActiveTraining, Block, Progress, TrainingRows
from hecore.algorithms.gbdt.binning import ColumnBins
from hecore.algorithms.gbdt.config import GBDTConfig
from hecore.algorithms.gbdt.objectives import Gradient, Objective, make_objective, transform
from hecore.algorithms.gbdt.planner import SUMS_AT_ONCE, Plan
from hecore.algorithms.gbdt.predict import by_place
from hecore.algorithms.gbdt.tables import binned, fitted_bins
from hecore.algorithms.gbdt.trees import Forest, SplitTable
from hecore.algorithms.objectives import Floats


@dataclass(frozen=True)
class CentralModel:
    """All shares in one place."""

    objective: Objective
    columns: list[tuple[str, ...]]
    bins: list[tuple[ColumnBins, ...]]
    forest: Forest
    splits: list[SplitTable]
    metrics: list[tuple[float, float | None]]

    def margins(self, tables: Sequence[Table]) -> Floats:
        """Margins (rows, outputs) of rows whose tables are given, one a party."""
        parts = [
            splits.directions(binned(columns, bins, [table]))
            for splits, columns, bins, table in zip(self.splits, self.columns, self.bins, tables, strict=True)
        ]
        goes_left = by_place(self.forest, parts)
        return self.forest.margins(goes_left, len(tables[0]), self.objective.outputs, self.objective.start)

    def predict(self, tables: Sequence[Table]) -> Floats:
        """Predictions: probabilities or means."""
        return transform(self.objective.name, self.margins(tables))


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
        own = fitted_bins(table, config, names)
        parts = [table] if evaluation is None else [table, evaluation[place]]
        bins.append(own)
        blocks.append(Block(party, binned(table.columns, own, parts)))
    trained = ActiveTraining(
        config,
        objective,
        rows,
        blocks,
        plan=Plan(len(rows.label), SUMS_AT_ONCE),
        meter=meter or Meter(),
        on_progress=on_progress,
    ).run()
    columns = [table.columns for _, table in tables]
    return CentralModel(objective, columns, bins, trained.forest, trained.splits, trained.metrics)
