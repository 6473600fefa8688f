"""Checkpoints: whole or passed over, and only of the run that is to go on. Rows 3, 13 and 21."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hecore.algorithms.channel import FolderStore
from hecore.algorithms.channel.base import Traffic
from hecore.algorithms.checkpoint import Checkpoints, Run
from hecore.algorithms.draws import RepeatableDraws, fresh
from hecore.algorithms.errors import CheckpointError, HandshakeError, ProtocolError

from .office import BINDING, Note, Office, again, offices

__all__ = ["offices"]


def first_run(tmp_path: Path) -> Path:
    """Where the first run with the only peer keeps its checkpoints."""
    [folder] = (tmp_path / "a" / "checkpoints").glob("*/0")
    return folder


def saved(run: Run, *steps: int) -> None:
    for step in steps:
        run.save(step, {"at": step}, {"x": np.arange(step), "y": np.full((2, 2), step, np.uint64)})


def test_the_newest_is_found_with_all_that_was_in_it(offices: list[Office], tmp_path: Path) -> None:
    office = again(offices, tmp_path)
    run = office.begin()
    assert run.latest() is None
    saved(run, 0, 8, 16, 24)
    found = again(offices, tmp_path).begin().latest()
    assert found is not None
    assert (found.step, json.loads(found.state)) == (24, {"at": 24})
    assert np.array_equal(found.arrays["x"], np.arange(24))
    assert found.arrays["y"].dtype == np.uint64
    folder = first_run(tmp_path)
    assert sorted(path.name for path in folder.glob("*.json")) == [f"{n:012d}.json" for n in (8, 16, 24)]
    assert not [path for path in folder.iterdir() if path.stat().st_mode & 0o077]


def test_messages_go_on_from_the_checkpoint(offices: list[Office], tmp_path: Path) -> None:
    office = again(offices, tmp_path)
    run = office.begin()
    for number in range(4):
        office.peer.send(Note(number=number))
        office.channel.send(Note(number=number))
    assert [office.channel.receive(Note, 60).number for _ in range(2)] == [0, 1]
    saved(run, 1)
    assert office.channel.receive(Note, 60).number == 2  # after the checkpoint: it is given again
    office = again(offices, tmp_path)
    office.begin().latest()
    assert [office.channel.receive(Note, 60).number for _ in range(2)] == [2, 3]


@pytest.mark.parametrize("damage", ["seal", "json", "arrays", "missing", "empty"])
def test_a_damaged_one_is_passed_over(
    offices: list[Office], tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    saved(again(offices, tmp_path).begin(), 1, 2)
    folder = first_run(tmp_path)
    spoil(folder / f"{2:012d}.json", damage)
    found = again(offices, tmp_path).begin().latest()
    assert found is not None
    assert found.step == 1
    assert "passed over a damaged checkpoint" in caplog.text
    assert [path.name for path in folder.glob("*.damaged")] == [f"{2:012d}.json.damaged"]
    spoil(folder / f"{1:012d}.json", damage)
    assert again(offices, tmp_path).begin().latest() is None  # all messages are there still: from the start


def spoil(manifest: Path, damage: str) -> None:
    arrays = manifest.with_suffix(".safetensors")
    if damage == "seal":
        manifest.write_text(manifest.read_text().replace('"at":', '"at" :'))
    elif damage == "json":
        manifest.write_text(manifest.read_text()[:-20])
    elif damage == "arrays":
        data = bytearray(arrays.read_bytes())
        data[-1] ^= 1
        arrays.write_bytes(data)
    elif damage == "missing":
        arrays.unlink()
    else:
        manifest.write_bytes(b"")


def test_what_a_killed_process_left_half_made_is_not_there(offices: list[Office], tmp_path: Path) -> None:
    """Row 3: killed before the manifest, before its rename, and between both files."""
    saved(again(offices, tmp_path).begin(), 1)
    folder = first_run(tmp_path)
    (folder / f"{2:012d}.safetensors").write_bytes(b"whole")
    (folder / f"{2:012d}.json.new").write_bytes(b"{")
    (folder / f"{3:012d}.safetensors.new").write_bytes(b"half")
    found = again(offices, tmp_path).begin().latest()
    assert found is not None
    assert found.step == 1


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"configuration": "other"}, "is of configuration 'c', but this run has 'other'"),
        ({"key": "other"}, "is of key 'k'"),
        ({"task": "other"}, "is of task 'task', but this run has 'other'"),
        ({"more": "x"}, "is of more 'not set'"),
    ],
)
def test_another_run_is_refused(
    offices: list[Office], tmp_path: Path, changes: dict[str, str], text: str
) -> None:
    saved(again(offices, tmp_path).begin(), 1)
    with pytest.raises(CheckpointError, match=text):
        again(offices, tmp_path).begin(**changes).latest()


def test_another_version_is_refused(offices: list[Office], tmp_path: Path) -> None:
    saved(again(offices, tmp_path).begin(), 1)
    path = first_run(tmp_path) / f"{1:012d}.json"
    path.write_text(path.read_text().replace('"version":4', '"version":5'))
    with pytest.raises(CheckpointError, match="is 'hecore checkpoint' version 5"):
        again(offices, tmp_path).begin().latest()


def test_parties_that_started_unlike_end_at_the_greeting(offices: list[Office], tmp_path: Path) -> None:
    """Row 21, after a restart: hashes of what both agreed on are compared whenever processes meet."""
    office = again(offices, tmp_path)
    office.channel.agree({"configuration": "one", "row ids": "same"})
    office.peer.agree({"configuration": "two", "row ids": "same", "only here": "x"})
    for end, names in ((office.channel, "a and b"), (office.peer, "b")):
        with pytest.raises(HandshakeError, match=rf"{names}.*same configuration"):
            end.receive(Note, 60)


def test_draws_repeat_for_the_same_secret_context_and_label_only() -> None:
    secret = bytes(range(32))
    first = RepeatableDraws(secret, "run 0")("forward 1 2")
    parts = first(5) + first(100)
    assert parts == RepeatableDraws(secret, "run 0")("forward 1 2")(105)
    others = [
        RepeatableDraws(secret, "run 0")("forward 1 3"),
        RepeatableDraws(secret, "run 1")("forward 1 2"),
        RepeatableDraws(bytes(32), "run 0")("forward 1 2"),
        fresh("forward 1 2"),
    ]
    assert len({draw(105) for draw in others} | {parts}) == 5
    with pytest.raises(ValueError, match="31 bytes"):
        RepeatableDraws(bytes(31), "")


def test_no_draw_is_given_twice() -> None:
    """Two vectors under one mask would tell their difference."""
    draws = RepeatableDraws(bytes(32), "run")
    draws("forward 0 0")
    with pytest.raises(ProtocolError, match="'forward 0 0' was asked for twice"):
        draws("forward 0 0")


def test_two_peers_of_one_store_share_neither_masks_nor_folders(tmp_path: Path) -> None:
    """Equal masks in two trainings would cancel out between the two peers."""

    class Line:
        def __init__(self, peer: str) -> None:
            self.me, self.peer, self.job, self.traffic = "a", peer, "job", Traffic()

    store = FolderStore(tmp_path / "a", "a", "job")
    runs = [Checkpoints(store, Line(peer)).begin("task", BINDING) for peer in ("b", "c")]  # type: ignore[arg-type]
    assert runs[0].draws("mask")(64) != runs[1].draws("mask")(64)
    assert len(list((tmp_path / "a" / "checkpoints").glob("*/0"))) == 2
    again = Checkpoints(store, Line("b")).begin("task", BINDING)  # type: ignore[arg-type]
    assert again.draws("step")(64) == runs[0].draws("step")(64) != runs[1].draws("step")(64)


def test_draws_after_a_handshake_depend_on_its_session() -> None:
    """What the peer's data follow from: a mask of another meeting may cover other numbers."""
    plain, one, same, two = (RepeatableDraws(bytes(32), "run") for _ in range(4))
    one.mix("session 1")
    same.mix("session 1")
    same.mix("session 1")  # as a run does that goes on from a checkpoint
    two.mix("session 2")
    first, *others = (draws("forward 0 0")(64) for draws in (one, same, two, plain))
    assert first == others[0]
    assert len({first, *others}) == 3
    with pytest.raises(ProtocolError, match="depend on another one already"):
        one.mix("session 2")
    with pytest.raises(ValueError, match="nothing to mix"):
        plain.mix("")


def test_a_run_that_goes_on_draws_for_the_meeting_it_had(offices: list[Office], tmp_path: Path) -> None:
    run = again(offices, tmp_path).begin()
    run.mix("of c", "of b")
    saved(run, 0)
    mask = run.draws("forward 0 0")(64)
    run = again(offices, tmp_path).begin()
    assert run.latest() is not None
    assert run.draws("forward 0 0")(64) == mask
    run.mix("of b", "of c")
    with pytest.raises(ProtocolError, match="a run has one meeting"):
        run.mix("of b", "of d")
