"""`hecore-bench run` and `bound`: operations checked, timed, printed and recorded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)

import hecore
from hecore.algorithms.cli.console import friendly

from .cases import Case, select
from .command import InsecureTestKey, check_key_bits, numbers, output, words
from .machine import limited
from .peers import PEERS
from .record import Failure, Record, Row, save
from .runner import BACKENDS, Plan, Watcher
from .runner import run as run_plan
from .tables import print_record, readable

RUN_EXAMPLES = """
Every result is checked before it is timed. Rates are medians of repeated calls through the public Python
API on numpy arrays, conversions included.

[bold]Examples[/bold]

hecore-bench run --threads 1 --peers phe

hecore-bench run --backend gmp,simd --key-bits 2048,3072 --ops headline --json today.json

hecore-bench run --backend cuda --ops add,sum --batch 100000,1000000 --seconds 3
"""


class _ProgressWatcher(Watcher):
    """Shows on a progress bar what runs, what it reached, and what remains."""

    def __init__(self, progress: Progress, steps: int) -> None:
        self._progress = progress
        self._task = progress.add_task("keys", total=steps, last="")

    def started(self, case: Case, key_bits: int, subjects: Sequence[str]) -> None:
        text = f"{case.name}, {key_bits} bits, {' '.join(subjects)}"
        self._progress.update(self._task, description=text)

    def measured(self, row: Row) -> None:
        self._progress.update(self._task, last=f"{row.case} {row.subject} {readable(row.rate)}")

    def failed(self, failure: Failure) -> None:
        self._progress.console.print(
            f"{failure.case} on {failure.subject}: {failure.message}", style="red", markup=False
        )

    def finished(self) -> None:
        self._progress.advance(self._task)


@friendly
def run(
    backend: Annotated[
        str, typer.Option(help="Backends, separated by commas; a missing one is named with its reason.")
    ] = ",".join(BACKENDS),
    key_bits: Annotated[str, typer.Option(help="Lengths of n in bits.")] = "2048",
    ops: Annotated[str, typer.Option(help="Operations or groups, see [bold]list[/bold]; all if empty.")] = "",
    batch: Annotated[
        str, typer.Option(help="Elements a call, for every operation; else each has its own.")
    ] = "",
    peers: Annotated[str, typer.Option(help=f"Other libraries beside it: {', '.join(PEERS)}.")] = "",
    seconds: Annotated[float, typer.Option(min=0.001, help="Budget for one operation on one subject.")] = 1.0,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1, help="Processors for hecore (HECORE_THREADS) and for everything else; all if absent."
        ),
    ] = None,
    json: Annotated[
        Path | None, typer.Option(help="Also write the record to this file.", dir_okay=False)
    ] = None,
    insecure_test_key: InsecureTestKey = False,
) -> None:
    """Check and time operations, print a table, keep the record as JSON."""
    plan = Plan(
        cases=select(words(ops)),
        backends=words(backend),
        peers=words(peers),
        key_bits=[check_key_bits(bits, insecure_test_key) for bits in numbers(key_bits, "--key-bits")],
        batches=numbers(batch, "--batch"),
        seconds=seconds,
        threads=threads,
        insecure_test_key=insecure_test_key,
        command=_command(backend, key_bits, ops, batch, peers, seconds, threads, insecure_test_key),
    )
    record = _run_with_progress(plan)
    if json is not None:
        save(record, json)
    print_record(record, output())
    if record.failures:
        raise typer.Exit(1)


def _run_with_progress(plan: Plan) -> Record:
    columns = (
        SpinnerColumn(),
        MofNCompleteColumn(),
        BarColumn(bar_width=20),
        TimeRemainingColumn(),
        TextColumn("{task.description}", markup=False),
        TextColumn("[dim]{task.fields[last]}"),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        return run_plan(plan, _ProgressWatcher(progress, plan.steps))


def _command(
    backend: str,
    key_bits: str,
    ops: str,
    batch: str,
    peers: str,
    seconds: float,
    threads: int | None,
    insecure_test_key: bool,
) -> str:
    """The command that repeats the run, for its record: no file names."""
    parts = ["hecore-bench run"]
    lists = {"--backend": backend, "--key-bits": key_bits, "--ops": ops, "--batch": batch, "--peers": peers}
    parts += [f"{option} {','.join(words(text))}" for option, text in lists.items() if words(text)]
    parts += [f"--seconds {seconds:g}", *([f"--threads {threads}"] if threads else [])]
    return " ".join([*parts, *(["--insecure-test-key"] if insecure_test_key else [])])


@friendly
def bound(
    key_bits: Annotated[str, typer.Option(help="Lengths of n in bits.")] = "2048",
    ops: Annotated[str, typer.Option(help="Operations or groups, see [bold]list[/bold].")] = "headline",
    seconds: Annotated[float, typer.Option(min=0.001, help="Budget for one operation.")] = 1.0,
    insecure_test_key: InsecureTestKey = False,
) -> None:
    """How close the simd backend comes to what one core can multiply.

    Measures the core's ceiling of vector multiplications and the operations on one core, in one run.
    """
    with limited(1):
        hecore.get_backend("simd")
        from .vector_bounds import bounds, measured_ceiling, print_bounds

        plan = Plan(
            cases=select(words(ops)),
            backends=["simd"],
            key_bits=[check_key_bits(bits, insecure_test_key) for bits in numbers(key_bits, "--key-bits")],
            seconds=seconds,
            threads=1,
            insecure_test_key=insecure_test_key,
        )
        before = measured_ceiling()
        record = _run_with_progress(plan)
        ceiling = max(before, measured_ceiling())
    print_bounds(bounds(record, ceiling), ceiling, output())
    if record.failures:
        raise typer.Exit(1)
