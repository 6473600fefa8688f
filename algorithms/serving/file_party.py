"""A party's process in a joint prediction for a file of ids: what it loads, whom it talks to; see `files`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from hecore.algorithms.checks import counted
from hecore.algorithms.data import Ids, open_source, read_ids
from hecore.algorithms.data.sources import Source, require
from hecore.algorithms.errors import ConfigurationError, TableError
from hecore.algorithms.model import load_model_share
from hecore.algorithms.rows_done import RowsDone
from hecore.algorithms.serving.features import SQLITE_SUFFIXES, Adapted
from hecore.algorithms.serving.files import FileScoring, Summary, finish
from hecore.algorithms.serving.peers import Peers
from hecore.algorithms.serving.process import (
    Say,
    data_of,
    features_of,
    load_passive,
    load_wholes,
    serve_passive,
)
from hecore.algorithms.serving.settings import Settings


def score_file(
    settings: Settings,
    share: Path,
    data: Path | None,
    ids: Path | None,
    out: Path,
    wait: float,
    on_progress: Callable[[RowsDone], None],
) -> Summary:
    """The active party: score the ids of a file, or all of the data's, and write them to `out`.

    data, wait  as in `process.load_active` and `FileScoring`

    Raises ConfigurationError for what is missing, and what `FileScoring.run` does.
    """
    source = data_of(settings, data)
    if ids is None and source.suffix in SQLITE_SUFFIXES:
        raise ConfigurationError("--ids FILE is needed where the features are in SQLite")
    ((_, whole),) = load_wholes(settings, [share]).items()
    wanted = wanted_ids(ids or source, settings.data.id)
    features = Adapted(features_of(settings, source, [whole]), whole)
    peers = Peers(whole.party, settings.contact(), list(settings.peers), job=settings.job)
    try:
        summary = FileScoring(whole, features, wanted, out, peers, wait=wait).run(on_progress)
        finish(peers)
    finally:
        peers.close()
    return summary


def wanted_ids(path: Path, column: str) -> Ids:
    """The ids to be scored: those of a file, in the column that has the name of `data.id`.

    Raises TableError where there is no such column, and for empty and repeated ids, naming file and line.
    """
    source = open_source(path)
    try:
        require(source, [column])
    except TableError as error:
        raise TableError(f"{error}; data.id of the settings says which column the ids are in") from None
    ids = read_ids(source, column)
    empty, repeated = ids.empty(), ids.repeated()
    if empty.size:
        (where,) = _where(source, column, [int(empty[0])])
        raise TableError(f"{source.name}, {where}: the id is empty")
    if repeated.size:
        text, place = ids[int(repeated[0])], int(repeated[0])
        first, again = _where(source, column, [ids.first(text), place])
        others = counted(repeated.size - 1, "more row")
        more = f", and an id repeats in {others}" if repeated.size > 1 else ""
        raise TableError(f"{source.name}: id {text!r} stands at {first} and again at {again}{more}")
    return ids


def _where(source: Source, column: str, places: Sequence[int]) -> list[str]:
    """Where rows stand in a file: their lines, of a text file."""
    found, start = {}, 0
    for chunk in source.chunks([column]):
        for place in places:
            if start <= place < start + len(chunk):
                found[place] = chunk.where(place - start)
        start += len(chunk)
    return [found[place] for place in places]


def answer_file(settings: Settings, share: Path, data: Path | None, say: Say) -> None:
    """A passive party: answer until the active one has all rows."""
    party = load_model_share(share).party
    serve_passive(party, settings, lambda: load_passive(settings, [share], data), say, one_file=True)
