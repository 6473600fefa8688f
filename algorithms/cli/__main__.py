"""`python -m hecore.algorithms.cli` is the `hecore` command."""

from hecore.algorithms.cli import app

app()
