"""`hecore demo` as a person sees it: what is shown, what it leaves to look at, and how it ends early."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from typer.testing import CliRunner

from hecore.algorithms import cli
from hecore.algorithms.demo.example import example_tables
from hecore.algorithms.gbdt import GBDTConfig
from hecore.algorithms.job.config import load_job
from hecore.algorithms.job.folder import read_record
from hecore.algorithms.job.scores import evaluate

from ..command import COLOUR, CONTROL, children, left_over, lines_until, on_terminal, piped, started

TREES = ("demo", "--trees", "3")
PROMPT = 100  # seconds that only bound a hang


# --- a run that goes well --------------------------------------------------------------------------------


@dataclass
class Run:
    out: str
    err: str
    folder: Path

    def row(self, name: str) -> list[str]:
        """The texts of a table's row, behind its name."""
        (line,) = [line for line in self.out.splitlines() if line.startswith(f"│ {name} ")]
        return [cell.strip() for cell in line.strip("│").split("│")][1:]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("demo") / "companies"
    done = piped(*TREES, "--folder", folder, COLUMNS="80")
    assert done.returncode == 0, done.stderr
    return Run(done.stdout, done.stderr, folder)


def rows_of(table: pa.Table) -> dict[str, list[float]]:
    """Patient → values."""
    return {row["patient"]: list(row.values())[1:] for row in table.to_pylist()}


def test_the_joint_trees_are_the_centralised_ones(finished: Run) -> None:
    joint = finished.row("joint, nobody shows data")
    assert joint == finished.row("the same trees on all columns in one place")
    assert "scores are equal, bit for bit." in finished.out
    results = read_record(finished.folder / "hospital" / "runs" / "demo").results
    assert joint == [f"{results[name]['test']:.4f}" for name in ("AUC", "accuracy", "log loss")]


def test_the_figures_in_the_clear_are_those_of_scikit_learn(finished: Run) -> None:
    """The same model, fitted here on the same rows: those whose scores the hospital has not got."""
    hospital, lab = (rows_of(table) for table in example_tables().values())
    scores = finished.folder / "hospital" / "runs" / "demo" / "predictions.parquet"
    tested = pyarrow.parquet.read_table(scores)["id"].to_pylist()
    common = hospital.keys() & lab.keys()
    assert f"{len(tested)} patients kept for testing, of {len(common)} whom all parties know" in finished.out
    train = sorted(common.difference(tested))
    label = {patient: row.pop() for patient, row in hospital.items()}
    for name, both in (("on all columns in one place", True), ("at the hospital alone", False)):
        values = {one: hospital[one] + (lab[one] if both else []) for one in common}
        leaf = GBDTConfig().min_samples_leaf
        model = HistGradientBoostingClassifier(
            max_iter=3,
            max_depth=3,
            max_bins=32,
            learning_rate=0.3,
            min_samples_leaf=leaf,
            early_stopping=False,
        )
        model.fit([values[one] for one in train], [label[one] for one in train])
        predicted = model.predict_proba([values[one] for one in tested])
        found = evaluate("binary:logistic", np.array([label[one] for one in tested], np.float64), predicted)
        shown = [f"{found[metric]:.4f}" for metric in ("AUC", "accuracy", "log loss")]
        assert finished.row(f"scikit-learn {name}") == shown


def test_the_second_table_is_of_both_parties_records(finished: Run) -> None:
    records = [read_record(finished.folder / name / "runs" / "demo") for name in ("hospital", "lab")]
    train = records[0].rows.train
    assert finished.row("values encrypted") == [f"{3 * 2 * train // 2:,}", "0"]
    assert finished.row("ciphertexts validated")[1] == f"{3 * train:,}"
    assert finished.row("messages sent") == [
        f"{sum(one.sent.messages for one in record.traffic.values()):,}" for record in records
    ]
    assert finished.row("processes started") == ["1", "1"]
    assert float(finished.row("encrypting, seconds")[0]) > 0
    assert f"what it took ({records[0].elapsed:.1f} s)" in finished.out


def test_what_is_shown_to_look_at_is_there(finished: Run) -> None:
    """The last lines are commands: each of them works."""
    last = finished.out.splitlines()[-4:]
    assert [line.split()[0] for line in last] == ["settings", "standing", "report", "model"]
    for line, text in zip(last, ("agreed", "finished", "report written", "hospital"), strict=True):
        words = shlex.split(line)
        done = CliRunner(env={"COLUMNS": "200"}).invoke(cli.app, words[2:])
        assert done.exit_code == 0, done.output
        assert text in done.output
    assert (finished.folder / "hospital" / "runs" / "demo" / "report.html").is_file()
    jobs = [load_job(finished.folder / name / "job.toml") for name in ("hospital", "lab")]
    assert [read_record(job.folder).status for job in jobs] == ["finished", "finished"]


