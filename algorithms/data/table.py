"""Tables: rows with ids, columns of numbers and categories, and a label where the party has one."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hecore.algorithms.checks import counted
from hecore.algorithms.data.ids import Ids, check_ids
from hecore.algorithms.errors import TableError

Matrix = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Table:
    """One party's view of the common rows; checked when it is made.

    name        for messages: a file or "table"
    ids         one text per row, distinct, none empty; held as Ids
    columns     distinct names
    values      float64 (rows, columns), finite; of a sparse table a scipy CSR array, where what is not stored
                is 0; `values.tocsc()` has its columns
    label       float64 (rows,), finite, or None at a passive party
    categories  for each categorical column its texts; the column's values are their places 0, 1, …
    missing     whether NaN may stand in `values`, for a value that is not known

    Raises TableError naming the row and column of what is wrong.
    """

    name: str
    ids: Sequence[str]
    columns: tuple[str, ...]
    values: Any
    label: Matrix | None = None
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    missing: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "ids", _ids(self.name, self.ids))
        object.__setattr__(self, "columns", tuple(self.columns))
        object.__setattr__(self, "values", _numbers(self.name, "values", self.values))
        object.__setattr__(self, "categories", dict(self.categories))
        if self.label is not None:
            object.__setattr__(self, "label", _numbers(self.name, "labels", self.label))
        rows, columns = len(self.ids), len(self.columns)
        if self.values.shape != (rows, columns):
            raise TableError(
                f"{self.name}: values of shape {self.values.shape} for {counted(rows, 'id')} and"
                f" {counted(columns, 'column')}"
            )
        if rows == 0 or columns == 0:
            raise TableError(
                f"{self.name}: {counted(rows, 'row')} and {counted(columns, 'column')} are nothing to train"
                " on"
            )
        _check_names(self.name, self.columns)
        check_ids(self.name, Ids(self.ids))
        self._check_values()
        self._check_categories()
        self._check_label()

    @property
    def is_sparse(self) -> bool:
        """Whether `values` is a scipy CSR array."""
        return not isinstance(self.values, np.ndarray)

    def dense(self) -> Table:
        """The same table with all values in one array; itself where they are."""
        return replace(self, values=self.values.toarray()) if self.is_sparse else self

    def require_numbers(self) -> Table:
        """This table, for a model of finite numbers in one array. TableError naming what is not."""
        if self.categories:
            name = next(iter(self.categories))
            raise TableError(
                f"{self.name}: column {name!r} holds categories: encode it as numbers, or drop it"
            )
        if self.is_sparse:
            raise TableError(f"{self.name} is sparse: table.dense() makes one array of it")
        return replace(self, missing=False) if self.missing else self

    def _check_values(self) -> None:
        stored = self.values.data if self.is_sparse else self.values
        with np.errstate(over="ignore", invalid="ignore"):
            if np.isfinite(np.sum(stored)):  # one pass without a mask; a sum too large is looked at below
                return
        wrong = np.isinf(stored) if self.missing else ~np.isfinite(stored)
        if not wrong.any():
            return
        bad = self._places(wrong)
        row, column = bad[0]
        raise TableError(
            f"{self.name}: {self.values[row, column]} at row {row} (id {self.ids[row]!r}), column"
            f" {self.columns[column]!r}{_and_more(bad)}: every value must be a finite number, impute it"
            " or drop the row"
        )

    def _places(self, wrong: NDArray[np.bool_]) -> NDArray[np.intp]:
        """(row, column) of each True, one flag for each stored value."""
        if not self.is_sparse:
            return np.argwhere(wrong)
        rows = np.repeat(np.arange(len(self)), np.diff(self.values.indptr))
        return np.column_stack([rows[wrong], self.values.indices[wrong]])

    def _check_categories(self) -> None:
        for name, texts in self.categories.items():
            if name not in self.columns:
                raise TableError(f"{self.name} has categories for {name!r}, but no such column")
            place = self.columns.index(name)
            column = self.values[:, [place]].toarray()[:, 0] if self.is_sparse else self.values[:, place]
            known = column[~np.isnan(column)]
            wrong = known[(known < 0) | (known >= len(texts)) | (known != np.floor(known))]
            if wrong.size:
                raise TableError(
                    f"{self.name}: {wrong[0]:g} in column {name!r} is none of the places 0 …"
                    f" {len(texts) - 1} of its categories"
                )

    def _check_label(self) -> None:
        if self.label is None:
            return
        if self.label.shape != (len(self),):
            raise TableError(
                f"{self.name}: labels of shape {self.label.shape} for {counted(len(self), 'row')}"
            )
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
            raise TableError(f"{self.name}: there is no row {outside[0]}, it has {counted(len(self), 'row')}")
        places = places.astype(np.intp)
        label = None if self.label is None else self.label[places]
        return replace(self, ids=Ids(self.ids).take(places), values=self.values[places], label=label)

    def select(self, columns: Sequence[str]) -> Table:
        """The given columns, in that order. TableError naming one that is not there."""
        for name in columns:
            if name not in self.columns:
                raise TableError(f"{self.name} has no column {name!r}; it has {', '.join(self.columns)}")
        places = [self.columns.index(name) for name in columns]
        categories = {name: texts for name, texts in self.categories.items() if name in columns}
        return replace(self, columns=tuple(columns), values=self.values[:, places], categories=categories)

    def digest(self) -> bytes:
        """SHA-256 of columns, values and label: two tables with the same one train alike."""
        told = (self.columns, self.values.shape, self.is_sparse, self.missing, self.label is None)
        digest = hashlib.sha256(repr((*told, sorted(self.categories.items()))).encode())
        values = self.values
        stored = (values.data, values.indices, values.indptr) if self.is_sparse else (values,)
        for part in (*stored, self.label):
            digest.update(b"" if part is None else np.ascontiguousarray(part).tobytes())
        return digest.digest()

    def alignment(self) -> bytes:
        """SHA-256 over the ids in their order: equal at two parties whose rows match."""
        return Ids(self.ids).fingerprint()


def _ids(name: str, values: Sequence[str]) -> Ids:
    if isinstance(values, Ids):
        return values
    texts = tuple(values)
    for place, value in enumerate(texts):
        if not isinstance(value, str) or not value:
            raise TableError(f"{name}: the id at place {place} is {value!r}: a text is needed")
    try:
        return Ids(texts)
    except UnicodeEncodeError:
        raise TableError(f"{name}: an id is no Unicode text") from None


def _numbers(name: str, what: str, values: Any) -> Any:
    """A float64 array, or a float64 CSR array from any scipy sparse one, each cell stored at most once."""
    try:
        if not hasattr(values, "tocsr"):
            return np.asarray(values, dtype=np.float64)
        from scipy.sparse import csr_array  # heavy import

        sparse = csr_array(values, dtype=np.float64)
        sparse.sum_duplicates()
        return sparse
    except (TypeError, ValueError) as error:
        raise TableError(f"{name}: {what} are not all numbers: {error}") from None


def _check_names(name: str, values: Sequence[str]) -> None:
    for place, value in enumerate(values):
        if not isinstance(value, str) or not value:
            raise TableError(f"{name}: the column at place {place} is {value!r}: a text is needed")
    check_distinct(name, values)


def check_distinct(name: str, columns: Sequence[str]) -> None:
    """TableError naming the first column name that occurs twice."""
    seen: dict[str, int] = {}
    for place, value in enumerate(columns):
        if value in seen:
            raise TableError(f"{name}: column {value!r} occurs twice, at places {seen[value]} and {place}")
        seen[value] = place


def _and_more(bad: NDArray[np.intp]) -> str:
    return f", and {len(bad) - 1} more" if len(bad) > 1 else ""
