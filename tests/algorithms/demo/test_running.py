"""The parties' processes: how a job ends well, is killed at random, and fails in the parties' own words."""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from hecore.algorithms.demo import DemoSettings, compare, run_parties, write_demo
from hecore.algorithms.errors import ProtocolError
from hecore.algorithms.job.config import JobFile, load_job
from hecore.algorithms.job.folder import read_record
from hecore.algorithms.job.home import own_key
from hecore.algorithms.job.progress import JobProgress
from hecore.randomness import random_bytes

from ..command import children, left_over, running

#: 2048-bit keys, as ever, but few trees.
TREES = DemoSettings(trees=3)


class Watcher:
    """What a run tells; `at_tree` is called once, when the first tree has come."""

    def __init__(self, at_tree: Callable[[], None] = lambda: None) -> None:
        self.phases: list[str] = []
        self.killed: list[str] = []
        self._at_tree = at_tree

    def run(self, jobs: list[JobFile], kills: int = 0) -> None:
        run_parties(
            jobs, kills=kills, on_progress=self._progress, on_kill=lambda name, at: self.killed.append(name)
        )

    def _progress(self, progress: JobProgress) -> None:
        self.phases.append(progress.phase)
        if progress.done:
            self._at_tree()
            self._at_tree = lambda: None


def test_a_job_that_is_killed_grows_the_trees_of_all_columns_in_one_place(tmp_path: Path) -> None:
    """Rows 1 and 4 of the fault table, with processes as people start them."""
    jobs = write_demo(TREES, tmp_path / "demo")
    watcher = Watcher()
    watcher.run(jobs, kills=2)
    assert watcher.phases[0] == "starting"
    assert watcher.phases[-1] == "finished"
    assert "training" in watcher.phases
    assert len(watcher.killed) == 2
    for job in jobs:
        record = read_record(job.folder)
        assert record.status == "finished"
        kills = watcher.killed.count(job.party.name)
        # A process that is killed again before it has opened its record is not counted there.
        assert 1 + min(kills, 1) <= record.starts <= 1 + kills
        assert not (job.folder / "state").exists()
    found = compare(jobs)
    assert found.difference == 0
    assert found.tested == read_record(jobs[0].folder).rows.test
    assert found.common == read_record(jobs[0].folder).rows.common
    joint, together, forest, alone = found.metrics.values()
    results = read_record(jobs[0].folder).results
    assert joint == together == {name: parts["test"] for name, parts in results.items()}
    assert abs(joint["AUC"] - forest["AUC"]) < 0.02
    assert alone["log loss"] != forest["log loss"]


def test_a_party_that_is_killed_by_others_is_named(tmp_path: Path) -> None:
    jobs = write_demo(TREES, tmp_path / "demo")
    started: list[int] = []

    def kill() -> None:
        started.extend(children(os.getpid()))
        (lab,) = [pid for pid in running(started) if os.readlink(f"/proc/{pid}/cwd").endswith("/lab")]
        os.kill(lab, signal.SIGKILL)

    with pytest.raises(ProtocolError, match=r"^lab failed: its process was ended by signal 9 \(Killed\)$"):
        Watcher(kill).run(jobs)
    assert left_over(started) == []
    assert read_record(jobs[0].folder).status == "stopped"


def test_the_cause_is_told_and_not_its_echo(tmp_path: Path) -> None:
    """Whose data is wrong says so; the other one has only heard of it."""
    jobs = write_demo(TREES, tmp_path / "demo")
    table = jobs[0].path.parent / "patients.csv"
    head, first, *rest = table.read_text().splitlines()
    table.write_text("\n".join([head, first, first, *rest]) + "\n")
    with pytest.raises(ProtocolError, match=r"failed: AlignmentError: .*hospital.* 1 ") as caught:
        Watcher().run(jobs)
    assert "PeerAborted" not in str(caught.value)


def test_a_party_that_has_no_words_left_them_in_a_file(tmp_path: Path) -> None:
    jobs = write_demo(TREES, tmp_path / "demo")
    jobs[1].path.write_text("no job file")
    told = r"^lab failed: exit code 1, .*/lab/output\.txt says why$"
    with pytest.raises(ProtocolError, match=told) as caught:
        Watcher().run(jobs)
    (file,) = re.findall(r"\S+output\.txt", str(caught.value))
    assert "is no TOML" in Path(file).read_text()


# --- long ones -------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("round", range(3))
def test_trees_killed_ten_times(tmp_path: Path, round: int) -> None:
    jobs = write_demo(DemoSettings(trees=8, parties=2 + round % 2), tmp_path / "demo")
    watcher = Watcher()
    watcher.run(jobs, kills=10)
    assert len(watcher.killed) == 10
    assert compare(jobs).difference == 0


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("parties", [2, 3])
def test_a_linear_job_killed_ten_times_ends_with_the_same_weights(tmp_path: Path, parties: int) -> None:
    """With the same keys and secrets from its start: masks are the same then, and weights bit for bit."""
    jobs = write_demo(DemoSettings("linear", epochs=3, parties=parties), tmp_path / "first")
    for job in jobs:
        store = job.folder / "state" / "store"
        store.mkdir(mode=0o700, parents=True)
        (store / "secret").write_bytes(random_bytes(32))
        (store / "secret").chmod(0o600)
        own_key(store.parent, job.key.bits)
    shutil.copytree(tmp_path / "first", tmp_path / "second")
    Watcher().run(jobs)
    again = [load_job(tmp_path / "second" / job.party.name / "job.toml") for job in jobs]
    watcher = Watcher()
    watcher.run(again, kills=10)
    assert len(watcher.killed) == 10
    for one, other in zip(jobs, again, strict=True):
        assert (one.folder / "model.json").read_bytes() == (other.folder / "model.json").read_bytes()
    first, second = (read_record(some[0].folder).results for some in (jobs, again))
    assert first == second
