"""The tables and the sentence of the demo."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from hecore import Meter
from hecore.algorithms.demo import Comparison, DemoSettings, write_demo
from hecore.algorithms.demo.tables import party_table, score_table, verdict
from hecore.algorithms.job.folder import RunFolder

COMPARISON = Comparison(
    metrics={
        "joint, nobody shows data": {"AUC": 0.99504, "KS": 0.9, "accuracy": 0.95616, "log loss": 0.1},
        "all columns in one place, elsewhere": {
            "AUC": 0.99571,
            "KS": 0.9,
            "accuracy": 0.98,
            "log loss": 0.2,
        },
    },
    common=569,
    tested=114,
    difference=0.0,
)


def rendered(table, width: int = 80) -> list[list[str]]:
    """The rows' cells, stripped."""
    console = Console(file=io.StringIO(), width=width)
    console.print(table)
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= width
    return [
        [cell.strip() for cell in line.strip("│┃").replace("┃", "│").split("│")] for line in text.splitlines()
    ]


def test_scores_to_four_digits_with_the_number_of_rows() -> None:
    rows = rendered(score_table(COMPARISON))
    assert ["114 patients kept for testing, of 569 whom all parties know"] in rows
    assert ["model", "AUC", "accuracy", "log loss"] in rows
    assert ["joint, nobody shows data", "0.9950", "0.9562", "0.1000"] in rows
    assert ["all columns in one place, elsewhere", "0.9957", "0.9800", "0.2000"] in rows


@pytest.mark.parametrize(
    ("difference", "text"),
    [
        (0.0, "those of all columns in one place: all 114 scores are equal, bit for bit"),
        (0.25, "are not those of all columns in one place: they differ by up to 0.25"),
        (0.0, "scikit-learn's model is HistGradientBoostingClassifier"),
        (None, "The joint AUC and that of all columns in one place differ by 0.0007, log losses by 0.1000"),
        (None, "its scores rank patients, and are no calibrated probabilities"),
    ],
)
def test_the_verdict(difference: float | None, text: str) -> None:
    assert text in verdict(replace(COMPARISON, difference=difference))


def test_each_party_has_a_column_of_what_it_did(tmp_path: Path) -> None:
    jobs = write_demo(DemoSettings(parties=3), tmp_path / "demo")
    for seconds, job in enumerate(jobs):
        meter = Meter()
        meter.seconds = {"encrypt": seconds + 0.5}
        meter.by_phase = {"encrypt": {"encrypt": 1000 * seconds, "bytes_written": 5}, "": {"encrypt": 234}}
        names = {"job": "demo", "party": job.party.name, "role": job.party.role}
        with RunFolder.create(job.folder, **names, backend="gmp") as run:
            run.measure(meter)
            run.finish("finished")
        RunFolder.open(job.folder).close()
    rows = rendered(party_table(jobs))
    assert ["", "hospital", "lab", "imaging"] in rows
    assert ["", "active", "passive", "passive"] in rows
    assert ["encrypting, seconds", "0.50", "1.50", "2.50"] in rows
    assert ["values encrypted", "234", "1,234", "2,234"] in rows
    assert ["processes started", "2", "2", "2"] in rows
    assert ["backend", "gmp", "gmp", "gmp"] in rows
    named = [row[0] for row in rows]
    assert not any("bytes" in name or "written" in name or "decrypting" in name for name in named)
    assert "sent again" not in named
