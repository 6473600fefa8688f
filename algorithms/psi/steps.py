"""The local steps: shuffling, masking, comparing. No channel and no file here."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from hecore.algorithms.checks import counted
from hecore.algorithms.data.ids import Ids, Places
from hecore.algorithms.errors import AlignmentError, ProtocolError
from hecore.algorithms.psi import group
from hecore.algorithms.psi.group import Rows
from hecore.algorithms.psi.messages import TAG_BYTES

SEED_BYTES = 32


def shuffled(count: int, seed: bytes) -> Places:
    """The numbers 0 … count − 1 in the order that a secret seed of 32 random bytes draws.

    They are sorted by 64-bit keys from AES-256-CTR. Two equal keys, of chance count²/2^65, keep their order.
    """
    stream = Cipher(algorithms.AES256(seed), modes.CTR(bytes(16))).encryptor()
    keys = np.frombuffer(stream.update(bytes(8 * count)), np.uint64)
    return np.argsort(keys, kind="stable")


@dataclass(frozen=True)
class MaskedList:
    """A party's ids in the order of their secret seed, masked by its scalar, chunk by chunk.

    The same seed and scalar give the same bytes: a chunk that was lost can be sent again.
    """

    ids: Ids
    scalar: bytes = field(repr=False)
    order: Places = field(repr=False)
    chunk_rows: int

    def chunk(self, number: int) -> Rows:
        """scalar · H(id) of the chunk's rows, uint8[rows, 32]."""
        places = self.order[number * self.chunk_rows : (number + 1) * self.chunk_rows]
        part = self.ids.take(places)
        return group.multiply(self.scalar, group.hash_to_group(part.digests(0, len(part), group.PERSON)))


def tags(scalar: bytes, points: Rows) -> Rows:
    """The first TAG_BYTES of scalar · U for each of the peer's points, uint8[n, TAG_BYTES]."""
    return np.ascontiguousarray(group.multiply(scalar, points)[:, :TAG_BYTES])


def read_tags(data: bytes, count: int) -> Rows:
    """The peer's reply, uint8[count, TAG_BYTES]; ProtocolError for another length."""
    if len(data) != count * TAG_BYTES:
        raise ProtocolError(f"{len(data)} bytes of returned ids instead of {count * TAG_BYTES}")
    return np.frombuffer(data, np.uint8).reshape(count, TAG_BYTES)


def match(own: Rows, peers: Rows) -> tuple[Places, Places]:
    """Places i, j of all equal rows own[i] = peers[j], both uint8[·, TAG_BYTES] without repetition.

    Sorted together, equal rows are neighbours. ProtocolError if a side repeats a row.
    """
    words = np.concatenate([own, peers]).view(np.uint64)
    order = np.lexsort((words[:, 1], words[:, 0]))
    words = words[order]
    equal = np.flatnonzero((words[1:] == words[:-1]).all(axis=1))
    first, second = order[equal], order[equal + 1]  # lexsort is stable: own rows come first
    if (first >= len(own)).any() or (second < len(own)).any():
        raise ProtocolError("a masked id occurs twice on one side, although its ids are distinct")
    return first, second - len(own)


def placed(count: int, rows: Places, places: Places) -> Places:
    """For each of `count` rows its place, places[i] for rows[i], and −1 for every other."""
    found = np.full(count, -1)
    found[rows] = places
    return found


def pack_rows(chosen: NDArray[np.bool_]) -> bytes:
    """One bit a row, the lowest of a byte first."""
    return np.packbits(chosen, bitorder="little").tobytes()


def unpack_rows(data: bytes, count: int) -> NDArray[np.bool_]:
    """What `pack_rows` packed. ProtocolError for another length than `count` bits."""
    if len(data) != -(-count // 8):
        raise ProtocolError(f"{len(data)} bytes for one bit each of {count} ids")
    return np.unpackbits(np.frombuffer(data, np.uint8), count=count, bitorder="little").astype(bool)


def aligned_rows(ids: Ids, common: Places) -> Places:
    """The rows `common` in the order of all parties: sorted by the bytes of their ids."""
    return common[ids.take(common).order()]


def check_ids(party: str, ids: int, repeated: int, empty: int) -> None:
    """AlignmentError naming the party and the count, of no ids, of empty and of repeated ones."""
    if ids == 0:
        raise AlignmentError(f"{party} has no ids: 0 rows")
    found = []
    if empty:
        found.append(counted(empty, "empty id"))
    if repeated:
        rows = "row repeats" if repeated == 1 else "rows repeat"
        found.append(f"{repeated} {rows} an id of an earlier row")
    if found:
        raise AlignmentError(
            f"{party}: of {counted(ids, 'id')}, {' and '.join(found)}; ids must be distinct and not empty"
        )
