"""Joint trees as a benchmark: what is measured, printed, drawn and estimated."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from sklearn.datasets import dump_svmlight_file
from typer.testing import CliRunner

import hecore
from hecore.algorithms.gbdt import GBDTConfig
from hecore.bench.cli import app
from hecore.bench.gbdt import Problem, ProblemError, TreesRecord, a9a, measure, synthetic
from hecore.bench.gbdt_estimate import Rates, Size, estimate

CONFIG = GBDTConfig(n_estimators=2, max_depth=2, max_bin=8)


@pytest.fixture
def short_keys(monkeypatch: pytest.MonkeyPatch, test_key: hecore.PrivateKey) -> None:
    keys = [test_key, hecore.generate_key(512, insecure_test_key=True)]
    monkeypatch.setattr("hecore.bench.gbdt.generate_key", lambda *_, **__: keys.pop())


def test_a_run(short_keys: None) -> None:
    run = measure(synthetic(300, (2, 3), CONFIG, classes=2), key_bits=512)
    assert (run.rows, run.columns, run.outputs, run.bins, run.depth) == (300, (2, 3), 1, 8, 2)
    assert len(run.tree_seconds) == 2
    assert min(run.tree_seconds) > 0
    assert run.parties["active"].operations["encrypt"] == 3 * 300
    assert run.parties["passive"].operations["histogram_entries"] > 0
    assert {"encrypt", "decrypt", "wait", "local"} <= set(run.parties["active"].seconds)
    assert {"histogram", "pack", "validate"} <= set(run.parties["passive"].seconds)
    assert run.scores["train binary:logistic"] < np.log(2)


def test_the_command(short_keys: None, tmp_path: Path) -> None:
    json, plot = tmp_path / "run.json", tmp_path / "run.png"
    words = "gbdt --rows 200 --columns 2,2 --bins 4 --depth 2 --trees 1 --key-bits 512 --insecure-test-key"
    result = CliRunner().invoke(app, [*words.split(), "--json", str(json), "--plot", str(plot)])
    assert result.exit_code == 0, result.output
    assert "synthetic 200 × (2 + 2)" in result.output
    assert "encrypted histograms" in result.output
    record = msgspec.json.decode(json.read_bytes(), type=TreesRecord)
    assert record.command == f"hecore-bench {words.replace('--rows', '--case synthetic --rows')}"
    assert plot.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--case", "other"], "'other' is not one of"),
        (["--sweep", "colour"], "'colour' is not one of"),
        (["--case", "a9a"], "needs --data"),
        (["--columns", "3"], "not two numbers"),
        (["--key-bits", "512"], "protects nothing: use 2048 or more, or add --insecure-test-key"),
        (["--plot", "trees.xyz"], "ends in none of"),
    ],
)
def test_wrong_options(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(app, ["gbdt", *arguments])
    assert result.exit_code != 0
    assert message in result.output


def test_a_sweep_is_measured_at_every_size(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(
        "hecore.bench.gbdt.generate_key",
        lambda bits, **_: hecore.generate_key(512, insecure_test_key=True),
    )
    words = "gbdt --rows 100 --columns 1,4 --bins 4 --depth 2 --trees 1 --sweep columns,depth --plot"
    result = CliRunner().invoke(app, [*words.split(), str(tmp_path / "sweep.png")])
    assert result.exit_code == 0, result.output
    for columns in (1, 2, 4):
        assert f"synthetic 100 × (1 + {columns})" in result.output
    assert (tmp_path / "sweep.png").stat().st_size > 1000


def test_a9a_is_read_from_its_files(tmp_path: Path) -> None:
    label = np.array([1.0, 0, 1, 0])
    for name, width in (("active", 61), ("passive", 62), ("test", 123)):
        dump_svmlight_file(np.eye(4, width), label, str(tmp_path / f"{name}.libsvm"), zero_based=False)
    problem: Problem = a9a(tmp_path, CONFIG)
    assert problem.active.is_sparse
    assert problem.active.values.shape == (4, 61)
    assert problem.passive.values.shape == (4, 62)
    assert problem.test is not None
    assert problem.test[1].values.shape == (4, 62)
    assert problem.test[0].columns == problem.active.columns
    assert problem.active.label is not None
    assert problem.active.label.tolist() == label.tolist()
    with pytest.raises(ProblemError, match=r"active\.libsvm"):
        a9a(tmp_path / "elsewhere", CONFIG)


def test_a_problem_needs_rows_and_columns() -> None:
    with pytest.raises(ProblemError, match="0 columns"):
        synthetic(100, (1, 0), CONFIG)


def test_the_estimate_counts_what_a_tree_needs() -> None:
    """Unit rates: seconds are operations. One column, depth 1: everything can be counted by hand."""
    ones = Rates("unit", 1.0, 1.0, 1.0, 1.0, 1.0)
    parts = estimate(Size(rows=1024, columns=1, bins=8, depth=1, outputs=1), ones)
    assert parts.encrypt == 1024
    assert parts.histogram == 1024 + 8
    assert parts.pack == 7 * 2 * (24 + 1 + 10)
    assert parts.reply == pytest.approx(2 * 7 / (2047 // 35 // 2))
    deeper = estimate(Size(rows=1024, columns=1, bins=8, depth=2, outputs=1), ones)
    assert deeper.histogram == 1024 + 512 + 2 * 8
    wide = estimate(Size(rows=1024, columns=1, bins=8, depth=1, outputs=100), ones)
    assert wide.encrypt == 4 * 1024  # 200 slots of 35 bits
    assert wide.pack == 0.0
