"""What stands in a file's columns, found by reading it once, chunk by chunk.

A column is `numeric` if every cell that is not missing is a number, else `categorical` while it has at most
MAX_CATEGORIES different texts, else `text`, which no model takes. "", NA, NaN and null are missing.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hecore.algorithms.data.libsvm import ID, LABEL, parsed_rows
from hecore.algorithms.data.sources import (
    LONGEST_SHOWN,
    Chunk,
    LibsvmSource,
    Source,
    open_source,
    require,
)
from hecore.algorithms.errors import TableError

Kind = Literal["id", "label", "numeric", "categorical", "text"]

#: Texts that stand for no value, whatever their case and the blanks around them.
MISSING = ("", "na", "n/a", "nan", "null")
MAX_CATEGORIES = 1000


@dataclass(frozen=True)
class Column:
    """One column. `lowest` and `highest` are of numbers, `categories` the sorted texts of a category.

    distinct   different cells, missing ones apart; None where there are more than MAX_CATEGORIES
    """

    name: str
    kind: Kind
    missing: int
    distinct: int | None
    lowest: float = math.nan
    highest: float = math.nan
    categories: tuple[str, ...] = ()


@dataclass(frozen=True)
class Schema:
    """The columns of a file in their order, and its number of rows."""

    name: str
    rows: int
    columns: tuple[Column, ...]
    sparse: bool = False

    def __getitem__(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)

    @property
    def features(self) -> tuple[Column, ...]:
        """All but id and label."""
        return tuple(column for column in self.columns if column.kind not in ("id", "label"))

    @property
    def id_column(self) -> str:
        """The name of the column of ids."""
        return next(column.name for column in self.columns if column.kind == "id")

    @property
    def label_column(self) -> str | None:
        """The name of the column of labels, None where there is none."""
        return next((column.name for column in self.columns if column.kind == "label"), None)


def infer_schema(
    source: str | Path | Source,
    *,
    id_column: str = "id",
    label_column: str | None = None,
    categorical: Collection[str] = (),
    drop: Collection[str] = (),
) -> Schema:
    """Read a file once; `categorical` names columns of numbers that are categories, `drop` those left out.

    The columns of a libsvm file are "id", "label" and its places. Raises TableError for a column that is not
    there, and for a label that is not all numbers, by line or row.
    """
    opened = open_source(source) if isinstance(source, str | Path) else source
    special = {"id": id_column, "label": label_column}
    for what, name in special.items():
        if name is not None and name in drop:
            raise TableError(f"{opened.name}: column {name!r} is the {what} and cannot be left out")
    if label_column == id_column:
        raise TableError(f"{opened.name}: column {id_column!r} cannot be both id and label")
    label = [] if label_column is None else [label_column]
    if isinstance(opened, LibsvmSource):
        require(opened, [id_column, *label])
        return _sparse_schema(opened, label_column, categorical, drop)
    require(opened, [id_column, *label, *categorical, *drop])
    names = [name for name in opened.header if name not in drop]
    found = {name: _Observed(text=name in categorical) for name in names if name != id_column}
    rows = 0
    for chunk in opened.chunks(names):
        rows += len(chunk)
        for name, column in found.items():
            column.add(chunk.columns[name])
        if label_column is not None and found[label_column].text:
            numbers(opened.name, chunk, label_column, id_column)  # raises with the place
    columns = [
        Column(name, "id", 0, None)
        if name == id_column
        else found[name].column(name, is_label=name == label_column)
        for name in names
    ]
    return Schema(opened.name, rows, tuple(columns))


def _sparse_schema(
    source: LibsvmSource, label: str | None, categorical: Collection[str], drop: Collection[str]
) -> Schema:
    """Columns from place 1 on, or 0 where it occurs, to the highest."""
    if categorical:
        raise TableError(f"{source.name}: columns of a libsvm file cannot be categories")
    rows = width = 0
    first = 1
    lowest, highest = math.inf, -math.inf
    for row in parsed_rows(source.path):
        rows += 1
        lowest, highest = min(lowest, row.label), max(highest, row.label)
        if row.places:
            first, width = min(first, row.places[0]), max(width, row.places[-1] + 1)
    names = [str(place) for place in range(first, width)]
    for name in drop:
        if name not in names:
            raise TableError(f"{source.name} has no column {name!r}; its places are {first} … {width - 1}")
    columns = [Column(ID, "id", 0, None)]
    if label is not None:
        columns.append(Column(LABEL, "label", 0, None, lowest, highest))
    columns += [Column(name, "numeric", 0, None) for name in names if name not in drop]
    return Schema(source.name, rows, tuple(columns), sparse=True)


@dataclass
class _Observed:
    """A column so far. `seen` is None once there are too many different cells."""

    text: bool
    missing: int = 0
    seen: Any = field(default_factory=lambda: pa.array([], pa.large_string()))
    lowest: float = math.inf
    highest: float = -math.inf

    def add(self, cells: Any) -> None:
        texts = as_texts(cells)
        self.missing += texts.null_count
        if self.seen is not None:
            self.seen = pa.concat_arrays([self.seen, texts.drop_null()]).unique()
            if len(self.seen) > MAX_CATEGORIES:
                self.seen = None
        if self.text:
            return
        values = _parsed(cells)
        if values is None:
            self.text = True
            return
        known = values[~np.isnan(values)]
        if known.size:
            self.lowest = min(self.lowest, float(known.min()))
            self.highest = max(self.highest, float(known.max()))

    def column(self, name: str, *, is_label: bool) -> Column:
        distinct = None if self.seen is None else len(self.seen)
        if self.text:
            categories = () if self.seen is None else tuple(sorted(self.seen.to_pylist()))
            return Column(
                name,
                "text" if distinct is None else "categorical",
                self.missing,
                distinct,
                categories=categories,
            )
        known = self.lowest <= self.highest
        bounds = (self.lowest, self.highest) if known else (math.nan, math.nan)
        return Column(name, "label" if is_label else "numeric", self.missing, distinct, *bounds)


def as_texts(cells: Any) -> Any:
    """Cells as large_string without blanks around them, null where missing."""
    if pa.types.is_floating(cells.type):
        cells = pc.if_else(pc.is_nan(cells), pa.scalar(None, cells.type), cells)
    texts = cells.cast(pa.large_string())
    texts = pc.utf8_trim_whitespace(texts)
    gone = pc.is_in(pc.utf8_lower(texts), value_set=pa.array(MISSING, pa.large_string()))
    return pc.if_else(gone, pa.scalar(None, pa.large_string()), texts)


def numbers(file: str, chunk: Chunk, name: str, id_column: str) -> NDArray[np.float64]:
    """A column of a chunk as float64, NaN where missing. TableError naming row, id and column of a text."""
    values = _parsed(chunk.columns[name])
    if values is not None:
        return values
    for row, text in enumerate(as_texts(chunk.columns[name]).to_pylist()):
        if text is not None and _number(text) is None:
            shown = text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "…"
            row_id = str(chunk.columns[id_column][row].as_py())
            raise TableError(
                f"{file}: {shown!r} at {chunk.where(row)} (id {row_id!r}), column {name!r} is no number"
            )
    raise AssertionError("a column that is no column of numbers has a cell that is no number")


def codes(column: Column, cells: Any) -> NDArray[np.float64]:
    """The places of texts in the column's categories, NaN where missing or not among them."""
    places = pc.index_in(as_texts(cells), value_set=pa.array(column.categories, pa.large_string()))
    found: NDArray[np.float64] = places.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return found


def _parsed(cells: Any) -> NDArray[np.float64] | None:
    """The numbers in cells, NaN where missing; None if one is no number."""
    if not pa.types.is_large_string(cells.type):
        column = cells.cast(pa.float64(), safe=False)
    else:
        texts = as_texts(cells)
        try:
            column = texts.cast(pa.float64())
        except pa.ArrowInvalid:  # Arrow is stricter than Python in spelling
            values = [None if text is None else _number(text) for text in texts.to_pylist()]
            if any(
                v is None and valid for v, valid in zip(values, texts.is_valid().to_pylist(), strict=True)
            ):
                return None
            column = pa.array(values, pa.float64())
    parsed: NDArray[np.float64] = column.to_numpy(zero_copy_only=False)
    return parsed.astype(np.float64)


def _number(text: str) -> float | None:
    """The number in a text; Python's 1_000 is no number here."""
    with contextlib.suppress(ValueError):
        if "_" not in text:
            return float(text)
    return None
