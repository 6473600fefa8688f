"""Firms with a folder each: a CSV file, keys, whom they trust, a job file."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hecore.algorithms.channel import AllowList, CurveKeys
from hecore.algorithms.free_port import free_port
from hecore.algorithms.job.config import load_job
from hecore.algorithms.job.progress import JobProgress
from hecore.algorithms.job.runner import Outcome, run_job

#: Short of everything: what is tested is the job, not the model.
TREES = '[algorithm]\nname = "gbdt"\nn_estimators = 3\nmax_depth = 2\nmax_bin = 8\n'
QUICK = "[run]\nwait = 100.0\ngrace = 100.0\ncheckpoint_seconds = 0.01\n"
SPLIT = '[split]\nvalidation = 0.2\ntest = 0.2\nkey = "a key of these tests"\n'


@dataclass
class Firm:
    """One party's folder."""

    folder: Path
    name: str

    @property
    def file(self) -> Path:
        """Its job file."""
        return self.folder / "job.toml"

    @property
    def run(self) -> Path:
        """Where its run lies."""
        return self.folder / "runs" / "credit"

    def edit(self, old: str, new: str) -> None:
        """Change its job file."""
        text = self.file.read_text()
        assert old in text
        self.file.write_text(text.replace(old, new, 1))


def make_firms(
    folder: Path, passive: Sequence[str] = ("shop",), rows: int = 300, settings: str = TREES + SPLIT + QUICK
) -> list[Firm]:
    """The bank, which has the label, and others; each has nine tenths of the people, in its own order."""
    rng = np.random.default_rng(7)
    firms = [Firm(folder / name, name) for name in ("bank", *passive)]
    values = rng.normal(size=(rows, 3 * len(firms))).round(3)
    label = (values[:, ::3].sum(axis=1) > 0).astype(int)
    keys = [CurveKeys.generate() for _ in firms]
    port = free_port()
    for place, firm in enumerate(firms):
        firm.folder.mkdir(parents=True)
        people = rng.permutation(rows)[: 9 * rows // 10]
        own = values[:, 3 * place : 3 * place + 3]
        write_people(firm.folder / "people.csv", people, own, label if place == 0 else None)
        keys[place].save(firm.folder / "keys")
        known = range(1, len(firms)) if place == 0 else [0]
        AllowList({firms[i].name: keys[i].public for i in known}).save(firm.folder / "allowed.toml")
        firm.file.write_text(_job_text(firms, place, port, settings))
    return firms


def write_people(
    path: Path, people: NDArray[np.int64], values: NDArray[np.float64], label: NDArray[np.int64] | None
) -> None:
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "a", "b", "c", *([] if label is None else ["y"])])
        for i in people:
            writer.writerow([f"p{i:03d}", *values[i], *([] if label is None else [label[i]])])


def _job_text(firms: Sequence[Firm], place: int, port: int, settings: str) -> str:
    listen = f'listen = "tcp://127.0.0.1:{port}"\n' if place == 0 else ""
    peers = [f"[peers.{firm.name}]\n" for firm in firms[1:]]
    if place:
        peers = [f'[peers.bank]\ndial = "tcp://127.0.0.1:{port}"\n']
    role = "passive" if place else "active"
    return (
        f'job = "credit"\n[party]\nname = "{firms[place].name}"\nrole = "{role}"\nkeys = "keys"\n{listen}'
        + "".join(peers)
        + '[data]\nfile = "people.csv"\n'
        + ("" if place else 'label = "y"\n')
        + settings
    )


def run_all(
    firms: Sequence[Firm], on_progress: Callable[[Firm, JobProgress], None] = lambda firm, progress: None
) -> list[Outcome | Exception]:
    """Each party in a thread of its own: its outcome, or what it raised."""

    def one(firm: Firm) -> Outcome | Exception:
        try:
            return run_job(load_job(firm.file), lambda progress: on_progress(firm, progress))
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(firms)) as pool:
        return list(pool.map(one, firms))
