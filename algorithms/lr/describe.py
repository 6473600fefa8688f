"""A share of a linear model for people: what it is of, and how much its columns count."""

from __future__ import annotations

import numpy as np
from rich.console import RenderableType
from rich.table import Table

from hecore.algorithms.checks import counted
from hecore.algorithms.lr.share import ModelRecord

#: Columns that the table of weights shows; the rest is counted.
SHOWN = 20


def describe_record(record: ModelRecord) -> list[RenderableType]:
    """Tables: the share, and its columns of largest weight."""
    return [_facts(record), _columns(record)]


def _facts(record: ModelRecord) -> Table:
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    active = record.active
    side = "passive (own weights)" if active is None else "active (label, intercept, own weights)"
    table.add_row("model", record.model)
    table.add_row("party", f"{record.party}, {side}")
    table.add_row("objective", f"{record.config.objective}, {counted(record.outputs, 'output')}")
    if active is not None:
        table.add_row("intercept", ", ".join(f"{value:.4g}" for value in active.intercept))
        if active.metrics:
            text = f"{active.metrics[-1]:.6g} on evaluation rows"
            table.add_row(f"last {active.objective.metric_name}", text)
    if record.loss:
        table.add_row("last loss", f"{record.loss[-1]:.6g} on training rows")
    table.add_row("columns", str(len(record.columns)))
    return table


def _columns(record: ModelRecord) -> Table:
    """Columns are standardised, so that their weights can be compared."""
    weights = np.array(record.weights)
    order = np.argsort(-np.abs(weights).max(axis=1), kind="stable")
    table = Table(title="own columns by weight, standardised")
    table.add_column("column")
    for output in range(record.outputs):
        table.add_column("weight" if record.outputs == 1 else f"class {output}", justify="right")
    for place in order[:SHOWN]:
        table.add_row(record.columns[place], *(f"{weight:.4g}" for weight in weights[place]))
    if len(order) > SHOWN:
        table.add_row(f"… {len(order) - SHOWN} more", *([""] * record.outputs))
    return table
