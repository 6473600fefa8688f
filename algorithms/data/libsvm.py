"""libsvm files: sparse rows `label place:value place:value … # id`, places ascending.

Rows without a trailing `# id` have their number as id, from 0: files whose rows match line by line have equal
ids then. Where a column is named, a place is its text, and the first number of a row is the column "label".
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hecore.algorithms.checks import counted
from hecore.algorithms.data.ids import Ids, Places
from hecore.algorithms.data.rows import wanted
from hecore.algorithms.data.table import Table
from hecore.algorithms.errors import TableError

ENDINGS = (".libsvm", ".svm", ".svmlight")
ID, LABEL = "id", "label"
LONGEST_SHOWN = 40


def is_libsvm(path: str | Path) -> bool:
    """Whether a file is one by its ending."""
    return Path(path).suffix in ENDINGS


@dataclass(frozen=True)
class SparseRow:
    """A line that is not blank."""

    line: int
    row_id: str
    label: float
    places: list[int]
    values: list[float]


def read_libsvm(
    path: str | Path, *, label: bool = True, columns: int | None = None, first_place: int = 1
) -> Table:
    """A sparse Table; its columns are named by their places.

    label        whether the first number of a row is kept; a passive party's files have one without a meaning
    columns      how many there are; by default as many as the highest place says
    first_place  1 as libsvm counts, or 0

    TableError naming file, line and place of a text that does not belong there, of places that do not ascend,
    and of a place beyond `columns`.
    """
    found = collect(parsed_rows(path, first_place=first_place, columns=columns))
    width = columns if columns is not None else found.width - first_place
    names = tuple(str(place) for place in range(first_place, first_place + width))
    values = found.matrix(first_place + width)[:, first_place:]
    return Table(
        Path(path).name, Ids(found.ids), names, values, np.frombuffer(found.labels) if label else None
    )


def load_libsvm(path: str | Path, rows: Places | None, names: tuple[str, ...], *, label: bool) -> Table:
    """The rows at these places of the file, in that order, with the columns named; all rows for None.

    Only these are in memory. A column that the file does not have is 0, others are left out.
    """
    parsed = parsed_rows(path, first_place=0)
    if rows is None:
        found, order = collect(parsed), None
    else:
        kept, order = np.unique(rows, return_inverse=True)
        blocks = wanted(Path(path).name, ([row] for row in parsed), kept)
        found = collect(block[0] for block, _, _ in blocks)
    columns = [int(name) for name in names]
    values = found.matrix(max([found.width, *(column + 1 for column in columns)]))[:, columns]
    labels, ids = np.frombuffer(found.labels), Ids(found.ids)
    if order is not None:
        values, labels, ids = values[order], labels[order], ids.take(order)
    return Table(Path(path).name, ids, names, values, labels if label else None)


class Collected:
    """Rows so far, as the parts of a CSR array; `width` is 1 + the highest place."""

    def __init__(self) -> None:
        self.labels, self.values = array("d"), array("d")
        self.places, self.ends = array("q"), array("q", [0])
        self.ids: list[str] = []
        self.width = 0

    def matrix(self, width: int) -> Any:
        """A scipy CSR array with `width` columns."""
        from scipy.sparse import csr_array  # heavy import

        parts = (
            np.frombuffer(self.values),
            np.frombuffer(self.places, np.int64),
            np.frombuffer(self.ends, np.int64),
        )
        return csr_array(parts, shape=(len(self.ids), width))


def collect(rows: Iterable[SparseRow]) -> Collected:
    """All of the rows."""
    found = Collected()
    for row in rows:
        found.ids.append(row.row_id)
        found.labels.append(row.label)
        found.places.extend(row.places)
        found.values.extend(row.values)
        found.ends.append(len(found.places))
        found.width = max(found.width, row.places[-1] + 1 if row.places else 0)
    return found


def parsed_rows(
    path: str | Path, *, first_place: int = 0, columns: int | None = None, places: bool = True
) -> Iterator[SparseRow]:
    """The rows of a file, checked; without `places` their ids and labels alone."""
    name = Path(path).name
    named = 0
    for row, (line, cells, row_id) in enumerate(_lines(path, name)):
        first, *rest = cells.split() or [""]
        if not first:
            raise TableError(f"{name}: line {line} has no label")
        label = _number(name, line, "label", first)
        pairs = [_cell(name, line, cell) for cell in rest] if places else []
        _check_places(name, line, [place for place, _ in pairs], first_place, columns)
        named += bool(row_id)
        if named not in (0, row + 1):
            raise TableError(
                f"{name}: line {line}: of {row + 1} rows, {named} name their id: all or none must"
            )
        yield SparseRow(line, row_id or str(row), label, [p for p, _ in pairs], [v for _, v in pairs])


def _lines(path: str | Path, name: str) -> Iterator[tuple[int, str, str]]:
    """(line, cells, id) of every line that is not blank."""
    with open(path, encoding="utf-8") as file:
        try:
            for number, line in enumerate(file, 1):
                cells, _, comment = line.partition("#")
                if line.strip():
                    yield number, cells, comment.strip()
        except UnicodeDecodeError:
            raise TableError(f"{name} is not UTF-8 text") from None


def _check_places(name: str, line: int, places: list[int], first_place: int, columns: int | None) -> None:
    last = first_place - 1
    for place in places:
        if place <= last:
            raise TableError(
                f"{name}: line {line}: place {place} follows {last}; places ascend from {first_place}"
            )
        if columns is not None and place >= first_place + columns:
            raise TableError(f"{name}: line {line}: place {place} is beyond the {counted(columns, 'column')}")
        last = place


def _cell(name: str, line: int, cell: str) -> tuple[int, float]:
    place, colon, value = cell.partition(":")
    if not colon or not place.isascii() or not place.isdecimal() or len(place) > 18:
        raise TableError(f"{name}: {cell[:LONGEST_SHOWN]!r} in line {line} is not place:value")
    return int(place), _number(name, line, f"place {place}", value)


def _number(name: str, line: int, what: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or "_" in text:
        raise TableError(f"{name}: {text[:LONGEST_SHOWN]!r} in line {line}, {what}, is no finite number")
    return value
