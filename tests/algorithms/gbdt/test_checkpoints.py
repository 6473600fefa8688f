"""Row 1 and 4 of the fault table, for trees: parties end at any message and go on to the same shares.

A party ends here by an exception that nothing catches, at a message of the test's choice: what it has sent is
in its outbox, and nothing else is left of it. Real processes are killed in demo/test_running.py.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import hecore
from hecore.algorithms.checkpoint import Checkpoints
from hecore.algorithms.data import Table
from hecore.algorithms.errors import CheckpointError, ReplayError
from hecore.algorithms.gbdt import GBDTConfig, VerticalGBDTClassifier
from hecore.algorithms.gbdt import messages as msg

from ..drawn import Drawn
from ..fragile import Fragile, Killed, Network
from .conftest import fit_jointly, run_all, tables

ROWS = 120
CONFIG = GBDTConfig(n_estimators=4, max_depth=2, max_bin=8, subsample=0.8, colsample_bytree=0.7)


class Party:
    """A party with a folder, whose process may end and begin again."""

    def __init__(self, job: Job, place: int, ends: Sequence[int] = ()) -> None:
        self.job, self.place = job, place
        self.ends = list(ends)
        self.lives: list[list[Fragile]] = []

    def kill(self) -> None:
        """End the process without a word to anybody."""
        self._node.close(leave=False)

    def model(self) -> VerticalGBDTClassifier:
        """The estimator of a new process."""
        self._node, store, channels = self.job.network.begin(self.place)
        life = [self.ends.pop(0) if self.ends else -1]
        self.lives.append([Fragile(channel, life) for channel in channels])
        return VerticalGBDTClassifier(
            self.lives[-1],
            self.job.config,
            key=self.job.keys[self.place],
            checkpoints=Checkpoints(store, channels, every=self.job.every),
        )

    def live(self) -> Any:
        """What the job returns, in as many processes as it takes."""
        while True:
            try:
                result = self.job.work(self.model(), self.place)
                self.job.done.wait(200)  # the others may need what was sent
                return result
            except Killed:
                pass
            finally:
                self.kill()


class Job:
    """A training and a prediction of two or three parties in a folder."""

    def __init__(
        self,
        folder: Path,
        parts: Sequence[Table],
        keys: Sequence[hecore.PrivateKey],
        evaluation: Sequence[Table] | None = None,
        config: GBDTConfig = CONFIG,
        every: int = 2,
    ) -> None:
        self.folder, self.parts, self.keys, self.evaluation = folder, parts, keys, evaluation
        self.config, self.every = config, every
        self.network = Network(folder, len(parts))
        self.done = threading.Barrier(len(parts))

    def work(self, model: VerticalGBDTClassifier, place: int) -> Any:
        """What every party calls: its share, and the margins of the training rows."""
        extra = None if self.evaluation is None else self.evaluation[place]
        rounds: list[int] = []
        model.fit(self.parts[place], extra, on_progress=lambda progress: rounds.append(progress.round))
        margins = model.margins(self.parts[place])
        model.fit(self.parts[place], extra, warm_start=True)
        return model.digest(), None if margins is None else margins.tobytes(), rounds

    def run(self, ends: Sequence[Sequence[int]] = ((), (), ())) -> tuple[list[Any], list[Party]]:
        """What each party returns; `ends`: the messages at which each party's processes end."""
        parties = [Party(self, place, ends[place]) for place in range(len(self.parts))]
        return run_all([party.live for party in parties], timeout=250), parties


def beside(job: Job, folder: Path) -> Job:
    """The same job from its start, with the same secrets."""
    other = Job(folder, job.parts, job.keys, job.evaluation, job.config, job.every)
    other.network.with_secrets_of(job.folder)
    return other


@pytest.fixture(scope="module")
def undisturbed(
    small_keys: list[hecore.PrivateKey], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Job, list[Any], list[Party]]:
    every = tables(ROWS + 40, [2, 3, 2], seed=51)
    parts = [part.take(np.arange(ROWS)) for part in every]
    evaluation = [part.take(np.arange(ROWS, ROWS + 40)) for part in every]
    job = Job(tmp_path_factory.mktemp("undisturbed"), parts, small_keys, evaluation)
    return job, *job.run()


@pytest.mark.parametrize(
    ("seed", "kills"), [(3, 4), *(pytest.param(seed, 10, marks=pytest.mark.slow) for seed in range(20))]
)
def test_parties_that_end_at_any_message_go_on_to_the_same_shares(
    undisturbed: tuple[Job, list[Any], list[Party]], tmp_path: Path, seed: int, kills: int
) -> None:
    """Three parties, an evaluation table, a prediction, a warm start; in all of them somebody ends."""
    job, whole, parties = undisturbed
    messages = [sum(len(channel.sent) for channel in party.lives[0]) for party in parties]
    rng = np.random.default_rng(seed)
    ends = [rng.integers(2, count, kills).tolist() for count in messages]
    results, disturbed = beside(job, tmp_path).run(ends)
    for (digest, margins, rounds), (wanted, same, all_rounds) in zip(results, whole, strict=True):
        assert digest == wanted
        assert margins == same
        assert rounds == all_rounds[len(all_rounds) - len(rounds) :]  # it goes on from the right round
    assert sum(len(party.lives) for party in disturbed) > 3 + kills


