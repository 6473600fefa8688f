"""Cells of a chunk as numbers, texts, places of categories, labels.

"", NA, N/A, NaN and null are missing, whatever their case and the blanks around them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hecore.algorithms.data.sources import LONGEST_SHOWN, Chunk
from hecore.algorithms.errors import TableError

if TYPE_CHECKING:
    from hecore.algorithms.data.schema import Column

Floats = NDArray[np.float64]

#: Texts that stand for no value, in lower case.
MISSING = ("", "na", "n/a", "nan", "null")
#: What Python's `float` reads, but for 1_000, which is no number here.
NUMBER = r"(?i)^[+-]?((\p{Nd}+\.?\p{Nd}*|\.\p{Nd}+)(e[+-]?\p{Nd}+)?|inf|infinity|nan)$"


def as_texts(cells: Any) -> Any:
    """Cells as large_string without blanks around them, null where missing."""
    if pa.types.is_floating(cells.type):
        cells = pc.if_else(pc.is_nan(cells), pa.scalar(None, cells.type), cells)
    texts = cells.cast(pa.large_string())
    texts = pc.utf8_trim_whitespace(texts)
    gone = pc.is_in(pc.utf8_lower(texts), value_set=pa.array(MISSING, pa.large_string()))
    return pc.if_else(gone, pa.scalar(None, pa.large_string()), texts)


def strays(texts: Any) -> NDArray[np.intp]:
    """The places of texts, as `as_texts` leaves them, that are no numbers."""
    known = pc.fill_null(pc.match_substring_regex(texts, NUMBER), True)
    return np.flatnonzero(~known.to_numpy(zero_copy_only=False))


def parsed(cells: Any) -> Floats | None:
    """The numbers in cells, NaN where missing; None if one is no number."""
    if not pa.types.is_large_string(cells.type):
        column = cells.cast(pa.float64(), safe=False)
    else:
        texts = as_texts(cells)
        try:
            column = texts.cast(pa.float64())
        except pa.ArrowInvalid:  # Arrow is stricter than Python in spelling
            if strays(texts).size:
                return None
            values = [None if text is None else float(text) for text in texts.to_pylist()]
            column = pa.array(values, pa.float64())
    found: Floats = column.to_numpy(zero_copy_only=False)
    return found.astype(np.float64)


def place(chunk: Chunk, row: int, id_column: str) -> str:
    """For an error: where a row stands in the file, and its id."""
    return f"at {chunk.where(row)} (id {str(chunk.columns[id_column][row].as_py())!r})"


def shown(text: str) -> str:
    """A cell for an error, not too much of it."""
    return repr(text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "…")


def numbers(file: str, chunk: Chunk, name: str, id_column: str) -> Floats:
    """A column of a chunk as float64, NaN where missing. TableError naming row, id and column of a text."""
    values = parsed(chunk.columns[name])
    if values is not None:
        return values
    texts = as_texts(chunk.columns[name])
    row = int(strays(texts)[0])
    where = place(chunk, row, id_column)
    raise TableError(f"{file}: {shown(texts[row].as_py())} {where}, column {name!r} is no number")


def codes(column: Column, cells: Any) -> Floats:
    """The places of texts in the column's categories, NaN where missing or not among them."""
    places = pc.index_in(as_texts(cells), value_set=pa.array(column.categories, pa.large_string()))
    found: Floats = places.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return found


def labels(file: str, chunk: Chunk, name: str, id_column: str, positive: float | str | None = None) -> Floats:
    """Labels as models take them: finite numbers.

    positive  the label, a number or a text, that counts as 1, every other one as 0; None leaves numbers as
              they are

    TableError naming row, id and column of a label that is missing or not finite, and of a text where numbers
    are taken.
    """
    if isinstance(positive, str):
        texts = as_texts(chunk.columns[name])
        missing = texts.is_null().to_numpy(zero_copy_only=False)
        values = pc.fill_null(pc.equal(texts, positive), False).to_numpy(zero_copy_only=False)
    else:
        values = numbers(file, chunk, name, id_column)
        missing = np.isnan(values)
    if missing.any():
        where = place(chunk, int(np.argmax(missing)), id_column)
        raise TableError(f"{file}: no label {where}, column {name!r}: drop the rows without a label")
    if positive is None and not (finite := np.isfinite(values)).all():
        row = int(np.argmin(finite))
        where = place(chunk, row, id_column)
        raise TableError(f"{file}: label {values[row]:g} {where}, column {name!r} is no finite number")
    if positive is not None and not isinstance(positive, str):
        values = values == positive
    return np.asarray(values, np.float64)
