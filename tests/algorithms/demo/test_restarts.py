"""Row 1 and 4 of the fault table: parties are killed in mid-run, and the model is the same, bit for bit."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from hecore.algorithms.demo import DemoResult, DemoSettings, run_demo
from hecore.algorithms.party import ACTIVE, PASSIVE

KEPT = ("curve.key", "paillier.key", "passphrase", "store/secret")


@pytest.fixture(scope="module", params=[pytest.param("lr", marks=pytest.mark.slow), "gbdt"])
def undisturbed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[DemoSettings, DemoResult]:
    folder = str(tmp_path_factory.mktemp("undisturbed"))
    settings = DemoSettings(algorithm=request.param, epochs=3, trees=4, folder=folder)
    return settings, run_demo(settings)


def disturbed(settings: DemoSettings, folder: Path, kills: int) -> DemoResult:
    """The same job with the same keys and secrets from its start, and parties that are killed at random."""
    for role in (ACTIVE, PASSIVE):
        for name in KEPT:
            target = folder / role / name
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            shutil.copy2(Path(settings.folder or "") / role / name, target)
        (folder / role).chmod(0o700)
    return run_demo(replace(settings, folder=str(folder), kills=kills))


def assert_same(first: DemoResult, second: DemoResult) -> None:
    for role in (ACTIVE, PASSIVE):
        assert first.parties[role].share == second.parties[role].share
        assert first.parties[role].loss == second.parties[role].loss
    assert first.parties[ACTIVE].scores == second.parties[ACTIVE].scores


def test_a_killed_job_ends_with_the_same_model(
    undisturbed: tuple[DemoSettings, DemoResult], tmp_path: Path
) -> None:
    settings, result = undisturbed
    assert_same(result, disturbed(settings, tmp_path, kills=3 if settings.algorithm == "lr" else 2))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("round", range(3))
def test_a_job_killed_ten_times_ends_with_the_same_model(
    undisturbed: tuple[DemoSettings, DemoResult], tmp_path: Path, round: int
) -> None:
    settings, result = undisturbed
    assert_same(result, disturbed(settings, tmp_path, kills=10))


@pytest.mark.slow
def test_a_finished_job_started_again_changes_nothing(
    undisturbed: tuple[DemoSettings, DemoResult], tmp_path: Path
) -> None:
    """Row 23: both parties find that all is done, and give the same result."""
    settings, result = undisturbed
    copied = tmp_path / "copy"
    shutil.copytree(settings.folder or "", copied)
    for role in (ACTIVE, PASSIVE):
        (copied / role / "introduced").unlink()
        (copied / role).chmod(0o700)
    assert_same(result, run_demo(replace(settings, folder=str(copied))))
