"""`hecore demo`: a joint job of two companies on this machine."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import hecore
from hecore.algorithms.cli.console import console, errors, friendly, say

if TYPE_CHECKING:
    from hecore.algorithms.job.config import JobFile
    from hecore.algorithms.job.progress import JobProgress


@friendly
def demo(
    algorithm: Annotated[
        str, typer.Option(help="What is trained: gbdt (trees) or linear (logistic regression).")
    ] = "gbdt",
    trees: Annotated[int, typer.Option(min=1, help="Trees to grow, for gbdt.")] = 20,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training rows, for linear.")] = 6,
    parties: Annotated[int, typer.Option(min=2, max=3, help="Companies that take part.")] = 2,
    key_bits: Annotated[int, typer.Option(help="Length of each party's key: 2048, 3072 or 4096.")] = 2048,
    backend: Annotated[
        str | None, typer.Option(help="Arithmetic backend; the fastest present by default.")
    ] = None,
    kills: Annotated[
        int, typer.Option(min=0, max=100, help="Kill a party (kill -9) this many times, and start it again.")
    ] = 0,
    folder: Annotated[
        Path | None, typer.Option(help="A new folder for the companies; one in /tmp by default.")
    ] = None,
) -> None:
    """Train one model between companies that do not show each other their data.

    Breast cancer data, split by columns: a hospital has ten and the diagnosis, a laboratory twenty more. Each
    gets a folder with its table, its keys and a job file, and `hecore party run` runs in each, as it would on
    a machine of its own. The folder stays, to be looked into.
    """
    from hecore.algorithms.checks import check_key_bits
    from hecore.algorithms.cli.progress import progress_lines
    from hecore.algorithms.demo import DemoSettings, compare, run_parties, write_demo
    from hecore.algorithms.demo.tables import party_table, score_table, verdict
    from hecore.algorithms.job.progress import JobProgress

    check_key_bits("key_bits", key_bits)
    hecore.get_backend(backend)
    backend = backend or os.environ.get("HECORE_BACKEND") or "auto"
    settings = DemoSettings(algorithm, trees, epochs, key_bits, backend, parties)
    jobs = write_demo(settings, folder)
    for job in jobs:
        _note(f"{job.party.name:<9} {_hecore()} party run {job.path}")
    with progress_lines() as show:
        try:
            run_parties(jobs, kills=kills, on_progress=show, on_kill=_tell_kill)
        except KeyboardInterrupt:
            _note("the folder stays: the commands above go on with the job")
            raise
        show(JobProgress(phase="training in the clear, to compare"))
        comparison = compare(jobs)
    console.print(score_table(comparison))
    say(verdict(comparison) + "\n")
    console.print(party_table(jobs))
    _tell_more(jobs)


def _note(text: str, style: str = "") -> None:
    errors.print(text, style=style, highlight=False, markup=False, soft_wrap=True)


def _tell_kill(name: str, progress: JobProgress) -> None:
    at = progress.detail.partition(",")[0] or progress.phase
    _note(f"kill -9 {name}, at {at}; started again", "yellow")


def _tell_more(jobs: list[JobFile]) -> None:
    """Where everything lies, and the commands that show it."""
    from hecore.algorithms.job.folder import read_record

    first = jobs[0]
    say(f"All of it lies in {first.path.parent.parent}, a folder for each party. To look at it:")
    for what, command in (
        ("settings", f"job show {first.path}"),
        ("standing", f"party status {first.path}"),
        ("report", f"report {first.folder}"),
        ("model", f"model show {first.folder / read_record(first.folder).model}"),
    ):
        say(f"{what:<9} {_hecore()} {command}")


def _hecore() -> str:
    """This command, as it can be typed here."""
    script = sys.argv[0]
    on_path = shutil.which("hecore") == script or Path(script).name != "hecore"
    return "hecore" if on_path else os.path.relpath(script)
