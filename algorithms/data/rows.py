"""Some rows of a file, in another order: which of them a chunk holds, and where they go."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

import numpy as np

from hecore.algorithms.checks import counted
from hecore.algorithms.data.ids import Places
from hecore.algorithms.errors import TableError


class _Sized(Protocol):
    def __len__(self) -> int: ...


C = TypeVar("C", bound=_Sized)


def wanted(name: str, chunks: Iterable[C], rows: Places) -> Iterator[tuple[C, Places, Places]]:
    """Of consecutive chunks of a file: (chunk, places in it, i for each), where rows[i] is the row there.

    Chunks without such a row are passed over. TableError for a row that the file does not have.
    """
    order = np.argsort(rows, kind="stable")
    ascending = rows[order]
    first = start = 0
    if rows.size and ascending[0] < 0:
        raise TableError(f"{name}: there is no row {ascending[0]}")
    for chunk in chunks:
        stop = int(np.searchsorted(ascending, first + len(chunk)))
        if stop > start:
            yield chunk, ascending[start:stop] - first, order[start:stop]
        first, start = first + len(chunk), stop
    if start < len(rows):
        raise TableError(f"{name}: there is no row {ascending[start]}, it has {counted(first, 'row')}")
