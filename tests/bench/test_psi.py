"""`hecore-bench psi`: two small real runs, and what it refuses."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from hecore import HecoreError
from hecore.bench import psi
from hecore.bench.cli import app


def test_both_sides_are_timed_and_checked():
    done = CliRunner(env={"COLUMNS": "100"}).invoke(app, ["psi", "--count", "51"])
    assert done.exit_code == 0, done.output
    assert "51 × 51 ids" in done.output
    assert "hecore, memory" in done.output
    assert "hecore, durable" in done.output


def test_half_of_the_ids_are_common():
    active, passive = (psi.ids_of(role, 51) for role in (psi.ACTIVE, psi.PASSIVE))
    assert len(set(active)) == len(set(passive)) == 51
    assert len(set(active) & set(passive)) == 51 - 51 // 2


def test_a_process_that_fails_is_named():
    with pytest.raises(HecoreError, match="the active process failed: AlignmentError: active has no ids"):
        psi.hecore_run(-1, durable=False)


def test_openmined_finds_the_same():
    pytest.importorskip("private_set_intersection")
    assert psi.openmined_run(51).seconds > 0


def test_an_unknown_peer_is_named():
    done = CliRunner().invoke(app, ["psi", "--peers", "another"])
    assert done.exit_code == 1
    assert "no peer 'another'" in done.output


def test_an_unknown_channel_is_named():
    done = CliRunner().invoke(app, ["psi", "--channels", "paper"])
    assert done.exit_code == 1
    assert "no channel 'paper'" in done.output
