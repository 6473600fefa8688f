"""From files to Tables."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hecore.algorithms.data.cells import codes, labels, numbers, place
from hecore.algorithms.data.ids import Ids, Places
from hecore.algorithms.data.libsvm import load_libsvm
from hecore.algorithms.data.rows import wanted
from hecore.algorithms.data.schema import Schema, check_kinds, infer_schema
from hecore.algorithms.data.sources import Chunk, CsvSource, LibsvmSource, Source, open_source, require
from hecore.algorithms.data.table import Matrix, Table
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
    line or row, and column of what is wrong.
    """
    source = open_source(path)
    own = infer_schema(source, id_column=id_column, label_column=label_column, categorical=categorical)
    if schema is not None:
        special = [column for column in own.columns if column.kind in ("id", "label")]
        own = Schema(own.name, own.rows, (*special, *schema.features), own.sparse)
    return load_rows(source, None, own, missing=missing)


def load_rows(
    source: str | Path | Source,
    rows: Places | None,
    schema: Schema,
    *,
    missing: bool = True,
    positive: float | str | None = None,
) -> Table:
    """The rows at these places of a file, in that order, as a Table with the columns of `schema`.

    rows      places of an alignment (row 0 is the first one behind a header); None for all, as they stand
    schema    of this file, from `infer_schema`, which says what is id, label, number, category, left out
    missing   whether values may be missing; they are NaN then
    positive  the label, a number or a text, that counts as 1, every other one as 0

    The file is read once, in chunks: memory holds these rows and one chunk, however long the file. TableError
    names file, line (or row, of a Parquet file) and column of what cannot be used in them, and a row that the
    file does not have.
    """
    opened = open_source(source) if isinstance(source, str | Path) else source
    features, label = schema.features, schema.label_column
    names = tuple(column.name for column in features)
    if isinstance(opened, LibsvmSource):
        table = load_libsvm(opened.path, rows, names, label=label is not None)
        if positive is None or table.label is None:
            return table
        return replace(table, label=np.asarray(table.label == positive, np.float64))
    needed = [schema.id_column, *([] if label is None else [label]), *names]
    require(opened, needed)
    check_kinds(schema)
    places = np.arange(schema.rows) if rows is None else rows
    loaded = _Loaded(opened.name, schema, len(places), missing, positive)
    for chunk, inside, to in wanted(opened.name, opened.chunks(needed), places):
        loaded.add(chunk.take(inside), to)
    return loaded.table()


class _Loaded:
    """The rows of a table, filled chunk by chunk."""

    def __init__(
        self, name: str, schema: Schema, rows: int, missing: bool, positive: float | str | None
    ) -> None:
        self._name, self._schema, self._missing, self._positive = name, schema, missing, positive
        self._values = np.empty((rows, len(schema.features)))
        self._label = None if schema.label_column is None else np.empty(rows)
        self._ids: list[Any] = []
        self._places: list[Places] = []

    def add(self, chunk: Chunk, places: Places) -> None:
        """Rows of the file, and where they go."""
        id_column, label = self._schema.id_column, self._schema.label_column
        ids = _id_chunk(self._name, chunk.columns[id_column], id_column)
        self._ids.append(ids)
        self._places.append(places)
        for number, column in enumerate(self._schema.features):
            cells = chunk.columns[column.name]
            if column.kind == "categorical":
                values = codes(column, cells)
            else:
                values = numbers(self._name, chunk, column.name, id_column)
            wrong = np.isinf(values) if self._missing else ~np.isfinite(values)
            self._refuse(wrong, values, chunk, column.name)
            self._values[places, number] = values
        if self._label is not None and label is not None:
            self._label[places] = labels(self._name, chunk, label, id_column, self._positive)

    def table(self) -> Table:
        """All of them, in their order."""
        places = np.concatenate([np.empty(0, np.int64), *self._places])
        ids = Ids(pa.chunked_array(self._ids, pa.large_string())).take(np.argsort(places))
        features = self._schema.features
        return Table(
            self._name,
            ids,
            tuple(column.name for column in features),
            self._values,
            self._label,
            {column.name: column.categories for column in features if column.kind == "categorical"},
            self._missing,
        )

    def _refuse(self, wrong: NDArray[np.bool_], values: Matrix, chunk: Chunk, column: str) -> None:
        if wrong.any():
            row = int(np.argmax(wrong))
            raise TableError(
                f"{self._name}: {values[row]} {place(chunk, row, self._schema.id_column)}, column {column!r}:"
                " a finite number is needed, impute it or drop the row"
            )


def read_csv(path: str | Path, *, id_column: str = "id", label_column: str | None = None) -> Table:
    """A comma-separated UTF-8 file with a header; every column but id and label is a numeric feature.

    Blank lines are skipped. Raises TableError naming file, line and column of a missing column or of a text
    that is no number, and the row of a missing value: rows are numbered from 0, without the header.
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
    """The ids of a file alone, as they stand; empty and repeated ones are left for the caller to judge."""
    source = open_source(path) if isinstance(path, str | Path) else path
    require(source, [id_column])
    chunks = [
        _id_chunk(source.name, chunk.columns[id_column], id_column) for chunk in source.chunks([id_column])
    ]
    return Ids(pa.chunked_array(chunks, pa.large_string()))


def _id_chunk(name: str, cells: object, id_column: str) -> Any:
    try:
        return Ids(cells).array
    except TypeError as error:
        raise TableError(f"{name}: column {id_column!r}: {error}") from None
