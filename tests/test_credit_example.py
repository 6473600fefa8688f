"""examples/credit as a reader would walk through it, and once with a Ctrl-C and a kill −9 on the way."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
import pytest

from hecore.algorithms.gbdt.model import SPLIT_TENSORS, load_share
from hecore.algorithms.job.progress import JobProgress

from .algorithms.command import HECORE, end_group, environment
from .algorithms.job.firms import free_port

EXAMPLE = Path(__file__).parents[1] / "examples" / "credit"
README = (EXAMPLE / "README.md").read_text(encoding="utf-8")
#: A typed line: who types it, and what.
TYPED = re.compile(r"^(credit|bank|telco)\$ (.+)$", re.MULTILINE)
RUN = "hecore party run job.toml"


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
        output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, f"{command}: {output}"
    return output


def prepared(folder: Path, trees: int, people: int) -> dict[str, Path]:
    """The example in a folder of its own, smaller, its data made; the folder of each who types."""
    shutil.copytree(EXAMPLE, folder)
    places = {"credit": folder, "bank": folder / "bank", "telco": folder / "telco"}
    port = free_port()
    for party in ("bank", "telco"):
        file = places[party] / "job.toml"
        text = file.read_text(encoding="utf-8").replace(":5701", f":{port}")
        text = text.replace("n_estimators = 15", f"n_estimators = {trees}")
        file.write_text(
            text.replace("checkpoint_seconds = 5.0", "checkpoint_seconds = 0.1"), encoding="utf-8"
        )
    typed(folder, f"python make_data.py --people {people}")
    return places


def before_the_run() -> list[tuple[str, str]]:
    lines = TYPED.findall(README)
    return lines[1 : lines.index(("bank", RUN))]


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Path], dict[tuple[str, str], str]]:
    """Every command of the walk-through typed in order, and what it said; the two runs at once."""
    places = prepared(tmp_path_factory.mktemp("walk") / "credit", trees=4, people=1500)
    said = {line: typed(places[line[0]], line[1]) for line in before_the_run()}
    with running(places["bank"]) as bank, running(places["telco"]) as telco:
        for party, process in (("bank", bank), ("telco", telco)):
            said[party, RUN], _ = process.communicate(timeout=200)
            assert process.returncode == 0, said[party, RUN]
    lines = TYPED.findall(README)
    for line in lines[lines.index(("telco", RUN)) + 1 :]:
        said[line] = typed(places[line[0]], line[1])
    return places, said


def test_the_walk_through_works_as_it_is_written(
    walked: tuple[dict[str, Path], dict[tuple[str, str], str]],
) -> None:
    places, said = walked
    assert set(said) == set(TYPED.findall(README)[1:])
    assert "AUC" in said["bank", RUN]
    assert "AUC" not in said["telco", RUN]
    for party in ("bank", "telco"):
        assert f"ready: {RUN}" in said[party, "hecore job check job.toml"]
        assert f"party {party}," in " ".join(
            said[party, "hecore model show runs/credit/model.safetensors"].split()
        )
        assert "<html" in (places[party] / "runs" / "credit" / "report.html").read_text(encoding="utf-8")
    assert "finished" in said["bank", "hecore party status job.toml"]
    assert "finished already" in typed(places["bank"], RUN)


def test_stopped_and_killed_it_ends_with_the_same_model(
    walked: tuple[dict[str, Path], dict[tuple[str, str], str]], tmp_path: Path
) -> None:
    undisturbed, _ = walked
    places = prepared(tmp_path / "credit", trees=4, people=1500)
    for party, command in before_the_run():
        if "check" not in command and "show" not in command:
            typed(places[party], command)
    with running(places["telco"]) as first_telco:
        with running(places["bank"]) as first_bank:
            wait_for(places["bank"], "training", "tree 1/4")
            first_bank.send_signal(signal.SIGINT)
            output, _ = first_bank.communicate(timeout=60)
        assert (first_bank.returncode, f"start `{RUN}` again to go on" in output) == (130, True), output
        with running(places["bank"]) as bank:
            wait_for(places["bank"], "training", "tree 2/4")
            first_telco.kill()
            first_telco.communicate()
            with running(places["telco"]) as telco:
                for process in (bank, telco):
                    output, _ = process.communicate(timeout=200)
                    assert process.returncode == 0, output
    for party in ("bank", "telco"):
        here, there = (
            load_share(p[party] / "runs" / "credit" / "model.safetensors") for p in (places, undisturbed)
        )
        assert here.bins == there.bins
        for name in SPLIT_TENSORS:
            assert np.array_equal(getattr(here.splits, name), getattr(there.splits, name)), name
        assert not (places[party] / "runs" / "credit" / "state").exists()


def wait_for(folder: Path, phase: str, detail: str, seconds: float = 120) -> None:
    """Until a party's progress says so."""
    path = folder / "runs" / "credit" / "progress.json"
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if path.exists():
            told = msgspec.json.decode(path.read_bytes(), type=JobProgress)
            if told.phase == phase and told.detail.startswith(detail):
                return
        time.sleep(0.02)
    raise AssertionError(f"{folder.name} never came to {phase}: {detail}")
