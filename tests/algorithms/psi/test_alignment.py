"""Whole runs over loopback: the intersection against Python sets, refusals, and what travels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from hecore.algorithms.channel import loopback_pair
from hecore.algorithms.data import Ids
from hecore.algorithms.errors import (
    AlignmentError,
    ConfigurationError,
    HandshakeError,
    PeerAborted,
    ProtocolError,
)
from hecore.algorithms.messages import Message
from hecore.algorithms.psi import PsiConfig, align, group, steps
from hecore.algorithms.psi import messages as msg

from .conftest import SMALL, at_once, names, run

texts = st.lists(
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=3), unique=True, min_size=1, max_size=25
)


def common(ids: list[str], outcome: Any) -> list[str]:
    return [ids[row] for row in outcome.rows]


# --- the intersection ------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(texts, texts)
def test_two_parties_find_what_sets_find(active, passive):
    expected = sorted(set(active) & set(passive), key=str.encode)
    first, second = run(active, passive)
    if not expected:
        assert isinstance(first, AlignmentError)
        assert isinstance(second, AlignmentError)
        return
    assert common(active, first) == common(passive, second) == expected
    assert first.common == second.common == len(expected)


@settings(max_examples=30)
@given(texts, texts, texts)
def test_three_parties_find_what_all_have(active, second, third):
    shared = ["x", "y"]
    lists = [list(dict.fromkeys([*ids, *shared])) for ids in (active, second, third)]
    expected = sorted(set(lists[0]) & set(lists[1]) & set(lists[2]), key=str.encode)
    for ids, outcome in zip(lists, run(*lists), strict=True):
        assert common(ids, outcome) == expected


@pytest.mark.parametrize("sizes", [(1, 1), (1, 40), (40, 1), (7, 8), (14, 14), (21, 50)])
def test_lists_of_unequal_length_meet(sizes):
    lists = [names("id", range(size)) for size in sizes]
    first, second = run(*lists)
    assert common(lists[0], first) == common(lists[1], second) == sorted(names("id", range(min(sizes))))


def test_the_active_party_alone_learns_the_rows_if_so_agreed():
    active, passive = names("id", range(30)), names("id", range(20, 60))
    first, second = run(active, passive, config=PsiConfig(reveal="active", chunk_rows=8))
    assert common(active, first) == names("id", range(20, 30))
    assert (second.rows, second.common) == (None, 10)


def test_progress_counts_the_rows_of_both_sides():
    told: list[Any] = []
    run(names("id", range(30)), names("id", range(20)), on_progress=told.append)
    assert [step.total for step in told] == [50] * len(told)
    done = [step.done for step in told]
    assert done == sorted(done)
    assert done[-1] == 50
    assert told[-1].remaining == 0
    assert told[-1].rate > 0
    assert {step.peer for step in told} == {"passive"}


# --- what is refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("active", "passive", "text"),
    [
        (["a", "b", "a"], ["a"], "active: of 3 ids, 1 row repeats an id"),
        (["a"], ["b", "a", "b", "b"], "passive: of 4 ids, 2 rows repeat an id"),
        (["a", ""], ["a"], "active: of 2 ids, 1 empty id"),
        (["a"], ["", "", "a"], "passive: of 3 ids, 2 empty ids and 1 row repeats"),
        ([], ["a"], "active has no ids"),
        (["a"], [], "passive has no ids"),
        (["a", "b"], ["c"], r"active \(2 ids\), passive \(1 id\) have no id in common"),
    ],
)
def test_both_sides_hear_whose_ids_are_bad(active, passive, text):
    for outcome in run(active, passive):
        assert isinstance(outcome, AlignmentError)
        with pytest.raises(AlignmentError, match=text):
            raise outcome


def test_too_few_common_ids_are_refused_before_a_passive_party_learns_them():
    ends = loopback_pair()
    listened = Listening(ends[0])
    config = PsiConfig(min_intersection=11, chunk_rows=8)
    active, passive = names("id", range(30)), names("id", range(20, 60))
    outcomes = run(active, passive, config=config, ends=[(listened, ends[1])])
    for outcome in outcomes:
        with pytest.raises(
            AlignmentError, match=r"active \(30 ids\), passive \(40 ids\) have 10 ids in common,"
        ):
            raise outcome
    (told,) = listened.sent_of(msg.Outcome)
    assert told.payload == ()
    assert run(active, passive, config=PsiConfig(min_intersection=10))[0].common == 10


def test_of_three_parties_the_count_of_all_is_told():
    outcomes = run(["a", "b"], ["a", "c"], ["b", "d"])
    assert "active (2 ids), passive (2 ids), passive1 (2 ids) have no id in common" in str(outcomes[0])
    assert "active (2 ids), passive1 (2 ids) and 1 more have no id in common" in str(outcomes[2])


def test_a_third_party_does_not_hear_what_is_wrong_with_the_second():
    first, second, third = run(["a"], ["a", "a"], ["a"])
    assert isinstance(first, AlignmentError)
    assert isinstance(second, AlignmentError)
    assert isinstance(third, PeerAborted)
    assert third.reason == "AlignmentError"


@pytest.mark.parametrize(
    ("other", "text"),
    [
        (
            PsiConfig(chunk_rows=8),
            "chunk_rows is (7 at active but 8 at passive|8 at passive but 7 at active)",
        ),
        (PsiConfig(chunk_rows=7, reveal="active"), "reveal is '"),
        (PsiConfig(chunk_rows=7, min_intersection=2), "min_intersection is "),
    ],
)
def test_settings_are_compared(other, text):
    for outcome in run(["a"], ["a"], other=other):
        with pytest.raises(HandshakeError, match=text):
            raise outcome


def test_exactly_one_party_is_the_active_one():
    ends = loopback_pair()
    for outcome in at_once(*(lambda end=end: align(end, Ids(["a"]), "passive") for end in ends)):
        with pytest.raises(HandshakeError, match="both passive"):
            raise outcome
    with pytest.raises(ConfigurationError, match="role = 'third'"):
        align(ends[0], Ids(["a"]), "third")
    with pytest.raises(ConfigurationError, match="has 2 channels"):
        align(list(ends), Ids(["a"]), "passive")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"reveal": "passive"}, "reveal = 'passive'"),
        ({"min_intersection": 0}, "min_intersection = 0"),
        ({"chunk_rows": 0}, "chunk_rows = 0"),
        ({"chunk_rows": 1 << 21}, "chunk_rows = 2097152"),
    ],
)
def test_bad_settings_are_named(options, text):
    with pytest.raises(ConfigurationError, match=text):
        PsiConfig(**options)


# --- what travels ----------------------------------------------------------------------------------------


@dataclass
class Listening:
    """A channel that keeps what its party sends and receives, and may change what it sends."""

    channel: Any
    change: Any = None
    sent: list[Message] = field(default_factory=list)
    received: list[Message] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.channel, name)

    def send(self, message: Message) -> None:
        message = self.change(message) if self.change else message
        self.sent.append(message)
        self.channel.send(message)

    def receive(self, kind: Any, timeout: float | None = None) -> Any:
        self.received.append(self.channel.receive(kind, timeout))
        return self.received[-1]

    def sent_of(self, kind: type) -> list[Any]:
        return [message for message in self.sent if isinstance(message, kind)]

    def points(self) -> list[bytes]:
        data = b"".join(message.payload[0] for message in self.sent_of(msg.MaskedIds))
        return [data[i : i + 32] for i in range(0, len(data), 32)]


def listened_run(active: list[str], passive: list[str], **options: Any) -> tuple[Listening, Listening]:
    here, there = (Listening(end) for end in loopback_pair())
    run(active, passive, ends=[(here, there)], **options)
    return here, there


def test_every_run_masks_and_shuffles_anew():
    """Equal ids at both parties, twice: no point is seen a second time, and no place tells of the file's."""
    ids = names("id", range(60))
    seen: set[bytes] = set()
    for _ in range(2):
        for party in listened_run(ids, ids):
            points = party.points()
            assert len(points) == 60
            assert seen.isdisjoint(points)
            seen.update(points)
    plain = [point.tobytes() for point in group.hash_to_group(Ids(ids).digests(0, 60, group.PERSON))]
    assert seen.isdisjoint(plain)


