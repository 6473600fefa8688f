"""`hecore-bench serve`: the figures that joint serving must reach, under load and with a party killed."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from hecore.bench import serving
from hecore.bench.cli import app


def test_a_setting_has_the_size_that_was_asked_for(tmp_path: Path) -> None:
    setting = serving.prepare(tmp_path, 3, 2, (2, 3))
    assert 3 <= setting.splits <= 9
    assert setting.scores.shape == (serving.TRAINING_ROWS,)
    assert np.unique(setting.scores).size > 4
    for name in (serving.ACTIVE, serving.PASSIVE):
        assert {"keys", "allowed.toml", "share", "data.parquet", "serve.toml"} <= {
            path.name for path in (tmp_path / name).iterdir()
        }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--rows 1,10 --rate 5", "--rows has 2 numbers, --rate has 1"),
        ("--rows 1,x", "'1,x' is no list of positive numbers"),
        ("--rate 300,-1", "'300,-1' is no list of positive numbers"),
        ("--rate 300,inf", "'300,inf' is no list"),
    ],
)
def test_wrong_loads_are_usage_errors(words: str, message: str) -> None:
    result = CliRunner().invoke(app, ["serve", *words.split()], env={"COLUMNS": "200"})
    assert result.exit_code == 2
    assert message in result.output


def test_a_recovery_is_counted_from_the_return() -> None:
    load = serving.Load(1, moments=[1.0, 4.0, 7.5, 8.0], error_moments=[5.0, 7.25])
    killed = serving.Killed(load, killed=4.5, returned=7.0)
    assert (killed.recovered, killed.last_error) == (0.5, 0.25)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_figures_that_serving_must_reach(tmp_path: Path) -> None:
    """100 trees; times are judged where at least two cores are free at the start."""
    free = os.getloadavg()[0] < len(os.sched_getaffinity(0)) - 1.5
    with serving.Parties(serving.prepare(tmp_path, 100, 6, (10, 20))) as parties:
        one = asyncio.run(serving.run_load(parties, 1, 300, 5))
        many = asyncio.run(serving.run_load(parties, 10, 2500, 5))
        killed = asyncio.run(serving.run_kill(parties, 10, 1000))
    for load in (one, many):
        assert (load.wrong, load.errors) == (0, {})
        p50, p99 = np.percentile(load.times, [50, 99])
        assert p50 <= 10 or not free
        assert p99 <= 50 or not free
    assert many.rate >= 2000 or not free
    assert killed.load.wrong == 0
    assert set(killed.load.errors) <= {"peer_down"}
    assert killed.recovered <= 5
    assert killed.last_error <= 5


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_command() -> None:
    options = [
        "--trees",
        "5",
        "--depth",
        "3",
        "--columns",
        "2,3",
        "--rows",
        "1",
        "--rate",
        "50",
        "--seconds",
        "1",
    ]
    done = CliRunner(env={"COLUMNS": "120"}).invoke(app, ["serve", *options])
    assert done.exit_code == 0, done.output
    assert "5 trees of depth 3" in done.output
