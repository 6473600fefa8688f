"""The companies of the demo: a folder for each, with its file, its keys and its job file."""

from __future__ import annotations

import re
import shutil
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from hecore.algorithms.channel import AllowList, CurveKeys
from hecore.algorithms.channel.disk import make_folder
from hecore.algorithms.errors import ConfigurationError
from hecore.algorithms.job.config import JobFile, load_job
from hecore.algorithms.job.template import job_template
from hecore.algorithms.party import ACTIVE, PASSIVE

HOSPITAL, LAB = "hospital", "lab"
FILES = {HOSPITAL: "patients.csv", LAB: "samples.parquet"}
ID, LABEL = "patient", "malignant"
#: Columns of the hospital; the laboratory has the others.
HOSPITAL_COLUMNS = 10
#: Each company knows so large a part of all patients.
KNOWN = 0.97


@dataclass(frozen=True)
class DemoSettings:
    """What the command line chooses: settings of the job files, by the names that they have there."""

    algorithm: str = "gbdt"
    trees: int = 20
    epochs: int = 6
    key_bits: int = 2048
    backend: str = "auto"


def write_demo(settings: DemoSettings, folder: Path) -> list[JobFile]:
    """Write the companies' folders; the job files, the active party's first.

    ConfigurationError for settings out of range, or a folder that holds something: it is left as it is then.
    """
    with socket.create_server(("127.0.0.1", 0)) as server:  # a port that nobody uses
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
    texts = {name: _job_text(settings, name, address) for name in FILES}
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigurationError(f"{folder} is there already: choose another folder")
    make_folder(folder)
    try:
        keys = {name: CurveKeys.generate() for name in FILES}
        for name, table in example_tables().items():
            home = folder / name
            make_folder(home)
            _write_table(table, home / FILES[name])
            keys[name].save(home / f"{name}.keys")
            AllowList({other: keys[other].public for other in FILES if other != name}).save(
                home / "allowed.toml"
            )
            (home / "job.toml").write_text(texts[name], encoding="utf-8")
        return [load_job(folder / name / "job.toml") for name in FILES]
    except BaseException:
        shutil.rmtree(folder)
        raise


def example_tables() -> dict[str, pa.Table]:
    """Each company's table, the same every time: its own patients, in its own order."""
    from sklearn.datasets import load_breast_cancer

    data, draw = load_breast_cancer(), np.random.default_rng(0)
    columns = {str(name): values for name, values in zip(data.feature_names, data.data.T, strict=True)}
    ids = pa.array([f"patient-{number:04d}" for number in range(len(data.target))])
    first = list(columns)[:HOSPITAL_COLUMNS]
    parts = {
        HOSPITAL: {name: columns[name] for name in first} | {LABEL: 1 - data.target},  # there 1 is benign
        LAB: {name: values for name, values in columns.items() if name not in first},
    }
    return {
        company: pa.table({ID: ids, **part}).take(draw.permutation(len(ids))[: int(KNOWN * len(ids))])
        for company, part in parts.items()
    }


def _write_table(table: pa.Table, path: Path) -> None:
    if path.suffix == ".csv":
        pyarrow.csv.write_csv(table, path)
    else:
        pyarrow.parquet.write_table(table, path)


def _job_text(settings: DemoSettings, name: str, address: str) -> str:
    """What `hecore job init` writes, edited as people edit it."""
    is_active = name == HOSPITAL
    text = job_template(
        job="demo",
        name=name,
        role=ACTIVE if is_active else PASSIVE,
        peers=[other for other in FILES if other != name],
        file=FILES[name],
        listen=address if is_active else None,
        dial=None if is_active else address,
        label=LABEL if is_active else None,
        algorithm=settings.algorithm,
        id_column=ID,
    )
    if settings.algorithm == "gbdt":
        chosen = {"n_estimators": str(settings.trees), "max_depth": "3", "max_bin": "32"}
    else:
        chosen = {
            "epochs": str(settings.epochs),
            "batch_size": "128",
            "learning_rate": "0.05\nlearning_rate_decay = 0.8",
        }
    return _edited(
        text,
        {
            **chosen,
            "validation": "0.0",
            "test": '0.3\nkey = "the rows of the demo"  # the same ones are kept for testing every time',
            "bits": str(settings.key_bits),
            "checkpoint_seconds": "2.0\n"
            "wait = 60.0\n"
            f"grace = 60.0  # seconds for which the others wait for a party that is away\n"
            f'backend = "{settings.backend}"',
        },
    )


def _edited(text: str, settings: Mapping[str, str]) -> str:
    """A job file with other values; what stands behind a value stays."""
    for key, value in settings.items():
        text, found = re.subn(rf"^{key} = [^\s#]+", f"{key} = {value}", text, flags=re.MULTILINE)
        if found != 1:
            raise ValueError(f"the template has {key} {found} times")
    return text