def test_the_order_on_the_wire_is_not_that_of_the_file(monkeypatch):
    scalar = bytes(range(32))
    monkeypatch.setattr("hecore.algorithms.draws.random_bytes", lambda size: scalar[:size])
    ids = names("id", range(60))
    here, _ = listened_run(ids, ids)
    masked = group.multiply(scalar, group.hash_to_group(Ids(ids).digests(0, 60, group.PERSON)))
    in_order = [row.tobytes() for row in masked]
    assert sorted(here.points()) == sorted(in_order)
    assert sum(a == b for a, b in zip(here.points(), in_order, strict=True)) < 10


def test_only_the_records_of_the_table_travel():
    both = listened_run(names("id", range(9)), names("id", range(5, 14)))
    kinds = [[type(message).__name__ for message in party.sent] for party in both]
    assert kinds[0] == ["PsiHello", "MaskedIds", "MaskedIds", "Outcome"]
    assert kinds[1] == ["PsiHello", "MaskedIds", "Returned", "MaskedIds", "Returned", "Aligned"]
    (outcome,) = both[0].sent_of(msg.Outcome)
    assert steps.unpack_rows(outcome.payload[0], 9).sum() == outcome.common == 4
    one = PsiConfig(reveal="active", chunk_rows=7)
    active, passive = listened_run(names("id", range(9)), names("id", range(5, 14)), config=one)
    assert active.sent_of(msg.Outcome)[0].payload == ()
    assert passive.sent_of(msg.Aligned) == []


