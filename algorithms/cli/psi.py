"""`hecore psi`: find the common rows of two or more parties."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

from hecore.algorithms.cli.console import errors, friendly, refuse_to_overwrite, say
from hecore.algorithms.errors import ConfigurationError

if TYPE_CHECKING:
    from hecore.algorithms.channel import Channel
    from hecore.algorithms.psi import Progress

#: Seconds between two lines of progress where there is no terminal.
QUIET = 30.0


@friendly
def psi(
    file: Annotated[Path, typer.Argument(help="This party's CSV or Parquet file.")],
    role: Annotated[str, typer.Option(help="active (holds the label, talks to all) or passive.")],
    keys: Annotated[Path, typer.Option(help="This party's keys, from hecore party keygen.")],
    key: Annotated[list[str], typer.Option(help="NAME=FILE: a party's public key. Once for each party.")],
    me: Annotated[str | None, typer.Option(help="This party's name; its role by default.")] = None,
    listen: Annotated[
        list[str] | None, typer.Option(help="NAME=tcp://ADDRESS:PORT: wait there for a party.")
    ] = None,
    dial: Annotated[
        list[str] | None, typer.Option(help="NAME=tcp://HOST:PORT: call a party that listens there.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the common rows, sorted by id, as Parquet.")] = None,
    id_column: Annotated[str, typer.Option("--id", help="The column of ids.")] = "id",
    reveal: Annotated[
        str, typer.Option(help="Who learns which ids are common: both, or the active party alone.")
    ] = "both",
    min_intersection: Annotated[int, typer.Option(help="Fewer common ids than this are an error.")] = 1,
    state: Annotated[
        Path | None, typer.Option(help="Folder that keeps a broken run, to go on with when started again.")
    ] = None,
    job: Annotated[str, typer.Option(help="Name of the run, alike on all sides.")] = "psi",
    wait: Annotated[float, typer.Option(help="Seconds to wait for another party to appear.")] = 600.0,
) -> None:
    """Find the ids that all parties have, without showing any other, and write the common rows.

    Every party runs it beside its own file, in any order. All rows come out in the same order everywhere.
    """
    from hecore.algorithms.data import infer_schema, open_source, read_ids, write_rows
    from hecore.algorithms.psi import PsiConfig, align

    if out is not None:
        refuse_to_overwrite(out)
    config = PsiConfig(reveal=reveal, min_intersection=min_intersection)  # type: ignore[arg-type]
    listening, dialling, public = (
        _pairs(given or [], option) for given, option in _options(listen, dial, key)
    )
    source = open_source(file)
    with errors.status(f"reading {file.name}"):
        ids = read_ids(source, id_column)
        # Before the others are asked: what cannot be written would be found after all the work.
        schema = None if out is None else infer_schema(source, id_column=id_column)
    if out is not None and not out.absolute().parent.is_dir():
        raise ConfigurationError(f"{out.absolute().parent} is no folder: --out needs one that is there")
    with ExitStack() as stack, _Line() as line:
        channels = [
            stack.enter_context(channel)
            for channel in _open(me or role, job, keys, public, listening, dialling, wait)
        ]
        found = align(channels, ids, role, config, state=state, on_progress=line.show)
    say(f"{found.common:,} of {len(ids):,} ids are common")
    if found.rows is None:
        say("which ones they are was revealed to the active party alone")
    elif out is not None and schema is not None:
        with errors.status(f"writing {out.name}"):
            write_rows(source, found.rows, out, schema=schema)
        say(f"common rows written to {out}")


def _options(
    listen: list[str] | None, dial: list[str] | None, key: list[str]
) -> tuple[tuple[list[str] | None, str], ...]:
    return (listen, "--listen"), (dial, "--dial"), (key, "--key")


def _pairs(given: list[str], option: str) -> dict[str, str]:
    """NAME=VALUE texts; ConfigurationError for another form, or a name that stands twice."""
    pairs: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise ConfigurationError(f"{option} {text}: write NAME=VALUE")
        if name in pairs:
            raise ConfigurationError(f"{option} names {name} twice")
        pairs[name] = value
    return pairs


def _open(
    me: str,
    job: str,
    keys: Path,
    public: dict[str, str],
    listening: dict[str, str],
    dialling: dict[str, str],
    wait: float,
) -> Iterator[Channel]:
    """A channel to each party, none of them connected yet."""
    from hecore.algorithms.channel import CurveKeys, ZmqOptions, dial, listen

    if both := set(listening) & set(dialling):
        raise ConfigurationError(f"{min(both)} is both listened for and dialled")
    if not listening and not dialling:
        raise ConfigurationError("no other party: --listen or --dial says where it is")
    pair = CurveKeys.load(keys)
    options = ZmqOptions(connect_timeout=wait)
    for peer, endpoint in [*listening.items(), *dialling.items()]:
        if peer not in public:
            raise ConfigurationError(f"no public key of {peer}: --key {peer}=FILE")
        allowed = {peer: Path(public[peer]).read_text(encoding="ascii", errors="replace").strip()}
        connect = listen if peer in listening else dial
        yield connect(me, peer, endpoint, pair, allowed, job=job, options=options)


class _Line:
    """Rows done, rate and remaining time: a bar on a terminal, else a line now and then."""

    def __init__(self) -> None:
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[text]}"),
        )
        self._bar = Bar(*columns, console=errors, transient=True, disable=not errors.is_interactive)
        self._tasks: dict[str, Any] = {}
        self._spoken = time.monotonic()

    def __enter__(self) -> _Line:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, progress: Progress) -> None:
        """What `align` tells."""
        text = f"{progress.done / progress.total:.0%}"
        if progress.rate:
            rest = timedelta(seconds=round(progress.remaining))
            text += f", {progress.rate:,.0f} rows/s, {rest} left"
        name = f"matching with {progress.peer}"
        if not errors.is_interactive:
            if time.monotonic() >= self._spoken + QUIET:
                self._spoken = time.monotonic()
                errors.print(f"{name}: {text}", highlight=False, soft_wrap=True, markup=False)
            return
        if name not in self._tasks:
            self._tasks[name] = self._bar.add_task(name, total=progress.total, text="")
        self._bar.update(self._tasks[name], completed=progress.done, text=text)
