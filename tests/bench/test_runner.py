"""A run: who takes part, what a wrong result costs, and what is not there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

import hecore
from hecore import BackendUnavailable
from hecore.bench import runner
from hecore.bench.cases import Case, all_cases, select
from hecore.bench.device_bounds import word_products
from hecore.bench.record import Failure, Row
from hecore.bench.runner import NothingToRun, Plan, Watcher, find_backends, run
from hecore.bench.subjects import HecoreSubject
from hecore.bench.timing import host_clock
from hecore.kernels.cuda.abi import PROBE_CHAINS, THREADS
from hecore.kernels.cuda.backend import CudaBackend
from hecore.kernels.cuda.device import Times
from hecore.kernels.cuda.probe import word_product_rate

from ..kernels.cuda.reference import ReferenceDevice

SMALL = {"backends": ("gmp",), "key_bits": (256,), "seconds": 1e-4, "insecure_test_key": True}


class Listener(Watcher):
    """Writes down what it hears."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def started(self, case: Case, key_bits: int, subjects: Sequence[str]) -> None:
        self.heard.append(f"{case.name} {key_bits} {' '.join(subjects)}")

    def measured(self, row: Row) -> None:
        self.heard.append(f"{row.subject} {row.items}")

    def failed(self, failure: Failure) -> None:
        self.heard.append(failure.message)

    def finished(self) -> None:
        self.heard.append("end")


def test_a_run_in_full() -> None:
    plan = Plan(select(["encoding", "add"]), peers=["phe"], batches=[3, 5], command="again", **SMALL)
    listener = Listener()
    record = run(plan, listener)
    assert [(row.case, row.batch, row.subject) for row in record.rows] == [
        (case, batch, subject)
        for case in ("encode", "decode", "add")
        for batch in (3, 5)
        for subject in ("gmp", "phe")
    ]
    assert listener.heard[:5] == ["encode 256 gmp phe", "gmp 3", "phe 3", "end", "encode 256 gmp phe"]
    assert listener.heard.count("end") == plan.steps == 6
    assert {row.peer for row in record.rows if row.subject == "phe"} == {True}
    assert record.command == "again"
    assert record.versions["phe"]
    assert all(row.seconds.calls >= 1 for row in record.rows)
    assert record.failures == []


def test_every_case_has_its_own_batch() -> None:
    (row,) = run(Plan(select(["encrypt-classic"]), **SMALL)).rows
    assert row.batch == row.items == 32


def test_what_no_backend_changes_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    gmp = hecore.get_backend("gmp")
    twin = type("Twin", (type(gmp),), {"name": "twin"})()
    monkeypatch.setattr(hecore, "get_backend", {"gmp": gmp, "twin": twin}.__getitem__)
    plan = Plan(select(["encoding", "add"]), batches=[4], **{**SMALL, "backends": ("gmp", "twin")})
    rows = run(plan).rows
    assert [(row.case, row.subject) for row in rows] == [
        ("encode", "gmp"),
        ("decode", "gmp"),
        ("add", "gmp"),
        ("add", "twin"),
    ]


def test_a_device_backend_has_its_own_times_and_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = CudaBackend([ReferenceDevice()])
    monkeypatch.setattr(hecore, "get_backend", {"cuda": backend}.__getitem__)
    monkeypatch.setattr(runner, "word_product_rate", lambda device: 1e6)
    plan = Plan(select(["add", "encrypt-to-wire", "pack"]), batches=[4], **{**SMALL, "backends": ("cuda",)})
    record = run(plan)
    assert record.failures == []
    assert record.ceilings == {"cuda": 1e6}
    rows = {row.case: row for row in record.rows}
    for row in rows.values():
        assert row.device_seconds is not None
        assert row.copy_seconds is not None
        assert 0 < row.device_seconds.median + row.copy_seconds.median < row.seconds.highest
    assert rows["add"].bound == 1e6 / word_products("add", SMALL["key_bits"][0])
    assert rows["pack"].bound is None


class Punctual(ReferenceDevice):
    """Every launch takes half a second by its clock, the first one much longer."""

    @contextmanager
    def timed(self) -> Iterator[Times]:
        times = Times()
        before = len(self.launched)
        yield times
        times.kernels = 0.5 * (len(self.launched) - before) if before else 60.0


