"""Tables as they come: categories by their texts, and sparse values that are never made dense."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array, random_array
from typer.testing import CliRunner

import hecore
from hecore.algorithms.cli import app
from hecore.algorithms.data import Table, read_libsvm
from hecore.algorithms.errors import TableError
from hecore.algorithms.gbdt import GBDTConfig
from hecore.algorithms.gbdt.binning import apply_bins, fit_bins
from hecore.algorithms.gbdt.export import export_joint
from hecore.algorithms.gbdt.model import load_share, save_share
from hecore.algorithms.gbdt.tables import binned, fitted_bins

from .conftest import Joint, assert_lossless, fit_centrally, fit_jointly, run_all, tables

SMALL = GBDTConfig(n_estimators=3, max_depth=3, max_bin=12, min_samples_leaf=2)
COLOURS = ("blue", "green", "red", "violet")


def numbered(part: Table, column: int, texts: Sequence[str | None], order: Sequence[str]) -> Table:
    """The table with a column of texts, numbered in the order given."""
    values = part.values.copy()
    values[:, column] = [np.nan if text is None else order.index(text) for text in texts]
    return replace(part, values=values, categories={part.columns[column]: tuple(order)}, missing=True)


def coloured(rows: int, seed: int) -> tuple[list[Table], list[str | None]]:
    """Two parties' numbers, a label that goes by colours, and the colours."""
    rng = np.random.default_rng(seed)
    parts = tables(rows, [2, 2], seed=seed)
    texts: list[str | None] = [COLOURS[kind] for kind in rng.integers(0, 4, rows)]
    label = np.array([text in ("red", "blue") for text in texts]) ^ (rng.random(rows) < 0.1)
    parts[0] = replace(parts[0], label=label.astype(np.float64))
    return parts, [None if rng.random() < 0.05 else text for text in texts]


@pytest.fixture(scope="module")
def joint(small_keys: list[hecore.PrivateKey]) -> tuple[Joint, list[Table], list[str | None]]:
    parts, texts = coloured(300, 61)
    texts[7] = "gold"  # one row: too few for a bin
    trained = [parts[0], numbered(parts[1], 1, texts, [*COLOURS, "gold"])]
    result = fit_jointly(trained, SMALL, small_keys)
    assert_lossless(result, fit_centrally(trained, SMALL), trained)
    return result, trained, texts


def test_texts_decide_and_not_their_numbers(
    joint: tuple[Joint, list[Table], list[str | None]], small_keys: list[hecore.PrivateKey]
) -> None:
    """Numbered in another way, with other texts beside them, the same rows have the same margins."""
    result, trained, texts = joint
    order = ("zinc", "violet", "gold", "blue", "amber", "red", "green")
    others = numbered(trained[1], 1, texts, order)
    models = result.models
    for again in (others, replace(others, values=csr_array(others.values))):
        margins = run_all([lambda: models[0].margins(trained[0]), lambda t=again: models[1].margins(t)])[0]
        assert np.array_equal(margins, result.margins)
    swapped = ["green" if text == "red" else text for text in texts]
    changed = numbered(trained[1], 1, swapped, order)
    margins = run_all([lambda: models[0].margins(trained[0]), lambda: models[1].margins(changed)])[0]
    assert not np.array_equal(margins, result.margins)


def test_unseen_and_rare_texts_are_treated_like_missing_values(
    joint: tuple[Joint, list[Table], list[str | None]],
) -> None:
    result, trained, _ = joint
    bins = result.models[1].share.bins[1]
    assert bins.texts == ["blue", "green", "red", "violet"]  # "gold" of a single row is not kept
    table = trained[1].take(np.arange(5))
    codes = []
    for texts in (["unheard of"] * 5, ["gold"] * 5, [None] * 5):
        cells = numbered(table, 1, texts, ("unheard of", "gold"))
        codes.append(binned(table.columns, result.models[1].share.bins, [cells]).codes[:, 1].tolist())
    assert codes == [[0] * 5] * 3


def test_a_share_keeps_its_texts(joint: tuple[Joint, list[Table], list[str | None]], tmp_path: Path) -> None:
    path = tmp_path / "share.safetensors"
    save_share(joint[0].models[1].share, path)
    assert load_share(path).bins == joint[0].models[1].share.bins
    assert b"gold" not in path.read_bytes()


