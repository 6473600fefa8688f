"""The companies' folders: tables, keys and job files that stand the checks of `hecore job check`."""

from __future__ import annotations

import stat
import tempfile
from pathlib import Path

import pytest
from sklearn.datasets import load_breast_cancer

from hecore.algorithms.demo import DemoSettings, write_demo
from hecore.algorithms.demo.example import example_tables
from hecore.algorithms.errors import ConfigurationError
from hecore.algorithms.gbdt import GBDTConfig
from hecore.algorithms.job.check import check_job
from hecore.algorithms.lr import LinearConfig


@pytest.mark.parametrize("parties", [2, 3])
def test_every_company_is_ready_to_run(tmp_path: Path, parties: int) -> None:
    jobs = write_demo(DemoSettings(parties=parties, backend="gmp"), tmp_path / "demo")
    assert [job.party.name for job in jobs] == ["hospital", "lab", "imaging"][:parties]
    assert [job.is_active for job in jobs] == [True, False, False][:parties]
    for job in jobs:
        findings = check_job(job)
        assert [finding.text for finding in findings if not finding.good] == []
        assert job.terms()["split.key"] == jobs[0].terms()["split.key"]
        assert stat.S_IMODE(job.path.parent.stat().st_mode) == 0o700
        assert job.run.backend == "gmp"
    assert set(jobs[0].peers) == {job.party.name for job in jobs[1:]}
    assert all(job.peers["hospital"].dial == jobs[0].party.listen for job in jobs[1:])


def test_the_settings_stand_in_the_job_files(tmp_path: Path) -> None:
    trees = write_demo(DemoSettings(trees=7, key_bits=3072), tmp_path / "trees")
    assert {job.key.bits for job in trees} == {3072}
    for job in trees:
        assert isinstance(job.parameters, GBDTConfig)
        assert (job.parameters.n_estimators, job.parameters.max_depth) == (7, 3)
    for job in write_demo(DemoSettings(algorithm="linear", epochs=9), tmp_path / "linear"):
        assert isinstance(job.parameters, LinearConfig)
        assert job.parameters.epochs == 9


@pytest.mark.parametrize("parties", [2, 3])
def test_no_column_is_in_two_places_and_no_company_knows_everybody(parties: int) -> None:
    data = load_breast_cancer()
    tables = example_tables(parties)
    columns = [name for table in tables.values() for name in table.column_names if name != "patient"]
    assert sorted(columns) == sorted([*map(str, data.feature_names), "malignant"])
    orders = [table["patient"].to_pylist() for table in tables.values()]
    assert len({tuple(order) for order in orders}) == parties
    for order in orders:
        assert len(set(order)) == len(order) < len(data.target)
        assert order != sorted(order)
    assert example_tables(parties)["lab"].equals(tables["lab"])


def test_a_row_has_the_values_of_its_patient() -> None:
    data = load_breast_cancer()
    tables = example_tables(3)
    for table in tables.values():
        row = table.slice(17, 1).to_pylist()[0]
        number = int(row.pop("patient").removeprefix("patient-"))
        assert row.pop("malignant", 1 - data.target[number]) == 1 - data.target[number]
        names = list(map(str, data.feature_names))
        assert row == {name: data.data[number, names.index(name)] for name in row}


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (DemoSettings(algorithm="lr"), "algorithm = 'lr': one of 'gbdt', 'linear'"),
        (DemoSettings(trees=0), "n_estimators = 0"),
        (DemoSettings(backend="abacus"), "run.backend = 'abacus'"),
        (DemoSettings(key_bits=1024), "1024 bits protects nothing"),
    ],
)
def test_settings_that_no_job_takes_leave_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: DemoSettings, text: str
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for folder in (None, tmp_path / "demo"):
        with pytest.raises(ConfigurationError, match=text):
            write_demo(settings, folder)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text("mine")
    for folder in (tmp_path, kept):
        with pytest.raises(ConfigurationError, match="is there already: choose another name"):
            write_demo(DemoSettings(), folder)
    assert kept.read_text() == "mine"


def test_without_a_name_it_is_a_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = write_demo(DemoSettings())[0].path.parent.parent
    assert folder.parent == tmp_path
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
