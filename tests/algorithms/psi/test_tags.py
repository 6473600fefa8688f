"""Tags in memory and on disk: what a checkpoint counts is found again, and what it does not is cut off."""

from __future__ import annotations

import stat
from pathlib import Path

import numpy as np
import pytest

from hecore.algorithms.errors import CheckpointError
from hecore.algorithms.psi.messages import TAG_BYTES
from hecore.algorithms.psi.tags import Tags

ROWS = np.arange(5 * TAG_BYTES, dtype=np.uint8).reshape(5, TAG_BYTES)


@pytest.mark.parametrize("kept", [False, True])
def test_rows_come_back_as_they_were_added(tmp_path: Path, kept: bool) -> None:
    tags = Tags(tmp_path / "tags" if kept else None)
    for part in (ROWS[:2], ROWS[2:2], ROWS[2:]):
        tags.append(part)
    assert np.array_equal(tags.rows(), ROWS)
    tags.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_file_goes_on_from_what_its_checkpoint_counts(tmp_path: Path) -> None:
    path = tmp_path / "tags"
    first = Tags(path)
    first.append(ROWS[:3])
    first.sync()
    digest = first.digest
    first.append(ROWS[:1])  # and killed before the next checkpoint
    first.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    second = Tags(path, 3, digest)
    second.append(ROWS[3:])
    assert np.array_equal(second.rows(), ROWS)
    second.close()


@pytest.mark.parametrize("damage", ["shorter", "changed", "gone"])
def test_a_file_with_other_rows_is_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "tags"
    tags = Tags(path)
    tags.append(ROWS)
    tags.close()
    data = bytearray(path.read_bytes())
    data[17] ^= 1
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(data[:-1] if damage == "shorter" else data)
    with pytest.raises(CheckpointError, match="tags does not hold the 5 rows that its checkpoint counts"):
        Tags(path, 5, tags.digest)
