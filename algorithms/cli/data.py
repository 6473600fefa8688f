"""`hecore data`: look at a party's files."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hecore.algorithms.cli.console import console, errors, friendly, say

if TYPE_CHECKING:
    from hecore.algorithms.data import Ids, Schema, Table

app = typer.Typer(help="Look at a party's files.", no_args_is_help=True)

LONGEST_CATEGORIES, ROWS_SHOWN = 48, 5


@app.callback()
def _group() -> None:
    """Keeps `show` a command of its own while it is the only one."""


@app.command()
@friendly
def show(
    file: Annotated[Path, typer.Argument(help="A CSV, Parquet or libsvm file.")],
    id_column: Annotated[str, typer.Option("--id", help="The column of ids.")] = "id",
    label: Annotated[str | None, typer.Option(help="The column of labels.")] = None,
    categorical: Annotated[
        str, typer.Option(help="Columns of numbers that are categories, separated by commas.")
    ] = "",
) -> None:
    """Show what hecore finds in a file: its columns, their kinds, missing values, ranges, categories."""
    from hecore.algorithms.data import infer_schema, open_source, read_ids, read_libsvm
    from hecore.algorithms.data.libsvm import is_libsvm

    if is_libsvm(file):
        return _show_sparse(read_libsvm(file))
    names = [name.strip() for name in categorical.split(",") if name.strip()]
    with errors.status(f"reading {file.name}"):
        source = open_source(file)
        schema = infer_schema(source, id_column=id_column, label_column=label, categorical=names)
        ids = read_ids(source, id_column)
    return _show_schema(schema, ids)


def _show_schema(schema: Schema, ids: Ids) -> None:
    from rich.table import Table as Grid
    from rich.text import Text

    from hecore.algorithms.checks import counted
    from hecore.algorithms.data.schema import stray

    empty, repeated = ids.empty(), ids.repeated()
    rows, features = counted(schema.rows, "row"), counted(len(schema.features), "feature")
    grid = Grid(title=Text(f"{schema.name}: {rows}, {features}"))
    for heading in ("column", "kind"):
        grid.add_column(heading, overflow="fold")
    for heading in ("missing", "distinct"):
        grid.add_column(heading, justify="right", no_wrap=True)
    grid.add_column("values", overflow="fold")
    for column in schema.columns:
        many = "many" if column.distinct is None else f"{column.distinct:,}"
        values = "" if math.isnan(column.lowest) else f"{column.lowest:g} … {column.highest:g}"
        if column.categories:
            joined = ", ".join(column.categories)
            values = joined if len(joined) <= LONGEST_CATEGORIES else joined[: LONGEST_CATEGORIES - 1] + "…"
        missing = column.missing
        if column.kind == "id":
            missing, many = empty.size, f"{len(ids) - repeated.size:,}"
        cells = (column.name, column.kind, f"{missing:,}" if missing else "–", many, values)
        grid.add_row(*(Text(cell) for cell in cells))
    console.print(grid)
    for places, what in ((empty, "without an id"), (repeated, "with the id of an earlier row")):
        if places.size:
            shown = ", ".join(f"{row} ({ids[int(row)]!r})" for row in places[:ROWS_SHOWN])
            more = ", …" if places.size > ROWS_SHOWN else ""
            say(f"{counted(places.size, 'row')} {what}: {shown}{more}")
    for column in schema.columns:
        if column.mixed:
            say(f"to mend: {stray(column)}")
        elif column.kind == "text":
            say(f"to leave out: column {column.name!r} has too many different texts for a category")
        elif column.kind in ("numeric", "label") and column.wrong and not column.texts:
            say(f"to mend: {column.wrong}, column {column.name!r} is no finite number")


def _show_sparse(table: Table) -> None:
    from hecore.algorithms.checks import counted

    stored = table.values.nnz / math.prod(table.values.shape)
    rows, columns = counted(len(table), "row"), counted(len(table.columns), "sparse column")
    say(f"{table.name}: {rows}, {columns}, {stored:.2%} stored")
    if table.label is not None:
        say(f"labels {table.label.min():g} … {table.label.max():g}")
