"""The walk-throughs of examples/, run as a reader would: real processes, real files."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import roc_auc_score

from hecore.algorithms.free_port import free_port

PARTY = Path(__file__).parents[1] / "examples" / "joint_training" / "party.py"
TRAIN = 200


def write_csv(path: Path, header: list[str], ids: np.ndarray, columns: np.ndarray) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", *header])
        writer.writerows([f"c{i}", *row] for i, row in zip(ids, columns.tolist(), strict=True))


@pytest.fixture
def companies(tmp_path: Path) -> tuple[dict[str, Path], np.ndarray]:
    """Two folders with a training and a scoring file each; and the labels of the rows to score."""
    data = load_breast_cancer()
    order = np.random.default_rng(0).permutation(len(data.target))[: TRAIN + 100]
    values, label = data.data[order], data.target[order]
    folders = {}
    for role in ("active", "passive"):
        folders[role] = tmp_path / role
        folders[role].mkdir()
        columns = values[:, :5] if role == "active" else values[:, 20:28]
        header = [f"{role}{i}" for i in range(columns.shape[1])]
        known, new = slice(0, TRAIN), slice(TRAIN, None)
        write_csv(folders[role] / "score.csv", header, order[new], columns[new])  # nobody has their label yet
        if role == "active":
            columns, header = np.column_stack([label, columns]), ["y", *header]
        write_csv(folders[role] / "train.csv", header, order[known], columns[known])
    return folders, label[TRAIN:]


def test_two_companies_train_over_csv_files(companies):
    folders, truth = companies
    keys = {}
    for role, folder in folders.items():
        command = [sys.executable, str(PARTY), "keys", "my.keys"]
        made = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=250)
        keys[role] = made.stdout.strip()
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    running = {}
    for role, peer in (("passive", "active"), ("active", "passive")):
        command = [sys.executable, str(PARTY), role, "train.csv", "score.csv", "--keys", "my.keys"]
        command += [f"--peer-key={keys[peer]}", "--endpoint", endpoint, "--epochs", "2"]
        running[role] = subprocess.Popen(
            command, cwd=folders[role], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    for role, process in running.items():
        out, err = process.communicate(timeout=250)
        assert process.returncode == 0, f"{role}: {err}"
        assert "epoch 2/2" in out
        share = json.loads((folders[role] / f"{role}-model.json").read_text())
        assert all(name.startswith(role) for name in share["columns"])
    with open(folders["active"] / "scores.csv", encoding="utf-8") as file:
        scores = [float(row["score"]) for row in csv.DictReader(file)]
    assert roc_auc_score(truth, scores) > 0.97
    assert not (folders["passive"] / "scores.csv").exists()


def test_a_missing_file_is_an_error_in_one_line(tmp_path):
    command = [sys.executable, str(PARTY), "passive", "no.csv", "no.csv", "--keys", "k", "--peer-key", "x"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=250)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "no.csv" in done.stderr
    assert "Traceback" not in done.stderr
