"""Where a party's features come from while it serves: a snapshot in memory, or a key-value store.

A store of one's own is a class with the two members of `Features`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hecore.algorithms.data import Table, infer_schema, load_rows, open_source
from hecore.algorithms.data.sources import require
from hecore.algorithms.data.table import Matrix
from hecore.algorithms.errors import ConfigurationError, TableError
from hecore.algorithms.gbdt.binning import ColumnBins

#: Parameters of one query.
SQLITE_IDS = 500
SQLITE_SUFFIXES = (".sqlite", ".sqlite3", ".db")


class Features(Protocol):
    """The columns of a party by id. Every method may be called from one thread at a time.

    categories   of columns that hold texts: the texts, whose places are the column's values; they may grow
    """

    columns: tuple[str, ...]
    categories: Mapping[str, Sequence[str]]

    def lookup(self, ids: Sequence[str]) -> tuple[NDArray[np.bool_], Matrix]:
        """Which ids are known, bool (n,), and the values of those in order, float64 (known, columns)."""


class Taker(Protocol):
    """A model that takes features: its columns, and the bins of those that hold texts."""

    @property
    def columns(self) -> tuple[str, ...]: ...
    @property
    def texts(self) -> Mapping[str, ColumnBins]: ...


class Adapted:
    """Features as one model takes them: its columns in its order, texts by its own numbers.

    TableError where a column holds texts and the model takes numbers, or the reverse.
    """

    def __init__(self, features: Features, model: Taker) -> None:
        self._features, self._model = features, model
        self._places = [features.columns.index(name) for name in model.columns]
        for name in model.columns:
            if (name in features.categories) != (name in model.texts):
                had, has = ("texts", "numbers") if name in model.texts else ("numbers", "texts")
                raise TableError(f"column {name!r} held {had} in training, and holds {has} in the data")
        self._numbers = {name: np.empty(0) for name in model.texts}

    def lookup(self, ids: Sequence[str]) -> tuple[NDArray[np.bool_], Matrix]:
        """See Features; NaN for a text that the model does not know."""
        known, values = self._features.lookup(ids)
        values = values[:, self._places]
        for name, bins in self._model.texts.items():
            texts = self._features.categories[name]
            if len(texts) > self._numbers[name].size:
                self._numbers[name] = bins.numbers(texts)
            place = self._model.columns.index(name)
            column = values[:, place]
            there = ~np.isnan(column)
            values[there, place] = self._numbers[name][column[there].astype(np.intp)]
        return known, values


class SnapshotFeatures:
    """A table in memory."""

    def __init__(self, table: Table) -> None:
        table = table.dense()
        self.columns = table.columns
        self.categories: Mapping[str, Sequence[str]] = table.categories
        self._values = table.values
        self._place = {text: place for place, text in enumerate(table.ids)}

    def __len__(self) -> int:
        return len(self._place)

    def lookup(self, ids: Sequence[str]) -> tuple[NDArray[np.bool_], Matrix]:
        """See Features."""
        places = np.array([self._place.get(text, -1) for text in ids], dtype=np.int64)
        known = places >= 0
        return known, self._values[places[known]]


class SqliteFeatures:
    """A table of an SQLite file, opened for reading; changes of the file show at once.

    table, id_column   where the rows are; the id column should be the primary key
    columns            of features: numbers, or NULL where missing
    texts              those of the columns that hold texts

    Raises ConfigurationError for a file, table or column that is not there; `lookup` raises TableError naming
    the column for a value of another kind.
    """

    def __init__(
        self,
        path: str | Path,
        columns: Sequence[str],
        table: str = "features",
        id_column: str = "id",
        texts: Collection[str] = (),
    ) -> None:
        self.columns = tuple(columns)
        self._texts: dict[str, list[str]] = {name: [] for name in columns if name in texts}
        self._place: dict[str, dict[str, int]] = {name: {} for name in self._texts}
        self.categories: Mapping[str, Sequence[str]] = self._texts
        self._name = Path(path).name
        if not Path(path).is_file():
            raise ConfigurationError(f"{path}: there is no such file")
        self._base = sqlite3.connect(
            f"{Path(path).absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False
        )
        there = [row[1] for row in self._run("SELECT * FROM pragma_table_info(?)", [table])]
        if not there:
            raise ConfigurationError(f"{self._name} has no table {table!r}")
        for name in (id_column, *self.columns):
            if name not in there:
                raise ConfigurationError(f"table {table!r} of {self._name} has no column {name!r}")
        names = ", ".join(map(_quoted, [id_column, *self.columns]))
        # Names are quoted and were found in the table; values are parameters.
        self._query = f"SELECT {names} FROM {_quoted(table)} WHERE CAST({_quoted(id_column)} AS TEXT) IN "  # noqa: S608
        kinds = {
            row[1]: str(row[2]).upper() for row in self._run("SELECT * FROM pragma_table_info(?)", [table])
        }
        if kinds[id_column] in ("TEXT", ""):  # without a cast the index on the ids serves
            self._query = self._query.replace(f"CAST({_quoted(id_column)} AS TEXT)", _quoted(id_column))

    def lookup(self, ids: Sequence[str]) -> tuple[NDArray[np.bool_], Matrix]:
        """See Features."""
        rows: dict[str, tuple[Any, ...]] = {}
        for start in range(0, len(ids), SQLITE_IDS):
            part = list(ids[start : start + SQLITE_IDS])
            marks = ", ".join("?" * len(part))
            for row in self._run(f"{self._query} ({marks})", part):
                rows[str(row[0])] = row[1:]
        known = np.array([text in rows for text in ids], dtype=np.bool_)
        values = [self._numbers(rows[text]) for text in ids if text in rows]
        return known, np.array(values, dtype=np.float64).reshape(len(values), len(self.columns))

    def close(self) -> None:
        """Let go of the file."""
        self._base.close()

    def _numbers(self, cells: tuple[Any, ...]) -> list[float]:
        return [
            np.nan if cell is None else self._number(name, cell)
            for name, cell in zip(self.columns, cells, strict=True)
        ]

    def _number(self, name: str, cell: Any) -> float:
        """A number, or the place of a text among its column's."""
        places = self._place.get(name)
        if places is None and isinstance(cell, int | float):
            return float(cell)
        if places is not None and isinstance(cell, str):
            if cell not in places:
                places[cell] = len(places)
                self._texts[name].append(cell)
            return places[cell]
        wanted = "number" if places is None else "text"
        raise TableError(f"{self._name}: a {type(cell).__name__} in column {name!r} is no {wanted}")

    def _run(self, query: str, parameters: Sequence[Any]) -> list[Any]:
        try:
            return self._base.execute(query, parameters).fetchall()
        except sqlite3.Error as error:
            raise ConfigurationError(f"{self._name} cannot be read: {error}") from None


def open_features(path: Path, models: Iterable[Taker], *, id_column: str, table: str) -> Features:
    """The columns of all models: SQLite by its suffix (.sqlite, .sqlite3, .db), else a snapshot."""
    models = list(models)
    columns = list(dict.fromkeys(name for model in models for name in model.columns))
    if path.suffix in SQLITE_SUFFIXES:
        texts = {name for model in models for name in model.texts}
        return SqliteFeatures(path, columns, table, id_column, texts)
    source = open_source(path)
    require(source, columns)
    others = [name for name in source.header if name not in columns and name != id_column]
    categorical = [name for name in columns if any(name in model.texts for model in models)]
    schema = infer_schema(source, id_column=id_column, categorical=categorical, drop=others)
    return SnapshotFeatures(load_rows(source, None, schema).select(columns))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
