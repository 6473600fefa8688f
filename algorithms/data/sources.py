"""Files as chunks of rows: memory holds one chunk, however long the file.

    CSV       UTF-8, commas, a header; cells are texts as they stand, "" where there is nothing
    Parquet   columns of numbers, truth values, texts or dictionaries of texts
    libsvm    only ids and labels are columns: see `libsvm`

A chunk's columns are Arrow arrays: `large_string`, or what numbers Parquet has. Rows count from 0, without
the header, lines from 1. Every error names the file, and where in it: the line of a text file, else the row,
and the column.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hecore.algorithms.checks import counted
from hecore.algorithms.data.ids import Places
from hecore.algorithms.data.libsvm import ID, LABEL, is_libsvm, parsed_rows
from hecore.algorithms.data.table import check_distinct
from hecore.algorithms.errors import TableError

#: How much of a wrong text, and how many names, an error shows.
LONGEST_SHOWN, COLUMNS_SHOWN = 40, 20
#: Separators that other programs write into what they call CSV.
SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
#: A chunk has no more rows than this, and of a wide file no more cells: some 20 MB.
CSV_ROWS, PARQUET_ROWS = 1 << 13, 1 << 16
CSV_CELLS, PARQUET_CELLS = 1 << 18, 1 << 21


@dataclass(frozen=True)
class Chunk:
    """Some rows of a file: their numbers, in a text file their lines, and their cells by column."""

    rows: Places
    columns: dict[str, Any]
    lines: Places | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, places: Places) -> Chunk:
        """The rows at these places of the chunk."""
        columns = {name: cells.take(pa.array(places)) for name, cells in self.columns.items()}
        return Chunk(self.rows[places], columns, None if self.lines is None else self.lines[places])

    def where(self, place: int) -> str:
        """For an error: where the row at a place of the chunk stands in the file."""
        return f"row {self.rows[place]}" if self.lines is None else f"line {self.lines[place]}"


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
    """A libsvm file, by its ending, a Parquet or a CSV file, by its first bytes.

    Raises TableError, or OSError if it cannot be read.
    """
    if is_libsvm(path):
        return LibsvmSource(path)
    with open(path, "rb") as file:
        magic = file.read(4)
    return ParquetSource(path) if magic == b"PAR1" else CsvSource(path)


def require(source: Source, columns: Sequence[str]) -> None:
    """TableError naming the first of `columns` that the file does not have."""
    for wanted in columns:
        if wanted not in source.header:
            raise TableError(
                f"{source.name} has no column {wanted!r}; it has {listed(source.header)}"
                + _separated(source.header, wanted)
            )


def _separated(header: Sequence[str], wanted: str) -> str:
    """A hint, where the column is there but for another separator than a comma."""
    for separator, named in SEPARATORS.items():
        if any(wanted in cell.split(separator) for cell in header):
            return f": its cells are separated by {named}, hecore reads commas: save it with these"
    return ""


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
        most = max(1, min(CSV_ROWS, CSV_CELLS // len(self.header)))
        rows: list[list[str]] = []
        numbers: list[int] = []
        first = 0

        def chunk() -> Chunk:
            cells = list(zip(*rows, strict=True))
            columns = {name: pa.array(cells[i], pa.large_string()) for name, i in wanted}
            return Chunk(first + np.arange(len(rows)), columns, np.array(numbers))

        for number, row in lines:
            if len(row) != len(self.header):
                raise TableError(
                    f"{self.name}: line {number} has {counted(len(row), 'field')}, the header"
                    f" {len(self.header)}"
                )
            rows.append(row)
            numbers.append(number)
            if len(rows) == most:
                yield chunk()
                first += len(rows)
                rows, numbers = [], []
        if rows:
            yield chunk()

    def copies(self) -> Iterator[Any]:
        """See Source: the texts of the cells."""
        for chunk in self.chunks():
            yield pa.RecordBatch.from_arrays(list(chunk.columns.values()), schema=self.types)

    def _lines(self) -> Iterator[tuple[int, list[str]]]:
        """(line, cells) of the header and of every row; TableError for an empty or an unreadable file."""
        with open(self._path, newline="", encoding="utf-8-sig") as file:
            lines = _Lines(file)
            reader = csv.reader(lines, strict=True)
            filled = False
            try:
                for row in reader:
                    if lines.cut:
                        raise TableError(
                            f"{self.name}: line {reader.line_num} is cut by a carriage return without a line"
                            " feed: remove it, or quote the cell; line ends are LF or CR LF"
                        )
                    if row:
                        filled = True
                        yield reader.line_num, row
            except UnicodeDecodeError:
                raise TableError(f"{self.name} is not UTF-8 text: save it as CSV in UTF-8") from None
            except csv.Error as error:
                raise TableError(f"{self.name}, line {reader.line_num}: {error}") from None
        if not filled:
            raise TableError(f"{self.name} is empty")


class _Lines:
    """The lines of a file that was opened with its own line ends.

    cut  the last one ends with a lone carriage return, which is a mistake unless a quoted cell goes on. An
         empty line may follow it: CR CR LF is what some programs write
    """

    def __init__(self, file: Iterator[str]) -> None:
        self._file = file
        self.cut = False

    def __iter__(self) -> Iterator[str]:
        following = next(self._file, "")
        while following:
            line, following = following, next(self._file, "")
            self.cut = line.endswith("\r") and following not in ("", "\n", "\r\n")
            yield line


class LibsvmSource:
    """The ids and labels of a libsvm file; `read_libsvm` and `load_rows` read its sparse columns."""

    def __init__(self, path: str | Path) -> None:
        self.name = Path(path).name
        self.path = path
        self.header: tuple[str, ...] = (ID, LABEL)
        self.types = pa.schema([(ID, pa.large_string()), (LABEL, pa.float64())])
        with open(path, "rb"):
            pass

    def chunks(self, columns: Sequence[str] | None = None) -> Iterator[Chunk]:
        """See Source."""
        require(self, columns or ())
        rows = parsed_rows(self.path, places=False)
        first = 0
        while some := list(islice(rows, CSV_ROWS)):
            cells = {
                ID: pa.array([row.row_id for row in some], pa.large_string()),
                LABEL: pa.array([row.label for row in some], pa.float64()),
            }
            chosen = {name: cells[name] for name in (self.header if columns is None else columns)}
            yield Chunk(first + np.arange(len(some)), chosen, np.array([row.line for row in some]))
            first += len(some)

    def copies(self) -> Iterator[Any]:
        """A sparse file has no columns that could be copied: TableError."""
        raise TableError(f"{self.name}: rows of a libsvm file cannot be written as Parquet")


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
            cells = {name: _plain(batch.column(name)) for name in wanted}
            yield Chunk(first + np.arange(batch.num_rows), cells)
            first += batch.num_rows

    def copies(self) -> Iterator[Any]:
        """See Source."""
        check_distinct(self.name, self.header)
        yield from self._batches(list(self.header))

    def _batches(self, columns: list[str]) -> Iterator[Any]:
        """The rows of some columns; TableError naming the row behind which the file is broken."""
        first, most = 0, max(1, min(PARQUET_ROWS, PARQUET_CELLS // max(1, len(columns))))
        with self._open() as file:
            batches = file.iter_batches(batch_size=most, columns=columns)
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
