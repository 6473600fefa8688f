"""The `hecore` command."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

import hecore
from hecore.errors import HecoreError

app = typer.Typer(
    help="Compute on encrypted numbers, and train models between parties that do not show their data.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
)
console = Console()
errors = Console(stderr=True)

INTERRUPTED = 130  # 128 + SIGINT, as shells report it


def friendly(command: Callable[..., None]) -> Callable[..., None]:
    """Errors that hecore raises on purpose end the command with their text and exit code 1."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except (HecoreError, OSError) as error:
            errors.print(f"[red]error:[/] {error}", highlight=False, soft_wrap=True)
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            errors.print("interrupted")
            raise typer.Exit(INTERRUPTED) from None

    return run


def _show_version(wanted: bool) -> None:
    if wanted:
        console.print(f"hecore {hecore.__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """The options of the command itself."""


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
    public_path = out.with_name(out.name + ".pub")
    for path in (out, public_path):
        if path.exists():
            raise hecore.KeyFileError(f"{path} exists: keys are not overwritten, choose another name")
    hecore.KeySpec(bits)  # refuse a bad length before asking for a passphrase
    passphrase = _passphrase(passphrase_file)
    with console.status(f"searching primes for {bits} bits"):
        key = hecore.generate_key(bits)
    hecore.save_key(key, out, passphrase)
    hecore.save_key(key.public, public_path)
    console.print(f"private key  {out}  (mode 0600, encrypted; do not lose its passphrase)", soft_wrap=True)
    console.print(f"public key   {public_path}", soft_wrap=True)
    console.print(f"fingerprint  {key.public.fingerprint.hex()}", highlight=False, soft_wrap=True)


def _passphrase(file: Path | None) -> str:
    if file is not None:
        lines = file.read_text(encoding="utf-8").splitlines()
        return lines[0] if lines else ""
    if not sys.stdin.isatty():
        raise hecore.KeyFileError("nobody is there to type a passphrase: use --passphrase-file")
    answer: str = typer.prompt("passphrase for the private key", hide_input=True, confirmation_prompt=True)
    return answer


@app.command()
@friendly
def demo(
    rows: Annotated[int | None, typer.Option(help="Rows of the data set to use; all 569 by default.")] = None,
    epochs: Annotated[int, typer.Option(help="Passes over the training rows.")] = 6,
    key_bits: Annotated[int, typer.Option(help="Length of each party's key: 2048, 3072 or 4096.")] = 2048,
    backend: Annotated[
        str | None, typer.Option(help="Arithmetic backend; the fastest present by default.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Write loss and time by phase to this PNG.")] = None,
) -> None:
    """Train one model over two processes that do not show each other their data.

    Breast cancer data, split by columns: the active process holds ten columns and the diagnosis, the passive
    one twenty more. They talk over ZeroMQ with encryption and authentication, each with a fresh key pair.
    """
    from hecore.algorithms.demo import DemoSettings, run_demo
    from hecore.algorithms.report import party_table, plot_run, score_table

    hecore.KeySpec(key_bits)
    hecore.get_backend(backend)
    settings = DemoSettings(rows, epochs, key_bits, backend)
    with _progress_bar() as (_, show):
        result = run_demo(settings, show)
    console.print(score_table(result))
    console.print(party_table(result))
    used = {party.backend for party in result.parties.values()}
    console.print(
        f"backend {', '.join(sorted(used))}, keys of {key_bits} bits made in {result.key_setup_seconds:.1f} s"
        " (processes started included); each party's messages are listed in THREAT_MODEL.md"
    )
    if plot is not None:
        plot_run(result, plot)
        console.print(f"plot written to {plot}", soft_wrap=True)


class _progress_bar:  # noqa: N801 - used like a function
    """A progress line: stage, epoch, loss, bar, rate, time left."""

    def __enter__(self) -> tuple[Progress, Callable[[str, Any], None]]:
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
        )
        self._bar.start()
        self._task = self._bar.add_task("starting", total=None, rate="")
        return self._bar, self._show

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def _show(self, text: str, progress: Any) -> None:
        if progress is None:
            self._bar.update(self._task, description=text)
            return
        done = progress.epoch * progress.batches + progress.batch
        loss = "" if progress.loss is None else f", loss {progress.loss:.4f}"
        self._bar.update(
            self._task,
            description=f"{text}: epoch {progress.epoch + 1}/{progress.epochs}{loss}",
            total=progress.epochs * progress.batches,
            completed=done,
            rate=f"{done / progress.seconds:.1f} batches/s",
        )


if __name__ == "__main__":
    app()
