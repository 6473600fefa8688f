"""Runs of joint trees as tables and as a picture."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from .gbdt import TreesRun
from .gbdt_estimate import Estimate, Rates, Size

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PHASES = {
    "gradients": "gradients",
    "encrypt": "encrypting (g, h)",
    "validate": "validating",
    "histogram": "encrypted histograms",
    "pack": "packing, fresh noise",
    "decrypt": "decrypting sums",
    "local": "own histograms",
    "wait": "waiting for the peer",
}
COLOURS = ("#4477aa", "#228833", "#ccbb44", "#ee6677", "#aa3377", "#66ccee", "#999933", "#dddddd")


def print_runs(runs: Sequence[TreesRun], console: Console) -> None:
    """Seconds a tree of each run, then phases by party."""
    table = Table(
        title="seconds a tree, both parties on this machine: median, range, processor seconds, bytes"
    )
    for name in ("problem", "bins", "depth", "seconds", "range", "processor", "trees", "sent", "score"):
        table.add_column(name, justify="left" if name in ("problem", "score") else "right")
    for run in runs:
        trees = len(run.tree_seconds) + 1
        sent = sum(party.sent_bytes for party in run.parties.values()) / trees
        table.add_row(
            run.problem,
            str(run.bins),
            str(run.depth),
            f"{run.median:.2f}",
            f"{min(run.tree_seconds):.2f}–{max(run.tree_seconds):.2f}",
            f"{statistics.median(run.processor_seconds):.2f}",
            str(len(run.tree_seconds)),
            f"{sent / 1e6:.1f} MB",
            ", ".join(f"{name} {value:.4f}" for name, value in run.scores.items()),
        )
    console.print(table)
    for run in runs:
        console.print(_phases(run))


def _phases(run: TreesRun) -> Table:
    trees = len(run.tree_seconds) + 1
    table = Table(title=f"{run.problem}: seconds a tree by phase (the parties work at the same time)")
    table.add_column("phase")
    for party in run.parties:
        table.add_column(party, justify="right")
    for phase, text in PHASES.items():
        seconds = [party.seconds.get(phase, 0.0) / trees for party in run.parties.values()]
        table.add_row(text, *(f"{value:.2f}" for value in seconds))
    return table


def print_estimates(size: Size, rows: Sequence[tuple[Rates, Estimate]], console: Console) -> None:
    """Estimates of one size on several machines."""
    table = Table(
        title=f"estimate of one tree: {size.rows:,} rows × {size.columns} passive columns, {size.bins} bins,"
        f" depth {size.depth}, {size.outputs} outputs"
    )
    for name in ("machine", "encrypt", "histograms", "pack", "replies", "sum, seconds"):
        table.add_column(name, justify="left" if name == "machine" else "right")
    for rates, parts in rows:
        numbers = (parts.encrypt, parts.histogram, parts.pack, parts.reply, parts.total)
        table.add_row(rates.name, *(f"{value:,.1f}" for value in numbers))
    console.print(table)


def plot_runs(sweeps: dict[str, Sequence[TreesRun]], runs: Sequence[TreesRun], path: Path) -> None:
    """Cost a tree against what each sweep changes, and the phases of each run, as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = len(sweeps) + bool(runs)
    figure = Figure(figsize=(4.2 * max(1, panels), 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, max(1, panels), squeeze=False)[0]
    for axis, (name, swept) in zip(axes, sweeps.items(), strict=False):
        _plot_sweep(axis, name, swept)
    if runs:
        _plot_phases(axes[-1], runs)
    figure.savefig(path, format=path.suffix[1:].lower(), dpi=150)


def swept_value(name: str, run: TreesRun) -> float:
    """What a sweep of this name changes."""
    return {"rows": run.rows, "columns": run.columns[1], "bins": run.bins, "depth": run.depth}[name]


def _plot_sweep(axis: Axes, name: str, runs: Sequence[TreesRun]) -> None:
    places = [swept_value(name, run) for run in runs]
    work = [statistics.median(run.processor_seconds) for run in runs]
    axis.plot(places, [run.median for run in runs], marker="o", color=COLOURS[0], label="clock")
    axis.plot(places, work, marker="s", color=COLOURS[1], label="processor, both parties")
    axis.legend(fontsize=6, frameon=False)
    axis.set(xlabel="passive columns" if name == "columns" else name, ylabel="seconds a tree")
    axis.set_ylim(bottom=0)
    axis.grid(alpha=0.3)


def _plot_phases(axis: Axes, runs: Sequence[TreesRun]) -> None:
    labels = [f"{run.problem}\n{party}" for run in runs for party in run.parties]
    costs = [(party, len(run.tree_seconds) + 1) for run in runs for party in run.parties.values()]
    start = [0.0] * len(costs)
    for (phase, text), colour in zip(PHASES.items(), COLOURS, strict=True):
        seconds = [party.seconds.get(phase, 0.0) / trees for party, trees in costs]
        axis.barh(labels, seconds, left=start, label=text, color=colour)
        start = [a + b for a, b in zip(start, seconds, strict=True)]
    axis.tick_params(axis="y", labelsize=6)
    axis.set(xlabel="seconds a tree")
    axis.legend(fontsize=5, frameon=False)
