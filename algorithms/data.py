"""Tables: rows with ids, numeric columns, and a label where the party has one."""

from __future__ import annotations

import contextlib
import csv
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hecore.algorithms.errors import TableError

Matrix = NDArray[np.float64]

#: How much of a wrong text, and how many names, an error shows.
LONGEST_SHOWN, COLUMNS_SHOWN = 40, 20


@dataclass(frozen=True, eq=False)
class Table:
    """One party's view of the common rows; checked when it is made.

    name     for messages: a file or "table"
    ids      one text per row, distinct, none empty
    columns  distinct names
    values   float64 (rows, columns), finite
    label    float64 (rows,), finite, or None at a passive party

    Raises TableError naming the row and column of what is wrong.
    """

    name: str
    ids: tuple[str, ...]
    columns: tuple[str, ...]
    values: Matrix
    label: Matrix | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "ids", tuple(self.ids))
        object.__setattr__(self, "columns", tuple(self.columns))
        object.__setattr__(self, "values", _numbers(self.name, "values", self.values))
        if self.label is not None:
            object.__setattr__(self, "label", _numbers(self.name, "labels", self.label))
        rows, columns = len(self.ids), len(self.columns)
        if self.values.shape != (rows, columns):
            raise TableError(
                f"{self.name}: values of shape {self.values.shape} for {rows} ids and {columns} columns"
            )
        if rows == 0 or columns == 0:
            raise TableError(f"{self.name}: {rows} rows and {columns} columns are nothing to train on")
        _check_names(self.name, "column", self.columns)
        _check_names(self.name, "id", self.ids)
        self._check_values()
        self._check_label()

    def _check_values(self) -> None:
        bad = np.argwhere(~np.isfinite(self.values))
        if bad.size:
            row, column = bad[0]
            raise TableError(
                f"{self.name}: {self.values[row, column]} at row {row} (id {self.ids[row]!r}), column"
                f" {self.columns[column]!r}{_and_more(bad)}: every value must be a finite number, impute it"
                " or drop the row"
            )

    def _check_label(self) -> None:
        if self.label is None:
            return
        if self.label.shape != (len(self),):
            raise TableError(f"{self.name}: labels of shape {self.label.shape} for {len(self)} rows")
        bad = np.flatnonzero(~np.isfinite(self.label))
        if bad.size:
            raise TableError(
                f"{self.name}: label {self.label[bad[0]]} at row {bad[0]} (id {self.ids[bad[0]]!r})"
                f"{_and_more(bad)}: drop the rows without a label"
            )

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: NDArray[np.integer]) -> Table:
        """The rows at these places, in that order; TableError for a mask or a place that is not there."""
        places = np.asarray(rows)
        if places.ndim != 1 or (places.size and places.dtype.kind not in "iu"):
            raise TableError(
                f"{self.name}: rows are taken by a list of places, not by {places.dtype} {places.shape}"
            )
        outside = places[(places < 0) | (places >= len(self))]
        if outside.size:
            raise TableError(f"{self.name}: there is no row {outside[0]}, it has {len(self)} rows")
        places = places.astype(np.intp)
        ids = tuple(self.ids[i] for i in places)
        label = None if self.label is None else self.label[places]
        return Table(self.name, ids, self.columns, self.values[places], label)

    def select(self, columns: Sequence[str]) -> Table:
        """The given columns, in that order. TableError naming one that is not there."""
        for name in columns:
            if name not in self.columns:
                raise TableError(f"{self.name} has no column {name!r}; it has {', '.join(self.columns)}")
        places = [self.columns.index(name) for name in columns]
        return Table(self.name, self.ids, tuple(columns), self.values[:, places], self.label)

    def digest(self) -> bytes:
        """SHA-256 of columns, values and label: two tables with the same one train alike."""
        digest = hashlib.sha256(repr((self.columns, self.values.shape, self.label is None)).encode())
        for part in (self.values, self.label):
            digest.update(b"" if part is None else np.ascontiguousarray(part).tobytes())
        return digest.digest()

    def alignment(self) -> bytes:
        """SHA-256 over the ids in their order: equal at two parties whose rows match."""
        digest = hashlib.sha256(b"hecore alignment v1")
        for row_id in self.ids:
            encoded = row_id.encode()
            digest.update(len(encoded).to_bytes(4, "little") + encoded)
        return digest.digest()


