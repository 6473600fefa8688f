"""`hecore predict`: joint prediction for a file of ids."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hecore.algorithms.cli.console import friendly, refuse_to_overwrite, say
from hecore.algorithms.cli.progress import progress_lines, rows_progress
from hecore.algorithms.cli.serve import SETTINGS
from hecore.algorithms.errors import ConfigurationError

if TYPE_CHECKING:
    from hecore.algorithms.rows_done import RowsDone
    from hecore.algorithms.serving.files import Summary
    from hecore.algorithms.serving.settings import Settings


@friendly
def predict(
    share: Annotated[
        Path, typer.Argument(help="This party's share of the model.", exists=True, dir_okay=False)
    ],
    config: Annotated[Path, typer.Option(help="Keys and addresses, as for hecore serve.")] = SETTINGS,
    data: Annotated[
        Path | None, typer.Option(help="This party's features: CSV, Parquet or SQLite; else [data] file.")
    ] = None,
    ids: Annotated[
        Path | None,
        typer.Option(help="CSV or Parquet with the ids to score; else all of the data's. Active party."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Scores, as .parquet or .csv. Active party.")] = None,
    wait: Annotated[float, typer.Option(help="Seconds for which another party may be away.")] = 600.0,
) -> None:
    """Score a file of ids with the other parties. Each runs it, in any order; the active one writes scores.

    Started again after a break, it goes on where it was.
    """
    from hecore.algorithms.model import is_active, load_model_share
    from hecore.algorithms.serving.settings import load_settings

    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING)
    settings = load_settings(config)
    if is_active(load_model_share(share)):
        _lead(settings, share, data, ids, out, wait)
    elif ids is not None or out is not None:
        raise ConfigurationError("--ids and --out belong to the active party: a passive one gets no scores")
    else:
        _follow(settings, share, data)


def _follow(settings: Settings, share: Path, data: Path | None) -> None:
    from hecore.algorithms.model import load_model_share
    from hecore.algorithms.serving.process import load_passive, serve_passive

    party = load_model_share(share).party
    serve_passive(party, settings, lambda: load_passive(settings, [share], data), say, one_file=True)


def _lead(
    settings: Settings, share: Path, data: Path | None, ids: Path | None, out: Path | None, wait: float
) -> None:
    from hecore.algorithms.data import read_ids
    from hecore.algorithms.serving.features import SQLITE_SUFFIXES, Adapted
    from hecore.algorithms.serving.files import FileScoring, finish
    from hecore.algorithms.serving.peers import Peers
    from hecore.algorithms.serving.process import data_of, features_of, load_wholes

    if out is None or out.suffix not in (".parquet", ".csv"):
        raise ConfigurationError("--out FILE.parquet or FILE.csv is needed at the active party")
    refuse_to_overwrite(out)
    source = data_of(settings, data)
    if source is None:
        raise ConfigurationError("no features: --data, or [data] file, names them")
    if ids is None and source.suffix in SQLITE_SUFFIXES:
        raise ConfigurationError("--ids FILE is needed where the features are in SQLite")
    ((_, whole),) = load_wholes(settings, [share]).items()
    wanted = read_ids(ids or source, settings.data.id)
    features = Adapted(features_of(settings, source, [whole]), whole)
    peers = Peers(whole.party, settings.contact(), list(settings.peers), job=settings.job)
    try:
        with progress_lines() as tell:

            def show(progress: RowsDone) -> None:
                tell(rows_progress("scoring", progress))

            summary = FileScoring(whole, features, wanted, out, peers, wait=wait).run(show)
        finish(peers)
    finally:
        peers.close()
    _tell(summary, out)


def _tell(summary: Summary, out: Path) -> None:
    from hecore.algorithms.serving.messages import REASONS

    resumed = f", {summary.resumed:,} of them by an earlier run" if summary.resumed else ""
    say(f"{summary.rows:,} rows written to {out}{resumed}")
    for kind, (count, first) in summary.lacking.items():
        more = ", …" if count > len(first) else ""
        say(f"{count:,} ids {REASONS[kind]} and have no score: {', '.join(first)}{more}")