# --- a peer that deviates --------------------------------------------------------------------------------


def replaced(kind: type, **changes: Any) -> Any:
    """A change of every message of one kind."""

    def change(message: Any) -> Any:
        if not isinstance(message, kind):
            return message
        values = {name: value(message) if callable(value) else value for name, value in changes.items()}
        return structs.replace(message, **values)

    return change


SMALL_ORDER = (1).to_bytes(32, "little")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (replaced(msg.MaskedIds, payload=lambda m: (m.payload[0][:-32] + SMALL_ORDER,)), "small order"),
        (replaced(msg.MaskedIds, payload=lambda m: (m.payload[0][:-1] + b"\xff",)), "not below 2"),
        (replaced(msg.MaskedIds, payload=lambda m: (m.payload[0][:-1],)), "bytes of masked ids instead of"),
        (replaced(msg.MaskedIds, payload=lambda m: (m.payload[0][:32] * 7,)), "occurs twice"),
        (replaced(msg.MaskedIds, chunk=5), "passive sent chunk 5 instead of 0"),
        (replaced(msg.Returned, payload=lambda m: (m.payload[0] + b"\0",)), "bytes of returned ids"),
        (replaced(msg.Returned, payload=(bytes(7 * 16),)), "occurs twice"),
        (replaced(msg.Returned, chunk=1), "passive sent chunk 1 instead of 0"),
        (replaced(msg.Aligned, alignment="0" * 64), "passive aligned its rows to other ids"),
    ],
)
def test_the_active_party_refuses(change, text):
    ends = loopback_pair()
    ids = names("id", range(7))
    first, second = run(ids, ids, ends=[(ends[0], Listening(ends[1], change))])
    with pytest.raises(ProtocolError, match=text):
        raise first
    assert isinstance(second, PeerAborted) or "aligned" in text  # which is its last word


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (replaced(msg.MaskedIds, payload=lambda m: (SMALL_ORDER * 7,)), "small order"),
        (replaced(msg.MaskedIds, payload=lambda m: (b"\xff" * 32 * 7,)), "not below 2"),
        (replaced(msg.Outcome, payload=(b"\xff\xff",)), "2 bytes for one bit each of 7 ids"),
        (replaced(msg.Outcome, payload=(b"\x03",)), "marks 2 rows but counts 7"),
        (replaced(msg.Outcome, payload=()), "0 frames of rows"),
    ],
)
def test_a_passive_party_refuses(change, text):
    ends = loopback_pair()
    ids = names("id", range(7))
    first, second = run(ids, ids, ends=[(Listening(ends[0], change), ends[1])])
    assert isinstance(first, PeerAborted)
    with pytest.raises(ProtocolError, match=text):
        raise second


def test_an_unforeseen_error_tells_the_peer_its_type_alone():
    ends = loopback_pair()

    def fail(message: Message) -> Message:
        if isinstance(message, msg.MaskedIds):
            raise ValueError("customer 4711")
        return message

    first, second = run(["a"], ["a"], ends=[(Listening(ends[0], fail), ends[1])])
    assert isinstance(first, ValueError)
    assert isinstance(second, PeerAborted)
    assert second.reason == "ValueError"


def test_a_chunk_is_one_frame():
    with pytest.raises(ValueError, match="payload frames"):
        msg.MaskedIds(chunk=0)
    with pytest.raises(ValueError, match="2 payload frames"):
        msg.Returned(chunk=0, payload=(b"", b""))


def test_places_are_numpy_arrays():
    """No Python object for each id: a driver may hold 10^8 of them."""
    ids = names("id", range(40))
    first, _ = run(ids, ids, config=SMALL)
    assert isinstance(first.rows, np.ndarray)
    assert first.rows.dtype == np.int64
