"""`hecore party run` and `hecore party status`: one party of a joint job."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer
from rich.text import Text

from hecore.algorithms.cli.console import INTERRUPTED, console, errors, say
from hecore.algorithms.errors import ANEW, ConfigurationError, HandshakeError, printable, told
from hecore.algorithms.job.failures import REFUSED, REPLACED, exit_code, next_step
from hecore.errors import HecoreError

if TYPE_CHECKING:
    from hecore.algorithms.job.config import JobFile

JobPath = Annotated[Path, typer.Argument(metavar="JOB.toml", help="This party's job file.")]


def run(
    file: JobPath,
    anew: Annotated[
        bool,
        typer.Option(
            "--anew",
            help="Begin anew, at all parties: records and model of the run before are put aside.",
        ),
    ] = False,
    log: Annotated[
        str, typer.Option(help="What goes to standard error: text, or json for one object a line.")
    ] = "text",
) -> None:
    """Run this party of a job, or go on with it. The parties start in any order.

    Ctrl-C stops it, and the same command goes on from there; the other parties wait meanwhile. A job that is
    finished is not run again.
    """
    from hecore.algorithms.cli.progress import progress_lines
    from hecore.algorithms.cli.stopping import stoppable
    from hecore.algorithms.job.log import log_to
    from hecore.algorithms.job.runner import forget, run_job

    again = f"start `hecore party run {file}` again to go on"
    stopped = f"stopped; {again}"
    job = _loaded(file)
    try:
        if anew:
            forget(job, _warn)  # before the log begins: the folder is renamed
        with (
            stoppable(stopped),
            log_to(job.folder, _form(log), _warn),
            progress_lines(_form(log)) as show,
        ):
            outcome = run_job(job, show)
    except KeyboardInterrupt:
        _end(INTERRUPTED, stopped)
    except (HecoreError, OSError) as error:
        code = exit_code(error)
        next_one = "" if code == REPLACED else f"\n{_after(error, job, anew=anew)}"
        _end(code, f"error: {printable(told(error))}{next_one}")
    if outcome.undelivered:
        say(f"the others may still need something of this party: {again}, once they are there")
    if outcome.again:
        say(f"the job is finished already; nothing was done. Its records: {outcome.folder}")
        say("to begin it anew, or if another party has done so and waits, start here with --anew as well")
    for name, value in outcome.results.items():
        say(f"{name:<18} {value:.4f}  (test rows)")
    if outcome.predictions is not None:
        say(f"scores of test rows {outcome.predictions}")
    say(f"share of the model  {outcome.model}")
    say(f"report              hecore report {outcome.folder}")


def status(file: JobPath) -> None:
    """Show where this party's job stands."""
    from hecore.algorithms.job.status import status_table

    job = _loaded(file)
    try:
        console.print(status_table(job), highlight=False)
    except (HecoreError, OSError) as error:
        _end(REFUSED, f"error: {told(error)}")


def _after(error: Exception, job: JobFile, *, anew: bool) -> str:
    """What to do next after an error."""
    from hecore.algorithms.job.home import Home

    text, command = told(error), f"hecore party run {job.path}"
    if anew and isinstance(error, HandshakeError) and ANEW in text:
        return (
            f"{job.party.name} has begun anew, and {' and '.join(sorted(job.peers))} must do so as well:"
            f" start with --anew there, and `{command}` here, without it"
        )
    begun = Home(job).folder.exists()
    step = next_step(command, f"{type(error).__name__}: {text}", begun=begun)
    if "--anew" in text + step or isinstance(error, ConfigurationError) or not begun:
        return step
    return f"{step}; to begin anew instead, all parties start with --anew"


def _loaded(file: Path) -> JobFile:
    from hecore.algorithms.job.config import load_job

    try:
        return load_job(file)
    except (HecoreError, OSError) as error:
        _end(REFUSED, f"error: {told(error)}")


def _warn(text: str) -> None:
    errors.print(Text(printable(text), "yellow"), highlight=False, soft_wrap=True)


def _form(text: str) -> Literal["text", "json"]:
    if text not in ("text", "json"):
        raise typer.BadParameter(f"--log {text}: text or json")
    return "json" if text == "json" else "text"


def _end(code: int, text: str) -> NoReturn:
    errors.print(Text(text), highlight=False, soft_wrap=True)
    raise typer.Exit(code)
