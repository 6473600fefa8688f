"""Files as chunks of rows: memory holds one chunk, however long the file.

    CSV       UTF-8, commas, a header; cells are texts as they stand, "" where there is nothing
    Parquet   columns of numbers, truth values, texts or dictionaries of texts

A chunk's columns are Arrow arrays: `large_string`, or what numbers Parquet has. Rows count from 0, without
the header. Every error names the file, and the row or column where it is.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from hecore.algorithms.data.table import check_distinct
from hecore.algorithms.errors import TableError

#: How much of a wrong text, and how many names, an error shows.
LONGEST_SHOWN, COLUMNS_SHOWN = 40, 20
CSV_ROWS, PARQUET_ROWS = 1 << 13, 1 << 16


@dataclass(frozen=True)
class Chunk:
    """Consecutive rows; `first` is the number of the first one. `columns` maps names to Arrow arrays."""

    first: int
    columns: dict[str, Any]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))


class Source(Protocol):
    """A file that can be read from its start any number of times."""

    name: str
    header: tuple[str, ...]
    types: Any  # the Arrow schema of its columns as they stand

    def chunks(self, columns: Sequence[str] | None = None) -> Iterator[Chunk]:
        """All rows, with these columns only, or all; of what hecore cannot read, a TableError."""

    def copies(self) -> Iterator[Any]:
        """All rows as Arrow record batches of `types`: nothing is read into them."""


def open_source(path: str | Path) -> Source:
    """A CSV or Parquet file, told apart by its first bytes. TableError, or OSError if it cannot be read."""
    with open(path, "rb") as file:
        magic = file.read(4)
    return ParquetSource(path) if magic == b"PAR1" else CsvSource(path)


def require(source: Source, columns: Sequence[str]) -> None:
    """TableError naming the first of `columns` that the file does not have."""
    for wanted in columns:
        if wanted not in source.header:
            raise TableError(f"{source.name} has no column {wanted!r}; it has {listed(source.header)}")


class CsvSource:
    """A comma-separated UTF-8 file with a header. Blank lines are skipped."""

    def __init__(self, path: str | Path) -> None:
        self.name = Path(path).name
        self._path = path
        self.header = tuple(next(self._lines())[1])
        self.types = pa.schema([(name, pa.large_string()) for name in self.header])

    def chunks(self, columns: Sequence[str] | None = None) -> Iterator[Chunk]:
        """See Source."""
        require(self, columns or ())
        check_distinct(self.name, self.header)
        wanted = [(name, self.header.index(name)) for name in (self.header if columns is None else columns)]
        lines = self._lines()
        next(lines)
        rows: list[list[str]] = []
        first = 0

        def chunk() -> Chunk:
            cells = list(zip(*rows, strict=True))
            return Chunk(first, {name: pa.array(cells[i], pa.large_string()) for name, i in wanted})

        for number, row in lines:
            if len(row) != len(self.header):
                raise TableError(
                    f"{self.name}: row {first + len(rows)} (line {number}) has {len(row)} fields, the header"
                    f" {len(self.header)}"
                )
            rows.append(row)
            if len(rows) == CSV_ROWS:
                yield chunk()
                first += len(rows)
                rows = []
        if rows:
            yield chunk()

    def copies(self) -> Iterator[Any]:
        """See Source: the texts of the cells."""
        for chunk in self.chunks():
            yield pa.RecordBatch.from_arrays(list(chunk.columns.values()), schema=self.types)

    def _lines(self) -> Iterator[tuple[int, list[str]]]:
        """(line, cells) of the header and of every row; TableError for an empty or an unreadable file."""
        with open(self._path, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            filled = False
            try:
                for row in reader:
                    if row:
                        filled = True
                        yield reader.line_num, row
            except UnicodeDecodeError:
                raise TableError(f"{self.name} is not UTF-8 text: save it as CSV in UTF-8") from None
            except csv.Error as error:
                raise TableError(f"{self.name}, line {reader.line_num}: {error}") from None
        if not filled:
            raise TableError(f"{self.name} is empty")


class ParquetSource:
    """A Parquet file. Truth values are 0 and 1; a dictionary of texts is its texts."""

    def __init__(self, path: str | Path) -> None:
        self.name = Path(path).name
        self._path = path
        with self._open() as file:
            self.types = file.schema_arrow.remove_metadata()
        self.header = tuple(self.types.names)

    def chunks(self, columns: Sequence[str] | None = None) -> Iterator[Chunk]:
        """See Source."""
        require(self, columns or ())
        check_distinct(self.name, self.header)
        wanted = list(self.header if columns is None else columns)
        for name in wanted:
            self._check_type(name, self.types.field(name).type)
        first = 0
        for batch in self._batches(wanted):
            yield Chunk(first, {name: _plain(batch.column(name)) for name in wanted})
            first += batch.num_rows

    def copies(self) -> Iterator[Any]:
        """See Source."""
        check_distinct(self.name, self.header)
        yield from self._batches(list(self.header))

    def _batches(self, columns: list[str]) -> Iterator[Any]:
        """The rows of some columns; TableError naming the row behind which the file is broken."""
        first = 0
        with self._open() as file:
            batches = file.iter_batches(batch_size=PARQUET_ROWS, columns=columns)
            while True:
                try:
                    batch = next(batches, None)
                except (pa.ArrowException, OSError) as error:
                    raise TableError(f"{self.name}, after row {first}: {error}") from None
                if batch is None:
                    return
                yield batch.select(columns)  # in the order asked for
                first += batch.num_rows

    def _open(self) -> Any:
        try:
            return pq.ParquetFile(self._path)
        except pa.ArrowInvalid as error:
            raise TableError(f"{self.name} is no whole Parquet file: {error}") from None

    def _check_type(self, name: str, kind: Any) -> None:
        inner = kind.value_type if pa.types.is_dictionary(kind) else kind
        if not (_is_text(inner) or _is_number(inner) or pa.types.is_null(inner)):
            raise TableError(f"{self.name}: column {name!r} is {kind}: numbers and texts can be read")


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_number(kind: Any) -> bool:
    return any(
        is_kind(kind)
        for is_kind in (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_boolean)
    )


def _plain(column: Any) -> Any:
    """Without a dictionary; texts as large_string, truth values as 0 and 1."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if _is_text(column.type):
        return column.cast(pa.large_string())
    return column.cast(pa.int8()) if pa.types.is_boolean(column.type) else column


def listed(names: Sequence[str]) -> str:
    """Names for an error, not too many of them."""
    shown = ", ".join(repr(name[:LONGEST_SHOWN]) for name in names[:COLUMNS_SHOWN])
    return shown + (f" and {len(names) - COLUMNS_SHOWN} more" if len(names) > COLUMNS_SHOWN else "")
