"""A party's file in a job: its ids first, and after the alignment the common rows as a Table."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hecore.algorithms.data import Ids, Schema, Table, infer_schema, open_source, read_ids, read_libsvm
from hecore.algorithms.data.ids import Places
from hecore.algorithms.data.read import read_table
from hecore.algorithms.data.sources import require
from hecore.algorithms.errors import ConfigurationError, TableError
from hecore.algorithms.job.config import JobFile, is_libsvm

#: Objectives whose labels are 0 and 1, and those whose labels are 0, 1, 2, …
BINARY, CLASSES = ("binary:logistic",), ("multi:softprob", "multi:logistic")


class JobData:
    """The file of a job at this party. TableError naming file, row and column of what cannot be used."""

    def __init__(self, job: JobFile) -> None:
        self._job, self._data = job, job.data
        self.path = job.at(job.data.file)
        self.schema: Schema | None = None
        self._sparse: Table | None = None
        if is_libsvm(self.path):
            self._open_sparse()
        else:
            self._open()

    def _open(self) -> None:
        data = self._data
        self._source = open_source(self.path)
        require(self._source, data.drop)
        if data.label in data.drop or data.id in data.drop:
            raise ConfigurationError(f"data.drop = {data.drop}: the columns of ids and labels stay")
        self.schema = infer_schema(
            self._source, id_column=data.id, label_column=data.label, categorical=data.categorical
        )
        for column in self.schema.features:
            if column.kind == "text" and column.name not in data.drop:
                raise TableError(
                    f"{self.schema.name}: column {column.name!r} has too many different texts for a category:"
                    " name it in data.drop"
                )

    def _open_sparse(self) -> None:
        self._sparse = read_libsvm(self.path, label=self._job.is_active)

    @property
    def ids(self) -> Ids:
        """The ids of all rows, as they stand in the file."""
        if self._sparse is not None:
            return Ids(self._sparse.ids)
        return read_ids(self._source, self._data.id)

    def labels(self) -> NDArray[np.float64]:
        """The labels of all rows, as the model takes them."""
        label = self.rows(None).label
        if label is None:
            raise ConfigurationError("data.label is not set")
        return label

    def rows(self, places: Places | None) -> Table:
        """The rows at these places of the file, in this order; all of them for None."""
        if self._sparse is not None:
            table = self._sparse
        else:
            data = self._data
            table = read_table(
                self.path, id_column=data.id, label_column=data.label, categorical=data.categorical
            )
        table = table if places is None else table.take(places)
        return self._with_label(table.select([n for n in table.columns if n not in self._data.drop]))

    def _with_label(self, table: Table) -> Table:
        if not self._job.is_active:
            return replace(table, label=None)
        if table.label is None or self._data.positive is None:
            return table
        return replace(table, label=(table.label == self._data.positive).astype(np.float64))

    def summary(self) -> str:
        """Rows, columns, kinds, in a line."""
        if self.schema is None:
            assert self._sparse is not None  # noqa: S101 - one of the two
            rows, columns = self._sparse.values.shape
            return f"{self.path.name}: {rows:,} rows, {columns:,} sparse columns"
        kept = [column for column in self.schema.features if column.name not in self._data.drop]
        texts = sum(column.kind == "categorical" for column in kept)
        missing = sum(column.missing > 0 for column in kept)
        return (
            f"{self.path.name}: {self.schema.rows:,} rows, {len(kept)} columns ({texts} of categories,"
            f" {missing} with missing values)"
        )


def check_labels(job: JobFile, label: NDArray[np.float64]) -> None:
    """TableError for labels that the objective cannot use."""
    objective = getattr(job.parameters, "objective", BINARY[0])
    values = np.unique(label)
    where = f"{job.data.file}, column {job.data.label!r}"
    if values.size < 2:
        raise TableError(f"{where}: all labels are {values[0]:g}: there is nothing to learn")
    if objective in BINARY and not np.isin(values, (0, 1)).all():
        bad = values[~np.isin(values, (0, 1))][0]
        raise TableError(f"{where}: label {bad:g} is neither 0 nor 1: data.positive says which one is 1")
    if objective in CLASSES and not np.array_equal(values, np.arange(values.size)):
        raise TableError(f"{where}: classes {values[:5].tolist()} …: number them 0, 1, 2, …")
    if objective == "count:poisson" and values[0] < 0:
        raise TableError(f"{where}: label {values[0]:g} is no count: 0 or more are needed")
