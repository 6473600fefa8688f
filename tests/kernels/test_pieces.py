"""Segments cut into pieces: all items, in order, no piece too long, the longest first."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hecore.kernels.pieces import cut_segments


@given(st.lists(st.integers(0, 40), max_size=30), st.integers(1, 12), st.booleans())
def test_pieces(lengths: list[int], longest: int, keep_empty: bool) -> None:
    offsets = np.cumsum([0, *lengths])
    pieces = cut_segments(offsets, longest, keep_empty=keep_empty)
    assert pieces.length.tolist() == sorted(pieces.length.tolist(), reverse=True)
    assert all(pieces.length <= longest)
    assert sorted(pieces.place.tolist()) == list(range(len(pieces.start)))
    for segment, length in enumerate(lengths):
        mine = pieces.place[pieces.offsets[segment] : pieces.offsets[segment + 1]]
        assert len(mine) == max(-(-length // longest), int(keep_empty))
        found = [np.arange(pieces.start[i], pieces.start[i] + pieces.length[i]) for i in mine]
        assert np.concatenate([*found, []]).tolist() == list(range(*offsets[segment : segment + 2]))


def test_no_segments() -> None:
    pieces = cut_segments(np.zeros(1, dtype=np.int64), 4, keep_empty=True)
    assert pieces.start.size == pieces.place.size == 0
    assert pieces.offsets.tolist() == [0]


@pytest.mark.parametrize("items", [10, 1000, 12345])
def test_one_long_segment_is_cut_evenly_but_for_its_end(items: int) -> None:
    pieces = cut_segments(np.array([0, items]), 16)
    assert set(pieces.length.tolist()) <= {16, items % 16}
    assert pieces.offsets.tolist() == [0, -(-items // 16)]
