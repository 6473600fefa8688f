"""`hecore doctor`: what it finds is what is there."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

import hecore
from hecore.algorithms.cli import app
from hecore.algorithms.doctor import findings
from hecore.kernels.cuda.backend import CudaBackend
from hecore.kernels.select import LOADERS

from ..kernels.cuda.reference import ReferenceDevice


def test_every_backend_works_or_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HECORE_BACKEND", raising=False)
    found = dict(findings())
    for name in LOADERS:
        assert found[f"backend {name}"].startswith(("works", "not here: "))
    assert found["backend gmp"] == "works"
    assert found["chosen"] == f"{hecore.get_backend().name} (the fastest that works)"
    assert hecore.__version__ in found["hecore"]
    assert "gmpy2 " in found["libraries"]


def test_gpus_are_described(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = CudaBackend([ReferenceDevice(2)])
    monkeypatch.setattr("hecore.get_backend", lambda name=None: backend)
    found = dict(findings())
    assert found["backend cuda"] == "works; device 2: ReferenceDevice 2"
    assert "CuPy" in found["libraries"] or "cupy" in found["libraries"]


def test_without_a_driver_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("hecore.algorithms.doctor.NVIDIA_DRIVER", tmp_path / "version")
    assert dict(findings())["GPU driver"] == "none"
    (tmp_path / "version").write_text("NVRM version: NVIDIA UNIX 580.65\nGCC version: 12\n")
    assert dict(findings())["GPU driver"] == "NVRM version: NVIDIA UNIX 580.65"


def test_what_is_set_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HECORE_BACKEND", "gmp")
    monkeypatch.setenv("HECORE_THREADS", "3")
    found = dict(findings())
    assert found["chosen"] == "gmp (HECORE_BACKEND=gmp)"
    assert found["threads"] == "3 (HECORE_THREADS)"


def test_a_bad_setting_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HECORE_BACKEND", "abacus")
    monkeypatch.setenv("HECORE_THREADS", "many")
    found = dict(findings())
    assert "abacus" in found["chosen"]
    assert "'many' is not a positive integer" in found["threads"]


def test_the_command_shows_it() -> None:
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 0
    assert "backend gmp" in done.stdout