def test_an_evaluation_table_may_number_them_in_another_way(small_keys: list[hecore.PrivateKey]) -> None:
    parts, texts = coloured(300, 62)
    train, test = np.arange(220), np.arange(220, 300)
    fit = [parts[0].take(train), numbered(parts[1].take(train), 1, texts[:220], COLOURS)]
    orders = (COLOURS, ("brown", *reversed(COLOURS)))
    results = []
    for order in orders:
        evaluation = [parts[0].take(test), numbered(parts[1].take(test), 1, texts[220:], order)]
        joint = fit_jointly(fit, SMALL, small_keys, evaluation=evaluation, score=fit)
        results.append(joint.models[0].evals_result_["evaluation"])
    assert results[0] == results[1]
    assert results[0][-1] < results[0][0]


def test_texts_where_numbers_were_and_the_reverse(
    joint: tuple[Joint, list[Table], list[str | None]],
) -> None:
    result, trained, _ = joint
    share = result.models[1].share
    numbers = replace(trained[1], categories={})
    with pytest.raises(TableError, match="column 'x3' holds numbers, but held texts in the training"):
        binned(share.columns, share.bins, [numbers])
    both = {"x2": ("a",), **trained[1].categories}
    more = replace(trained[1], values=np.where([True, False], 0.0, trained[1].values), categories=both)
    with pytest.raises(TableError, match="column 'x2' holds texts, but held numbers in the training"):
        binned(share.columns, share.bins, [more])
    with pytest.raises(TableError, match="not those of the training, in their order"):
        binned(share.columns, share.bins, [trained[1].select(["x3", "x2"])])


def test_the_export_says_which_number_a_text_has(
    joint: tuple[Joint, list[Table], list[str | None]],
) -> None:
    xgboost = pytest.importorskip("xgboost", reason="XGBoost is not installed: pip install xgboost-cpu")
    result, trained, texts = joint
    booster = xgboost.Booster()
    booster.load_model(bytearray(export_joint(result.models[0].share, [result.models[1].share])))
    numbers = msgspec.json.decode(booster.attributes()["hecore.categories"])
    assert list(numbers) == ["passive1.x3"]
    values = np.hstack([part.values for part in trained])
    values[:, 3] = [numbers["passive1.x3"].get(text, np.nan) for text in texts]
    data = xgboost.DMatrix(
        values,
        feature_names=booster.feature_names,
        feature_types=booster.feature_types,
        enable_categorical=True,
    )
    margins = booster.predict(data, output_margin=True)
    np.testing.assert_allclose(margins, result.margins[:, 0], rtol=1e-6, atol=1e-6)


def test_the_command_counts_columns_of_texts(
    joint: tuple[Joint, list[Table], list[str | None]], tmp_path: Path
) -> None:
    path = tmp_path / "share.safetensors"
    save_share(joint[0].models[1].share, path)
    shown = CliRunner().invoke(app, ["model", "show", str(path)])
    assert shown.exit_code == 0, shown.output
    assert "2, 1 of them categorical, 1 by their texts" in " ".join(shown.output.split())
    save_share(joint[0].models[0].share, path)
    assert ", 1 output, starting at" in CliRunner().invoke(app, ["model", "show", str(path)]).output


# --- sparse ---------------------------------------------------------------------------------------


@st.composite
def matrices(draw: st.DrawFn) -> np.ndarray:
    """Few values, zeros, negative and missing ones among them."""
    rows, columns = draw(st.integers(2, 30)), draw(st.integers(1, 4))
    cells = st.sampled_from([0.0, 0.0, 0.0, -0.0, 1.0, 2.0, -1.5, 7.25, np.nan])
    flat = draw(st.lists(cells, min_size=rows * columns, max_size=rows * columns))
    return np.array(flat).reshape(rows, columns)


