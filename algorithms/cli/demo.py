"""`hecore demo`: a joint training between two processes on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import hecore
from hecore.algorithms.cli.console import console, friendly, say
from hecore.algorithms.cli.progress import ProgressLine


@friendly
def demo(
    rows: Annotated[
        int | None, typer.Option(help="Rows of the data set to use, 450 to 569; all by default.")
    ] = None,
    algorithm: Annotated[
        str, typer.Option(help="What is trained: gbdt (trees) or lr (logistic regression).")
    ] = "gbdt",
    trees: Annotated[int, typer.Option(help="Trees to grow, for gbdt.")] = 20,
    epochs: Annotated[int, typer.Option(help="Passes over the training rows, for lr.")] = 6,
    key_bits: Annotated[int, typer.Option(help="Length of each party's key: 2048, 3072 or 4096.")] = 2048,
    backend: Annotated[
        str | None, typer.Option(help="Arithmetic backend; the fastest present by default.")
    ] = None,
    kills: Annotated[
        int, typer.Option(min=0, max=100, help="Kill a party this many times, and start it again.")
    ] = 0,
    plot: Annotated[Path | None, typer.Option(help="Write loss and time by phase to this PNG.")] = None,
) -> None:
    """Train one model over two processes that do not show each other their data.

    Breast cancer data, split by columns: the active process holds ten columns and the diagnosis, the passive
    one twenty more. They talk over ZeroMQ with encryption and authentication, each with a fresh key pair.
    """
    from hecore.algorithms.demo import DemoSettings, run_demo
    from hecore.algorithms.demo.report import check_plot, party_table, plot_run, score_table, summary

    hecore.KeySpec(key_bits)
    hecore.get_backend(backend)
    if plot is not None:
        check_plot(plot)
    settings = DemoSettings(rows, epochs, key_bits, backend, algorithm=algorithm, trees=trees, kills=kills)
    with ProgressLine() as line:
        result = run_demo(settings, line.show)
    console.print(score_table(result))
    console.print(party_table(result))
    console.print(summary(result), highlight=False)
    if plot is not None:
        plot_run(result, plot)
        say(f"plot written to {plot}")
