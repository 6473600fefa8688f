"""Time lines on disk and on the wire: what is kept, what is shown, what is refused."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hecore.algorithms.job.timeline import (
    CATEGORIES,
    MOST_PHASES,
    TimelineRecord,
    category,
)
from hecore.meter import MOST_SLOTS, Timeline

SLOTS = st.lists(st.floats(0, 1.0), max_size=40)
RECORDS = st.dictionaries(st.sampled_from(["encrypt", "wait", "local"]), SLOTS).map(
    lambda phases: TimelineRecord.of(Timeline(0.0, 1.0, phases))
)


@pytest.mark.parametrize(
    ("phase", "expected"),
    [
        ("encrypt", "encrypt"),
        ("decrypt", "encrypt"),
        ("pack", "encrypt"),
        ("validate", "encrypt"),
        ("wait", "wait"),
        ("send", "network"),
        ("histogram", "compute"),
        ("a new phase", "compute"),
        *((name, name) for name in CATEGORIES),
    ],
)
def test_every_phase_has_a_category(phase: str, expected: str) -> None:
    assert category(phase) == expected


def test_a_timeline_and_its_record_are_the_same() -> None:
    line = Timeline(start=100.0)
    line.add("encrypt", 100.0, 100.12)
    line.add("wait", 100.12, 101.0)
    record = TimelineRecord.of(line)
    assert record.seconds() == pytest.approx({"encrypt": 0.12, "wait": 0.88})
    assert record.end == pytest.approx(1.0)
    again = TimelineRecord.of(record.timeline())
    assert again == record


def test_a_shifted_timeline_begins_later() -> None:
    record = TimelineRecord.of(Timeline(0.0, 1.0, {"wait": [1.0, 0.5]}), shift=2.5)
    assert record.phases == {"wait": (0.0, 0.0, 0.5, 0.75, 0.25)}


def test_what_is_shown_has_four_categories() -> None:
    record = TimelineRecord(
        width=1.0, phases={"encrypt": (0.25,), "decrypt": (0.5, 0.25), "local": (0.125,), "send": (0, 0.5)}
    )
    assert record.coarse() == TimelineRecord(
        width=1.0, phases={"encrypt": (0.75, 0.25), "compute": (0.125,), "network": (0, 0.5)}
    )


@given(RECORDS, RECORDS, st.floats(0, 1000))
def test_two_processes_in_one_line(early: TimelineRecord, late: TimelineRecord, gap: float) -> None:
    shift = early.end + gap
    joined = early.joined(TimelineRecord.of(late.timeline(), shift))
    wanted = early.seconds()
    for name, seconds in late.seconds().items():
        wanted[name] = wanted.get(name, 0.0) + seconds
    # Each of at most 240 slots is rounded to the millisecond, twice.
    assert joined.seconds() == pytest.approx({k: v for k, v in wanted.items() if v}, abs=0.25)
    assert all(len(row) <= MOST_SLOTS for row in joined.phases.values())


def test_more_phases_than_are_allowed_become_categories() -> None:
    line = Timeline(0.0, 1.0, {f"phase {i}": [1 / 64] for i in range(MOST_PHASES + 1)})
    assert TimelineRecord.of(line).phases == {"compute": (0.516,)}


@pytest.mark.parametrize(
    "fields",
    [
        {"width": 0.0},
        {"width": -1.0},
        {"width": float("nan")},
        {"width": float("inf")},
        {"width": 1.0, "phases": {"": [0.5]}},
        {"width": 1.0, "phases": {"x" * 41: [0.5]}},
        {"width": 1.0, "phases": {"wait": [-0.1]}},
        {"width": 1.0, "phases": {"wait": [1.1]}},
        {"width": 1.0, "phases": {"wait": [float("nan")]}},
        {"width": 1.0, "phases": {"wait": [float("inf")]}},
        {"width": 1.0, "phases": {"wait": [0.5] * (MOST_SLOTS + 1)}},
        {"width": 1.0, "phases": {f"p{i}": [0.5] for i in range(MOST_PHASES + 1)}},
        {"width": 1.0, "phases": {"wait": "text"}},
        {"width": 1.0, "slots": []},
        {},
    ],
)
def test_what_no_timeline_is(fields: dict[str, object]) -> None:
    data = msgspec.msgpack.encode(fields)
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(data, type=TimelineRecord)