@given(matrices(), st.integers(2, 6), st.integers(1, 4), st.booleans())
def test_sparse_bins_and_codes_are_those_of_the_dense_matrix(
    dense: np.ndarray, max_bin: int, least: int, stored_zeros: bool
) -> None:
    names = [f"x{place}" for place in range(dense.shape[1])]
    sparse = csr_array(dense)
    if stored_zeros:
        sparse.data[sparse.data == 2.0] = 0.0
        dense = np.where(dense == 2.0, 0.0, dense)
    bins = fit_bins(names, dense, max_bin, least)
    assert fit_bins(names, sparse, max_bin, least) == bins
    codes = apply_bins(bins, dense).codes
    found = apply_bins(bins, sparse).codes
    assert found.dtype == codes.dtype
    assert np.array_equal(found, codes)
    whole = np.abs(np.rint(dense))
    kinds = fit_bins(names, whole, max_bin, least, names)
    assert fit_bins(names, csr_array(whole), max_bin, least, names) == kinds
    assert np.array_equal(apply_bins(kinds, csr_array(whole)).codes, apply_bins(kinds, whole).codes)


def test_a_sparse_table_trains_like_the_dense_one(
    monkeypatch: pytest.MonkeyPatch, small_keys: list[hecore.PrivateKey]
) -> None:
    """With an evaluation table and missing values; and nobody asks for a dense copy."""
    rng = np.random.default_rng(63)
    every = tables(200, [2, 6], seed=63)
    values = np.where(rng.random((200, 6)) < 0.7, 0.0, rng.integers(-3, 4, (200, 6)))
    values[rng.random((200, 6)) < 0.05] = np.nan
    label = (np.nan_to_num(values) @ rng.normal(size=6) > 0).astype(np.float64)
    every = [replace(every[0], label=label), replace(every[1], values=values, missing=True)]
    rows = np.arange(150), np.arange(150, 200)
    dense = [[part.take(part_rows) for part in every] for part_rows in rows]
    sparse = [[part[0], replace(part[1], values=csr_array(part[1].values))] for part in dense]
    central = fit_centrally(dense[0], SMALL, dense[1])
    wanted = central.margins(dense[1])

    def refuse(self: Any, *arguments: Any, **options: Any) -> Any:
        raise AssertionError("a dense copy")

    monkeypatch.setattr(csr_array, "toarray", refuse)
    joint = fit_jointly(sparse[0], SMALL, small_keys, evaluation=sparse[1], score=sparse[1])
    monkeypatch.undo()
    assert_lossless(joint, central, dense[1])
    assert np.array_equal(joint.margins, wanted)


def test_memory_follows_what_is_stored() -> None:
    """Bins and codes of 50,000 × 400 with one value in a hundred: a byte a cell, not eight."""
    rows, columns = 50_000, 400
    values = csr_array(random_array((rows, columns), density=0.01, rng=np.random.default_rng(5)))
    ids = [str(row) for row in range(rows)]
    names = [f"x{place}" for place in range(columns)]
    table = Table("sparse", ids, names, values)
    cells = rows * columns
    tracemalloc.start()
    bins = fitted_bins(table, GBDTConfig(max_bin=32), ())
    codes = binned(table.columns, bins, [table]).codes
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert codes.nbytes == cells
    assert peak < 1.5 * cells  # the dense way takes 8 bytes a cell, and its codes


def test_a_libsvm_file_trains_as_it_is(small_keys: list[hecore.PrivateKey], tmp_path: Path) -> None:
    rng = np.random.default_rng(64)
    chosen = rng.random((120, 9)) < 0.3
    label = (chosen[:, 2] ^ chosen[:, 7]).astype(int)
    paths = [tmp_path / "active.libsvm", tmp_path / "passive.libsvm"]
    for path, part in zip(paths, (chosen[:, :4], chosen[:, 4:]), strict=True):
        lines = [
            f"{y} " + " ".join(f"{place + 1}:1" for place in np.flatnonzero(row))
            for y, row in zip(label, part, strict=True)
        ]
        path.write_text("\n".join(lines) + "\n")
    parts = [read_libsvm(paths[0], columns=4), replace(read_libsvm(paths[1], columns=5), label=None)]
    assert all(part.is_sparse for part in parts)
    joint = fit_jointly(parts, SMALL, small_keys)
    assert_lossless(joint, fit_centrally([part.dense() for part in parts], SMALL), parts)
    assert joint.models[0].evals_result_["train"][-1] < 0.3
