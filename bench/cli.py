"""`hecore-bench`: run, bound, compare, plot, table, channel, psi, gbdt, serve, lr, gpu-code, list."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

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
from hecore import HecoreError

from .cases import Case, select
from .machine import limited
from .peers import PEERS
from .psi import psi
from .record import Failure, Record, Row, load, save
from .runner import BACKENDS, Plan, Watcher
from .runner import run as run_plan
from .serving import serve
from .tables import markdown, print_cases, print_record, readable

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    help="Measure hecore, and compare its backends with each other and with other Paillier libraries.",
)

#: Columns of output that goes to a file or a pipe.
WIDTH_OF_FILES = 120

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


def _words(text: str) -> list[str]:
    return list(dict.fromkeys(word for word in text.replace(",", " ").split() if word))


def _numbers(text: str, option: str) -> list[int]:
    words = _words(text)
    bad = [word for word in words if not word.isdecimal() or int(word) < 1]
    if bad:
        raise typer.BadParameter(f"{bad[0]!r} is not a positive integer", param_hint=option)
    return [int(word) for word in words]


@app.command(epilog=RUN_EXAMPLES)
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
    insecure_test_key: Annotated[
        bool,
        typer.Option("--insecure-test-key", help="Allow keys below 2048 bits: for trying the command out."),
    ] = False,
) -> None:
    """Check and time operations, print a table, keep the record as JSON."""
    try:
        plan = Plan(
            cases=select(_words(ops)),
            backends=_words(backend),
            peers=_words(peers),
            key_bits=_numbers(key_bits, "--key-bits"),
            batches=_numbers(batch, "--batch"),
            seconds=seconds,
            threads=threads,
            insecure_test_key=insecure_test_key,
            command=_command(backend, key_bits, ops, batch, peers, seconds, threads, insecure_test_key),
        )
        record = _run_with_progress(plan)
        if json is not None:
            save(record, json)
    except (HecoreError, OSError) as error:
        raise _stop(error) from None
    print_record(record, _console())
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
    parts += [f"{option} {','.join(_words(text))}" for option, text in lists.items() if _words(text)]
    parts += [f"--seconds {seconds:g}", *([f"--threads {threads}"] if threads else [])]
    return " ".join([*parts, *(["--insecure-test-key"] if insecure_test_key else [])])


@app.command()
def bound(
    key_bits: Annotated[str, typer.Option(help="Lengths of n in bits.")] = "2048",
    ops: Annotated[str, typer.Option(help="Operations or groups, see [bold]list[/bold].")] = "headline",
    seconds: Annotated[float, typer.Option(min=0.001, help="Budget for one operation.")] = 1.0,
    insecure_test_key: Annotated[
        bool,
        typer.Option("--insecure-test-key", help="Allow keys below 2048 bits: for trying the command out."),
    ] = False,
) -> None:
    """How close the simd backend comes to what one core can multiply.

    Measures the core's ceiling of vector multiplications and the operations on one core, in one run.
    """
    try:
        with limited(1):
            hecore.get_backend("simd")
            from .vector_bounds import bounds, measured_ceiling, print_bounds

            plan = Plan(
                cases=select(_words(ops)),
                backends=["simd"],
                key_bits=_numbers(key_bits, "--key-bits"),
                seconds=seconds,
                threads=1,
                insecure_test_key=insecure_test_key,
            )
            before = measured_ceiling()
            record = _run_with_progress(plan)
            ceiling = max(before, measured_ceiling())
    except (HecoreError, OSError) as error:
        raise _stop(error) from None
    print_bounds(bounds(record, ceiling), ceiling, _console())
    if record.failures:
        raise typer.Exit(1)


@app.command()
def compare(
    a: Annotated[Path, typer.Argument(help="The record to compare with.", metavar="A.json")],
    b: Annotated[Path, typer.Argument(help="The record to judge.", metavar="B.json")],
) -> None:
    """Ratio of two runs, row by row: faster, slower or within noise.

    A difference counts if the interquartile ranges do not overlap and the medians differ by 10 % or more.
    """
    from .compare import print_comparison

    try:
        print_comparison(load(a), load(b), _console())
    except HecoreError as error:
        raise _stop(error) from None


@app.command()
def plot(
    record: Annotated[Path, typer.Argument(help="A record written by run --json.", metavar="FILE.json")],
    out: Annotated[Path, typer.Option(help="The picture to write.", dir_okay=False)],
) -> None:
    """Bar chart of the rates by operation and subject, logarithmic."""
    from .plots import plot as draw

    try:
        draw(load(record), out)
    except (HecoreError, OSError) as error:
        raise _stop(error) from None


@app.command()
def table(
    record: Annotated[Path, typer.Argument(help="A record written by run --json.", metavar="FILE.json")],
    as_markdown: Annotated[bool, typer.Option("--markdown", help="For a document.")] = False,
) -> None:
    """Print a record again."""
    try:
        loaded = load(record)
    except HecoreError as error:
        raise _stop(error) from None
    if as_markdown:
        typer.echo(markdown(loaded), nl=False)
    else:
        print_record(loaded, _console())


app.command()(psi)
app.command()(serve)


@app.command()
def gbdt(
    case: Annotated[
        str, typer.Option(help="[bold]synthetic[/bold], [bold]a9a[/bold], or both with a comma.")
    ] = "synthetic",
    data: Annotated[
        Path | None, typer.Option(help="Folder with a9a's active, passive and test .libsvm files.")
    ] = None,
    rows: Annotated[int, typer.Option(min=20, help="Rows of the synthetic set.")] = 100_000,
    columns: Annotated[str, typer.Option(help="Its columns: active,passive.")] = "30,300",
    bins: Annotated[int, typer.Option(min=2, help="Bins of a column of the synthetic set.")] = 32,
    depth: Annotated[int, typer.Option(min=1, help="Depth of its trees.")] = 4,
    trees: Annotated[int, typer.Option(min=1, help="Trees to time, after one to warm up.")] = 3,
    sweep: Annotated[
        str, typer.Option(help="Also vary these around the synthetic set: rows, columns, bins, depth.")
    ] = "",
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Estimate 5 M × 500 with 10 classes from measured rates.")
    ] = False,
    key_bits: Annotated[int, typer.Option(help="Length of n in bits.")] = 2048,
    json: Annotated[Path | None, typer.Option(help="Write the runs to this file.", dir_okay=False)] = None,
    plot: Annotated[Path | None, typer.Option(help="Write a picture to this PNG.", dir_okay=False)] = None,
) -> None:
    """Joint trees end to end: seconds a tree by phase, both parties on this machine."""
    from .gbdt_command import Wishes, measure_all

    try:
        wishes = Wishes(
            cases=_words(case),
            data=data,
            rows=rows,
            columns=_pair(columns),
            bins=bins,
            depth=depth,
            trees=trees,
            sweep=_words(sweep),
            estimate=estimate,
            key_bits=key_bits,
        )
        measure_all(wishes, _console(), json, plot)
    except (HecoreError, OSError) as error:
        raise _stop(error) from None


@app.command()
def lr(
    rows: Annotated[int, typer.Option(min=20, help="Rows of the training whose epoch is told.")] = 100_000,
    columns: Annotated[str, typer.Option(help="Its columns: active,passive.")] = "30,300",
    batch_size: Annotated[int, typer.Option(min=2, help="Rows of a batch.")] = 1024,
    batches: Annotated[int, typer.Option(min=1, help="Batches to time, after one to warm up.")] = 10,
    feature_bits: Annotated[int, typer.Option(help="Fractional bits of features.")] = 16,
    sigmoid: Annotated[
        str, typer.Option(help="[bold]linear[/bold], [bold]cubic[/bold] or [bold]quintic[/bold].")
    ] = "linear",
    mode: Annotated[str, typer.Option(help="[bold]shared[/bold] or [bold]exact[/bold].")] = "shared",
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Estimate the epoch from rates: here, and on one H200.")
    ] = False,
    key_bits: Annotated[int, typer.Option(help="Length of n in bits.")] = 2048,
    json: Annotated[Path | None, typer.Option(help="Write the run to this file.", dir_okay=False)] = None,
) -> None:
    """A joint logistic regression: seconds and bytes of a batch and of an epoch, both parties here."""
    from hecore.algorithms.lr import LinearConfig

    from .lr import measure_and_print

    try:
        words: dict[str, Any] = {"feature_bits": feature_bits, "sigmoid": sigmoid, "mode": mode}
        config = LinearConfig(batch_size=batch_size, **words)
        measure_and_print(rows, _pair(columns), batches, config, key_bits, _console(), json, estimate)
    except (HecoreError, OSError) as error:
        raise _stop(error) from None


def _pair(text: str) -> tuple[int, int]:
    words = text.split(",")
    if len(words) != 2 or not all(word.strip().isdecimal() for word in words):
        raise typer.BadParameter(f"{text!r} are not two numbers", param_hint="--columns")
    return int(words[0]), int(words[1])


@app.command()
def channel(
    folder: Annotated[
        Path | None,
        typer.Option(help="Where both stores lie: its disk is measured too.", file_okay=False),
    ] = None,
    megabytes: Annotated[int, typer.Option(min=1, help="Bytes to send, in MB.")] = 2000,
    message: Annotated[int, typer.Option(min=1, max=1000, help="Size of a message, in MB.")] = 16,
    acks: Annotated[int, typer.Option(min=1, help="Small messages whose acknowledgement is timed.")] = 2000,
    senders: Annotated[int, typer.Option(min=0, help="Senders at once; 0 leaves them out.")] = 8,
) -> None:
    """A durable, encrypted channel between processes: rate, acknowledgements, memory, many senders."""
    from .channel import measure_channel, report_lines
    from .channel_senders import measure_senders, senders_line

    try:
        for line in report_lines(measure_channel(folder, megabytes, message, acks)):
            typer.echo(line)
        if senders:
            typer.echo(senders_line(measure_senders(folder, senders)))
    except (HecoreError, OSError) as error:
        raise _stop(error) from None


@app.command("list")
def list_cases(
    ops: Annotated[str, typer.Option(help="Operations or groups; all if empty.")] = "",
) -> None:
    """The operations and groups that run --ops takes."""
    try:
        print_cases(select(_words(ops)), _console())
    except HecoreError as error:
        raise _stop(error) from None


@app.command()
def gpu_code(
    target: Annotated[str, typer.Option(help="What to compile for, such as sm_80, sm_90, sm_100.")] = "sm_90",
) -> None:
    """Instructions of the CUDA kernels, and what they allow a GPU to reach; no GPU is needed.

    The tables of docs/gpu/README.md. It takes NVRTC and nvdisasm, which come with the extra `test`.
    """
    from . import sass
    from .gpu_code import report

    reason = sass.why_not()
    if reason is not None:
        raise _stop(RuntimeError(reason))
    typer.echo(report(target), nl=False)


def _console() -> Console:
    """Standard output; wide enough for every table where it is no terminal."""
    console = Console()
    return console if console.is_terminal else Console(width=WIDTH_OF_FILES)


def _stop(error: Exception) -> typer.Exit:
    Console(stderr=True).print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
    return typer.Exit(1)


if __name__ == "__main__":
    app()
