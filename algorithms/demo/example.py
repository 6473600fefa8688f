"""The companies of the demo: a folder for each, with its file, its keys and its job file."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from hecore.algorithms.channel import AllowList, CurveKeys
from hecore.algorithms.errors import ConfigurationError
from hecore.algorithms.free_port import free_port
from hecore.algorithms.job.config import JobFile, load_job
from hecore.algorithms.job.template import job_template
from hecore.algorithms.party import ACTIVE, PASSIVE
from hecore.algorithms.private_files import make_folder

#: Each company's table; the first one is the active party.
TABLES = {"hospital": "patients.csv", "lab": "samples.parquet", "imaging": "scans.parquet"}
ACTIVE_NAME = next(iter(TABLES))
ID, LABEL = "patient", "malignant"
#: Columns of the active party; the others have the rest.
OWN_COLUMNS = 10
#: Each company knows so large a part of all patients.
KNOWN = 0.98


@dataclass(frozen=True)
class DemoSettings:
    """What the command line chooses: how many companies, and settings of their job files."""

    algorithm: str = "gbdt"
    trees: int = 20
    epochs: int = 6
    key_bits: int = 2048
    backend: str = "auto"
    parties: int = 2

    @property
    def names(self) -> list[str]:
        """The companies, the active party first."""
        return list(TABLES)[: self.parties]

    def peers(self, name: str) -> list[str]:
        """Whom a company talks to."""
        return self.names[1:] if name == ACTIVE_NAME else [ACTIVE_NAME]


def write_demo(settings: DemoSettings, folder: Path | None = None) -> list[JobFile]:
    """Write a folder for each company into a new one, or a temporary one; the job files, the active first.

    ConfigurationError for settings out of range, or a folder that is there already; nothing is written then.
    """
    address = f"tcp://127.0.0.1:{free_port()}"
    texts = {name: _job_text(settings, name, address) for name in settings.names}
    if folder is None:
        folder = Path(mkdtemp(prefix="hecore-demo-"))
    elif folder.exists():
        raise ConfigurationError(f"{folder} is there already: choose another name")
    try:
        keys = {name: CurveKeys.generate() for name in texts}
        for name, table in example_tables(settings.parties).items():
            home = folder / name
            make_folder(home)
            _write_table(table, home / TABLES[name])
            keys[name].save(home / f"{name}.keys")
            trusted = {peer: keys[peer].public for peer in settings.peers(name)}
            AllowList(trusted).save(home / "allowed.toml")
            (home / "job.toml").write_text(texts[name], encoding="utf-8")
        return [load_job(folder / name / "job.toml") for name in texts]
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def example_tables(parties: int = 2) -> dict[str, pa.Table]:
    """Each company's table, the same every time: its own patients, in an order of its own."""
    from sklearn.datasets import load_breast_cancer

    data, draw = load_breast_cancer(), np.random.default_rng(0)
    ids = pa.array([f"patient-{number:04d}" for number in range(len(data.target))])
    places = np.arange(data.data.shape[1])
    groups = [places[:OWN_COLUMNS], *np.array_split(places[OWN_COLUMNS:], parties - 1)]
    tables = {}
    for company, group in zip(TABLES, groups, strict=False):
        columns = {ID: ids, **{str(data.feature_names[place]): data.data[:, place] for place in group}}
        if company == ACTIVE_NAME:
            columns[LABEL] = 1 - data.target  # there 1 is benign
        known = draw.permutation(len(ids))[: int(KNOWN * len(ids))]
        tables[company] = pa.table(columns).take(known)
    return tables


def _write_table(table: pa.Table, path: Path) -> None:
    if path.suffix == ".csv":
        pyarrow.csv.write_csv(table, path)
    else:
        pyarrow.parquet.write_table(table, path)


def _job_text(settings: DemoSettings, name: str, address: str) -> str:
    """What `hecore job init` writes, edited as people edit it."""
    is_active = name == ACTIVE_NAME
    text = job_template(
        job="demo",
        name=name,
        role=ACTIVE if is_active else PASSIVE,
        peers=settings.peers(name),
        file=TABLES[name],
        listen=address if is_active else None,
        dial=None if is_active else address,
        label=LABEL if is_active else None,
        algorithm=settings.algorithm,
        id_column=ID,
    )
    if settings.algorithm == "gbdt":
        chosen = {"n_estimators": str(settings.trees), "max_depth": "3", "max_bin": "32"}
    else:
        chosen = {"epochs": str(settings.epochs), "batch_size": "128"}
    return _edited(
        text,
        {
            **chosen,
            "validation": "0.0",
            "test": '0.25\nkey = "the rows of the demo"  # the same ones are kept for testing every time',
            "bits": str(settings.key_bits),
            "checkpoint_seconds": "2.0\n"
            f'backend = "{settings.backend}"\n'
            "wait = 60.0\n"
            "grace = 60.0  # seconds for which the others wait for a party that is away",
        },
    )


def _edited(text: str, settings: Mapping[str, str]) -> str:
    """A job file with other values; what stands behind a value stays."""
    for key, value in settings.items():
        text, found = re.subn(rf"^{key} = [^\s#]+", f"{key} = {value}", text, flags=re.MULTILINE)
        if found != 1:
            raise ValueError(f"the template has {key} {found} times")
    return text
