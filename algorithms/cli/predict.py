"""`hecore predict`: joint prediction for a file of ids."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hecore.algorithms.cli.console import check_out, friendly, say, show_logs
from hecore.algorithms.cli.progress import progress_lines, rows_progress
from hecore.algorithms.cli.serve import SETTINGS
from hecore.algorithms.errors import ConfigurationError

if TYPE_CHECKING:
    from hecore.algorithms.serving.files import Summary


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
        typer.Option(
            help="CSV or Parquet with the ids to score, in a column called as data.id; else all of the"
            " data's. Active party."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Scores, as .parquet or .csv. Active party.")] = None,
    wait: Annotated[float, typer.Option(help="Seconds for which another party may be away.")] = 600.0,
) -> None:
    """Score a file of ids with the other parties. Each runs it, in any order; the active one writes scores.

    Started again after a break, it goes on where it was.
    """
    from hecore.algorithms.model import is_active, load_model_share
    from hecore.algorithms.serving.file_party import answer_file, score_file
    from hecore.algorithms.serving.settings import load_settings

    show_logs(logging.WARNING)
    settings = load_settings(config)
    if not is_active(load_model_share(share)):
        if ids is not None or out is not None:
            raise ConfigurationError(
                "--ids and --out belong to the active party: a passive one gets no scores"
            )
        answer_file(settings, share, data, say)
        return
    if out is None:
        raise ConfigurationError("--out FILE.parquet or FILE.csv is needed at the active party")
    check_out(out)
    with progress_lines() as tell:
        summary = score_file(
            settings, share, data, ids, out, wait, lambda rows: tell(rows_progress("scoring", rows))
        )
    _tell(summary, out)


def _tell(summary: Summary, out: Path) -> None:
    from hecore.algorithms.checks import counted
    from hecore.algorithms.serving.messages import ids_that

    resumed = f", {summary.resumed:,} of them by an earlier run" if summary.resumed else ""
    without = sum(count for count, _ in summary.lacking.values())
    empty = f", {without:,} of them without a score" if without else ""
    say(f"{counted(summary.rows, 'row')} written to {out}{empty}{resumed}")
    for kind, (count, first) in summary.lacking.items():
        more = ", …" if count > len(first) else ""
        have = "has" if count == 1 else "have"
        say(f"{ids_that(kind, count)} and {have} no score: {', '.join(first)}{more}")
