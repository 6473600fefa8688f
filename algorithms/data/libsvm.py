"""libsvm files: sparse rows `label place:value place:value … # id`, places ascending.

Rows without a trailing `# id` have their number as id, from 0.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from hecore.algorithms.data.ids import Ids
from hecore.algorithms.data.table import Table
from hecore.algorithms.errors import TableError

LONGEST_SHOWN = 40


def read_libsvm(
    path: str | Path, *, label: bool = True, columns: int | None = None, first_place: int = 1
) -> Table:
    """A sparse Table; its columns are named by their places.

    label        whether the first number of a row is kept; a passive party's files have one without a meaning
    columns      how many there are; by default as many as the highest place says
    first_place  1 as libsvm counts, or 0

    TableError naming file, row and place of a text that does not belong there, of places that do not ascend,
    and of a place beyond `columns`.
    """
    name = Path(path).name
    labels, values = array("d"), array("d")
    places, ends = array("q"), array("q", [0])
    ids: list[str] = []
    named = 0
    for row, text, row_id in _rows(path, name):
        cells = text.split()
        if not cells:
            raise TableError(f"{name}: row {row} has no label")
        labels.append(_number(name, row, "label", cells[0]))
        last = first_place - 1
        for cell in cells[1:]:
            place, value = _cell(name, row, cell)
            if place <= last:
                raise TableError(
                    f"{name}: row {row}: place {place} follows {last}; places ascend from {first_place}"
                )
            if columns is not None and place >= first_place + columns:
                raise TableError(f"{name}: row {row}: place {place} is beyond the {columns} columns")
            places.append(place - first_place)
            values.append(value)
            last = place
        ends.append(len(places))
        named += bool(row_id)
        ids.append(row_id or str(row))
    if named not in (0, len(ids)):
        raise TableError(f"{name}: {named} of {len(ids)} rows name their id: all or none must")
    from scipy.sparse import csr_array  # heavy import

    width = columns if columns is not None else max(places, default=-1) + 1
    parts = (np.frombuffer(values), np.frombuffer(places, np.int64), np.frombuffer(ends, np.int64))
    return Table(
        name,
        Ids(ids),
        tuple(str(place) for place in range(first_place, first_place + width)),
        csr_array(parts, shape=(len(ids), width)),
        np.frombuffer(labels) if label else None,
    )


def _rows(path: str | Path, name: str) -> Iterator[tuple[int, str, str]]:
    """(row, cells, id) of every line that is not blank."""
    row = 0
    with open(path, encoding="utf-8") as file:
        try:
            for line in file:
                cells, _, comment = line.partition("#")
                if line.strip():
                    yield row, cells, comment.strip()
                    row += 1
        except UnicodeDecodeError:
            raise TableError(f"{name} is not UTF-8 text") from None


def _cell(name: str, row: int, cell: str) -> tuple[int, float]:
    place, colon, value = cell.partition(":")
    if not colon or not place.isascii() or not place.isdecimal() or len(place) > 18:
        raise TableError(f"{name}: {cell[:LONGEST_SHOWN]!r} in row {row} is not place:value")
    return int(place), _number(name, row, f"place {place}", value)


def _number(name: str, row: int, what: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or "_" in text:
        raise TableError(f"{name}: {text[:LONGEST_SHOWN]!r} in row {row}, {what}, is no finite number")
    return value
