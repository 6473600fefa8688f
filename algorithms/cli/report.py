"""`hecore report`: one HTML page about a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hecore.algorithms.cli.console import friendly, say


@friendly
def report(
    run: Annotated[Path, typer.Argument(help="The folder of a run, with its run.json.")],
    out: Annotated[
        Path | None, typer.Option(help="The page to write; report.html in the run's folder by default.")
    ] = None,
    peer: Annotated[
        list[Path] | None,
        typer.Option(help="The folder of the same run at another party, if it gave one; may be repeated."),
    ] = None,
) -> None:
    """Write one HTML page about a run: results, curves, time lines, messages, who could read what.

    The page opens without a network and holds no rows, keys or masks. A run that still goes on, or that
    failed, has a page as well; an older page is replaced.
    """
    from hecore.algorithms.private_files import write_whole
    from hecore.algorithms.report import build_page, load_run

    page = build_page(load_run(run), [load_run(other) for other in peer or []])
    out = run / "report.html" if out is None else out
    write_whole(out, page.encode())
    say(f"report written to {out}")
