"""A party's tables as a training takes them, and what a run of them is bound to."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec
import numpy as np

from hecore.algorithms.data import Table
from hecore.algorithms.errors import TableError
from hecore.algorithms.gbdt.active import TrainingRows
from hecore.algorithms.gbdt.binning import Binned, ColumnBins, apply_bins, fit_bins, stack
from hecore.algorithms.gbdt.config import GBDTConfig
from hecore.algorithms.objectives import label_of, read_weights
from hecore.keys import PublicKey


def fitted_bins(table: Table, config: GBDTConfig, categorical: Sequence[str]) -> tuple[ColumnBins, ...]:
    """The bins of the training rows' columns; those with texts are categorical, named or not."""
    least = config.min_samples_bin
    return fit_bins(table.columns, table.values, config.max_bin, least, categorical, table.categories)


def binned(columns: Sequence[str], bins: Sequence[ColumnBins], tables: Sequence[Table]) -> Binned:
    """The codes of the rows of all tables. TableError as in `texts_of`."""
    return stack([apply_bins(bins, table.values, texts_of(columns, bins, table)) for table in tables])


def texts_of(columns: Sequence[str], bins: Sequence[ColumnBins], table: Table) -> dict[int, tuple[str, ...]]:
    """The texts of a table's categories by the place of their column.

    TableError unless it has the columns of the training, in their order, and texts where those had texts.
    """
    if tuple(columns) != table.columns:
        raise TableError(f"{table.name}: the columns are not those of the training, in their order")
    for name, column in zip(columns, bins, strict=True):
        if (column.texts is None) != (name not in table.categories):
            had, has = ("numbers", "texts") if column.texts is None else ("texts", "numbers")
            raise TableError(f"{table.name}: column {name!r} holds {has}, but held {had} in the training")
    return {place: table.categories[name] for place, name in enumerate(columns) if name in table.categories}


class RowsOf:
    """A table whose rows become codes part by part. TableError as in `texts_of`."""

    def __init__(self, columns: Sequence[str], bins: Sequence[ColumnBins], table: Table) -> None:
        self._bins, self._values = bins, table.values
        self._texts = texts_of(columns, bins, table)

    def __len__(self) -> int:
        return int(self._values.shape[0])

    def codes(self, start: int, stop: int) -> Binned:
        """The codes of rows start … stop − 1."""
        return apply_bins(self._bins, self._values[start:stop], self._texts)


def check_evaluation(table: Table, evaluation: Table) -> None:
    """TableError unless the evaluation table has the columns of the training, and a label if that has one."""
    if table.columns != evaluation.columns or (table.label is None) != (evaluation.label is None):
        raise TableError(f"{evaluation.name} has other columns than {table.name}, or lacks its label")


def training_rows(tables: Sequence[Table], sample_weight: Sequence[float] | None) -> TrainingRows:
    """Labels and weights of training and evaluation rows. TableError for weights that cannot be used."""
    table = tables[0]
    label = np.concatenate([label_of(part) for part in tables])
    training = np.arange(label.size) < len(table)
    if sample_weight is None:
        return TrainingRows(label, training)
    weight = read_weights(table, sample_weight)
    return TrainingRows(label, training, np.concatenate([weight, np.ones(label.size - len(table))]))


# --- what a run is bound to -------------------------------------------------------------------------


def binding(
    tables: Sequence[Table], terms: msgspec.Struct, public: PublicKey | None, **more: object
) -> dict[str, str]:
    """Hashes of all that the messages of a party's run follow from; `more` that JSON can hold."""
    hashes = {
        "configuration": settings_hash(terms),
        "row ids": row_ids(tables),
        "table": _digest(b"".join(table.digest() for table in tables)),
        "key": "" if public is None else public.fingerprint.hex(),
    }
    return hashes | {name.replace("_", " "): _digest(msgspec.json.encode(more[name])) for name in more}


def terms_of_all(tables: Sequence[Table], config: msgspec.Struct, active_key: PublicKey) -> dict[str, str]:
    """What parties have compared once, and compare again whenever their processes meet."""
    return {
        "configuration": settings_hash(config),
        "row ids": row_ids(tables),
        "the active party's key": active_key.fingerprint.hex(),
    }


def settings_hash(terms: msgspec.Struct) -> str:
    """SHA-256 of a configuration."""
    return _digest(msgspec.json.encode(terms, order="sorted"))


def row_ids(tables: Sequence[Table]) -> str:
    """SHA-256 of the ids of all tables, in their order."""
    return _digest(b"".join(table.alignment() for table in tables))


def weights_hash(weights: Sequence[float]) -> str:
    """SHA-256 of sample weights."""
    return _digest(np.asarray(weights, dtype=np.float64).tobytes())


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
