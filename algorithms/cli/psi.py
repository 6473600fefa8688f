"""`hecore psi`: find the common rows of two or more parties."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from hecore.algorithms.cli.console import check_out, errors, friendly, say
from hecore.algorithms.cli.progress import progress_lines, rows_progress
from hecore.algorithms.errors import ConfigurationError


@friendly
def psi(
    file: Annotated[Path, typer.Argument(help="This party's CSV or Parquet file.")],
    role: Annotated[str, typer.Option(help="active (holds the label, talks to all) or passive.")],
    keys: Annotated[Path, typer.Option(help="This party's keys, from hecore party keygen.")],
    key: Annotated[list[str], typer.Option(help="NAME=FILE: a party's public key. Once for each party.")],
    me: Annotated[str | None, typer.Option(help="This party's name; its role by default.")] = None,
    listen: Annotated[
        str | None, typer.Option(help="tcp://ADDRESS:PORT: wait there for the parties that are not dialled.")
    ] = None,
    dial: Annotated[
        list[str] | None, typer.Option(help="NAME=tcp://HOST:PORT: call a party that listens there.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the common rows, sorted by id, as .parquet or .csv.")
    ] = None,
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
    from hecore.algorithms.channel.curve import CurveKeys, load_public_key
    from hecore.algorithms.checkpoint import naming_changed
    from hecore.algorithms.checks import counted
    from hecore.algorithms.cli.stopping import stoppable
    from hecore.algorithms.data import open_source, read_ids, write_rows
    from hecore.algorithms.data.write import check_table_out
    from hecore.algorithms.party import ACTIVE, PASSIVE
    from hecore.algorithms.psi import Progress, PsiConfig, align
    from hecore.algorithms.psi.meeting import Meeting

    if out is not None:
        check_out(out)
    if role not in (ACTIVE, PASSIVE):
        raise ConfigurationError(f"--role {role}: {ACTIVE} or {PASSIVE}")
    config = PsiConfig(reveal=reveal, min_intersection=min_intersection)  # type: ignore[arg-type]
    dialled, public = _named(dial or [], "--dial"), _named(key, "--key")
    _check_places(listen, dialled, public)
    pair, allowed = CurveKeys.load(keys), {peer: load_public_key(path) for peer, path in public.items()}
    for peer, known in allowed.items():
        if known == pair.public:
            raise ConfigurationError(f"--key {peer}={public[peer]} is this party's own: {peer} has another")
    source = open_source(file)
    if out is not None:
        check_table_out(out, source.types)
    with errors.status(f"reading {file.name}"):
        ids = read_ids(source, id_column)
    meeting = Meeting(me or role, job, listen, dialled, allowed, state, say)
    kept = f"{state} keeps this run, and the others wait: start it again to go on"
    try:
        with (
            stoppable("interrupted" if state is None else kept),
            naming_changed(file, "alignment", f"remove {state}"),
            meeting.open(pair, wait) as (channels, checkpoints),
            progress_lines() as tell,
        ):

            def show(progress: Progress) -> None:
                tell(rows_progress(f"matching with {progress.peer}", progress))

            found = align(channels, ids, role, config, checkpoints=checkpoints, on_progress=show)
    except KeyboardInterrupt:
        if meeting.interrupted:
            errors.print(kept, highlight=False, markup=False, soft_wrap=True)
        raise
    are = "is" if found.common == 1 else "are"
    say(f"{found.common:,} of {counted(len(ids), 'id')} {are} common")
    if found.rows is None:
        say("which ones they are was revealed to the active party alone")
    elif out is not None:
        with errors.status(f"writing {out.name}"):
            write_rows(source, found.rows, out)
        say(f"common rows written to {out}")
    meeting.tidy_up()


def _named(given: list[str], option: str) -> dict[str, str]:
    """NAME=VALUE texts; ConfigurationError for another form, or a name that stands twice."""
    named: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise ConfigurationError(f"{option} {text}: write NAME=VALUE")
        if name in named:
            raise ConfigurationError(f"{option} names {name} twice")
        named[name] = value
    return named


def _check_places(listen: str | None, dial: Mapping[str, str], public: Mapping[str, str]) -> None:
    """ConfigurationError unless every party is either dialled or waited for, and known."""
    for peer in dial:
        if peer not in public:
            raise ConfigurationError(f"no public key of {peer}: --key {peer}=FILE")
    for peer in public:
        if listen is None and peer not in dial:
            raise ConfigurationError(
                f"where is {peer}? --dial {peer}=tcp://HOST:PORT calls it, --listen waits for it"
            )
    if listen is not None and not public.keys() - dial.keys():
        raise ConfigurationError(f"--listen {listen} waits for nobody: every party is dialled")
