"""The `hecore` command: one module for each of its commands or groups of commands."""

from __future__ import annotations

import io
import sys
from typing import Annotated

import typer

import hecore
from hecore.algorithms.cli import (
    data,
    demo,
    job,
    keys,
    machine,
    model,
    party,
    predict,
    psi,
    report,
    run,
    serve,
)
from hecore.algorithms.cli.console import say

app = typer.Typer(
    help="Compute on encrypted numbers, and train models between parties that do not show their data.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_show_locals=False,  # a passphrase is among them
)


def _show_version(wanted: bool) -> None:
    if wanted:
        say(f"hecore {hecore.__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """The options of the command itself."""
    # A terminal or a pipe that does not take every character gets an escape for it, and no traceback.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


app.command()(demo.demo)
app.command()(psi.psi)
app.command()(report.report)
app.command()(serve.serve)
app.command()(predict.predict)
app.command()(serve.token)
app.command()(keys.keygen)
app.command()(machine.doctor)
party.app.command()(run.run)
party.app.command()(run.status)
app.add_typer(party.app, name="party")
app.add_typer(job.app, name="job")
app.add_typer(data.app, name="data")
app.add_typer(model.app, name="model")
