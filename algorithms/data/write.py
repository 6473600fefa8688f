"""Some rows of a file, in another order, as a new Parquet or CSV file.

However long the file, memory holds one bucket of rows.
The file is read once. Each wanted row goes to the bucket of its place in the output (a temporary file beside
it), and the buckets are sorted and written one after the other:

    file, any order  →  places 0 … 2^20 − 1 | 2^20 … 2^21 − 1 | …  →  the new file, a bucket at a time
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from hecore.algorithms.data.ids import Places
from hecore.algorithms.data.rows import wanted
from hecore.algorithms.data.sources import Source
from hecore.algorithms.errors import ConfigurationError, TableError

BUCKET_ROWS = 1 << 20
#: What a table is written as follows from the end of its file's name.
TABLE_SUFFIXES = (".parquet", ".csv")
_PLACE = "\0place"  # no column of a CSV or Parquet file has this name


def write_rows(source: Source, rows: Places, out: Path, *, bucket_rows: int = BUCKET_ROWS) -> None:
    """Write row rows[i] of `source` as row i of a new Parquet or CSV file, as `out` ends.

    Cells are copied as they are: those of a Parquet file with their types, those of a CSV file as texts.
    TableError if `out` is there already, or for a row that the file does not have, and what `check_table_out`
    raises; nothing is left behind on an error.
    """
    check_table_out(out, source.types)
    if out.exists():
        raise TableError(f"{out} exists: it is not overwritten, choose another name")
    new = out.with_name(out.name + ".new")
    try:
        with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as folder:
            paths = [Path(folder) / str(number) for number in range(-(-len(rows) // bucket_rows))]
            with table_writer(out, new, source.types) as writer:
                for bucket in _distribute(source, rows, paths, bucket_rows):
                    writer.write_table(bucket.sort_by(_PLACE).drop_columns([_PLACE]))
        os.replace(new, out)
    finally:
        new.unlink(missing_ok=True)


def check_table_out(out: Path, types: Any = None) -> None:
    """ConfigurationError unless `out` ends in .parquet or .csv; TableError for types that CSV cannot hold.

    types  the Arrow schema, where it is known already
    """
    if out.suffix.lower() not in TABLE_SUFFIXES:
        raise ConfigurationError(
            f"{out}: a table is written as .parquet or .csv, choose a name with one of them"
        )
    if types is not None:
        try:
            table_writer(out, pa.BufferOutputStream(), types).close()
        except pa.ArrowInvalid as error:
            raise TableError(
                f"{out}: CSV cannot hold a column of this table ({error}): write .parquet"
            ) from None


def table_writer(out: Path, sink: Any, types: Any) -> Any:
    """A writer of Arrow tables into `sink`, in the form that the name `out` asks for."""
    form = pa.csv.CSVWriter if out.suffix.lower() == ".csv" else pq.ParquetWriter
    return form(sink, types)


def _distribute(source: Source, rows: Places, paths: list[Path], bucket_rows: int) -> Iterator[Any]:
    """Each bucket's rows as an Arrow table with their places; the file is read before the first one."""
    types = source.types.append(pa.field(_PLACE, pa.int64()))
    with ExitStack() as stack:
        writers = [stack.enter_context(pa.ipc.new_stream(path, types)) for path in paths]
        for batch, inside, places in wanted(source.name, source.copies(), rows):
            cells = [column.take(pa.array(inside)) for column in batch.columns]
            part = pa.RecordBatch.from_arrays([*cells, pa.array(places)], schema=types)
            for number in np.unique(places // bucket_rows):
                writers[number].write_batch(part.filter(pa.array(places // bucket_rows == number)))
    for path in paths:
        with pa.ipc.open_stream(path) as reader:
            yield reader.read_all().unify_dictionaries()
        path.unlink()
