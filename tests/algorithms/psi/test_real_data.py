"""Two files of the same people, shuffled and incomplete: aligned, they train as files that match by row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hecore import generate_key
from hecore.algorithms.channel import loopback_pair
from hecore.algorithms.data import (
    Ids,
    Table,
    open_source,
    read_csv,
    read_ids,
    read_table,
    write_rows,
)
from hecore.algorithms.errors import AlignmentError
from hecore.algorithms.lr import LinearConfig, VerticalLogisticRegression
from hecore.algorithms.psi import PsiConfig, align
from hecore.keys import PrivateKey

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


def test_planted_duplicates_are_an_error_on_both_sides(files):
    header, *rows = files[1].read_text().splitlines()
    write(files[1], header, [*rows, rows[3], rows[70], rows[70]])
    for outcome in both(files):
        with pytest.raises(
            AlignmentError, match="passive: of 24003 ids, 3 rows repeat an id of an earlier row"
        ):
            raise outcome


def trained(active: Table, passive: Table, keys: list[PrivateKey]) -> list[np.ndarray]:
    models = [
        VerticalLogisticRegression(end, CONFIG, key=key)
        for end, key in zip(loopback_pair(), keys, strict=True)
    ]
    outcomes = at_once(lambda: models[0].fit(active), lambda: models[1].fit(passive))
    assert [type(outcome) for outcome in outcomes] == [VerticalLogisticRegression] * 2, outcomes
    return [model.coef_ for model in models]


def test_the_aligned_tables_train_as_the_files_that_match(files, tmp_path, test_key):
    outcomes = both(files)
    tables = []
    for path, outcome, label in zip(files, outcomes, ("y", None), strict=True):
        out = tmp_path / f"{path.stem}.parquet"
        write_rows(open_source(path), outcome.rows, out)
        tables.append(read_table(out, label_column=label))
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
        assert np.array_equal(table.values, same.values)
    assert tables[0].label is not None
    assert np.array_equal(tables[0].label, expected[0].label)

    keys = [test_key, generate_key(512, insecure_test_key=True)]
    delivered = 2.0**-CONFIG.output_bits + 5e-5  # rounding, and truncated shares
    some = [[table.take(TRAINED) for table in pair] for pair in (tables, expected)]
    for got, same in zip(trained(*some[0], keys), trained(*some[1], keys), strict=True):
        np.testing.assert_allclose(got, same, atol=2 * delivered)
        assert np.abs(got).max() > 100 * delivered