def test_the_probe_counts_products() -> None:
    device = Punctual(processors=1)
    assert word_product_rate(device, rounds=3) == 3 * PROBE_CHAINS * 16 * THREADS / 0.5
    assert {name for name, _, _ in device.launched} == {"word_products"}


@pytest.mark.parametrize(
    ("case", "millions"),
    [("add", 0.02048), ("encrypt-owner", 0.874), ("encrypt-public", 1.748), ("encrypt-classic", 42.6)],
)
def test_word_products_at_2048_bits(case: str, millions: float) -> None:
    assert word_products(case, 2048) == pytest.approx(millions * 1e6, rel=0.001)
    assert word_products(case, 4096) > 3.9 * word_products(case, 2048)


def test_only_cases_have_bounds() -> None:
    counted = [case.name for case in all_cases() if word_products(case.name, 2048) is not None]
    assert {"add", "sum", "products", "decrypt", "rerandomize", "multiply-full"} <= set(counted)
    assert word_products("keygen", 2048) is None


def test_a_wrong_result_is_a_failure_and_has_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HecoreSubject, "add", lambda self, a, b: a)
    listener = Listener()
    record = run(Plan(select(["add", "add-plain"]), batches=[3], **SMALL), listener)
    assert [row.case for row in record.rows] == ["add-plain"]
    (failure,) = record.failures
    assert failure.case == "add"
    assert failure.message.startswith("WrongResult: ")
    assert failure.message in listener.heard


def test_a_crash_costs_one_case_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> None:
        raise MemoryError("no room for /some/where/table.bin\nsecond line")

    monkeypatch.setattr(HecoreSubject, "total", crash)
    record = run(Plan(select(["sum", "dot"]), batches=[3], **SMALL))
    assert [row.case for row in record.rows] == ["dot"]
    assert record.failures[0].message == "MemoryError: no room for …/table.bin"


def test_a_crash_after_the_check_is_a_failure_too(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    whole = HecoreSubject.total

    def tire(self: HecoreSubject, a: object) -> object:
        calls.append(1)
        if len(calls) > 2:
            raise MemoryError("no room")
        return whole(self, a)

    monkeypatch.setattr(HecoreSubject, "total", tire)
    record = run(Plan(select(["sum", "dot"]), batches=[3], **{**SMALL, "seconds": 0.05}))
    assert [row.case for row in record.rows] == ["dot"]
    assert [failure.message for failure in record.failures] == ["MemoryError: no room"]


def test_malformed_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    def get_backend(name: str) -> object:
        raise ValueError("HECORE_THREADS='many' is not a positive integer")

    monkeypatch.setattr(hecore, "get_backend", get_backend)
    with pytest.raises(NothingToRun, match="HECORE_THREADS='many'"):
        find_backends(["gmp"])


def without(monkeypatch: pytest.MonkeyPatch, *missing: str) -> None:
    real = hecore.get_backend

    def get_backend(name: str) -> object:
        if name in missing:
            raise BackendUnavailable(f"{name} is not for this machine\nmore")
        return real(name)

    monkeypatch.setattr(hecore, "get_backend", get_backend)


def test_missing_subjects_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "cuda")
    plan = Plan(select(["add"]), peers=["tenseal"], batches=[2], **{**SMALL, "backends": ("cuda", "gmp")})
    record = run(plan)
    assert [row.subject for row in record.rows] == ["gmp"]
    assert record.unavailable["cuda"] == "cuda is not for this machine"
    assert record.unavailable["tenseal"].startswith("no adapter")


def test_nothing_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "cuda", "simd")
    with pytest.raises(NothingToRun, match=r"no CUDA here: cuda is not for .*\nno simd here: simd is not"):
        run(Plan(select(["add"]), **{**SMALL, "backends": ("cuda", "simd")}))
    with pytest.raises(NothingToRun, match="no backend was asked for"):
        find_backends([])


def test_clocks(mine: HecoreSubject) -> None:
    assert runner.clock_for(mine) is host_clock
