"""Meters: what is counted, by whom, and where."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hecore
from hecore import Meter, SlotLayout
from hecore.linalg import matmul_packed
from hecore.meter import MOST_SLOTS, Timeline, count, phase

LAYOUT = SlotLayout(3, 24, 10)
Batch = hecore.CipherBatch


@pytest.mark.parametrize(
    ("work", "expected"),
    [
        (lambda x, e, d: e.encrypt(np.zeros((3, 4))), {"encrypt": 12}),
        (lambda x, e, d: e.encrypt(np.zeros((2, 7), dtype=int), layout=LAYOUT), {"encrypt": 6}),
        (lambda x, e, d: d.decrypt(x), {"decrypt": 6, "validate": 6}),
        (lambda x, e, d: x + x, {"add": 6}),
        (lambda x, e, d: x + x[0], {"add": 6}),
        (lambda x, e, d: x - x, {"negate": 6, "add": 6}),
        (lambda x, e, d: -x, {"negate": 6}),
        (lambda x, e, d: x + 1, {"add_plain": 6}),
        (lambda x, e, d: 1 - x, {"negate": 6, "add_plain": 6}),
        (lambda x, e, d: x * 3, {"multiply": 6}),
        (lambda x, e, d: x.rescale(4), {"multiply": 6}),
        (lambda x, e, d: x.sum(), {"sum": 6}),
        (lambda x, e, d: x.sum(0), {"sum": 6}),
        (lambda x, e, d: np.ones((5, 2), dtype=int) @ x, {"matrix_entries": 30}),
        (lambda x, e, d: x @ [1, 2, 3], {"matrix_entries": 6}),
        (lambda x, e, d: matmul_packed([[1], [2]], x[0, :1], LAYOUT), {"matrix_entries": 2, "pack": 2}),
        (
            lambda x, e, d: matmul_packed(np.ones((90, 1), dtype=int), x[0, :1], LAYOUT),
            {"matrix_entries": 90},
        ),
        (lambda x, e, d: hecore.histogram(x, np.zeros((2, 4), dtype=int), 2), {"histogram_entries": 24}),
        (lambda x, e, d: x.pack(LAYOUT), {"pack": 6}),
        (lambda x, e, d: x.rerandomize(), {"rerandomize": 6}),
        (lambda x, e, d: x.to_bytes(), {"bytes_written": 64 + 16 + 6 * 128}),
        (
            lambda x, e, d: (x + 1).to_bytes(),
            {"add_plain": 6, "rerandomize": 6, "bytes_written": 64 + 16 + 6 * 128},
        ),
        (lambda x, e, d: x[0, ::-1].reshape(3, 1).transpose(), {}),
        (lambda x, e, d: repr(x), {}),
    ],
)
def test_operations(
    encryptor: hecore.Encryptor,
    decryptor: hecore.Decryptor,
    work: Callable[[Batch, hecore.Encryptor, hecore.Decryptor], object],
    expected: dict[str, int],
) -> None:
    x = encryptor.encrypt([[1, 2, 3], [4, 5, 6]])
    meter = Meter()
    with meter.activate() as active:
        assert active is meter
        work(x, encryptor, decryptor)
    assert dict(meter.operations) == expected


def test_reading(encryptor: hecore.Encryptor) -> None:
    data = encryptor.encrypt([1, 2]).to_bytes()
    meter = Meter()
    with meter.activate():
        Batch.from_bytes(data, encryptor.public)
        with pytest.raises(hecore.WireFormatError):
            Batch.from_bytes(data[:-1], encryptor.public)
    assert meter.operations == {"validate": 2, "bytes_read": len(data)}


def test_only_the_active_meter_counts(encryptor: hecore.Encryptor) -> None:
    outer, inner = Meter(), Meter()
    encryptor.encrypt([1])
    with outer.activate():
        encryptor.encrypt([1, 2])
        with inner.activate():
            encryptor.encrypt([1, 2, 3])
        with pytest.raises(hecore.EncodingError), inner.activate():
            encryptor.encrypt([np.nan])
        encryptor.encrypt([1])
    encryptor.encrypt([1])
    assert (outer.operations["encrypt"], inner.operations["encrypt"]) == (3, 3)


def test_other_threads_do_not_count(encryptor: hecore.Encryptor) -> None:
    meter = Meter()
    with meter.activate():
        thread = threading.Thread(target=encryptor.encrypt, args=([1, 2],))
        thread.start()
        thread.join()
    assert not meter.operations


def test_phases_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 2.0, 10.0, 13.5, 20.0, 21.0])
    monkeypatch.setattr("hecore.meter.time.perf_counter", lambda: next(times))
    meter = Meter()
    for _ in range(2):
        with meter.phase("encrypt"):
            pass
    with pytest.raises(KeyError), meter.phase("send"):
        raise KeyError
    assert meter.seconds == {"encrypt": 5.5, "send": 1.0}


def test_of_nested_phases_the_inner_one_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0, 5.0, 7.0])
    monkeypatch.setattr("hecore.meter.time.perf_counter", lambda: next(clock))
    meter = Meter(timeline=Timeline(start=0.0, width=1.0))
    with meter.activate(), phase("outer"), phase("inner"):
        pass
    assert meter.seconds == {"outer": 3.0, "inner": 4.0}
    assert meter.timeline is not None
    assert meter.timeline.slots["inner"] == [0, 1, 1, 1, 1, 0]
    assert meter.timeline.slots["outer"] == [1, 0, 0, 0, 0, 1, 1, 0]


def test_operations_by_phase() -> None:
    meter = Meter()
    with meter.activate():
        count("sum", 1)
        with phase("outer"):
            count("add", 2)
            with phase("inner"):
                count("add", 3)
            count("sum", 4)
    assert meter.by_phase == {"": {"sum": 1}, "outer": {"add": 2, "sum": 4}, "inner": {"add": 3}}
    assert meter.operations == {"sum": 5, "add": 5}


def test_a_piece_may_count_in_part() -> None:
    line = Timeline(start=0.0, width=1.0)
    line.add("wait", 0.5, 2.5, share=0.25)
    assert line.slots == {"wait": [0.125, 0.25, 0.125]}


def test_without_a_meter_a_phase_is_nothing() -> None:
    with phase("somewhere"):
        pass


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 500), st.floats(0, 100)), max_size=30))
def test_a_timeline_keeps_all_seconds_in_few_slots(pieces: list[tuple[str, float, float]]) -> None:
    line = Timeline(start=0.0)
    wanted: dict[str, float] = {}
    for name, started, seconds in pieces:
        line.add(name, started, started + seconds)
        wanted[name] = wanted.get(name, 0.0) + seconds
    for name, row in line.slots.items():
        assert len(row) <= MOST_SLOTS
        assert sum(row) == pytest.approx(wanted[name])
    assert all(name in line.slots for name, seconds in wanted.items() if seconds > 1e-9)
