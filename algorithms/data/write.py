"""Some rows of a file, in another order, as Parquet; memory holds one bucket of rows, however long the file.

The file is read once. Each wanted row goes to the bucket of its place in the output (a temporary file beside
it), and the buckets are sorted and written one after the other:

    file, any order  →  places 0 … 2^20 − 1 | 2^20 … 2^21 − 1 | …  →  Parquet, a row group a bucket
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
import pyarrow.parquet as pq

from hecore.algorithms.data.ids import Places
from hecore.algorithms.data.schema import Schema, as_texts, numbers
from hecore.algorithms.data.sources import Chunk, Source
from hecore.algorithms.errors import TableError

BUCKET_ROWS = 1 << 20
_PLACE = "\0place"  # no column of a CSV or Parquet file has this name


def write_rows(
    source: Source, rows: Places, out: Path, *, schema: Schema, bucket_rows: int = BUCKET_ROWS
) -> None:
    """Write row rows[i] of `source` as row i of a new Parquet file.

    Columns have the types of `schema`: ids and all else that is no number as texts, numbers as float64; null
    where a value is missing.
    TableError if `out` is there already; nothing is left behind on an error.
    """
    if out.exists():
        raise TableError(f"{out} exists: it is not overwritten, choose another name")
    place = np.full(schema.rows, -1)
    place[rows] = np.arange(len(rows))
    new = out.with_name(out.name + ".new")
    try:
        with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as folder:
            paths = [Path(folder) / str(number) for number in range(-(-len(rows) // bucket_rows))]
            buckets = _distribute(source, schema, place, paths, bucket_rows)
            types = _arrow_schema(schema)
            with pq.ParquetWriter(new, types) as writer:
                for bucket in buckets:
                    writer.write_table(bucket.sort_by(_PLACE).drop_columns([_PLACE]).cast(types))
        os.replace(new, out)
    finally:
        new.unlink(missing_ok=True)


def _arrow_schema(schema: Schema) -> Any:
    numeric = ("numeric", "label")
    types = [pa.float64() if column.kind in numeric else pa.large_string() for column in schema.columns]
    return pa.schema([(column.name, kind) for column, kind in zip(schema.columns, types, strict=True)])


def _distribute(
    source: Source, schema: Schema, place: Places, paths: list[Path], bucket_rows: int
) -> Iterator[Any]:
    """Each bucket's rows as an Arrow table with their places; the file is read before the first one."""
    types = _arrow_schema(schema).append(pa.field(_PLACE, pa.int64()))
    with ExitStack() as stack:
        writers = [stack.enter_context(pa.ipc.new_stream(path, types)) for path in paths]
        for chunk in source.chunks():
            wanted = place[chunk.first : chunk.first + len(chunk)]
            inside = np.flatnonzero(wanted >= 0)
            columns = [*_columns(source, schema, chunk), pa.array(wanted)]
            batch = pa.RecordBatch.from_arrays(columns, schema=types)
            for number in np.unique(wanted[inside] // bucket_rows):
                part = inside[wanted[inside] // bucket_rows == number]
                writers[number].write_batch(batch.take(pa.array(part)))
    for path in paths:
        with pa.ipc.open_stream(path) as reader:
            yield reader.read_all()
        path.unlink()


def _columns(source: Source, schema: Schema, chunk: Chunk) -> Iterator[Any]:
    id_column = next(column.name for column in schema.columns if column.kind == "id")
    for column in schema.columns:
        cells = chunk.columns[column.name]
        if column.kind in ("numeric", "label"):
            yield pa.array(numbers(source.name, chunk, column.name, id_column), from_pandas=True)
        else:
            yield cells.cast(pa.large_string()) if column.kind == "id" else as_texts(cells)
