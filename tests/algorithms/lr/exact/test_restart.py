"""Rows 1 and 4 of the fault table in mode `exact`: parties end at any message and go on to the same shares.

A party ends by an exception that nothing catches: what it has sent is in its outbox, nothing else is left.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hecore
from hecore.algorithms.checkpoint import Checkpoints
from hecore.algorithms.data import Table
from hecore.algorithms.lr import LinearConfig, VerticalLogisticRegression
from hecore.algorithms.lr.exact import VerticalTopModel

from ...fragile import NAMES, Fragile, Killed, Network
from .conftest import exact_config, label_of


class Job:
    """A training and a scoring of three parties in a folder."""

    def __init__(
        self, folder: Path, parts: Sequence[Table], keys: Sequence[hecore.PrivateKey], config: LinearConfig
    ) -> None:
        self.folder, self.parts, self.keys, self.config = folder, parts, keys, config
        self.network = Network(folder, len(parts))
        self.done = threading.Barrier(len(parts))

    def model(self, channels: Sequence[Fragile], place: int, checkpoints: Checkpoints) -> Any:
        return VerticalLogisticRegression(
            channels, self.config, key=self.keys[place], checkpoints=checkpoints
        )

    def live(self, place: int, ends: list[int]) -> tuple[str, Any, int]:
        """A party in as many processes as it takes: its share, its scores, and how many there were."""
        lives = 0
        while True:
            lives += 1
            node, store, channels = self.network.begin(place)
            life = [ends.pop(0) if ends else -1]
            fragile = [Fragile(channel, life) for channel in channels]
            model = self.model(fragile, place, Checkpoints(store, channels, every=2))
            train, evaluation = (self.parts[place].take(np.arange(*rows)) for rows in ((60,), (60, 80)))
            try:
                model.fit(train, evaluation)
                scores = model.predict(evaluation)
                self.done.wait(200)
                return model.digest(), None if scores is None else scores.tobytes(), lives
            except Killed:
                pass
            finally:
                node.close(leave=False)

    def run(self, ends: Sequence[Sequence[int]] = ((), (), ())) -> list[tuple[str, Any, int]]:
        with ThreadPoolExecutor(3) as pool:
            parties = [pool.submit(self.live, place, list(ends[place])) for place in range(3)]
            return [party.result(timeout=250) for party in parties]


def tables() -> list[Table]:
    rng = np.random.default_rng(6)
    values = [rng.normal(size=(80, count)) for count in (2, 3, 2)]
    label = label_of("binary:logistic", np.hstack(values))
    ids = tuple(f"row {i}" for i in range(80))
    return [
        Table(
            name, ids, tuple(f"{name} {i}" for i in range(part.shape[1])), part, label if place == 0 else None
        )
        for place, (name, part) in enumerate(zip(NAMES, values, strict=True))
    ]


def disturbed(job: Job, folder: Path, ends: Sequence[Sequence[int]]) -> list[tuple[str, Any, int]]:
    """The same job from its start, with the same secrets, and parties that end."""
    other = type(job)(folder, job.parts, job.keys, job.config)
    other.network.with_secrets_of(job.folder)
    return other.run(ends)


@pytest.mark.parametrize("optimizer", ["sgd", pytest.param("adam", marks=pytest.mark.slow)])
def test_parties_that_end_at_any_message_go_on_to_the_same_shares(exact_keys, tmp_path, optimizer):
    config = exact_config(optimizer=optimizer, batch_size=30, early_stopping_rounds=5)
    job = Job(tmp_path / "whole", tables(), exact_keys, config)
    whole = job.run()
    # In a step forward, between the two epochs, while the seeds are exchanged; both kinds of parties.
    results = disturbed(job, tmp_path / "disturbed", [[30], [18, 5], [4]])
    assert [result[:2] for result in results] == [result[:2] for result in whole]
    assert [result[2] for result in results] == [2, 3, 2]


class TopJob(Job):
    def model(self, channels, place, checkpoints):
        torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra torch)")
        torch.manual_seed(0)
        layers = torch.nn.BatchNorm1d(4), torch.nn.Dropout(0.2), torch.nn.Linear(4, 1)
        extra = {"module": torch.nn.Sequential(*layers), "hidden": 4} if place == 0 else {}
        return VerticalTopModel(channels, self.config, key=self.keys[place], checkpoints=checkpoints, **extra)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_network_goes_on_where_it_was(exact_keys, tmp_path, optimizer):
    pytest.importorskip("torch", reason="PyTorch is not installed (extra torch)")
    job = TopJob(tmp_path / "whole", tables(), exact_keys, exact_config(optimizer=optimizer, batch_size=30))
    whole = job.run()
    results = disturbed(job, tmp_path / "disturbed", [[30], [18, 5], [4]])
    assert [result[:2] for result in results] == [result[:2] for result in whole]
    assert [result[2] for result in results] == [2, 3, 2]