def test_piped_output_is_plain_text(finished: Run) -> None:
    tables = [line for line in finished.out.splitlines() if line[:1] in "┏┃┡│├└"]
    assert max(map(len, tables)) <= 80
    assert not CONTROL.search(finished.out)
    assert not CONTROL.search(finished.err)


def test_piped_progress_is_what_a_party_shows(finished: Run) -> None:
    lines = finished.err.splitlines()
    for name, line in zip(("hospital", "lab"), lines, strict=False):
        assert re.fullmatch(rf"{name} +\S+ party run {finished.folder}/{name}/job\.toml", line)
    assert lines[2] == "starting"
    assert any(re.match(r"training: tree [123]/3, logloss 0\.\d{4}, ", line) for line in lines)
    assert lines[-1] == "training in the clear, to compare"


def test_on_a_terminal_a_line_for_each_phase(tmp_path: Path) -> None:
    """As `hecore demo > results`: progress on the terminal, results in the file."""
    command = ("demo", "--algorithm", "linear", "--epochs", "2", "--folder", tmp_path / "demo")
    with (
        open(tmp_path / "results", "w+", encoding="utf-8") as results,
        on_terminal(*command, columns=80, stdout=results) as terminal,
    ):
        assert terminal.end() == 0
        results.seek(0)
        text = results.read()
    assert re.search(
        r"The joint AUC and that of all columns in one place differ by 0\.0\d{3}, log losses by 0\.\d{4}\.",
        text,
    )
    assert "no calibrated probabilities" in " ".join(text.split())
    assert re.search(r"┃ +┃ +hospital +┃ +lab +┃", text)
    assert not CONTROL.search(text)
    frames = [frame for frame in terminal.frames() if str(tmp_path) not in frame]
    assert max(map(len, frames)) <= 80
    assert not any("…" in frame for frame in frames)
    midway = [frame for frame in frames if "training: epoch " in frame and "left" in frame]
    assert midway
    for frame in midway:
        assert re.search(r" \d+%, \d:\d\d:\d\d left \d:\d\d:\d\d$", frame), frame
    assert any(re.match(r"  ↑ \d+\.\d .B ↓ ", frame) for frame in frames)
    assert any("training: epoch 2/2" in frame for frame in midway)
    ends = [frame.strip() for frame in frames if frame.strip().startswith("training")]
    assert ends[-2].startswith("training: epoch 2/2")
    assert ends[-1].startswith("training in the clear, to compare")
    assert COLOUR.search(terminal.written.decode())
    # Each loss was told with its own epoch, the last one too.
    run = tmp_path / "demo" / "hospital" / "runs" / "demo"
    losses = json.loads((run / "model.json").read_text())["loss"]
    assert len(losses) == 2
    log = (run / "log.jsonl").read_text()
    for epoch, loss in enumerate(losses, 1):
        assert f'"epoch {epoch}/2, loss {loss:.4f}"' in log


# --- a run that ends early -------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["starting", pytest.param("training: tree", marks=pytest.mark.slow)])
def test_control_c_stops_everything_and_the_folder_stays(tmp_path: Path, stage: str) -> None:
    with started(*TREES, "--folder", tmp_path / "demo") as command:
        lines_until(command.stderr, stage)
        pids = children(command.pid)
        os.killpg(command.pid, signal.SIGINT)
        out, err = command.communicate(timeout=PROMPT)
    assert left_over(pids) == []
    assert (command.returncode, out) == (130, "")
    told = ["the folder stays: the commands above go on with the job", "interrupted"]
    assert err.splitlines()[-2:] == told
    assert "Traceback" not in err
    assert load_job(tmp_path / "demo" / "hospital" / "job.toml").party.name == "hospital"


@pytest.mark.slow
def test_parties_whose_command_was_killed_come_to_their_end_alone(tmp_path: Path) -> None:
    """They are processes like any others: nobody but their peer is waited for."""
    with started(*TREES, "--folder", tmp_path / "demo") as command:
        lines_until(command.stderr, "training: tree 1/3")
        pids = children(command.pid)
        command.kill()
        assert left_over(pids) == []
        command.communicate(timeout=PROMPT)
    for name in ("hospital", "lab"):
        assert read_record(tmp_path / "demo" / name / "runs" / "demo").status == "finished"
