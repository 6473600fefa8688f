"""What is said of the machine, and what is not: no host name, no absolute path."""

from __future__ import annotations

import os
import platform
import stat
import subprocess
from pathlib import Path

import pytest

import hecore
from hecore.bench import machine

CPUINFO = """processor\t: 0
cpu family\t: 26
model\t\t: 2
model name\t: Abacus 9000
flags\t\t: fpu avx2 avx512ifma adx

processor\t: 1
model name\t: Other
"""


def test_describe() -> None:
    found = machine.describe(3, CPUINFO)
    assert found.cpu == "Abacus 9000"
    assert (found.cpu_family, found.cpu_model) == ("26", "2")
    assert found.features == ["adx", "avx2", "avx512ifma"]
    assert found.threads == 3
    assert found.cores >= found.usable_cores == len(os.sched_getaffinity(0))


def test_describe_without_cpuinfo() -> None:
    found = machine.describe(None, "")
    assert found.cpu
    assert found.features == []


def test_versions() -> None:
    found = machine.versions()
    assert found["python"] == platform.python_version()
    assert {"numpy", "gmpy2", "GMP", "hecore"} <= set(found)
    assert found["GMP"][0].isdigit()


def test_threads_are_limited_and_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HECORE_THREADS", "7")
    before = os.sched_getaffinity(0)
    with machine.limited(1):
        assert os.environ["HECORE_THREADS"] == "1"
        assert len(os.sched_getaffinity(0)) == 1
    assert os.environ["HECORE_THREADS"] == "7"
    assert os.sched_getaffinity(0) == before
    monkeypatch.delenv("HECORE_THREADS")
    with machine.limited(10_000):
        assert os.sched_getaffinity(0) == before
    assert "HECORE_THREADS" not in os.environ
    with machine.limited(None):
        assert "HECORE_THREADS" not in os.environ


def fake_tool(folder: Path, name: str, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_tool(tmp_path, "nvidia-smi", "echo 'NVIDIA H200, 143771 MiB, 580.65.06'", monkeypatch)
    assert machine.gpus() == ["NVIDIA H200, 143771 MiB, driver 580.65.06"]
    fake_tool(tmp_path, "nvidia-smi", "echo broken; exit 9", monkeypatch)
    assert machine.gpus() == []
    monkeypatch.setenv("PATH", "")
    assert machine.gpus() == []


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", folder, *identity, *arguments], check=True, capture_output=True)


def test_source_of_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "hecore" / "__init__.py"
    file.parent.mkdir()
    file.touch()
    monkeypatch.setattr(hecore, "__file__", str(file))
    assert machine.source() is None
    git(tmp_path, "init")
    assert machine.source() is None, "a file that git does not track is no checkout of hecore"
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "one")
    found = machine.source()
    assert found is not None
    assert len(found.commit) >= 40
    assert not found.changed
    file.write_text("changed = True\n")
    found = machine.source()
    assert found is not None
    assert found.changed


def test_scrub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "node", lambda: "vm")
    assert machine.scrub("libcuda.so: /usr/lib/x86_64/libcuda.so.1: no such file") == (
        "libcuda.so: …/libcuda.so.1: no such file"
    )
    assert machine.scrub("1 of 2 wrong, 3/4 and k/s stay") == "1 of 2 wrong, 3/4 and k/s stay"
    assert machine.scrub("no driver on vm, ask; llvm stays") == "no driver on …, ask; llvm stays"
