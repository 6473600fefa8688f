"""A party's tables as a training takes them, and what a run of them is bound to."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec
import numpy as np

from hecore.algorithms.data import Table
from hecore.algorithms.data.table import Matrix
from hecore.algorithms.errors import TableError
from hecore.algorithms.gbdt.active import TrainingRows
from hecore.keys import PublicKey


def usable(table: Table) -> Table:
    """The table with its values in one array. TableError for categories by their texts.

    A model share does not keep the texts yet: another table may number the same ones in another way.
    """
    if table.categories:
        name = next(iter(table.categories))
        raise TableError(
            f"{table.name}: column {name!r} holds texts: number them alike in all tables, and name the column"
            " in categorical"
        )
    return table.dense()


def stacked(tables: Sequence[Table]) -> Matrix:
    """Values of the training rows, then of the evaluation rows."""
    return tables[0].values if len(tables) == 1 else np.concatenate([table.values for table in tables])


def check_evaluation(table: Table, evaluation: Table) -> None:
    """TableError unless the evaluation table has the columns of the training, and a label if that has one."""
    if table.columns != evaluation.columns or (table.label is None) != (evaluation.label is None):
        raise TableError(f"{evaluation.name} has other columns than {table.name}, or lacks its label")


def training_rows(tables: Sequence[Table], sample_weight: Sequence[float] | None) -> TrainingRows:
    """Labels and weights of training and evaluation rows. TableError for weights that cannot be used."""
    table = tables[0]
    label = np.concatenate([_label(part) for part in tables])
    training = np.arange(label.size) < len(table)
    if sample_weight is None:
        return TrainingRows(label, training)
    weight = np.asarray(sample_weight, dtype=np.float64)
    if (
        weight.shape != (len(table),)
        or not np.isfinite(weight).all()
        or (weight < 0).any()
        or not weight.any()
    ):
        raise TableError(f"{table.name}: sample weights must be {len(table)} numbers of at least 0")
    return TrainingRows(label, training, np.concatenate([weight, np.ones(label.size - len(table))]))


def _label(table: Table) -> Matrix:
    if table.label is None:
        raise TableError(f"{table.name} has no label")
    return table.label


# --- what a run is bound to -------------------------------------------------------------------------


def binding(
    tables: Sequence[Table], terms: msgspec.Struct, public: PublicKey, **more: object
) -> dict[str, str]:
    """Hashes of all that the messages of a party's run follow from; `more` that JSON can hold."""
    hashes = {
        "configuration": settings_hash(terms),
        "row ids": row_ids(tables),
        "table": _digest(b"".join(table.digest() for table in tables)),
        "key": public.fingerprint.hex(),
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
