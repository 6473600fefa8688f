"""A sequence of runs between three parties, killed anywhere: rows 1, 3 and 4, with several peers at once."""

from __future__ import annotations

from pathlib import Path

import pytest

import hecore

from .company import company

ROUNDS = Path(__file__).with_name("rounds.py")
LESSONS = Path(__file__).with_name("lessons.py")
NAMES = ("hub", "b", "c")
PLAN = [("align", 1, False), ("fit", 14, True), ("score", 1, False), ("fit", 14, True)]
TASKS = {
    "hub": {"plan": PLAN, "every": 4, "seconds": 0.0},
    "b": {"plan": PLAN, "every": 3, "seconds": 0.0},
    "c": {"plan": PLAN, "every": 0, "seconds": 0.05},
}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The digests of a company in which nobody dies. None of it keeps all that was said."""
    with company(tmp_path_factory.mktemp("undisturbed"), ROUNDS, NAMES, TASKS) as parties:
        said = {name: lines[0].split() for name, lines in parties.run(250).items()}
    messages = sum(steps for _, steps, _ in PLAN)
    for name, (_, _, segments) in said.items():
        logs = 2 * len(NAMES[1:]) if name == "hub" else 2
        assert int(segments) <= logs * messages // 4 * 3 // 4, said  # of four messages each
    return {name: digest for name, (_, digest, _) in said.items()}


def disturbed(folder: Path, kills: int, seed: int, seconds: float, places: int = 150) -> dict[str, str]:
    with company(folder, ROUNDS, NAMES, TASKS) as parties:
        said = parties.run(seconds, kills, seed, places)
        assert parties.kills >= kills
        print(f"{parties.kills} kills")
        return {name: lines[0].split()[1] for name, lines in said.items()}


def test_killed_anywhere_every_run_ends_alike(undisturbed: dict[str, str], tmp_path: Path) -> None:
    assert disturbed(tmp_path, 6, 1, 250, places=100) == undisturbed


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", range(2, 8))
def test_killed_very_often_every_run_ends_alike(
    undisturbed: dict[str, str], tmp_path: Path, seed: int
) -> None:
    assert disturbed(tmp_path, 40, seed, 1000, places=50) == undisturbed


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_align_fit_score_fit_score_killed_anywhere(tmp_path: Path) -> None:
    """The algorithms themselves: three parties, and the same shares and scores, bit for bit."""
    tasks = {}
    for name in NAMES:
        path = tmp_path / f"{name}.key"
        hecore.save_key(hecore.generate_key(512, insecure_test_key=True), path, "passphrase")
        tasks[name] = {"key": str(path), "epochs": 2, "every": 3}
    results = []
    for kills in (0, 15, 15):
        with company(tmp_path / str(len(results)), LESSONS, NAMES, tasks) as parties:
            results.append(parties.run(500, kills, seed=kills + len(results), places=400))
            assert parties.kills >= kills
    assert results[0] == results[1] == results[2]
    assert len({line for lines in results[0].values() for line in lines}) == len(NAMES)
