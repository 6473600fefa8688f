"""`hecore job`: write a job file, check it, show what it means."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from hecore.algorithms.cli.console import console, errors, friendly, refuse_to_overwrite, say

app = typer.Typer(
    help="Job files: what one party says of a joint job.", no_args_is_help=True, rich_markup_mode="markdown"
)
JobPath = Annotated[Path, typer.Argument(metavar="JOB.toml", help="This party's job file.")]


@app.command()
@friendly
def init(
    file: Annotated[Path, typer.Argument(metavar="JOB.toml", help="The file to write.")],
    name: Annotated[str, typer.Option(help="This party's name, as the others know it.")],
    role: Annotated[str, typer.Option(help="active: it holds the label; passive: it holds columns alone.")],
    peer: Annotated[
        list[str], typer.Option(help="Another party's name; once for each, at the active party.")
    ],
    data: Annotated[str, typer.Option(help="This party's CSV, Parquet or libsvm file, as seen from here.")],
    job: Annotated[str, typer.Option(help="Name of the job, the same at all parties.")] = "job",
    id_column: Annotated[str, typer.Option("--id", help="The column of ids.")] = "id",
    label: Annotated[str | None, typer.Option(help="The column of labels, at the active party.")] = None,
    listen: Annotated[
        str | None, typer.Option(help="tcp://INTERFACE:PORT: wait there for the others.")
    ] = None,
    dial: Annotated[str | None, typer.Option(help="tcp://HOST:PORT: where the other party listens.")] = None,
    algorithm: Annotated[str, typer.Option(help="gbdt (trees) or linear.")] = "gbdt",
) -> None:
    """Write a job file to start from, with a word on each key."""
    from hecore.algorithms.job.config import load_job
    from hecore.algorithms.job.template import job_template

    refuse_to_overwrite(file)
    text = job_template(
        job=job, name=name, role=role, peers=peer, file=os.path.relpath(data, file.parent),
        listen=listen, dial=dial, label=label, algorithm=algorithm, id_column=id_column,
    )  # fmt: skip
    file.write_text(text, encoding="utf-8")
    try:
        load_job(file)
    except BaseException:
        file.unlink()
        raise
    say(f"{file} written. Edit it, then: hecore job check {file}")


@app.command()
@friendly
def check(file: JobPath) -> None:
    """Look at everything that can be looked at here, before the other parties are asked."""
    from rich.table import Table

    from hecore.algorithms.job.check import check_job
    from hecore.algorithms.job.config import load_job

    job = load_job(file)
    with errors.status("reading the data"):
        findings = check_job(job)
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for _ in range(3):
        table.add_column(overflow="fold")
    for finding in findings:
        mark = ("ok", "green") if finding.good else ("wrong", "red")
        table.add_row(Text(*mark), finding.what, Text(finding.text))
    console.print(table)
    wrong = sum(not finding.good for finding in findings)
    if wrong:
        errors.print(f"{wrong} of {len(findings)} to mend", highlight=False)
        raise typer.Exit(1)
    say(f"ready: hecore party run {file}")


@app.command()
@friendly
def show(file: JobPath) -> None:
    """Show all settings with their defaults, and which of them must be the same at all parties."""
    from rich.table import Table

    from hecore.algorithms.job.config import load_job
    from hecore.algorithms.settings_file import toml_value

    job = load_job(file)
    agreed = job.terms()
    table = Table(title=Text(f"{job.job}, as {job.party.name} runs it"))
    for heading in ("setting", "value", ""):
        table.add_column(heading, overflow="fold")
    for section, settings in {"": {"job": job.job}, **job.sections()}.items():
        for key, value in settings.items():
            name = f"{section}.{key}" if section else key
            table.add_row(name, Text(toml_value(value)), "agreed" if name in agreed else "")
        table.add_section()
    console.print(table, highlight=False)
