"""Runs that follow each other: what a process finds that starts again anywhere, and what is kept for it."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from hecore.algorithms.checkpoint import Checkpoints
from hecore.algorithms.errors import CheckpointError, HandshakeError, StoreError, UnexpectedMessage
from hecore.algorithms.party import Hello

from .office import Note, Office, again, offices

__all__ = ["offices"]


@pytest.fixture(autouse=True)
def a_segment_for_every_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what may be forgotten is gone at once."""
    monkeypatch.setattr("hecore.algorithms.channel.segments.SEGMENT_RECORDS", 1)


def exchange(office: Office, number: int) -> None:
    """A message each way, which the office takes; its peer's process is a mere source of messages."""
    office.peer.send(Note(number=number))
    office.channel.send(Note(number=number))
    assert office.channel.receive(Note, 60).number == number


def work(office: Office, first: int, steps: int, finish: bool = True) -> None:
    """The next run, from its start: a checkpoint before each step, and its result."""
    run = office.begin()
    assert run.latest() is None
    for step in range(steps):
        run.save(step, {"at": first + step}, {})
        exchange(office, first + step)
    if finish:
        run.finish({"end": first + steps}, {"x": np.arange(steps)})


def inbox(tmp_path: Path) -> int:
    """Segments that the office keeps of its peer."""
    return len(list((tmp_path / "a").glob("*/in/*.log")))


def manifests(tmp_path: Path, run: int) -> list[Path]:
    return sorted((tmp_path / "a" / "checkpoints").glob(f"*/{run}/*.json"))


