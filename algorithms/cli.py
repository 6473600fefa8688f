"""The `hecore` command."""

from __future__ import annotations

import io
import os
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column

import hecore
from hecore.algorithms import cli_data
from hecore.algorithms.console import console, errors, friendly, refuse_to_overwrite, say
from hecore.algorithms.party_cli import app as party_app
from hecore.keyfile import MINIMUM_PASSPHRASE

if TYPE_CHECKING:
    from hecore.algorithms.lr import Progress as Training

app = typer.Typer(
    help="Compute on encrypted numbers, and train models between parties that do not show their data.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_show_locals=False,  # a passphrase is among them
)
app.add_typer(party_app, name="party")

LONGEST_PASSPHRASE = 4096


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


@app.command()
@friendly
def keygen(
    out: Annotated[Path, typer.Option(help="File for the private key; the public one goes to OUT.pub.")],
    bits: Annotated[int, typer.Option(help="Length of n: 2048, 3072 or 4096.")] = 2048,
    passphrase_file: Annotated[
        Path | None, typer.Option(help="Read the passphrase from the first line of this file, do not ask.")
    ] = None,
) -> None:
    """Make a Paillier key pair: OUT, encrypted and for you alone, and OUT.pub to give away."""
    public_path = Path(f"{out}.pub")
    for path in (out, public_path):
        if os.path.lexists(path):
            raise hecore.KeyFileError(f"{path} exists: keys are not overwritten, choose another name")
    if not out.parent.is_dir():
        raise hecore.KeyFileError(f"{out.parent} is no folder: make it first")
    hecore.KeySpec(bits)  # refuse a bad length before asking for a passphrase
    passphrase = _passphrase(passphrase_file)
    with errors.status(f"searching primes for {bits} bits"):
        key = hecore.generate_key(bits)
    hecore.save_key(key, out, passphrase)
    try:
        hecore.save_key(key.public, public_path)
    except BaseException:
        out.unlink()  # a pair or nothing
        raise
    say(f"private key  {out}  (mode 0600, encrypted; do not lose its passphrase)")
    say(f"public key   {public_path}")
    say(f"fingerprint  {key.public.fingerprint.hex()}")


def _passphrase(file: Path | None) -> str:
    if file is not None:
        passphrase = _first_line(file)
    elif sys.stdin.isatty():
        passphrase = typer.prompt("passphrase for the private key", hide_input=True, confirmation_prompt=True)
    else:
        raise hecore.KeyFileError("nobody is there to type a passphrase: use --passphrase-file")
    if len(passphrase) < MINIMUM_PASSPHRASE:
        raise hecore.KeyFileError(f"a passphrase needs at least {MINIMUM_PASSPHRASE} characters")
    return passphrase


def _first_line(file: Path) -> str:
    """Without its end. Only LF and CRLF end a line here, so that no passphrase is cut."""
    try:
        with open(file, newline="\n", encoding="utf-8") as stream:
            line = stream.readline(LONGEST_PASSPHRASE + 1)
    except UnicodeDecodeError:
        raise hecore.KeyFileError(f"{file} is not UTF-8 text") from None
    if len(line) > LONGEST_PASSPHRASE:
        raise hecore.KeyFileError(f"the first line of {file} is longer than {LONGEST_PASSPHRASE} characters")
    return line.removesuffix("\n").removesuffix("\r")


@app.command()
@friendly
def doctor() -> None:
    """Show which backends work here and why others do not, the processor, caches and versions."""
    from rich.table import Table

    from hecore.algorithms.doctor import findings

    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for what, finding in findings():
        table.add_row(what, finding)
    console.print(table)


@app.command()
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
    from hecore.algorithms.report import check_plot, party_table, plot_run, score_table, summary

    hecore.KeySpec(key_bits)
    hecore.get_backend(backend)
    if plot is not None:
        check_plot(plot)
    settings = DemoSettings(rows, epochs, key_bits, backend, algorithm=algorithm, trees=trees, kills=kills)
    with _ProgressLine() as line:
        result = run_demo(settings, line.show)
    console.print(score_table(result))
    console.print(party_table(result))
    console.print(summary(result), highlight=False)
    if plot is not None:
        plot_run(result, plot)
        say(f"plot written to {plot}")


models = typer.Typer(help="Look at trained models, and join their shares.", no_args_is_help=True)
app.add_typer(models, name="model")


@models.command()
@friendly
def show(share: Annotated[Path, typer.Argument(help="A party's share of a tree model.")]) -> None:
    """What a share is of, how many splits each party has, and which of its own columns count."""
    from hecore.algorithms.gbdt.describe import describe_share
    from hecore.algorithms.gbdt.model import load_share

    for part in describe_share(load_share(share)):
        console.print(part, highlight=False)


@models.command("export-joint")
@friendly
def export_joint(
    shares: Annotated[list[Path], typer.Argument(help="The shares of all parties, in any order.")],
    out: Annotated[Path, typer.Option(help="The XGBoost model to write, in JSON.")],
) -> None:
    """Join the shares of all parties to one XGBoost model that predicts the same.

    Whoever does this sees the thresholds of all parties: each hands over its share only if it agrees to that.
    """
    from hecore.algorithms.gbdt.export import export_files

    refuse_to_overwrite(out)
    out.write_bytes(export_files(shares))
    say(f"XGBoost model written to {out}")


class _ProgressLine:
    """Stage, epoch, loss, bar, share done, time passed, time left: on a terminal a line for each stage.

    Elsewhere it is plain text: each stage, and in training each tenth of the work or each minute.
    """

    def __init__(self) -> None:
        fixed = Column(no_wrap=True)  # where the line is too long, the bar gives way and nothing else
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[share]}"),
            TimeElapsedColumn(table_column=fixed),
            TextColumn("{task.fields[left]}"),
            console=errors,
        )
        self._task: TaskID | None = None
        self._stage = ""
        self._tenth, self._spoken = 0, time.monotonic()

    def __enter__(self) -> _ProgressLine:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._task is None:
            return
        if kind is None:
            self._finish()
        self._bar.stop()

    def show(self, stage: str, training: Training | None) -> None:
        """What `run_demo` tells."""
        text, share, left = stage, "", ""
        if training is not None:
            text += f", {training.unit} {training.epoch + 1}/{training.epochs}"
            text += "" if training.loss is None else f", loss {training.loss:.4f}"
            share = f"{training.done:.0%}"
            rest = timedelta(seconds=round(training.seconds / training.done - training.seconds))
            left = f"left {rest}" if training.done < 1 else ""
        if errors.is_interactive:
            self._draw(stage, text, share, left, training)
        elif training is None or self._due(training):
            errors.print(", ".join(filter(None, [text, share, left])), highlight=False, soft_wrap=True)

    def _draw(self, stage: str, text: str, share: str, left: str, training: Training | None) -> None:
        if stage != self._stage:
            self._finish()
            self._stage = stage
            self._task = self._bar.add_task(text, total=None, share="", left="")
            self._bar.start()
        if self._task is not None and training is not None:
            # Full only when the stage is over: a full bar's clock stands still.
            done = min(training.done, 0.999)
            self._bar.update(self._task, description=text, total=1, completed=done, share=share, left=left)

    def _finish(self) -> None:
        if self._task is not None:
            self._bar.update(self._task, total=1, completed=1, left="")

    def _due(self, training: Training) -> bool:
        tenth, now = int(10 * training.done), time.monotonic()
        if tenth == self._tenth and now < self._spoken + 60:
            return False
        self._tenth, self._spoken = tenth, now
        return True


cli_data.mount(app)

if __name__ == "__main__":
    app()