def read_csv(path: str | Path, *, id_column: str = "id", label_column: str | None = None) -> Table:
    """A comma-separated UTF-8 file with a header; every column but id and label is a numeric feature.

    Blank lines are skipped. Raises TableError naming file, row and column of a missing column or a text that
    is no number. Rows are numbered from 0, without the header.
    """
    name = Path(path).name
    header, rows = _read_rows(path, name)
    if label_column == id_column:
        raise TableError(f"{name}: column {id_column!r} cannot be both id and label")
    for wanted in (id_column, *([] if label_column is None else [label_column])):
        if wanted not in header:
            raise TableError(f"{name} has no column {wanted!r}; it has {_listed(header)}")
    _check_distinct(name, "column", header)
    id_place = header.index(id_column)
    ids = tuple(row[id_place] for row in rows)

    def column(place: int) -> Matrix:
        numbers = (_number(name, row, ids[row], header[place], rows[row][place]) for row in range(len(rows)))
        return np.fromiter(numbers, np.float64, len(rows))

    label = None if label_column is None else column(header.index(label_column))
    features = [i for i in range(len(header)) if header[i] not in (id_column, label_column)]
    values = np.empty((len(rows), len(features)))
    for place, feature in enumerate(features):
        values[:, place] = column(feature)
    return Table(name, ids, tuple(header[i] for i in features), values, label)


def _read_rows(path: str | Path, name: str) -> tuple[list[str], list[list[str]]]:
    """The header, and the rows behind it, all of its length."""
    rows: list[list[str]] = []
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file, strict=True)
        try:
            filled = (row for row in reader if row)
            header = next(filled, None)
            if header is None:
                raise TableError(f"{name} is empty")
            for row in filled:
                if len(row) != len(header):
                    raise TableError(
                        f"{name}: row {len(rows)} (line {reader.line_num}) has {len(row)} fields, the header"
                        f" {len(header)}"
                    )
                rows.append(row)
        except UnicodeDecodeError:
            raise TableError(f"{name} is not UTF-8 text: save it as CSV in UTF-8") from None
        except csv.Error as error:
            raise TableError(f"{name}, line {reader.line_num}: {error}") from None
    return header, rows


def _number(name: str, row: int, row_id: str, column: str, text: str) -> float:
    """The number in a cell; an empty one is NaN. Python's 1_000 is no number here."""
    with contextlib.suppress(ValueError):
        if "_" not in text:
            return float(text.strip() or "nan")
    shown = text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "…"
    raise TableError(f"{name}: {shown!r} at row {row} (id {row_id!r}), column {column!r} is no number")


def _numbers(name: str, what: str, values: Any) -> Matrix:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TableError(f"{name}: {what} are not all numbers: {error}") from None


def _check_names(name: str, what: str, values: Sequence[str]) -> None:
    for place, value in enumerate(values):
        if not isinstance(value, str) or not value:
            raise TableError(f"{name}: the {what} at place {place} is {value!r}: a text is needed")
    _check_distinct(name, what, values)


def _check_distinct(name: str, what: str, values: Sequence[str]) -> None:
    if len(set(values)) == len(values):
        return
    seen: dict[str, int] = {}
    for place, value in enumerate(values):
        if value in seen:
            raise TableError(f"{name}: {what} {value!r} occurs twice, at places {seen[value]} and {place}")
        seen[value] = place


def _and_more(bad: NDArray[np.intp]) -> str:
    return f", and {len(bad) - 1} more" if len(bad) > 1 else ""


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name[:LONGEST_SHOWN]) for name in names[:COLUMNS_SHOWN])
    return shown + (f" and {len(names) - COLUMNS_SHOWN} more" if len(names) > COLUMNS_SHOWN else "")
