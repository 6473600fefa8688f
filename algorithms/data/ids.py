"""Row ids as one Arrow array: 100 million of them are two buffers, not 100 million Python objects."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hecore.algorithms.checks import counted
from hecore.algorithms.errors import TableError

Places = NDArray[np.int64]
Digests = NDArray[np.uint8]

DIGEST_BYTES = 32
#: Rows that are turned into Python objects at a time.
ROWS = 1 << 16


class Ids(Sequence[str]):
    """Texts, immutable, compared and sorted by their UTF-8 bytes; equal to any sequence of equal texts.

    `array` is their Arrow `large_string` array: a missing text reads as "".
    """

    __slots__ = ("array",)
    __hash__ = None  # type: ignore[assignment]  # compared with lists and tuples, whose hashes differ

    def __init__(self, texts: Iterable[str] | Any) -> None:
        """From texts, from another Ids, or from an Arrow array of texts or integers.

        Raises TypeError for an Arrow array of another type, naming the type. An integer is its decimal text.
        """
        self.array = _large_string(texts)

    def __len__(self) -> int:
        return len(self.array)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> Ids: ...
    def __getitem__(self, place: int | slice) -> str | Ids:
        if isinstance(place, slice):
            start, stop, step = place.indices(len(self))
            if step != 1:
                return self.take(np.arange(start, stop, step))
            return Ids(self.array.slice(start, max(stop - start, 0)))
        if not -len(self) <= place < len(self):
            raise IndexError(f"there is no id {place} of {len(self)}")
        return str(self.array[int(place) % len(self)].as_py())

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), ROWS):
            yield from self.array.slice(start, ROWS).to_pylist()

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Ids):
            return bool(self.array.equals(other.array))
        if isinstance(other, Sequence) and not isinstance(other, str):
            return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))
        return NotImplemented

    def __repr__(self) -> str:
        return f"Ids({len(self)})"

    def take(self, places: NDArray[np.integer]) -> Ids:
        """The ids at these places (0 ≤ place < len), in that order."""
        return Ids(self.array.take(pa.array(places)))

    def order(self) -> Places:
        """The places that sort them by their bytes; stable."""
        places: Places = pc.sort_indices(self.array).to_numpy().astype(np.int64)
        return places

    def empty(self) -> Places:
        """The places of empty or missing ids."""
        found: Places = np.flatnonzero(
            pc.equal(pc.binary_length(self.array), 0).to_numpy(zero_copy_only=False)
        )
        return found

    def repeated(self) -> Places:
        """The places of all ids that stood at an earlier place already, ascending."""
        if pc.count_distinct(self.array).as_py() == len(self):
            return np.empty(0, np.int64)
        order = self.order()
        ordered = self.array.take(pa.array(order))
        same = pc.equal(ordered.slice(1), ordered.slice(0, len(self) - 1)).to_numpy(zero_copy_only=False)
        return np.sort(order[1:][same])

    def first(self, text: str) -> int:
        """The first place of a text, −1 where it is not."""
        return int(pc.index(self.array, text).as_py())

    def encoded(self, start: int, stop: int) -> list[bytes]:
        """The ids of places start ≤ i < stop as UTF-8."""
        part: list[bytes] = self.array.slice(start, stop - start).cast(pa.large_binary()).to_pylist()
        return part

    def digests(self, start: int, stop: int, person: bytes, key: bytes = b"") -> Digests:
        """BLAKE2b-256 of length (8 bytes, little-endian) ‖ UTF-8 of each id; uint8[stop − start, 32].

        `person` (at most 16 bytes) separates uses; `key` (at most 64) makes it a keyed hash.
        """
        fresh = hashlib.blake2b(digest_size=DIGEST_BYTES, person=person, key=key)
        out = bytearray()
        for text in self.encoded(start, stop):
            one = fresh.copy()
            one.update(len(text).to_bytes(8, "little") + text)
            out += one.digest()
        return np.frombuffer(bytes(out), np.uint8).reshape(-1, DIGEST_BYTES)

    def fingerprint(self) -> bytes:
        """SHA-256 over all ids in their order, each with its length (4 bytes, little-endian) before it."""
        digest = hashlib.sha256(b"hecore alignment v1")
        for start in range(0, len(self), ROWS):
            part = self.encoded(start, min(start + ROWS, len(self)))
            digest.update(b"".join([len(text).to_bytes(4, "little") + text for text in part]))
        return digest.digest()


def check_ids(name: str, ids: Ids) -> None:
    """TableError naming the first place of an empty id, or both first places of a repeated one."""
    empty = ids.empty()
    if empty.size:
        raise TableError(f"{name}: the id at place {empty[0]} is '': a text is needed")
    repeated = ids.repeated()
    if repeated.size:
        text = ids[int(repeated[0])]
        others = counted(repeated.size - 1, "more row")
        more = f", and an id repeats in {others}" if repeated.size > 1 else ""
        raise TableError(
            f"{name}: id {text!r} occurs twice, at places {ids.first(text)} and {repeated[0]}{more}"
        )


def _large_string(texts: Any) -> Any:
    if isinstance(texts, Ids):
        return texts.array
    if isinstance(texts, pa.ChunkedArray):
        chunks = [_large_string(chunk) for chunk in texts.chunks]
        return pa.concat_arrays(chunks) if chunks else pa.array([], pa.large_string())
    if not isinstance(texts, pa.Array):
        texts = pa.array(texts if isinstance(texts, list | tuple) else list(texts), pa.large_string())
    if pa.types.is_dictionary(texts.type):
        texts = texts.cast(texts.type.value_type)
    known = (pa.types.is_string, pa.types.is_large_string, pa.types.is_integer, pa.types.is_null)
    if not any(is_kind(texts.type) for is_kind in known):
        raise TypeError(f"ids are texts or integers, not {texts.type}")
    texts = texts.cast(pa.large_string())
    return pc.fill_null(texts, "") if texts.null_count else texts
