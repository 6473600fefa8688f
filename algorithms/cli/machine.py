"""`hecore doctor`: what works on this machine, and why the rest does not."""

from __future__ import annotations

from hecore.algorithms.cli.console import console, friendly


@friendly
def doctor() -> None:
    """Show which backends work here and why others do not, the processor, caches and versions."""
    from rich.table import Table

    from hecore.algorithms.doctor import findings

    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for what, finding in findings():
        table.add_row(what, finding)
    console.print(table)
