"""Records of runs that have something of everything, and a browser to open their pages with."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hecore import Meter
from hecore.algorithms.channel import Metrics, loopback_pair
from hecore.algorithms.job.folder import RunFolder
from hecore.algorithms.job.messages import JobHello
from hecore.algorithms.job.records import ranked
from hecore.algorithms.job.timeline import TimelineRecord
from hecore.meter import Timeline

from .browser import Browser

Record = Callable[..., Path]


class Linked:
    """The active end of a channel that has talked, with the figures of a connection."""

    def __init__(self, me: str, peer: str) -> None:
        here, there = loopback_pair(me, peer)
        here.send(JobHello(role="active", terms="{}"))
        there.send(JobHello(role="active", terms="{}"))
        here.receive(JobHello)
        self.peer, self.traffic = peer, here.traffic
        self.metrics = Metrics(sent_bytes=3_000_000, resent_bytes=1200, round_trip=0.0125, connections=2)


@pytest.fixture
def record(tmp_path: Path) -> Record:
    """Make the folder of a run; keywords are fields of the record that differ from the usual ones."""

    def make(
        name: str = "run",
        party: str = "bank",
        role: str = "active",
        peers: tuple[str, ...] = ("shop",),
        job: str = "Credit default",
        status: str = "finished",
        error: str = "",
        **fields: Any,
    ) -> Path:
        path = tmp_path / name
        with RunFolder.create(path, job=job, party=party, role=role, peers=peers) as run:
            run.measure(_worked(), [Linked(party, peer) for peer in peers])
            run.update(**({**_usual(), **fields} if role == "active" else fields))
            for peer in peers:
                shown = TimelineRecord(width=1.0, phases={"wait": (0.5, 0.25), "compute": (0.5,)})
                run.peer_timeline(peer, shown)
            if role == "active":
                _rounds(run)
            if status != "running":
                run.finish(status, error)
        return path

    return make


def _usual() -> dict[str, Any]:
    return {
        "algorithm": "gbdt",
        "protocols": ["psi", "gbdt"],
        "backend": "simd",
        "key_bits": 2048,
        "rows": {"own": 2700, "common": 2430, "train": 1700, "validation": 230, "test": 500},
        "columns": 3,
        "results": {"AUC": {"train": 0.987654, "test": 0.912345}, "log loss": {"test": 0.34567}},
        "importances": ranked(["income", "age", "limit"], [6, 2, 0], [2.5, 1.25, 0.0]),
        "configuration": {"data": {"file": "data.csv"}, "algorithm": {"max_depth": 5, "alpha": None}},
    }


def _worked() -> Meter:
    slots = {"encrypt": [0.25, 0.5], "wait": [0.5], "histogram": [0.0, 0.25]}
    meter = Meter(timeline=Timeline(0.0, 1.0, slots))
    meter.seconds.update({"encrypt": 0.75, "wait": 0.5, "histogram": 0.25})  # type: ignore[arg-type]
    meter.by_phase["encrypt"] = {"encrypt": 1234, "bytes_written": 5_600_000}  # type: ignore[assignment]
    return meter


def _rounds(run: RunFolder) -> None:
    for number in range(1, 13):
        run.round(number, seconds=number, metric="logloss", train=0.6 / number, validation=0.3 + 0.1 / number)
        run.round(number, seconds=number, metric="auc", train=1 - 0.2 / number, validation=0.9 - 0.1 / number)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Headless Chromium that reaches no network."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("Chromium is not installed")
    with Browser(program, tmp_path_factory.mktemp("chromium")) as running:
        yield running
