"""Two records: what is faster, what is noise, and what cannot be compared."""

from __future__ import annotations

import io

import msgspec
import pytest
from rich.console import Console

from hecore.bench.compare import Comparison, NotComparable, differences, match, print_comparison
from hecore.bench.record import Record

from .conftest import make_record, make_row


@pytest.mark.parametrize(
    ("before", "after", "spread", "verdict"),
    [
        (1.0, 0.5, 0.02, "faster"),
        (1.0, 2.0, 0.02, "slower"),
        (1.0, 1.0, 0.0, "within noise"),
        (1.0, 0.9, 0.3, "within noise"),
        (1.0, 1.1, 0.3, "within noise"),
        (1.0, 0.9, 0.02, "faster"),
        (0.9, 1.0, 0.02, "slower"),
        (1.0, 0.93, 0.0, "within noise"),
        (0.93, 1.0, 0.0, "within noise"),
    ],
)
def test_verdicts(before: float, after: float, spread: float, verdict: str) -> None:
    pair = Comparison(make_row("add", "gmp", before, spread), make_row("add", "gmp", after, spread))
    assert pair.ratio == pytest.approx(before / after)
    assert pair.verdict == verdict


def test_too_few_calls_say_nothing() -> None:
    row = make_row("add", "gmp", 1.0)
    once = msgspec.structs.replace(row, seconds=msgspec.structs.replace(row.seconds, calls=1))
    assert Comparison(make_row("add", "gmp", 9.0), once).verdict == "too few calls"


def test_rows_are_matched_by_case_subject_key_and_batch() -> None:
    rows = [
        make_row("add", "gmp", 1.0),
        make_row("add", "gmp", 2.0, batch=7),
        make_row("add", "phe", 3.0),
        make_row("add", "gmp", 4.0, key_bits=3072),
    ]
    pairs = match(make_record(rows), make_record([*rows[::-1], make_row("sum", "gmp", 1.0)]))
    assert [pair.a for pair in pairs] == rows
    assert all(pair.a == pair.b for pair in pairs)


def test_other_key_sizes_are_refused() -> None:
    a = make_record([make_row("add", "gmp", 1.0)])
    b = make_record([make_row("add", "gmp", 1.0, key_bits=3072)])
    with pytest.raises(NotComparable, match=r"A has 2048-bit keys, B has 3072: run both with the same --key"):
        match(a, b)
    with pytest.raises(NotComparable, match="B has no: run"):
        match(a, make_record([]))


def test_nothing_in_common_is_refused() -> None:
    a, b = make_record([make_row("add", "gmp", 1.0)]), make_record([make_row("sum", "gmp", 1.0)])
    with pytest.raises(NotComparable, match="no operation, subject and batch size in common"):
        match(a, b)


def test_differences(record: Record) -> None:
    assert differences(record, record) == []
    machine = msgspec.structs.replace(
        record.machine, cpu="Pascaline", usable_cores=2, gpus=["H200"], load=3.0
    )
    other = make_record(record.rows[1:], machine=machine, versions={"python": "3.12.1"})
    assert differences(record, other) == [
        "another processor: Abacus and Pascaline",
        "1 cores and 2",
        "another GPU",
        "load 0.25 before A and 3.0 before B",
        "gmpy2 2.3.2 and none",
        "python 3.11.7 and 3.12.1",
        "1 rows stand in A only",
    ]


def test_print(record: Record) -> None:
    out = io.StringIO()
    faster = make_record([make_row("add", "gmp", 0.002), *record.rows[1:]])
    print_comparison(record, faster, Console(file=out, width=120))
    lines = out.getvalue().splitlines()
    assert "250 k/s" in lines[1]
    assert lines[1].split()[-2:] == ["2.00", "faster"]
    assert lines[2].split()[-2:] == ["within", "noise"]
