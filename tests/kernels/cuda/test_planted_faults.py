"""A test of the tests: faults planted in the CUDA sources do not go unnoticed."""

from __future__ import annotations

from pathlib import Path

import pytest

from .emulator import build
from .planted_faults import Fault, escaped, faults

pytestmark = pytest.mark.skipif(build.why_not() is not None, reason=str(build.why_not()))

#: In every run; the others are slow.
SAMPLE = {
    "no lane passes a borrow on",
    "one subtraction for the second digit",
    "top bit of 2·a1 lost",
    "copy not waited for",
}


@pytest.mark.parametrize(
    "planted",
    [pytest.param(x, id=x.name, marks=() if x.name in SAMPLE else pytest.mark.slow) for x in faults()],
)
def test_fault_is_found(planted: Fault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert escaped(planted, tmp_path) is None


def test_the_sample_is_of_the_list() -> None:
    assert {planted.name for planted in faults()} > SAMPLE


def test_a_harmless_change_escapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    harmless = Fault("comment", "power.cu", "// table[d] = a^d", "// table[d] is a^d", "power_1")
    assert "right integers" in str(escaped(harmless, tmp_path))
