"""A party's file in a job: its ids first, and after the alignment the common rows as a Table."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hecore.algorithms import objectives
from hecore.algorithms.checks import counted
from hecore.algorithms.data import Column, Ids, Split, Table, infer_schema, load_rows, open_source, read_ids
from hecore.algorithms.data.cells import labels
from hecore.algorithms.data.ids import Places
from hecore.algorithms.data.libsvm import ID, LABEL, is_libsvm
from hecore.algorithms.data.schema import check_finite, check_kinds, stray
from hecore.algorithms.errors import TableError
from hecore.algorithms.job.config import JobFile
from hecore.algorithms.lr import LinearConfig
from hecore.algorithms.objectives import BINARY, MULTICLASS
from hecore.algorithms.settings_file import toml_value

#: So many of the labels that there are, and no more, are shown in an error.
LABELS_SHOWN = 5


class JobData:
    """The file of a job at this party. TableError naming file, line or row, column of what cannot be used.

    All of the file is looked at, also rows that turn out not to be common: `hecore job check` and a run
    refuse the same, and before another party is asked.
    """

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
        self._check_names()
        linear = isinstance(job.parameters, LinearConfig)
        if linear:
            for column in self.schema.features:
                _check_linear(self.schema.name, column)
        check_kinds(self.schema, categories=not linear)
        check_finite(self.schema)

    @property
    def ids(self) -> Ids:
        """The ids of all rows, as they stand in the file."""
        return read_ids(self._source, self.schema.id_column)

    def labels(self) -> NDArray[np.float64]:
        """The labels of all rows, as the model takes them."""
        if self._label is None:
            raise TableError(f"{self.path.name}: no column of labels is named")
        self._check_texts(self.schema[self._label])
        source, id_column, positive = self._source, self.schema.id_column, self._data.positive
        parts = [
            labels(source.name, chunk, self._label, id_column, positive)
            for chunk in source.chunks([id_column, self._label])
        ]
        label: NDArray[np.float64] = np.concatenate(parts, dtype=np.float64)
        if positive is not None and not label.any():
            raise TableError(
                f"{source.name}: data.positive = {toml_value(positive)}: no label in column {self._label!r}"
                f" is that; {self._there_are()}"
            )
        return label

    def rows(self, places: Places | None) -> Table:
        """The rows at these places of the file, in this order; all of them for None."""
        return load_rows(self._source, places, self.schema, positive=self._data.positive)

    def _check_names(self) -> None:
        """TableError where there is no feature, or one without a name."""
        names = [column.name for column in self.schema.features]
        if not names:
            label = "" if self._label is None else f" and label {self._label!r}"
            raise TableError(
                f"{self.schema.name}: no column is left beside id {self.schema.id_column!r}{label}: every"
                " party brings one at least"
            )
        if "" in names:
            number = self._source.header.index("") + 1
            raise TableError(f"{self.schema.name}: column {number} has no name: give it one in the file")

    def _check_texts(self, column: Column) -> None:
        """TableError where labels are texts, and no text is named that counts as 1."""
        if not column.texts or isinstance(self._data.positive, str):
            return
        if column.mixed:
            raise TableError(f"{self.schema.name}: {stray(column)}: mend it")
        if getattr(self._job.parameters, "objective", BINARY) != BINARY:
            remedy = "the objective needs numbers"
        elif column.categories:
            remedy = (
                f'data.positive = "{column.categories[-1]}" would let this one count as 1, all others as 0'
            )
        else:
            remedy = "data.positive says which one counts as 1"
        raise TableError(
            f"{self.schema.name}: {column.wrong}, column {column.name!r} is no number; {self._there_are()}:"
            f" {remedy}"
        )

    def _there_are(self) -> str:
        """The labels of the file, in words."""
        column = self.schema[self._label or LABEL]
        if column.categories:
            shown = ", ".join(map(repr, column.categories[:LABELS_SHOWN]))
            return f"labels are {shown}{', …' if len(column.categories) > LABELS_SHOWN else ''}"
        if column.texts:
            return f"labels are {counted(column.texts, 'text')} and {counted(column.numbers, 'number')}"
        return f"labels are numbers from {column.lowest:g} to {column.highest:g}"

    def summary(self) -> str:
        """Rows, columns, kinds, in a line."""
        kept = self.schema.features
        if self.schema.sparse:
            return (
                f"{self.path.name}: {counted(self.schema.rows, 'row')}, {counted(len(kept), 'sparse column')}"
            )
        texts = sum(column.kind == "categorical" for column in kept)
        missing = sum(column.missing > 0 for column in kept)
        rows, columns = counted(self.schema.rows, "row"), counted(len(kept), "column")
        return f"{self.path.name}: {rows}, {columns} ({texts} of categories, {missing} with missing values)"


def _check_linear(file: str, column: Column) -> None:
    """TableError for a column that a linear model does not take."""
    if column.kind in ("categorical", "text"):
        raise TableError(
            f"{file}: column {column.name!r} holds texts; linear models take numbers alone: encode it as"
            " numbers, or name it in data.drop"
        )
    if column.missing:
        raise TableError(
            f"{file}: column {column.name!r} lacks {counted(column.missing, 'value')}; linear models take no"
            " gaps: fill them, or name the column in data.drop"
        )


def check_parts(job: JobFile, table: Table, parts: Split) -> None:
    """TableError where the training rows cannot be trained on, or lack a class that other rows have."""
    rows = f"{counted(parts.train.size, 'row')} of {len(table):,} common ones for training"
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
            f"class {others[0]:g} has {counted(int(np.sum(table.label == others[0])), 'row')}, none of"
            " them for training: a model cannot know it"
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
