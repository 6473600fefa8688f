"""Rows 1, 2 and 4 of the fault table: parties killed with SIGKILL at random moments, alone and together.

`make soak` runs the same with a million messages and a thousand kills; its record is in
docs/reliability.md.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

from .pairs import Pair, expected, pair_in

MESSAGES = int(os.environ.get("HECORE_SOAK_MESSAGES", "0")) // 2
KILLS = int(os.environ.get("HECORE_SOAK_KILLS", "0"))


def kill_on_the_way(pair: Pair, count: int, kills: int, seed: int) -> int:
    """Kill a party, or both, each time that another part of the messages has been taken; how many died."""
    rng = random.Random(seed)
    died = 0
    limit = time.monotonic() + 60 + 20 * kills
    for part in range(kills):
        names = rng.choice([["a"], ["b"], ["a"], ["b"], ["a", "b"]])
        while pair.taken("a", "b") + pair.taken("b", "a") < 2 * count * part / (kills + 1):
            assert time.monotonic() < limit
            for name in "ab":
                assert pair.lives[name][-1].process.poll() in (None, 0), pair.lives[name][-1].lines
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.1))
        for name in names:
            pair.kill(name)
            died += 1
        for name in names:
            pair.start(name)
    return died


def run(folder: Path, count: int, kills: int, seed: int = 1) -> None:
    started = time.monotonic()
    with pair_in(folder, count) as pair:
        pair.start("a")
        pair.start("b")
        died = kill_on_the_way(pair, count, kills, seed)
        assert pair.finish(120) == expected(count)
    seconds = time.monotonic() - started
    print(f"{2 * count:,} messages, {died:,} kills, {seconds:,.0f} s: no effect lost or doubled")
    assert died >= kills


def test_every_effect_comes_once_however_often_parties_are_killed(tmp_path: Path) -> None:
    run(tmp_path, 2000, 6)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.skipif(not MESSAGES, reason="`make soak` says how many messages and kills")
def test_soak(tmp_path: Path) -> None:
    run(tmp_path, MESSAGES, KILLS)
