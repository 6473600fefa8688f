"""Training, validation and test rows that all parties choose alike, each from its own ids.

A row's part depends on its id and on a key that the parties share, and on nothing else: not on the order of
the rows, nor on which other rows there are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hecore.algorithms.data.ids import ROWS, Ids, Places
from hecore.algorithms.errors import ConfigurationError

PERSON = b"hecore split v1"
#: Bytes that a key may have, as BLAKE2b takes them; fewer than LEAST could be tried out.
LEAST_KEY, LONGEST_KEY = 16, 64


@dataclass(frozen=True)
class Split:
    """The places of each part's rows, ascending."""

    train: Places
    validation: Places
    test: Places


def split_rows(ids: Ids, key: bytes, *, validation: float = 0.0, test: float = 0.2) -> Split:
    """Part the rows by h = BLAKE2b(key; id) / 2^64, about as many as the shares say.

        0 ≤ h < test: test        test ≤ h < test + validation: validation        else: training

    `key`, 16 to 64 bytes, is agreed between the parties (equal keys, equal parts) and secret from others: who
    knows it can tell the part of any id. ConfigurationError for another length, or a share outside 0 ≤ s < 1.
    """
    if not LEAST_KEY <= len(key) <= LONGEST_KEY:
        raise ConfigurationError(f"a split key has {len(key)} bytes, not {LEAST_KEY} … {LONGEST_KEY}")
    for name, share in (("validation", validation), ("test", test), ("validation + test", validation + test)):
        if not (math.isfinite(share) and 0 <= share < 1):
            raise ConfigurationError(f"{name} = {share} is not a share: 0 ≤ share < 1")
    words = _hashes(ids, key)
    first, second = _threshold(test), _threshold(validation + test)
    is_test = words < first
    is_validation = ~is_test & (words < second)
    return Split(
        np.flatnonzero(~is_test & ~is_validation), np.flatnonzero(is_validation), np.flatnonzero(is_test)
    )


def _hashes(ids: Ids, key: bytes) -> NDArray[np.uint64]:
    words = np.empty(len(ids), np.uint64)
    for start in range(0, len(ids), ROWS):
        digests = ids.digests(start, min(start + ROWS, len(ids)), PERSON, key)
        words[start : start + len(digests)] = digests[:, :8].copy().view("<u8")[:, 0]
    return words


def _threshold(share: float) -> np.uint64:
    """⌊share · 2^64⌋, exact: a float64 below 1 has no more than 53 bits."""
    return np.uint64(int(share * 2**64))
