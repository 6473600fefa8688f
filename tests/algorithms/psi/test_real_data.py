"""Two files of the same people, shuffled and incomplete: aligned, they are as files that match by row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hecore.algorithms.channel import loopback_pair
from hecore.algorithms.data import (
    Ids,
    infer_schema,
    load_rows,
    open_source,
    read_csv,
    read_ids,
    read_table,
    write_rows,
)
from hecore.algorithms.errors import AlignmentError
from hecore.algorithms.lr import LinearConfig
from hecore.algorithms.psi import PsiConfig, align

from .conftest import at_once

DATA = Path(__file__).parents[4] / "shared" / "data" / "default_credit"
ROWS = 30_000
#: Of the aligned ones, rows to train on.
TRAINED = np.arange(4000)
CONFIG = LinearConfig(epochs=1, batch_size=1024)

pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason="the vertical data sets are not beside this checkout (../shared/data)"
)


def lines(name: str) -> list[str]:
    return (DATA / name).read_text().splitlines()


def write(path: Path, header: str, rows: list[str]) -> Path:
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A fifth of the ids missing at each party, others at each; the passive file shuffled."""
    random = np.random.default_rng(5)
    paths = []
    for name in ("active.csv", "passive.csv"):
        header, *rows = lines(name)
        kept = np.sort(random.permutation(ROWS)[: ROWS * 4 // 5])
        if name == "passive.csv":
            kept = random.permutation(kept)
        paths.append(write(tmp_path / name, header, [rows[i] for i in kept]))
    return paths[0], paths[1]


def both(files: tuple[Path, Path]) -> list[object]:
    """The alignment or exception of each party."""
    ends = loopback_pair()
    config = PsiConfig(min_intersection=1000)
    return at_once(
        lambda: align(ends[0], read_ids(files[0]), "active", config),
        lambda: align(ends[1], read_ids(files[1]), "passive", config),
    )


@pytest.mark.parametrize(("party", "name"), [(0, "active"), (1, "passive")])
def test_planted_duplicates_are_an_error_on_both_sides(files, party, name):
    header, *rows = files[party].read_text().splitlines()
    write(files[party], header, [*rows, rows[3], rows[70], rows[70]])
    for outcome in both(files):
        with pytest.raises(
            AlignmentError, match=f"{name}: of 24,003 ids, 3 rows repeat an id of an earlier row"
        ):
            raise outcome


def test_the_aligned_tables_are_those_of_the_files_that_match(files, tmp_path):
    outcomes = both(files)
    tables = []
    for path, outcome, label in zip(files, outcomes, ("y", None), strict=True):
        tables.append(load_rows(path, outcome.rows, infer_schema(path, label_column=label)))
        out = tmp_path / f"{path.stem}.parquet"
        write_rows(open_source(path), outcome.rows, out)
        written = read_table(out, label_column=label)
        assert (written.ids, written.digest()) == (tables[-1].ids, tables[-1].digest())
    header, *rows = lines("active.csv")
    matched = read_csv(write(tmp_path / "whole.csv", header, rows), label_column="y")
    header, *rows = lines("passive.csv")
    others = read_csv(write(tmp_path / "others.csv", header, rows))

    common = sorted(set(read_ids(files[0])) & set(read_ids(files[1])))
    assert len(common) == outcomes[0].common
    place = {row_id: i for i, row_id in enumerate(matched.ids)}
    order = np.array([place[row_id] for row_id in common])
    expected = [matched.take(order), others.take(order)]
    for table, same in zip(tables, expected, strict=True):
        assert table.ids == same.ids == Ids(common)
        assert table.columns == same.columns
        assert table.values.tobytes() == same.values.tobytes()
    assert tables[0].label is not None
    assert expected[0].label is not None
    assert tables[0].label.tobytes() == expected[0].label.tobytes()
