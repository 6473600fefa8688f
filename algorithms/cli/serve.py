"""`hecore serve` and `hecore token`: a party's part of a model, answered by request."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from hecore.algorithms.cli.console import friendly, say, show_logs

SETTINGS = Path("serve.toml")


@friendly
def serve(
    shares: Annotated[
        list[Path], typer.Argument(help="This party's shares of models, or folders of them.", exists=True)
    ],
    config: Annotated[Path, typer.Option(help="Keys, addresses, limits: see docs/serving.md.")] = SETTINGS,
    data: Annotated[
        Path | None, typer.Option(help="This party's features: CSV, Parquet or SQLite; else [data] file.")
    ] = None,
) -> None:
    """Serve this party's part of a model, until SIGTERM. SIGHUP reads shares, features and tokens again.

    The active party answers POST /predict over HTTP; passive ones answer the active party alone.
    """
    from hecore.algorithms import serving

    show_logs(logging.INFO)
    serving.serve(serving.load_settings(config), shares, data, say)


@friendly
def token(
    name: Annotated[str, typer.Argument(help="The caller, as the audit log will name it.")],
    file: Annotated[Path, typer.Option(help="The tokens file of hecore serve.")] = Path("tokens.toml"),
    features: Annotated[
        bool, typer.Option("--features", help="It may send features of the active party.")
    ] = False,
    admin: Annotated[bool, typer.Option("--admin", help="It may switch models and reload.")] = False,
) -> None:
    """Make a token for a caller of hecore serve; one that it had before ends with the next reload."""
    from hecore.algorithms.serving.callers import Callers

    callers = Callers.load(file) if file.exists() else Callers({})
    replaced = name in callers.callers
    made = callers.add(name, features=features, admin=admin)
    callers.save(file)
    before = " in place of the one that it had, which ends with the next reload (SIGHUP)" if replaced else ""
    say(f"{file}: {name} has a new token{before}")
    say(f"token of {name}, shown this once: {made}")
