"""`hecore model`: look at trained models, and join their shares."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hecore.algorithms.cli.console import console, friendly, refuse_to_overwrite, say
from hecore.algorithms.errors import ConfigurationError

app = typer.Typer(help="Look at trained models, and join their shares.", no_args_is_help=True)


@app.command()
@friendly
def show(share: Annotated[Path, typer.Argument(help="A party's share of a model.")]) -> None:
    """What a share is of, how many splits each party has, and which of its own columns count."""
    from hecore.algorithms.model import describe, load_model_share

    for part in describe(load_model_share(share)):
        console.print(part, highlight=False)


@app.command("export-joint")
@friendly
def export_joint(
    shares: Annotated[list[Path], typer.Argument(help="The shares of all parties, in any order.")],
    out: Annotated[Path, typer.Option(help="The XGBoost model to write, in JSON.")],
) -> None:
    """Join the shares of all parties of a tree model to one XGBoost model that predicts the same.

    Whoever does this sees the thresholds of all parties: each hands over its share only if it agrees to that.
    """
    from hecore.algorithms.gbdt.export import export_shares
    from hecore.algorithms.lr.share import ModelRecord
    from hecore.algorithms.model import load_model_share

    refuse_to_overwrite(out)
    trees = []
    for path in shares:
        share = load_model_share(path)
        if isinstance(share, ModelRecord):
            raise ConfigurationError(
                f"{path} is a share of a linear model, and XGBoost takes trees: `hecore predict` and `hecore"
                " serve` score with linear ones"
            )
        trees.append(share)
    out.write_bytes(export_shares(trees))
    say(f"XGBoost model written to {out}")
