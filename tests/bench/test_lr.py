"""Joint linear models as a benchmark: what is measured, printed and estimated."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

import hecore
from hecore.algorithms.lr import LinearConfig
from hecore.bench.cli import app
from hecore.bench.gbdt import ProblemError
from hecore.bench.gbdt_estimate import Rates
from hecore.bench.lr import LinearRecord, epoch_estimate, measure


@pytest.fixture
def short_keys(monkeypatch: pytest.MonkeyPatch, test_key: hecore.PrivateKey) -> None:
    keys = [test_key, hecore.generate_key(512, insecure_test_key=True)]
    monkeypatch.setattr("hecore.bench.lr.generate_key", lambda *_, **__: keys.pop())


def test_a_run(short_keys: None) -> None:
    run = measure(200, (2, 3), 2, LinearConfig(batch_size=40), key_bits=512)
    assert (run.rows, run.columns, run.epoch_batches, len(run.batch_seconds)) == (200, (2, 3), 5, 2)
    assert run.epoch_seconds == pytest.approx(5 * sum(sorted(run.batch_seconds)) / 2)
    assert set(run.batch_bytes) == {"lr.share", "lr.product"}
    # Ciphertexts of 128 bytes: e of 40 rows each way, w of 3 + 3 columns, and headers.
    assert run.batch_bytes["lr.share"] == pytest.approx(128 * 86, rel=0.15)
    assert all(1 < value < 20 for value in run.products_per_entry.values())
    assert run.parties["passive"].operations["matrix_entries"] == 3 * 2 * 40 * 3
    rates = Rates("", 100.0, 1000.0, 2000.0, 10.0, 20.0)
    parts = epoch_estimate(run, rates)
    assert parts["encrypt"] == pytest.approx(5 * 86 / 100)
    assert parts["products"] == pytest.approx(5 * 240 * sum(run.products_per_entry.values()) / 1000)


def test_the_command(short_keys: None, tmp_path: Path) -> None:
    json = tmp_path / "run.json"
    words = "lr --rows 120 --columns 2,2 --batch-size 40 --batches 1 --key-bits 512 --insecure-test-key"
    result = CliRunner().invoke(app, [*words.split(), "--json", str(json)])
    assert result.exit_code == 0, result.output
    assert "120 × (2 + 2), 3 batches of 40 an epoch" in result.output
    assert "products, packing, fresh noise" in result.output
    record = msgspec.json.decode(json.read_bytes(), type=LinearRecord)
    assert record.command.startswith(f"hecore-bench {words.split(' --key', maxsplit=1)[0]}")


def test_mode_exact(short_keys: None) -> None:
    run = measure(200, (2, 3), 1, LinearConfig(batch_size=40, mode="exact"), key_bits=512)
    assert (run.mode, run.feature_bits) == ("exact", 24)
    assert set(run.batch_bytes) == {"lr.share", "lr.product"}
    assert "matrix_entries" not in run.parties["active"].operations
    assert run.parties["passive"].operations["matrix_entries"] == 2 * 2 * 40 * 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sigmoid", "square"], "square"),
        (["--rows", "20"], "no problem"),
        (["--columns", "3"], "not two numbers"),
        (["--key-bits", "512"], "protects nothing: use 2048 or more, or add --insecure-test-key"),
    ],
)
def test_what_cannot_be_measured(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(app, ["lr", *arguments])
    assert result.exit_code != 0
    assert message in result.output


def test_a_problem_needs_a_batch() -> None:
    with pytest.raises(ProblemError):
        measure(10, (2, 2), 1, LinearConfig(batch_size=40))