def spoil(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def test_runs_that_are_over_give_their_results_and_the_last_one_goes_on(
    offices: list[Office], tmp_path: Path
) -> None:
    office = again(offices, tmp_path)
    work(office, 0, 5)
    work(office, 5, 0)  # without steps
    work(office, 5, 6, finish=False)
    assert inbox(tmp_path) < 6  # the first runs' messages are gone
    office = again(offices, tmp_path)
    for end, length in ((5, 5), (5, 0)):
        run = office.begin()
        found = run.latest()
        assert found is not None
        assert found.over
        assert run.over
        assert found.state == b'{"end":%d}' % end
        assert found.arrays["x"].tolist() == list(range(length))
    run = office.begin()
    found = run.latest()
    assert found is not None
    assert not found.over
    assert found.state == b'{"at":10}'
    assert office.channel.receive(Note, 60).number == 10


def test_logs_are_forgotten_however_short_the_runs(offices: list[Office], tmp_path: Path) -> None:
    office = again(offices, tmp_path)
    for number in range(12):
        run = office.begin()
        assert run.latest() is None
        exchange(office, number)
        run.finish()
    assert inbox(tmp_path) <= 4


def test_a_damaged_first_checkpoint_of_a_run_is_made_again(offices: list[Office], tmp_path: Path) -> None:
    """The run starts anew behind the one before it."""
    office = again(offices, tmp_path)
    work(office, 0, 4)
    work(office, 4, 1, finish=False)
    [first] = manifests(tmp_path, 1)
    spoil(first)
    office = again(offices, tmp_path)
    found = office.begin().latest()
    assert found is not None
    assert found.over
    assert office.begin().latest() is None
    assert not manifests(tmp_path, 1)
    office.channel.send(Note(number=4))  # stands in the outbox
    assert office.channel.receive(Note, 60).number == 4


def test_a_damaged_result_is_made_again_while_the_logs_reach_back(
    offices: list[Office], tmp_path: Path
) -> None:
    office = again(offices, tmp_path)
    work(office, 0, 4)
    work(office, 4, 1, finish=False)
    spoil(manifests(tmp_path, 0)[-1])
    office = again(offices, tmp_path)
    run = office.begin()
    found = run.latest()
    assert found is not None
    assert not found.over
    assert found.step == 3
    office.channel.send(Note(number=3))
    assert office.channel.receive(Note, 60).number == 3
    run.finish()
    found = office.begin().latest()  # the second run's own is as it was
    assert found is not None
    assert found.state == b'{"at":4}'


def test_a_damaged_result_behind_which_the_logs_have_moved_on_is_an_error(
    offices: list[Office], tmp_path: Path
) -> None:
    office = again(offices, tmp_path)
    work(office, 0, 4)
    work(office, 4, 5, finish=False)
    result = manifests(tmp_path, 0)[-1]
    spoil(result)
    office = again(offices, tmp_path)
    with pytest.raises(CheckpointError, match=rf"messages with b that would replace .*{result.name}"):
        office.begin().latest()
    assert result.exists()  # as it was found


def test_a_place_that_is_saved_again_and_again_is_one_checkpoint(
    offices: list[Office], tmp_path: Path
) -> None:
    """Processes that die soon after their start do not use up what older checkpoints need."""
    office = again(offices, tmp_path)
    work(office, 0, 5, finish=False)
    for _ in range(4):
        office = again(offices, tmp_path)
        run = office.begin()
        found = run.latest()
        assert found is not None
        assert found.step == 4
        run.save(4, {"at": 4}, {})
    for path in manifests(tmp_path, 0)[1:]:
        spoil(path)
    office = again(offices, tmp_path)
    found = office.begin().latest()
    assert found is not None
    assert found.step == 2
    assert office.channel.receive(Note, 60).number == 2


def test_another_order_of_runs_is_noticed(offices: list[Office], tmp_path: Path) -> None:
    office = again(offices, tmp_path)
    work(office, 0, 4)
    work(office, 4, 5, finish=False)
    office = again(offices, tmp_path)
    folder = manifests(tmp_path, 0)[0].parent
    for path in folder.iterdir():
        path.unlink()
    with pytest.raises(
        CheckpointError, match=r"run task 0 has no checkpoint, and messages with b .* are gone"
    ):
        office.begin().latest()
    with pytest.raises(StoreError, match="message 0 from b is not in the inbox any more"):
        office.channel.receive(Note, 60)


@pytest.mark.parametrize("where", ["before", "unfinished"])
def test_what_no_checkpoint_covers_is_kept(
    offices: list[Office], tmp_path: Path, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    office = again(offices, tmp_path)
    if where == "before":
        exchange(office, 0)
    else:
        run = office.begin()
        assert run.latest() is None
        exchange(office, 0)
    with caplog.at_level(logging.WARNING):
        work(office, 1, 6)
    assert "will be done again after a restart" in caplog.text
    assert inbox(tmp_path) >= 7
    office = again(offices, tmp_path)
    if where == "unfinished":
        assert office.begin().latest() is None
    office.channel.send(Note(number=0))
    assert office.channel.receive(Note, 60).number == 0
    found = office.begin().latest()
    assert found is not None
    assert found.over


def test_a_message_that_was_not_asked_for_is_not_lost(offices: list[Office], tmp_path: Path) -> None:
    """It waits still when the checkpoint is made."""
    office = again(offices, tmp_path)
    run = office.begin()
    exchange(office, 0)
    office.peer.send(Note(number=1))
    with pytest.raises(UnexpectedMessage):
        office.channel.receive(Hello, 60)
    office.channel.send(Note(number=1))
    run.save(1, None, {})
    office = again(offices, tmp_path)
    assert office.begin().latest() is not None
    assert office.channel.receive(Note, 60).number == 1
    assert [mark.taken for mark in office.channel.watermarks()] == [2]


def test_terms_of_different_runs_are_not_compared(offices: list[Office], tmp_path: Path) -> None:
    """A party that is ahead has those of its next run; of the same run they must be equal."""
    office = again(offices, tmp_path)
    theirs = Checkpoints(office.peer_store, office.peer)
    for checkpoints, value in ((office.checkpoints, "one"), (theirs, "one")):
        checkpoints.begin("task", {}).finish()
        checkpoints.agree({"row ids": value})
    exchange(office, 0)
    theirs.begin("task", {})
    theirs.agree({"row ids": "two"})
    for number in range(1, 4):
        exchange(office, number)
    office.checkpoints.begin("task", {})
    office.checkpoints.agree({"row ids": "three"})
    with pytest.raises(HandshakeError, match="same row ids of task 1"):
        office.channel.receive(Note, 60)
