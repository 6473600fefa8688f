"""examples/credit as a reader would walk through it, with a Ctrl-C and a kill −9 on the way."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
import pytest

from hecore.algorithms.free_port import free_port
from hecore.algorithms.gbdt.model import SPLIT_TENSORS, Share, load_share
from hecore.algorithms.job.config import load_job
from hecore.algorithms.job.progress import JobProgress
from hecore.algorithms.job.runner import run_job

from .algorithms.command import HECORE, end_group, environment

EXAMPLE = Path(__file__).parents[1] / "examples" / "credit"
README = (EXAMPLE / "README.md").read_text(encoding="utf-8")
#: A typed line: who types it, and what.
TYPED = re.compile(r"^(credit|bank|telco)\$ (.+)$", re.MULTILINE)
RUN = "hecore party run job.toml"
TREES = 3


@contextmanager
def running(folder: Path, command: str = RUN) -> Iterator[subprocess.Popen[str]]:
    """A typed command in its folder, as a process group that ends with the block."""
    words = command.split()
    program = {"hecore": str(HECORE), "python": sys.executable}.get(words[0], words[0])
    with subprocess.Popen(
        [program, *words[1:]],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env=environment(),
    ) as process:
        try:
            yield process
        finally:
            end_group(process.pid)


def typed(folder: Path, command: str) -> str:
    with running(folder, command) as process:
        output, _ = process.communicate(timeout=250)
    assert process.returncode == 0, f"{command}: {output}"
    return output


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The example in a folder of its own, smaller, its data made: the folder of each who types."""
    folder = tmp_path_factory.mktemp("example") / "credit"
    shutil.copytree(EXAMPLE, folder)
    found = {"credit": folder, "bank": folder / "bank", "telco": folder / "telco"}
    for party in ("bank", "telco"):
        edit(found[party], "n_estimators = 15", f"n_estimators = {TREES}")
        edit(found[party], "checkpoint_seconds = 5.0", "checkpoint_seconds = 0.1")
    typed(folder, "python make_data.py --people 1200")
    return found


def edit(folder: Path, old: str, new: str) -> None:
    """Change a job file."""
    file = folder / "job.toml"
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


def undisturbed(places: dict[str, Path], folder: Path) -> dict[str, Share]:
    """The shares of the same parties where nobody stops: in threads, from a copy of their folders."""
    shutil.copytree(places["credit"], folder)
    port = free_port()
    parties = ("bank", "telco")
    for party in parties:
        edit(folder / party, ":5701", f":{port}")
    with ThreadPoolExecutor() as pool:
        outcomes = pool.map(lambda party: run_job(load_job(folder / party / "job.toml")), parties)
        return {party: load_share(outcome.model) for party, outcome in zip(parties, outcomes, strict=True)}


def stopped_and_killed(places: dict[str, Path]) -> dict[str, str]:
    """Run both sides; the bank is stopped and the telephone company killed on the way. What they say last."""
    with running(places["telco"]) as first_telco:
        with running(places["bank"]) as first_bank:
            wait_for(places["bank"], 1)
            first_bank.send_signal(signal.SIGINT)
            output, _ = first_bank.communicate(timeout=250)
        assert (first_bank.returncode, f"start `{RUN}` again to go on" in output) == (130, True), output
        with running(places["bank"]) as bank:
            wait_for(places["bank"], 2)
            first_telco.kill()
            first_telco.communicate()
            with running(places["telco"]) as telco:
                said = {party: process.communicate(timeout=250)[0] for party, process in
                        (("bank", bank), ("telco", telco))}  # fmt: skip
    assert (bank.returncode, telco.returncode) == (0, 0), said
    return said


@pytest.mark.timeout(600)
def test_the_walk_through_works_with_a_stop_and_a_kill_on_the_way(
    places: dict[str, Path], tmp_path: Path
) -> None:
    """Every typed line of the README in its order; the model is that of a run that was not disturbed."""
    lines = TYPED.findall(README)
    before, after = lines[1 : lines.index(("bank", RUN))], lines[lines.index(("telco", RUN)) + 1 :]
    said = {line: typed(places[line[0]], line[1]) for line in before}
    expected = undisturbed(places, tmp_path / "credit")
    port = free_port()
    for party in expected:
        edit(places[party], ":5701", f":{port}")
    runs = stopped_and_killed(places)
    assert "AUC" in runs["bank"]
    assert "AUC" not in runs["telco"]
    said |= {line: typed(places[line[0]], line[1]) for line in after}
    assert "finished" in said["bank", "hecore party status job.toml"]
    for party, share in expected.items():
        run = places[party] / "runs" / "credit"
        assert f"ready: {RUN}" in said[party, "hecore job check job.toml"]
        shown = said[party, "hecore model show runs/credit/model.safetensors"]
        assert f"party {party}," in " ".join(shown.split())
        assert "<html" in (run / "report.html").read_text(encoding="utf-8")
        assert not (run / "state").exists()
        got = load_share(run / "model.safetensors")
        assert got.bins == share.bins
        for name in SPLIT_TENSORS:
            assert np.array_equal(getattr(got.splits, name), getattr(share.splits, name)), name
    assert "finished already" in typed(places["bank"], RUN)


def wait_for(folder: Path, trees: int, seconds: float = 120) -> None:
    """Until a party's progress tells of so many trees, or of more."""
    path = folder / "runs" / "credit" / "progress.json"
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if path.exists():
            told = msgspec.json.decode(path.read_bytes(), type=JobProgress)
            grown = re.match(r"tree (\d+)/", told.detail)
            if told.phase == "training" and grown is not None and int(grown[1]) >= trees:
                return
        time.sleep(0.02)
    raise AssertionError(f"{folder.name} never came to tree {trees}")
