"""Tables: rows with ids, numeric columns, and a label where the party has one."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hecore.algorithms.errors import TableError

Matrix = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Table:
    """One party's view of the common rows; checked when it is made.

    name     for messages: a file or "table"
    ids      one text per row, distinct
    columns  distinct names
    values   float64 (rows, columns), finite
    label    float64 (rows,), or None at a passive party

    Raises TableError naming the row and column of what is wrong.
    """

    name: str
    ids: tuple[str, ...]
    columns: tuple[str, ...]
    values: Matrix
    label: Matrix | None = None

    def __post_init__(self) -> None:
        rows, columns = len(self.ids), len(self.columns)
        if self.values.shape != (rows, columns):
            raise TableError(
                f"{self.name}: values of shape {self.values.shape} for {rows} ids and {columns} columns"
            )
        if rows == 0 or columns == 0:
            raise TableError(f"{self.name}: {rows} rows and {columns} columns are nothing to train on")
        _check_distinct(self.name, "column", self.columns)
        _check_distinct(self.name, "id", self.ids)
        bad = np.argwhere(~np.isfinite(self.values))
        if bad.size:
            row, column = bad[0]
            raise TableError(
                f"{self.name}: {self.values[row, column]} at row {row} (id {self.ids[row]!r}), column"
                f" {self.columns[column]!r}, and {len(bad) - 1} more: impute or drop missing values first"
            )
        if self.label is not None:
            if self.label.shape != (rows,):
                raise TableError(f"{self.name}: {self.label.shape} labels for {rows} rows")
            missing = np.flatnonzero(~np.isfinite(self.label))
            if missing.size:
                raise TableError(f"{self.name}: no label at row {missing[0]}, and {missing.size - 1} more")

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: NDArray[np.integer]) -> Table:
        """The given rows, in that order."""
        ids = tuple(self.ids[i] for i in rows)
        label = None if self.label is None else self.label[rows]
        return Table(self.name, ids, self.columns, self.values[rows], label)

    def alignment(self) -> bytes:
        """SHA-256 over the ids in their order: equal at two parties whose rows match."""
        digest = hashlib.sha256(b"hecore alignment v1")
        for row_id in self.ids:
            encoded = row_id.encode()
            digest.update(len(encoded).to_bytes(4, "little") + encoded)
        return digest.digest()


def read_csv(path: str | Path, *, id_column: str = "id", label_column: str | None = None) -> Table:
    """A comma-separated file with a header; every column but id and label is a numeric feature.

    Raises TableError naming file, row and column of a missing column or a text that is no number. Rows are
    numbered from 0, without the header.
    """
    name = Path(path).name
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.reader(file)
        header = next(reader, None)
        if header is None:
            raise TableError(f"{name} is empty")
        for wanted in (id_column, *([label_column] if label_column else [])):
            if wanted not in header:
                raise TableError(f"{name} has no column {wanted!r}; it has {', '.join(header)}")
        rows = []
        for number, row in enumerate(reader):
            if len(row) != len(header):
                raise TableError(f"{name}: row {number} has {len(row)} fields, the header {len(header)}")
            rows.append(row)
    id_place = header.index(id_column)
    label_place = header.index(label_column) if label_column else None
    features = [i for i in range(len(header)) if i not in (id_place, label_place)]
    values = np.array(
        [[_number(name, number, header[i], row[i]) for i in features] for number, row in enumerate(rows)]
    ).reshape(len(rows), len(features))
    label = None
    if label_place is not None:
        texts = ((number, row[label_place]) for number, row in enumerate(rows))
        label = np.array([_number(name, number, header[label_place], text) for number, text in texts])
    ids = tuple(row[id_place] for row in rows)
    return Table(name, ids, tuple(header[i] for i in features), values, label)


def _number(name: str, row: int, column: str, text: str) -> float:
    try:
        return float(text) if text else float("nan")
    except ValueError:
        raise TableError(f"{name}: {text!r} at row {row}, column {column!r} is no number") from None


def _check_distinct(name: str, what: str, values: Sequence[str]) -> None:
    if len(set(values)) == len(values):
        return
    seen: set[str] = set()
    for place, value in enumerate(values):
        if value in seen:
            raise TableError(f"{name}: {what} {value!r} occurs twice (again at {place})")
        seen.add(value)
