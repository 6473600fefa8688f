"""What stands in a file's columns, found by reading it once, chunk by chunk.

Of the cells that are not missing (see `cells`), in a column that is not named as categorical:

    all are numbers                   numeric
    half or more, but not all         mixed: no model takes it, since one typing error would make categories
                                      of numbers
    fewer, at most MAX_CATEGORIES     categorical
    different texts
    fewer, more different texts       text: no model takes it
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from hecore.algorithms.checks import counted
from hecore.algorithms.data.cells import as_texts, parsed, place, shown, strays
from hecore.algorithms.data.libsvm import ID, LABEL, parsed_rows
from hecore.algorithms.data.sources import Chunk, LibsvmSource, Source, open_source, require
from hecore.algorithms.errors import TableError

Kind = Literal["id", "label", "numeric", "categorical", "mixed", "text"]

MAX_CATEGORIES = 1000


@dataclass(frozen=True)
class Column:
    """One column. `lowest` and `highest` are of numbers, `categories` the sorted texts of a category.

    distinct   different cells, missing ones apart; None where there are more than MAX_CATEGORIES
    categories also the texts of labels, where these are no numbers
    numbers    cells that are numbers; not counted in a column that is named as categorical
    texts      cells that are neither numbers nor missing; likewise
    wrong      the first of these, or of a column of numbers the first that is not finite, with its place
    """

    name: str
    kind: Kind
    missing: int
    distinct: int | None
    lowest: float = math.nan
    highest: float = math.nan
    categories: tuple[str, ...] = ()
    numbers: int = 0
    texts: int = 0
    wrong: str = ""

    @property
    def mixed(self) -> bool:
        """See `are_mixed`; of labels as well."""
        return are_mixed(self.numbers, self.texts)


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
    there. What cannot be used in a column is told by its kind: see `check_kinds`.
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
    found = {name: _Observed(named=name in categorical) for name in names if name != id_column}
    rows = 0
    for chunk in opened.chunks(names):
        rows += len(chunk)
        for name, column in found.items():
            column.add(chunk, name, id_column)
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

    named: bool
    missing: int = 0
    seen: Any = field(default_factory=lambda: pa.array([], pa.large_string()))
    lowest: float = math.inf
    highest: float = -math.inf
    numbers: int = 0
    texts: int = 0
    first_text: str = ""
    first_infinite: str = ""

    def add(self, chunk: Chunk, name: str, id_column: str) -> None:
        texts = as_texts(chunk.columns[name])
        self.missing += texts.null_count
        if self.seen is not None:
            self.seen = pa.concat_arrays([self.seen, texts.drop_null()]).unique()
            if len(self.seen) > MAX_CATEGORIES:
                self.seen = None
        if self.named:
            return
        values = parsed(chunk.columns[name])
        if values is None:
            wrong = strays(texts)
            self.texts += wrong.size
            self.numbers += len(texts) - texts.null_count - wrong.size
            row = int(wrong[0])
            self.first_text = self.first_text or f"{shown(texts[row].as_py())} {place(chunk, row, id_column)}"
            return
        known = values[~np.isnan(values)]
        self.numbers += known.size
        if known.size:
            self.lowest = min(self.lowest, float(known.min()))
            self.highest = max(self.highest, float(known.max()))
        if not self.first_infinite and (infinite := np.isinf(values)).any():
            row = int(np.argmax(infinite))
            self.first_infinite = f"{values[row]:g} {place(chunk, row, id_column)}"

    def column(self, name: str, *, is_label: bool) -> Column:
        distinct = None if self.seen is None else len(self.seen)
        are_texts = self.named or self.texts > 0
        categories = () if self.seen is None or not are_texts else tuple(sorted(self.seen.to_pylist()))
        known = self.lowest <= self.highest and not are_texts
        bounds = (self.lowest, self.highest) if known else (math.nan, math.nan)
        return Column(
            name,
            "label" if is_label else self._kind(),
            self.missing,
            distinct,
            *bounds,
            categories=() if self._kind() == "mixed" else categories,
            numbers=self.numbers,
            texts=self.texts,
            wrong=self.first_text or self.first_infinite,
        )

    def _kind(self) -> Kind:
        if not self.named and not self.texts:
            return "numeric"
        if are_mixed(self.numbers, self.texts):
            return "mixed"
        return "text" if self.seen is None else "categorical"


def are_mixed(numbers: int, texts: int) -> bool:
    """Whether texts stand among as many numbers or more: typing errors, rather than categories."""
    return 0 < texts <= numbers


def check_kinds(schema: Schema, *, categories: bool = True) -> None:
    """TableError for a feature that no model takes, by its kind: mixed, or text.

    categories  whether the model takes those: an error does not advise them otherwise
    """
    for column in schema.features:
        if column.kind == "mixed":
            other = ", or name the column in data.categorical if it holds categories" if categories else ""
            raise TableError(f"{schema.name}: {stray(column)}: mend it{other}")
        if column.kind == "text":
            raise TableError(
                f"{schema.name}: column {column.name!r} has too many different texts for a category: leave it"
                " out (data.drop)"
            )


def stray(column: Column) -> str:
    """What is wrong in a column of numbers that holds texts as well."""
    others = "all others are"
    if column.texts > 1:
        are = "is one" if column.numbers == 1 else "are"
        others = f"nor {counted(column.texts - 1, 'other cell')}; {column.numbers:,} {are}"
    return f"{column.wrong}, column {column.name!r} is no number, {others}"


def check_finite(schema: Schema) -> None:
    """TableError for a feature of numbers with one that is not finite."""
    for column in schema.features:
        if column.kind == "numeric" and column.wrong:
            raise TableError(
                f"{schema.name}: {column.wrong}, column {column.name!r}: a finite number is needed, impute it"
                " or drop the row"
            )