def test_a_finished_job_asks_nobody(undisturbed: tuple[Job, list[Any], list[Party]], tmp_path: Path) -> None:
    """Row 23: started again, each party has its share and its margins, and sends nothing."""
    job, whole, _ = undisturbed
    folder = tmp_path / "copy"
    shutil.copytree(job.folder, folder)
    again = Job(folder, job.parts, job.keys, job.evaluation, job.config, job.every)
    for place in range(3):
        party = Party(again, place)
        model = party.model()
        assert again.work(model, place)[:2] == whole[place][:2]
        assert not any(channel.sent for channel in party.lives[0])
        party.kill()


def test_the_trees_are_those_of_a_run_without_checkpoints(
    undisturbed: tuple[Job, list[Any], list[Party]], small_keys: list[hecore.PrivateKey]
) -> None:
    job, whole, _ = undisturbed
    joint = fit_jointly(job.parts, CONFIG, small_keys, evaluation=job.evaluation, score=job.parts)
    assert joint.margins.tobytes() == whole[0][1]


def test_at_most_one_interval_is_computed_again(
    undisturbed: tuple[Job, list[Any], list[Party]], tmp_path: Path
) -> None:
    """Killed in the last tree of four, with a checkpoint every two: two trees begin again at most."""
    job, _, parties = undisturbed
    sent = [type(message) for message in parties[1].lives[0][0].sent]
    assert sent.count(msg.Sums) >= 8
    last = 2 * [place for place, kind in enumerate(sent) if kind is msg.Sums][3]
    results, disturbed = beside(job, tmp_path).run([[], [last], []])
    assert results[0][2] == [1, 2, 3, 4]  # the active party was not disturbed
    begun = [message for message in disturbed[0].lives[0][0].sent if isinstance(message, msg.Round)]
    assert len([start for start in begun if start.kept is None]) == 8  # with the warm start: none twice


@pytest.mark.parametrize("change", ["values", "label", "config", "evaluation", "key"])
def test_other_data_or_parameters_are_refused(
    undisturbed: tuple[Job, list[Any], list[Party]],
    tmp_path: Path,
    small_keys: list[hecore.PrivateKey],
    change: str,
) -> None:
    job, _, _ = undisturbed
    folder = tmp_path / "copy"
    shutil.copytree(job.folder, folder)
    parts, config, evaluation, keys = list(job.parts), job.config, list(job.evaluation or ()), job.keys
    if change == "values":
        parts[0] = replace(parts[0], values=parts[0].values + 1)
    elif change == "label":
        parts[0] = replace(parts[0], label=1.0 - parts[0].label)
    elif change == "config":
        config = msgspec.structs.replace(config, learning_rate=0.2)
    elif change == "evaluation":
        evaluation[0] = evaluation[0].take(np.arange(39))
    else:
        keys = [small_keys[1], *small_keys[1:]]
    party = Party(Job(folder, parts, keys, evaluation, config, job.every), 0)
    with pytest.raises(CheckpointError, match=r"is of \w+|is of row ids"):
        party.job.work(party.model(), 0)
    party.kill()


def test_other_data_before_the_first_checkpoint_are_seen(
    small_keys: list[hecore.PrivateKey], tmp_path: Path
) -> None:
    """Ended between its hello and the first checkpoint, begun again with other values."""
    parts = tables(ROWS, [2, 2], seed=52)
    job = Job(tmp_path, parts, small_keys)
    party = Party(job, 0, ends=[2])
    with pytest.raises(Killed):
        job.work(party.model(), 0)
    party.kill()
    job.parts = [replace(parts[0], values=parts[0].values * 2), parts[1]]
    with pytest.raises(ReplayError, match="differs from what was sent before the restart"):
        job.work(party.model(), 0)
    party.kill()


def test_no_secret_order_is_used_again_where_all_stores_are_restored(
    small_keys: list[hecore.PrivateKey], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All are set back to before the training, one party has other columns: the others' orders change too.

    Two sums of one secret order over other gradients would be two equations of the same candidates.
    """
    drawn = Drawn(monkeypatch)
    config = msgspec.structs.replace(CONFIG, n_estimators=2)
    job = Job(tmp_path / "first", tables(60, [2, 2, 2], seed=53), small_keys, config=config)
    job.work = lambda model, place: model.fit(job.parts[place]).digest()  # type: ignore[method-assign]
    digests, _ = job.run()
    nonces, orders = drawn.taken()
    assert len(orders) == 1 + 2 * 2  # the model's name, two trees at two parties

    def anew(folder: Path, parts: Sequence[Table]) -> list[str]:
        restored = beside(job, folder)
        restored.parts = parts
        restored.work = lambda model, place: model.fit(parts[place]).digest()  # type: ignore[method-assign]
        return list(restored.run()[0])

    assert anew(tmp_path / "same", job.parts) == digests
    assert drawn.taken() == (nonces, orders)
    other = replace(job.parts[2], values=job.parts[2].values + 1)
    anew(tmp_path / "other", [*job.parts[:2], other])
    new_nonces, new_orders = drawn.taken()
    assert len(nonces & new_nonces) == 3  # of the hellos, only the one of the third party is another
    assert len(new_orders) == len(orders)
    assert not orders & new_orders


def test_each_tree_has_a_secret_order_of_its_own_and_the_same_after_a_restart() -> None:
    from hecore.algorithms.draws import RepeatableDraws
    from hecore.algorithms.gbdt.encrypted import secret_order

    def orders(context: str) -> list[bytes]:
        draws = RepeatableDraws(bytes(32), context)
        return [secret_order(100, draws(f"order of tree {tree}")).tobytes() for tree in range(5)]

    first = orders("a run")
    assert orders("a run") == first
    assert len({*first, *orders("another run")}) == 10
