"""Parties killed with SIGKILL at any call: they go on, and align as those that were not disturbed.

Rows 1, 4 and 23 of the fault table, for an alignment of three parties in processes of their own.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from hecore.algorithms.channel import CurveKeys
from hecore.algorithms.free_port import free_port

from .party import Settings

SCRIPT = Path(__file__).with_name("party.py")
ACTIVE, PASSIVE, THIRD = "active", "passive", "third"
#: Chunks of 16: 8, 5 and 10.
IDS = {
    ACTIVE: [f"id{i:03}" for i in range(120)],
    PASSIVE: [f"id{i:03}" for i in range(190, 50, -2)],
    THIRD: [f"id{i:03}" for i in range(30, 180)],
}
#: Sends and receipts of a party: greetings, chunks (with the second party, with the third), outcome.
CALLS = {
    ACTIVE: 2 * 2 + (8 + 5 + 8) + (8 + 10 + 8) + 2 * 2,
    PASSIVE: 2 + (5 + 8 + 8) + 2,
    THIRD: 2 + (10 + 8 + 8) + 2,
}
COMMON = [f"id{i:03}" for i in range(52, 120, 2)]


def settings_of(folder: Path, every: int) -> dict[str, Settings]:
    keys = {name: CurveKeys.generate() for name in IDS}
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    allowed = {name: pair.public for name, pair in keys.items()}
    return {
        name: Settings(
            me=name,
            role=ACTIVE if name == ACTIVE else PASSIVE,
            folder=str(folder / name),
            listen=endpoint if name == ACTIVE else None,
            dial=dict.fromkeys((PASSIVE, THIRD)) if name == ACTIVE else {ACTIVE: endpoint},
            public=keys[name].public,
            secret=keys[name].secret,
            allowed=allowed,
            ids=ids,
            every=every,
        )
        for name, ids in IDS.items()
    }


def start(settings: Settings, dies: int | None) -> subprocess.Popen[str]:
    folder = Path(settings.folder)
    folder.mkdir(exist_ok=True)
    path = folder / "settings.json"
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(settings, dies=dies)))
    path.chmod(0o600)
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(folder: Path, deaths: dict[str, list[int]], every: int) -> dict[str, list[str]]:
    """Start all parties, and each again as often as it dies; what each has said in its lives.

    A death that comes after a party's last call does not happen.
    """
    settings = settings_of(folder, every)
    left = {name: [*deaths.get(name, []), None] for name in IDS}
    said: dict[str, list[str]] = {name: [] for name in IDS}
    processes = {name: start(settings[name], left[name].pop(0)) for name in IDS}
    try:
        while processes:
            for name, process in list(processes.items()):
                try:
                    output, _ = process.communicate(timeout=0.1)
                except subprocess.TimeoutExpired:
                    continue
                said[name].append(output)
                del processes[name]
                assert process.returncode in (0, -signal.SIGKILL), output
                if process.returncode:
                    processes[name] = start(settings[name], left[name].pop(0))
    finally:
        for process in processes.values():
            process.kill()
            process.communicate()
    return said


def check(said: dict[str, list[str]]) -> None:
    for name, ids in IDS.items():
        (line,) = (line for line in said[name][-1].splitlines() if line.startswith("rows"))
        assert [ids[int(row)] for row in line.split()[1:]] == COMMON, said


def resumed(said: list[str]) -> str:
    (line,) = (line for line in said[-1].splitlines() if line.startswith("resumed"))
    return line.split()[1]


def test_three_parties_killed_on_the_way_align_all_the_same(tmp_path: Path) -> None:
    said = run(tmp_path, {ACTIVE: [30], PASSIVE: [12], THIRD: [6]}, every=2)
    check(said)
    assert [len(lives) for lives in said.values()] == [2, 2, 2]
    assert int(resumed(said[ACTIVE])) > 0
    assert int(resumed(said[PASSIVE])) > 0


def test_one_that_dies_at_its_last_call_ends_well_and_stays_finished(tmp_path: Path) -> None:
    said = run(tmp_path, {name: [count - 1] for name, count in CALLS.items()}, every=3)
    check(said)
    assert [len(lives) for lives in said.values()] == [2, 2, 2]
    assert not list(tmp_path.rglob("*.tags"))
    again = run(tmp_path, {}, every=3)
    check(again)
    assert [resumed(said) for said in again.values()] == ["over"] * 3


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(12))
def test_deaths_at_random_calls(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    deaths = {
        ACTIVE: [rng.randrange(40) for _ in range(rng.randrange(4))],
        PASSIVE: [rng.randrange(12) for _ in range(rng.randrange(4))],
        THIRD: [rng.randrange(12) for _ in range(rng.randrange(4))],
    }
    check(run(tmp_path, deaths, every=rng.randrange(1, 5)))
