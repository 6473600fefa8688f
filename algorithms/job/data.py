"""A party's file in a job: its ids first, and after the alignment the common rows as a Table."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hecore.algorithms import objectives
from hecore.algorithms.data import Column, Ids, Split, Table, infer_schema, load_rows, open_source, read_ids
from hecore.algorithms.data.ids import Places
from hecore.algorithms.data.libsvm import ID, LABEL, is_libsvm
from hecore.algorithms.data.schema import numbers
from hecore.algorithms.errors import TableError
from hecore.algorithms.job.config import JobFile
from hecore.algorithms.lr import LinearConfig
from hecore.algorithms.objectives import BINARY, MULTICLASS


class JobData:
    """The file of a job at this party. TableError naming file, line or row, column of what cannot be used."""

    def __init__(self, job: JobFile) -> None:
        self._job, self._data = job, job.data
        self.path = job.at(job.data.file)
        self._source = open_source(self.path)
        self._label = self._data.label
        if is_libsvm(self.path):
            self._label = LABEL if job.is_active else None
        self.schema = infer_schema(
            self._source,
            id_column=ID if is_libsvm(self.path) else self._data.id,
            label_column=self._label,
            categorical=self._data.categorical,
            drop=self._data.drop,
        )
        for column in self.schema.features:
            if isinstance(job.parameters, LinearConfig):
                _check_linear(self.schema.name, column)
            if column.kind == "text":
                raise TableError(
                    f"{self.schema.name}: column {column.name!r} has too many different texts for a category:"
                    " name it in data.drop"
                )

    @property
    def ids(self) -> Ids:
        """The ids of all rows, as they stand in the file."""
        return read_ids(self._source, self.schema.id_column)

    def labels(self) -> NDArray[np.float64]:
        """The labels of all rows, as the model takes them."""
        if self._label is None:
            raise TableError(f"{self.path.name}: no column of labels is named")
        columns = [self.schema.id_column, self._label]
        parts = [
            numbers(self._source.name, chunk, self._label, self.schema.id_column)
            for chunk in self._source.chunks(columns)
        ]
        label: NDArray[np.float64] = np.concatenate(parts, dtype=np.float64)
        return self._positive(label)

    def rows(self, places: Places | None) -> Table:
        """The rows at these places of the file, in this order; all of them for None."""
        table = load_rows(self._source, places, self.schema)
        return table if table.label is None else replace(table, label=self._positive(table.label))

    def _positive(self, label: NDArray[np.float64]) -> NDArray[np.float64]:
        if self._data.positive is None:
            return label
        return np.asarray(label == self._data.positive, np.float64)

    def summary(self) -> str:
        """Rows, columns, kinds, in a line."""
        kept = self.schema.features
        if self.schema.sparse:
            return f"{self.path.name}: {self.schema.rows:,} rows, {len(kept):,} sparse columns"
        texts = sum(column.kind == "categorical" for column in kept)
        missing = sum(column.missing > 0 for column in kept)
        return (
            f"{self.path.name}: {self.schema.rows:,} rows, {len(kept)} columns ({texts} of categories,"
            f" {missing} with missing values)"
        )


def _check_linear(file: str, column: Column) -> None:
    """TableError for a column that a linear model does not take."""
    if column.kind in ("categorical", "text"):
        raise TableError(
            f"{file}: column {column.name!r} holds texts; linear models take numbers alone: encode it as"
            " numbers, or name it in data.drop"
        )
    if column.missing:
        raise TableError(
            f"{file}: column {column.name!r} lacks {column.missing:,} values; linear models take no gaps:"
            " fill them, or name the column in data.drop"
        )


def check_parts(job: JobFile, table: Table, parts: Split) -> None:
    """TableError where the training rows cannot be trained on, or lack a class that other rows have."""
    rows = f"{parts.train.size} of {len(table)} common rows are for training"
    if not parts.train.size:
        raise TableError(f"{rows}: there is nothing to learn from")
    if table.label is None:
        return
    train = table.label[parts.train]
    if np.unique(train).size < 2:
        raise TableError(f"{rows}, and all their labels are {train[0]:g}: there is nothing to learn")
    check_labels(job, train)
    objective = getattr(job.parameters, "objective", BINARY)
    others = np.setdiff1d(table.label, train)
    if objective in MULTICLASS and others.size:
        raise TableError(
            f"class {others[0]:g} has {np.sum(table.label == others[0])} rows, none of them for training: a"
            " model cannot know it"
        )


def check_labels(job: JobFile, label: NDArray[np.float64]) -> None:
    """TableError for labels that the objective cannot use."""
    objective = getattr(job.parameters, "objective", BINARY)
    where = f"{job.data.file}, column {job.data.label!r}"
    objectives.check_varied(label, where)
    if objective == BINARY and (bad := objectives.misfits(objective, label)).size:
        raise TableError(
            f"{where}: label {label[bad[0]]:g} is neither 0 nor 1: data.positive says which one is 1"
        )
    objectives.check_labels(objective, label, where)
    if objective in MULTICLASS:
        objectives.count_classes(label, where)
