"""What `hecore-bench gbdt` does: problems, sweeps and an estimate from its options."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from rich.console import Console

from hecore.algorithms.gbdt import GBDTConfig, Progress

from .command import print_machine, told_key_bits
from .gbdt import Problem, ProblemError, TreesRecord, TreesRun, a9a, measure, synthetic
from .gbdt_estimate import H200_TARGETS, Size, estimate, measured_rates
from .gbdt_tables import plot_runs, print_estimates, print_runs
from .machine import describe, versions

CASES = ("synthetic", "a9a")
#: Factors of a sweep: around the synthetic set as it is.
SWEEPS = {
    "rows": (0.25, 0.5, 1.0),
    "columns": (0.25, 0.5, 1.0),
    "bins": (0.25, 0.5, 1.0),
    "depth": (0.5, 1.0, 1.5),
}
#: 5 M rows × 500 columns, half of them at the passive party, 10 classes.
LARGE = Size(rows=5_000_000, columns=250, bins=32, depth=5, outputs=10)


@dataclass(frozen=True)
class Wishes:
    """The options of the command."""

    cases: list[str]
    data: Path | None
    rows: int
    columns: tuple[int, int]
    bins: int
    depth: int
    trees: int
    sweep: list[str]
    estimate: bool
    key_bits: int

    def __post_init__(self) -> None:
        for name, known in ((self.cases, CASES), (self.sweep, tuple(SWEEPS))):
            bad = [word for word in name if word not in known]
            if bad:
                raise ProblemError(f"{bad[0]!r} is not one of {', '.join(known)}")

    @property
    def config(self) -> GBDTConfig:
        """Of the synthetic set."""
        return GBDTConfig(n_estimators=self.trees, max_depth=self.depth, max_bin=self.bins)


def measure_all(wishes: Wishes, console: Console, json: Path | None, plot: Path | None) -> TreesRecord:
    """Measure, print, and write what is asked for."""
    machine = describe(None)
    runs = [_measured(problem, wishes, console) for problem in _problems(wishes)]
    sweeps = {
        name: [_measured(problem, wishes, console) for problem in _swept(wishes, name)]
        for name in wishes.sweep
    }
    record = TreesRecord(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=_command(wishes),
        machine=machine,
        versions=versions(),
        runs=runs + [run for swept in sweeps.values() for run in swept],
    )
    print_runs(record.runs, console)
    if wishes.estimate:
        here = measured_rates()
        print_estimates(LARGE, [(rates, estimate(LARGE, rates)) for rates in (here, H200_TARGETS)], console)
    print_machine(machine, record.command, console)
    if json is not None:
        json.write_bytes(msgspec.json.format(msgspec.json.encode(record)))
    if plot is not None:
        plot_runs(dict(sweeps), runs, plot)
    return record


def _measured(problem: Problem, wishes: Wishes, console: Console) -> TreesRun:
    with console.status(problem.name) as status:

        def show(progress: Progress) -> None:
            status.update(f"{problem.name}: tree {progress.round} of {progress.rounds}")

        return measure(problem, key_bits=wishes.key_bits, on_tree=show)


def _problems(wishes: Wishes) -> Iterator[Problem]:
    if "synthetic" in wishes.cases:
        yield synthetic(wishes.rows, wishes.columns, wishes.config)
    if "a9a" in wishes.cases:
        if wishes.data is None:
            raise ProblemError("a9a needs --data, the folder with its files")
        config = GBDTConfig(n_estimators=wishes.trees, max_depth=6, max_bin=255, learning_rate=0.1)
        yield a9a(wishes.data, config)


def _swept(wishes: Wishes, name: str) -> Iterator[Problem]:
    """The synthetic set with one of its sizes changed."""
    for factor in SWEEPS[name]:
        changed = wishes
        if name == "rows":
            changed = replace(wishes, rows=max(20, round(wishes.rows * factor)))
        elif name == "columns":
            passive = max(1, round(wishes.columns[1] * factor))
            changed = replace(wishes, columns=(wishes.columns[0], passive))
        elif name == "bins":
            changed = replace(wishes, bins=max(2, round(wishes.bins * factor)))
        else:
            changed = replace(wishes, depth=max(1, round(wishes.depth * factor)))
        yield synthetic(changed.rows, changed.columns, changed.config)


def _command(wishes: Wishes) -> str:
    """The command that repeats the run: no file names."""
    parts = [
        f"hecore-bench gbdt --case {','.join(wishes.cases)} --rows {wishes.rows}",
        f"--columns {wishes.columns[0]},{wishes.columns[1]} --bins {wishes.bins} --depth {wishes.depth}",
        f"--trees {wishes.trees} {told_key_bits(wishes.key_bits)}",
    ]
    parts += [f"--sweep {','.join(wishes.sweep)}"] if wishes.sweep else []
    return " ".join(parts + (["--estimate"] if wishes.estimate else []))
