"""`hecore-bench`: run, bound, compare, plot, table, channel, psi, gbdt, serve, lr, gpu-code, list."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from hecore.algorithms.cli.console import friendly

from .cases import select
from .command import InsecureTestKey, check_key_bits, output, pair, picture, words
from .psi import psi
from .record import load
from .run_command import RUN_EXAMPLES, bound, run
from .serving import serve
from .tables import markdown, print_cases, print_record

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    help="Measure hecore, and compare its backends with each other and with other Paillier libraries.",
)

app.command(epilog=RUN_EXAMPLES)(run)
app.command()(bound)


@app.command()
@friendly
def compare(
    a: Annotated[Path, typer.Argument(help="The record to compare with.", metavar="A.json")],
    b: Annotated[Path, typer.Argument(help="The record to judge.", metavar="B.json")],
) -> None:
    """Ratio of two runs, row by row: faster, slower or within noise.

    A difference counts if the interquartile ranges do not overlap and the medians differ by 10 % or more.
    """
    from .compare import print_comparison

    print_comparison(load(a), load(b), output())


@app.command()
@friendly
def plot(
    record: Annotated[Path, typer.Argument(help="A record written by run --json.", metavar="FILE.json")],
    out: Annotated[Path, typer.Option(help="The picture to write: .png, .svg or .pdf.", dir_okay=False)],
) -> None:
    """Bar chart of the rates by operation and subject, logarithmic."""
    from .plots import plot as draw

    draw(load(record), picture(out, "--out"))


@app.command()
@friendly
def table(
    record: Annotated[Path, typer.Argument(help="A record written by run --json.", metavar="FILE.json")],
    as_markdown: Annotated[bool, typer.Option("--markdown", help="For a document.")] = False,
) -> None:
    """Print a record again."""
    loaded = load(record)
    if as_markdown:
        typer.echo(markdown(loaded), nl=False)
    else:
        print_record(loaded, output())


app.command()(psi)
app.command()(serve)


@app.command()
@friendly
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
    insecure_test_key: InsecureTestKey = False,
    json: Annotated[Path | None, typer.Option(help="Write the runs to this file.", dir_okay=False)] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Write a picture to this .png, .svg or .pdf.", dir_okay=False)
    ] = None,
) -> None:
    """Joint trees end to end: seconds a tree by phase, both parties on this machine."""
    from .gbdt_command import Wishes, measure_all

    if plot is not None:
        picture(plot, "--plot")
    wishes = Wishes(
        cases=words(case),
        data=data,
        rows=rows,
        columns=pair(columns),
        bins=bins,
        depth=depth,
        trees=trees,
        sweep=words(sweep),
        estimate=estimate,
        key_bits=check_key_bits(key_bits, insecure_test_key),
    )
    measure_all(wishes, output(), json, plot)


@app.command()
@friendly
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
    insecure_test_key: InsecureTestKey = False,
    json: Annotated[Path | None, typer.Option(help="Write the run to this file.", dir_okay=False)] = None,
) -> None:
    """A joint logistic regression: seconds and bytes of a batch and of an epoch, both parties here."""
    from hecore.algorithms.lr import LinearConfig

    from .lr import measure_and_print

    words: dict[str, Any] = {"feature_bits": feature_bits, "sigmoid": sigmoid, "mode": mode}
    config = LinearConfig(batch_size=batch_size, **words)
    bits = check_key_bits(key_bits, insecure_test_key)
    measure_and_print(rows, pair(columns), batches, config, bits, output(), json, estimate)


@app.command()
@friendly
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

    for line in report_lines(measure_channel(folder, megabytes, message, acks)):
        typer.echo(line)
    if senders:
        typer.echo(senders_line(measure_senders(folder, senders)))


@app.command("list")
@friendly
def list_cases(
    ops: Annotated[str, typer.Option(help="Operations or groups; all if empty.")] = "",
) -> None:
    """The operations and groups that run --ops takes."""
    print_cases(select(words(ops)), output())


@app.command()
@friendly
def gpu_code(
    target: Annotated[str, typer.Option(help="What to compile for, such as sm_80, sm_90, sm_100.")] = "sm_90",
) -> None:
    """Instructions of the CUDA kernels, and what they allow a GPU to reach; no GPU is needed.

    The tables of docs/gpu/README.md. It takes NVRTC and nvdisasm, which come with the extra `test`.
    """
    from . import sass
    from .gpu_code import report
    from .nvrtc import ToolMissing

    reason = sass.why_not()
    if reason is not None:
        raise ToolMissing(reason)
    typer.echo(report(target), nl=False)


if __name__ == "__main__":
    app()
