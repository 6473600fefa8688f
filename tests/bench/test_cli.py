"""The command as a user meets it."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import hecore
from hecore import BackendUnavailable
from hecore.bench.cli import app
from hecore.bench.record import Record, load, save
from hecore.bench.subjects import HecoreSubject

from .conftest import make_record, make_row

TINY = ["--key-bits", "256", "--insecure-test-key", "--seconds", "0.001", "--batch", "4"]


def invoke(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.fixture
def no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    real = hecore.get_backend

    def get_backend(name: str) -> object:
        if name != "gmp":
            raise BackendUnavailable(f"{name} needs what is not here")
        return real(name)

    monkeypatch.setattr(hecore, "get_backend", get_backend)


def test_run_prints_a_table_and_keeps_a_record(no_cuda: None, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    before = os.sched_getaffinity(0), os.environ.get("HECORE_THREADS")
    result = invoke("run", *TINY, "--ops", "headline", "--peers", "phe", "--threads", "1", "--json", path)
    assert result.exit_code == 0, result.output
    assert (os.sched_getaffinity(0), os.environ.get("HECORE_THREADS")) == before
    assert "256-bit keys" in result.stdout
    assert "encrypt-owner (values)" in result.stdout
    assert "vs phe" in result.stdout
    assert result.stdout.splitlines()[-1] == "no CUDA here: cuda needs what is not here"
    assert "no simd here: simd needs what is not here" in result.stdout

    record = load(path)
    assert record.command == (
        "hecore-bench run --backend gmp,simd,cuda --key-bits 256 --ops headline --batch 4 --peers phe"
        " --seconds 0.001 --threads 1 --insecure-test-key"
    )
    assert record.machine.threads == record.machine.usable_cores == 1
    text = path.read_text(encoding="utf-8")
    assert str(tmp_path) not in text
    assert '"/' not in text
    assert not re.search(rf"\b{re.escape(platform.node() or 'nobody')}\b", text)


def test_a_missing_backend_alone_is_one_line_and_an_exit_status(no_cuda: None, tmp_path: Path) -> None:
    result = invoke("run", *TINY, "--backend", "cuda", "--json", tmp_path / "run.json")
    assert result.exit_code == 1
    assert result.stderr.splitlines() == ["error: no CUDA here: cuda needs what is not here"]
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_backend_is_named_with_the_reason() -> None:
    result = invoke("run", *TINY, "--backend", "gmp,abacus", "--ops", "add")
    assert result.exit_code == 0
    assert "no abacus here: " in result.stdout


def test_a_wrong_result_ends_the_run_badly(no_cuda: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HecoreSubject, "add", lambda self, a, b: a)
    result = invoke("run", *TINY, "--ops", "add")
    assert result.exit_code == 1
    assert "FAILED add on gmp, 256 bits: WrongResult: " in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--key-bits", "2048,1024"], "--key-bits 1024: a modulus of 1024 bits protects nothing: use 2048"),
        (["--key-bits", "2000"], "2000"),
        (["--ops", "subtract"], "no case or group 'subtract'"),
        (["--backend", ","], "no backend was asked for"),
    ],
)
def test_refused_requests(arguments: list[str], message: str) -> None:
    result = invoke("run", *arguments)
    assert result.exit_code == 1
    assert message in result.stderr


@pytest.mark.parametrize(
    "arguments", [["--key-bits", "big"], ["--batch", "0"], ["--batch", "-3"], ["--threads", "0"]]
)
def test_malformed_numbers(arguments: list[str]) -> None:
    result = invoke("run", *arguments)
    assert result.exit_code == 2
    assert arguments[0] in result.stderr


def test_an_unwritable_record_is_no_traceback(no_cuda: None, tmp_path: Path) -> None:
    result = invoke("run", *TINY, "--ops", "add", "--json", tmp_path / "missing" / "run.json")
    assert result.exit_code == 1
    assert "No such file" in result.stderr


def test_list() -> None:
    result = invoke("list", "--ops", "wire")
    assert result.exit_code == 0
    assert "rerandomize" in result.stdout
    assert "histogram" not in result.stdout
    assert invoke("list", "--ops", "nothing").exit_code == 1


def test_compare(record: Record, tmp_path: Path) -> None:
    a, b = tmp_path / "a.json", tmp_path / "b.json"
    save(record, a)
    save(make_record([make_row("add", "gmp", 0.001), make_row("sum", "gmp", 9.0)]), b)
    result = invoke("compare", a, b)
    assert result.exit_code == 0
    assert "faster" in result.stdout
    assert "slower" in result.stdout
    assert "differs: 3 rows stand in A only" in result.stdout


def test_compare_refuses(record: Record, tmp_path: Path) -> None:
    a, b = tmp_path / "a.json", tmp_path / "b.json"
    save(record, a)
    save(make_record([make_row("add", "gmp", 1.0, key_bits=4096)]), b)
    result = invoke("compare", a, b)
    assert result.exit_code == 1
    assert "A has 2048, 3072-bit keys, B has 4096" in result.stderr
    b.write_text("{}")
    assert "is no hecore-bench record" in invoke("compare", a, b).stderr


def test_plot_and_table(record: Record, tmp_path: Path) -> None:
    path, picture = tmp_path / "run.json", tmp_path / "run.png"
    save(record, path)
    assert invoke("plot", path, "--out", picture).exit_code == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "2048-bit keys" in invoke("table", path).stdout
    assert invoke("table", path, "--markdown").stdout.startswith("### 2048-bit keys\n")
    for command in (["plot", tmp_path / "no.json", "--out", picture], ["table", tmp_path / "no.json"]):
        result = invoke(*command)
        assert result.exit_code == 1
        assert "cannot be read" in result.stderr
    save(make_record([]), path)
    assert "no rows to plot" in invoke("plot", path, "--out", picture).stderr


@pytest.mark.parametrize("suffix", ["png", "SVG", "pdf"])
def test_a_picture_is_what_its_name_says(record: Record, tmp_path: Path, suffix: str) -> None:
    path, picture = tmp_path / "run.json", tmp_path / f"run.{suffix}"
    save(record, path)
    assert invoke("plot", path, "--out", picture).exit_code == 0
    starts = {"png": b"\x89PNG", "SVG": b"<?xml", "pdf": b"%PDF"}
    assert picture.read_bytes().startswith(starts[suffix])


def test_other_pictures_are_refused(record: Record, tmp_path: Path) -> None:
    save(record, tmp_path / "run.json")
    for name in ("mine.xyz", "mine"):
        result = invoke("plot", tmp_path / "run.json", "--out", tmp_path / name)
        assert result.exit_code == 2
        assert ".png, .svg, .pdf" in result.stderr
        assert not (tmp_path / name).exists()


def test_help_has_examples() -> None:
    text = invoke("run", "--help").stdout
    assert "hecore-bench run --threads 1 --peers phe" in text
    assert "compare" in invoke("--help").stdout
