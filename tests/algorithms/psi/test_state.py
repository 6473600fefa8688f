"""A run that broke off goes on, with the same secrets for the same ids and never for others."""

from __future__ import annotations

import logging
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hecore.algorithms.channel import loopback_pair
from hecore.algorithms.data import Ids
from hecore.algorithms.errors import ConfigurationError
from hecore.algorithms.messages import Message
from hecore.algorithms.psi import align
from hecore.algorithms.psi import messages as msg
from hecore.algorithms.psi import state as psi_state
from hecore.algorithms.psi.state import ExchangeState

from .conftest import names, run

ACTIVE, PASSIVE = names("id", range(50)), names("id", range(30, 90))


class Cut(Exception):
    """The line is cut."""


class Breaking:
    """A channel that breaks instead of sending chunk `at`, and keeps the points that it sent."""

    def __init__(self, channel: Any, at: int | None = None) -> None:
        self._channel, self._at = channel, at
        self.points: dict[int, bytes] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)

    def send(self, message: Message) -> None:
        if isinstance(message, msg.MaskedIds):
            if message.chunk == self._at:
                raise Cut
            self.points[message.chunk] = message.payload[0]
        self._channel.send(message)


def broken_run(folders: list[Path], at: int, active: list[str] = ACTIVE) -> Breaking:
    ends = loopback_pair()
    breaking = Breaking(ends[0], at)
    first, second = run(active, PASSIVE, states=folders, ends=[(breaking, ends[1])])
    assert isinstance(first, Cut)
    assert isinstance(second, Exception)
    return breaking


def second_run(folders: list[Path], active: list[str] = ACTIVE) -> tuple[list[Any], Breaking, list[Any]]:
    ends = loopback_pair()
    watched, told = Breaking(ends[0]), []
    outcomes = run(active, PASSIVE, states=folders, ends=[(watched, ends[1])], on_progress=told.append)
    return outcomes, watched, told


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("at", [1, 4, 6])
def test_a_broken_run_goes_on_where_it_stopped(folders, at):
    before = broken_run(folders, at)
    (first, second), after, told = second_run(folders)
    assert [ACTIVE[row] for row in first.rows] == [PASSIVE[row] for row in second.rows] == ACTIVE[30:]
    assert min(after.points) in (at - 1, at)  # the last chunk's reply may not have come
    assert told[0].resumed == 14 * min(after.points)
    for chunk in before.points.keys() & after.points.keys():
        assert before.points[chunk] == after.points[chunk]
    assert [path for folder in folders for path in files(folder)] == []


def test_other_ids_get_other_secrets(folders, caplog):
    before = broken_run(folders, 4)
    changed = [*ACTIVE[:-1], "id777"]
    with caplog.at_level(logging.WARNING):
        (first, _), after, told = second_run(folders, changed)
    assert "belongs to other ids" in caplog.text
    assert [changed[row] for row in first.rows] == ACTIVE[30:49]
    assert min(after.points) == told[0].resumed == 0
    assert not set(before.points.values()) & set(after.points.values())


def test_a_party_without_its_state_begins_anew_for_both(folders, tmp_path):
    before = broken_run(folders, 4)
    (first, _), after, _ = second_run([folders[0], tmp_path / "empty"])
    assert first.common == 20
    assert min(after.points) == 0
    assert not set(before.points.values()) & set(after.points.values())


def test_secrets_lie_in_files_of_their_owner_only(folders, caplog):
    with caplog.at_level(logging.DEBUG):
        broken_run(folders, 4)
    for folder in folders:
        found = files(folder)
        assert found
        assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in found)
        assert stat.S_IMODE(next(folder.iterdir()).stat().st_mode) == 0o700
    scalar = (folders[0] / "passive" / psi_state.RECORD).read_text().split('"scalar":"')[1][:64]
    assert scalar not in caplog.text


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("", "is no state of an exchange"),
        ('{"format": 1}', "is no state of an exchange"),
        ("SHORT", "a secret of another length"),
        ("OTHER", "version 9, not 1"),
    ],
)
def test_a_spoilt_state_is_refused(folders, content, text):
    broken_run(folders, 4)
    record = folders[0] / "passive" / psi_state.RECORD
    whole = record.read_text()
    short = whole.replace('"scalar":"', '"scalar":"ab')
    record.write_text(
        {"SHORT": short, "OTHER": whole.replace('"version":1', '"version":9')}.get(content, content)
    )
    ends = loopback_pair()
    first, _ = run(ACTIVE, PASSIVE, states=folders, ends=[ends])
    with pytest.raises(ConfigurationError, match=text):
        raise first


def test_a_name_that_is_no_folder_cannot_keep_a_state(tmp_path):
    here, _ = loopback_pair("active", "../passive")
    with pytest.raises(ConfigurationError, match=r"'\.\./passive' cannot be the name of a folder"):
        align(here, Ids(["a"]), "active", state=tmp_path)


def test_tags_on_disk_are_what_was_written(tmp_path, monkeypatch):
    monkeypatch.setattr(psi_state, "INTERVAL", 0.0)
    state = ExchangeState(tmp_path, "p")
    state.begin("0" * 32, 0, 5, 3)
    state.own[2] = 7
    state.finished(1)
    again = ExchangeState(tmp_path, "p")
    assert (again.session, again.done) == ("0" * 32, 1)
    again.begin("0" * 32, 1, 5, 3)
    assert np.array_equal(again.own, state.own)
    assert (again.scalar, again.seed) == (state.scalar, state.seed)
    again.begin("1" * 32, 0, 5, 3)
    assert not again.own.any()
    assert again.scalar != state.scalar
    again.drop()
    assert not tmp_path.exists()
