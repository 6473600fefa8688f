"""`hecore report`: a page from a folder, and errors in one line."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from hecore.algorithms.job.folder import RunFolder

from .test_cli import refused, run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "run"
    with RunFolder.create(path, job="credit", party="bank", role="active", peers=["shop"]) as recorder:
        recorder.finish("finished")
    return path


def test_a_page_is_written_into_the_folder(folder: Path) -> None:
    done = run("report", folder)
    assert done.exit_code == 0, done.output
    page = folder / "report.html"
    assert done.stdout == f"report written to {page}\n"
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert run("report", folder).exit_code == 0  # again: the page is replaced


def test_elsewhere_and_with_a_peer(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    with RunFolder.create(other, job="credit", party="shop", role="passive", peers=["bank"]) as recorder:
        recorder.update(seconds={"wait": 1.0})
    page = tmp_path / "page.html"
    assert run("report", folder, "--peer", other, "--out", page).exit_code == 0
    assert "shop: time and operations by phase" in page.read_text(encoding="utf-8")
    assert not (folder / "report.html").exists()


def test_errors_are_one_line(folder: Path, tmp_path: Path) -> None:
    assert refused(run("report", tmp_path)) == f"{tmp_path} is no folder of a run: it has no run.json"
    stranger = tmp_path / "stranger"
    RunFolder.create(stranger, job="other", party="shop", role="passive").close()
    assert "is of job 'other'" in refused(run("report", folder, "--peer", stranger))
    assert "No such file" in refused(run("report", folder, "--out", tmp_path / "missing" / "page.html"))


def test_a_page_is_for_its_owner(folder: Path) -> None:
    run("report", folder)
    assert stat.S_IMODE((folder / "report.html").stat().st_mode) & 0o077 == 0
