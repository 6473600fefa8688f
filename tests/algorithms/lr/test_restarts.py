"""A training of three parties that breaks off and goes on from its checkpoints, whoever broke off.

Masks, seeds among the passive parties and best weights must be the same afterwards: only then are the weights
those of the clear training. Killed processes are in demo/test_running.py.
"""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hecore
from hecore.algorithms.channel import AllowList, CurveKeys, FolderStore, Node, ZmqChannel, ZmqOptions, dial
from hecore.algorithms.checkpoint import Checkpoints
from hecore.algorithms.free_port import free_port

from ..drawn import Drawn
from .conftest import ESTIMATORS, clear_fit, problem, small_config, split_table

NAMES = ("active", "passive 1", "passive 2")
OPTIONS = ZmqOptions(heartbeat=0.2, heartbeat_timeout=2.0, retry=0.05, linger=0.3, grace=60.0)


class Broken(Exception):
    """What a party ends with."""


class Job:
    """Three parties with folders on one machine."""

    def __init__(self, folder: Path, keys: list[hecore.PrivateKey]) -> None:
        self.folder, self.keys = folder, keys
        self.curve = {name: CurveKeys.generate() for name in NAMES}
        self.allowed = {name: pair.public for name, pair in self.curve.items()}
        self.endpoint = f"tcp://127.0.0.1:{free_port()}"

    def party(self, place: int, config: Any, data: list[list[Any]], breaks: dict[int, int]) -> Any:
        """One process of a party: the estimator when it is done, or what it ended with."""
        name = NAMES[place]
        store = FolderStore(self.folder / name, name, "job")
        common = {"job": "job", "store": store, "options": OPTIONS}
        if place == 0:
            node = Node(name, self.curve[name], AllowList(self.allowed), listen=self.endpoint, **common)
            channels = [ZmqChannel(node, peer) for peer in NAMES[1:]]
        else:
            end = dial(name, NAMES[0], self.endpoint, self.curve[name], self.allowed, **common)
            node, channels = end.node, [end]
        kind = ESTIMATORS[config.objective]
        model = kind(
            channels, config, key=self.keys[place], checkpoints=Checkpoints(store, channels, every=2)
        )
        done = 0

        def note(_: object) -> None:
            nonlocal done
            done += 1
            if done == breaks.get(place):
                raise Broken

        try:
            model.fit(*data[place], on_progress=note)
            for channel in channels:
                channel.close()
            return model
        except Exception as error:
            return error
        finally:
            node.close()
            store.close()

    def live(self, config: Any, data: list[list[Any]], breaks: dict[int, int]) -> list[Any]:
        """All three at once."""
        with ThreadPoolExecutor(3) as pool:
            return list(pool.map(lambda place: self.party(place, config, data, breaks), range(3)))


@pytest.mark.parametrize(
    ("objective", "options"),
    [
        pytest.param("reg:squarederror", {}, marks=pytest.mark.slow),
        ("binary:logistic", {"sigmoid": "cubic"}),
    ],
)
def test_a_training_goes_on_to_the_weights_of_the_clear_one(tmp_path, objective, options):
    keys = [hecore.generate_key(1024, insecure_test_key=True) for _ in NAMES]
    table = problem(80, 6, objective)
    train, test = (split_table(table.take(rows), (2, 2, 2)) for rows in (np.arange(60), np.arange(60, 80)))
    data = [list(pair) for pair in zip(train, test, strict=True)]
    config = small_config(objective=objective, epochs=3, batch_size=20, early_stopping_rounds=5, **options)
    job = Job(tmp_path, keys)
    for breaks in ({2: 3}, {0: 2}, {1: 4}):
        ended = job.live(config, data, breaks)
        assert [isinstance(one, Exception) for one in ended] == [True] * 3, ended
        assert isinstance(ended[next(iter(breaks))], Broken)
    models = job.live(config, data, {})
    best = int(np.argmax(np.array(models[0].evals_result_["evaluation"]) * (1 if options else -1)))
    clear = clear_fit(
        *train, config=small_config(objective=objective, epochs=best + 1, batch_size=20, **options)
    )
    for model, block in zip(models, clear.blocks, strict=True):
        np.testing.assert_allclose(model.coef_.reshape(block.shape), block, atol=3e-5)
    assert len(models[0].loss_) == 3
    again = job.live(config, data, {})  # a finished job: nothing is trained
    assert [model.digest() for model in again] == [model.digest() for model in models]


@pytest.mark.parametrize("mode", ["shared", "exact"])
def test_no_mask_is_used_again_where_all_stores_are_restored(tmp_path, monkeypatch, mode):
    """All are set back to before the training, and one party has other columns: the others' masks change too.

    X·b + r and X·b′ + r would tell X·(b − b′).
    """
    drawn = Drawn(monkeypatch)
    keys = [hecore.generate_key(1024, insecure_test_key=True) for _ in NAMES]
    parts = split_table(problem(60, 6, "reg:squarederror"), (2, 2, 2))
    config = small_config(objective="reg:squarederror", mode=mode, epochs=1, batch_size=30)

    def trained(name, third):
        job = Job(tmp_path / name, keys)
        for party in NAMES if name != "first" else ():
            (job.folder / party).mkdir(parents=True, mode=0o700)
            shutil.copy2(tmp_path / "first" / party / "secret", job.folder / party / "secret")
        models = job.live(config, [[parts[0]], [parts[1]], [third]], {})
        return [model.digest() for model in models]

    digests = trained("first", parts[2])
    nonces, masks = drawn.taken()
    assert len(masks) >= 2 * len(NAMES)
    assert trained("same", parts[2]) == digests
    assert drawn.taken() == (nonces, masks)
    trained("other", replace(parts[2], values=2 * parts[2].values + 1))
    new_nonces, new_masks = drawn.taken()
    assert len(nonces & new_nonces) == 3  # of the hellos, only the one of the third party is another
    assert len(new_masks) == len(masks)
    assert not masks & new_masks
