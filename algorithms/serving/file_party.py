"""A party's process in a joint prediction for a file of ids: what it loads, whom it talks to; see `files`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hecore.algorithms.data import read_ids
from hecore.algorithms.errors import ConfigurationError
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
    wanted = read_ids(ids or source, settings.data.id)
    features = Adapted(features_of(settings, source, [whole]), whole)
    peers = Peers(whole.party, settings.contact(), list(settings.peers), job=settings.job)
    try:
        summary = FileScoring(whole, features, wanted, out, peers, wait=wait).run(on_progress)
        finish(peers)
    finally:
        peers.close()
    return summary


def answer_file(settings: Settings, share: Path, data: Path | None, say: Say) -> None:
    """A passive party: answer until the active one has all rows."""
    party = load_model_share(share).party
    serve_passive(party, settings, lambda: load_passive(settings, [share], data), say, one_file=True)
