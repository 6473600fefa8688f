"""From files to Tables."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pyarrow as pa

from hecore.algorithms.data.ids import Ids
from hecore.algorithms.data.schema import Schema, codes, infer_schema, numbers
from hecore.algorithms.data.sources import CsvSource, Source, open_source, require
from hecore.algorithms.data.table import Table
from hecore.algorithms.errors import TableError


def read_table(
    path: str | Path,
    *,
    id_column: str = "id",
    label_column: str | None = None,
    categorical: Collection[str] = (),
    schema: Schema | None = None,
    missing: bool = True,
) -> Table:
    """A CSV or Parquet file; every column but id and label is a feature, of the kind that it seems to have.

    Texts become categories, sorted; `categorical` names columns of numbers that are categories all the same.
    Missing values become NaN, or with `missing` False a TableError. With the `schema` of another file (the
    one trained on) columns get its kinds, order and categories; texts that it does not know become NaN.

    The file is read twice, in chunks: memory holds the table itself and one chunk. TableError names file,
    row and column of what is wrong.
    """
    source = open_source(path)
    own = infer_schema(source, id_column=id_column, label_column=label_column, categorical=categorical)
    kinds = own if schema is None else schema
    require(source, [column.name for column in kinds.features])
    for column in kinds.features:
        if column.kind == "text":
            raise TableError(
                f"{source.name}: column {column.name!r} has too many different texts for a category:"
                " leave it out"
            )
    features = kinds.features
    values = np.empty((own.rows, len(features)))
    label = None if label_column is None else np.empty(own.rows)
    ids = []
    for chunk in source.chunks():
        rows = slice(chunk.first, chunk.first + len(chunk))
        ids.append(_id_chunk(source, chunk.columns[id_column], id_column))
        for place, column in enumerate(features):
            cells = chunk.columns[column.name]
            categories = column.kind == "categorical"
            values[rows, place] = (
                codes(column, cells) if categories else numbers(source.name, chunk, column.name, id_column)
            )
        if label is not None and label_column is not None:
            label[rows] = numbers(source.name, chunk, label_column, id_column)
    return Table(
        source.name,
        Ids(pa.chunked_array(ids, pa.large_string())),
        tuple(column.name for column in features),
        values,
        label,
        {column.name: column.categories for column in features if column.kind == "categorical"},
        missing,
    )


def read_csv(path: str | Path, *, id_column: str = "id", label_column: str | None = None) -> Table:
    """A comma-separated UTF-8 file with a header; every column but id and label is a numeric feature.

    Blank lines are skipped. Raises TableError naming file, row and column of a missing column, of a missing
    value, or of a text that is no number. Rows are numbered from 0, without the header.
    """
    source = CsvSource(path)
    if label_column == id_column:
        raise TableError(f"{source.name}: column {id_column!r} cannot be both id and label")
    require(source, [id_column, *([] if label_column is None else [label_column])])
    features = [name for name in source.header if name not in (id_column, label_column)]
    ids = [pa.array([], pa.large_string())]
    values, label = [np.empty((0, len(features)))], [np.empty(0)]
    for chunk in source.chunks():
        ids.append(chunk.columns[id_column])
        columns = [numbers(source.name, chunk, name, id_column) for name in features]
        values.append(np.column_stack(columns) if columns else np.empty((len(chunk), 0)))
        if label_column is not None:
            label.append(numbers(source.name, chunk, label_column, id_column))
    return Table(
        source.name,
        Ids(pa.chunked_array(ids)),
        tuple(features),
        np.concatenate(values),
        None if label_column is None else np.concatenate(label),
    )


def read_ids(path: str | Path | Source, id_column: str = "id") -> Ids:
    """The ids of a CSV or Parquet file alone; empty and repeated ones are left for the caller to judge."""
    source = open_source(path) if isinstance(path, str | Path) else path
    require(source, [id_column])
    chunks = [_id_chunk(source, chunk.columns[id_column], id_column) for chunk in source.chunks([id_column])]
    return Ids(pa.chunked_array(chunks, pa.large_string()))


def _id_chunk(source: Source, cells: object, id_column: str) -> object:
    try:
        return Ids(cells).array
    except TypeError as error:
        raise TableError(f"{source.name}: column {id_column!r}: {error}") from None
