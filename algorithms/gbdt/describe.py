"""A share of a model for people: what it is of, and how much its columns count."""

from __future__ import annotations

from rich.console import RenderableType
from rich.table import Table

from hecore.algorithms.checks import counted
from hecore.algorithms.gbdt.importance import GAIN, WEIGHT, importances
from hecore.algorithms.gbdt.model import ActiveShare, PassiveShare

#: Columns that the table of importances shows; the rest is counted.
SHOWN = 20


def describe_share(share: ActiveShare | PassiveShare) -> list[RenderableType]:
    """Tables: the share, and its most used columns."""
    return [_facts(share), _columns(share)]


def _facts(share: ActiveShare | PassiveShare) -> Table:
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    side = (
        "active (label, leaf values, own splits)"
        if isinstance(share, ActiveShare)
        else "passive (own splits)"
    )
    table.add_row("model", share.model)
    table.add_row("party", f"{share.party}, {side}")
    if isinstance(share, ActiveShare):
        forest = share.forest
        table.add_row("trained with", ", ".join(share.peers))
        table.add_row(
            "objective",
            f"{share.objective}, {counted(share.outputs, 'output')}, starting at {share.start:.6g}",
        )
        leaves = int((forest.owner < 0).sum())
        table.add_row("trees", f"{forest.trees:,} with {leaves:,} {'leaf' if leaves == 1 else 'leaves'}")
        owners = [share.party, *share.peers]
        counts = ", ".join(f"{name} {forest.splits_of(place).size}" for place, name in enumerate(owners))
        table.add_row("splits", counts)
        if share.metrics:
            train, evaluation = share.metrics[-1]
            text = f"{train:.6g} on training rows"
            text += "" if evaluation is None else f", {evaluation:.6g} on evaluation rows"
            table.add_row(f"last {share.metric_name}", text)
    else:
        table.add_row("splits", str(len(share.splits)))
    categorical = sum(bins.categorical for bins in share.bins)
    texts = sum(bins.texts is not None for bins in share.bins)
    table.add_row(
        "columns", f"{len(share.columns)}, {categorical} of them categorical, {texts} by their texts"
    )
    return table


def _columns(share: ActiveShare | PassiveShare) -> Table:
    kinds = [WEIGHT, GAIN] if isinstance(share, ActiveShare) else [WEIGHT]
    values = {kind: importances(share, kind) for kind in kinds}
    ranked = sorted(share.columns, key=lambda name: -values[kinds[-1]][name])
    used = [name for name in ranked if values[WEIGHT][name]]
    table = Table(title=f"own columns: {len(used)} of {len(ranked)} used")
    table.add_column("column")
    for kind in kinds:
        table.add_column("splits" if kind == WEIGHT else "mean gain", justify="right")
    for name in used[:SHOWN]:
        numbers = [
            f"{values[kind][name]:.0f}" if kind == WEIGHT else f"{values[kind][name]:.4g}" for kind in kinds
        ]
        table.add_row(name, *numbers)
    if len(used) > SHOWN:
        table.add_row(f"… {len(used) - SHOWN} more", *([""] * len(kinds)))
    return table
