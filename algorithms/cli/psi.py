"""`hecore psi`: find the common rows of two or more parties."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hecore.algorithms.cli.console import errors, friendly, refuse_to_overwrite, say
from hecore.algorithms.cli.progress import progress_lines, rows_progress
from hecore.algorithms.errors import (
    AlignmentError,
    CheckpointError,
    ConfigurationError,
    HandshakeError,
    PeerAborted,
)

if TYPE_CHECKING:
    from hecore.algorithms.channel import FolderStore, Node, ZmqChannel
    from hecore.algorithms.checkpoint import Checkpoints

#: Seconds of work that a break may cost.
INTERVAL = 5.0


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
    from hecore.algorithms.data import open_source, read_ids, write_rows
    from hecore.algorithms.psi import Progress, PsiConfig, align

    if out is not None:
        refuse_to_overwrite(out)
    config = PsiConfig(reveal=reveal, min_intersection=min_intersection)  # type: ignore[arg-type]
    meeting = _Meeting(me or role, job, listen, _named(dial or [], "--dial"), _named(key, "--key"))
    source = open_source(file)
    with errors.status(f"reading {file.name}"):
        ids = read_ids(source, id_column)
    if out is not None and not out.absolute().parent.is_dir():
        raise ConfigurationError(f"{out.absolute().parent} is no folder: --out needs one that is there")
    with meeting.open(keys, state, wait) as (channels, checkpoints), progress_lines() as tell:

        def show(progress: Progress) -> None:
            tell(rows_progress(f"matching with {progress.peer}", progress))

        found = align(channels, ids, role, config, checkpoints=checkpoints, on_progress=show)
    say(f"{found.common:,} of {len(ids):,} ids are common")
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


class _Meeting:
    """Where the other parties are, and what is kept of a run that breaks off."""

    def __init__(
        self, me: str, job: str, listen: str | None, dial: dict[str, str], public: dict[str, str]
    ) -> None:
        self._me, self._job, self._listen, self._dial = me, job, listen, dial
        self._public = public
        self._store: FolderStore | None = None
        self._failed = self._delivered = self._returns = False
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

    @contextmanager
    def open(
        self, keys: Path, state: Path | None, wait: float
    ) -> Iterator[tuple[list[ZmqChannel], Checkpoints | None]]:
        """A channel to each party, none of them connected yet; with a state folder, its checkpoints."""
        from hecore.algorithms.channel import CurveKeys, FolderStore, Node, ZmqChannel, ZmqOptions
        from hecore.algorithms.checkpoint import Checkpoints

        allowed = {
            peer: Path(path).read_text(encoding="ascii", errors="replace").strip()
            for peer, path in self._public.items()
        }
        pair, options = CurveKeys.load(keys), ZmqOptions(connect_timeout=wait)
        self._store = store = None if state is None else FolderStore(state, self._me, self._job)
        node = Node(self._me, pair, allowed, job=self._job, listen=self._listen, store=store, options=options)
        try:
            channels = [ZmqChannel(node, peer, self._dial.get(peer)) for peer in self._public]
            kept = None if store is None else Checkpoints(store, channels, every=0, seconds=INTERVAL)
            with self._talking(node, channels):
                yield channels, kept
        finally:
            node.close(leave=not self._returns)
            if self._failed:
                self.tidy_up()

    @contextmanager
    def _talking(self, node: Node, channels: Sequence[ZmqChannel]) -> Iterator[None]:
        """Close the channels at the end, and find out whether the run is over at every side."""
        with ExitStack() as talks:
            for channel in channels:
                talks.enter_context(channel)
            try:
                yield
                until = time.monotonic() + node.options.linger
                self._delivered = all(node.settle(peer, until) for peer in self._public)
            except (KeyboardInterrupt, CheckpointError) as error:
                if self._store is not None:  # nobody is told that it is over: this party comes back
                    talks.pop_all()
                    self._returns = True
                    if isinstance(error, KeyboardInterrupt):
                        folder = self._store.folder
                        text = f"{folder} keeps this run, and the others wait: start it again to go on"
                        errors.print(text, highlight=False, markup=False, soft_wrap=True)
                raise
            except Exception as error:
                told = isinstance(error, PeerAborted) and error.reason == AlignmentError.__name__
                self._failed = told or isinstance(error, AlignmentError | HandshakeError)
                now = time.monotonic()
                self._delivered = all(node.settle(peer, now) or node.state(peer)[1] for peer in self._public)
                raise

    def tidy_up(self) -> None:
        """The run is over: remove what was kept of it, unless a party may still ask for its part."""
        if self._store is None:
            return
        if self._delivered:
            self._store.remove()
        else:
            folder = self._store.folder
            say(f"{folder} is kept: not every party has confirmed its part. Remove it when all are done")
