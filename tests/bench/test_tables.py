"""Tables for the terminal and for Markdown: readable figures, ratios, and the lines under them."""

from __future__ import annotations

import io

import msgspec
import pytest
from rich.console import Console

from hecore.bench.cases import all_cases
from hecore.bench.record import Failure, Record
from hecore.bench.tables import markdown, notes, print_cases, print_record, readable, times

from .conftest import make_record, make_row


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        (0.031, "0.03 /s"),
        (9.994, "9.99 /s"),
        (9.996, "10.0 /s"),
        (380.4, "380 /s"),
        (999.4, "999 /s"),
        (999.6, "1.00 k/s"),
        (1723.0, "1.72 k/s"),
        (225_000.0, "225 k/s"),
        (1_680_000.0, "1.68 M/s"),
        (3.3e8, "330 M/s"),
        (2.5e12, "2500 G/s"),
    ],
)
def test_rates(rate: float, text: str) -> None:
    assert readable(rate) == text


@pytest.mark.parametrize(
    ("ratio", "text"),
    [(0.0013, "×0.001"), (0.0567, "×0.06"), (0.9949, "×0.99"), (1.0, "×1.0"), (9.94, "×9.9")],
)
def test_small_ratios(ratio: float, text: str) -> None:
    assert times(ratio) == text


@pytest.mark.parametrize(("ratio", "text"), [(9.96, "×10"), (17.4, "×17"), (1234.5, "×1,234")])
def test_large_ratios(ratio: float, text: str) -> None:
    assert times(ratio) == text


def printed(record: Record) -> str:
    out = io.StringIO()
    print_record(record, Console(file=out, width=120))
    return out.getvalue()


def test_a_record_in_full(record: Record) -> None:
    lines = [line.split() for line in printed(record).splitlines()]
    assert lines[0] == ["2048-bit", "keys"]
    assert lines[1] == ["operation", "on", "batch", "rate", "IQR", "cores", "vs", "gmp", "vs", "phe"]
    assert lines[2] == ["headline"]
    assert lines[3] == ["add", "(values)", "gmp", "1,000", "250", "k/s", "2", "%", "1.00", "×2.0"]
    assert lines[4] == ["simd", "1,000", "2.00", "M/s", "2", "%", "1.00", "×8.0", "×16"]
    assert lines[5] == ["phe", "1,000", "125", "k/s", "2", "%", "1.00", "×0.50"]
    assert ["arithmetic"] in lines
    assert ["3072-bit", "keys"] in lines


def test_a_device_has_columns_of_its_own() -> None:
    seconds = make_row("add", "cuda", 0.001).seconds
    part = msgspec.structs.replace(seconds, median=0.00025)
    rows = [
        make_row("add", "gmp", 0.004),
        make_row("add", "cuda", 0.001, device_seconds=seconds, copy_seconds=part, bound=2e6),
        make_row("pack", "cuda", 0.001, device_seconds=part, copy_seconds=part),
    ]
    lines = printed(make_record(rows, ceilings={"cuda": 8.36e12})).splitlines()
    assert lines[1].split()[5:] == ["cores", "kernels", "copies", "of", "bound", "vs", "gmp"]
    cells = [line.split() for line in lines]
    assert cells[3] == ["add", "(values)", "gmp", "1,000", "250", "k/s", "2", "%", "1.00"]
    assert cells[4][6:] == ["1.00", "100", "%", "25", "%", "50", "%", "×4.0"]
    assert cells[5][8:] == ["1.00", "25", "%", "25", "%"]
    assert any("cuda: 8360 G/s word products" in line for line in lines)


def test_ratios_prefer_the_same_batch() -> None:
    rows = [
        make_row("add", "gmp", 1.0, batch=10),
        make_row("add", "gmp", 4.0, batch=20),
        make_row("add", "simd", 1.0, batch=20),
        make_row("add", "simd", 1.0, batch=30),
    ]
    lines = [line for line in printed(make_record(rows)).splitlines() if "simd" in line]
    assert lines[0].split()[-1] == "×4.0"
    assert lines[1].split()[-1] == "×1.0"  # another batch is better than nothing: rates are per item


def test_notes(record: Record) -> None:
    found = "\n".join(notes(record))
    assert "hecore-bench run --threads 1" in found
    assert "1 of 4 cores, HECORE_THREADS 1" in found
    assert "commit 0123456789abcdef\n" in found
    assert "no CUDA here: no device" in found
    failure = Failure(case="add", subject="gmp", key_bits=2048, message="WrongResult: [1 of 2]")
    failed = make_record(record.rows, failures=[failure], source=None)
    assert notes(failed)[-1] == "FAILED add on gmp, 2048 bits: WrongResult: [1 of 2]"
    assert "WrongResult: [1 of 2]" in printed(failed)
    assert "commit" not in "\n".join(notes(failed))


def test_a_busy_machine_is_named() -> None:
    busy = make_record([make_row("add", "gmp", 1.0, cores=cores) for cores in (0.5, 0.6, 1.0)])
    assert "busy machine: 2 of 3 rows had less than 95 % of the core" in printed(busy)
    free = make_record([make_row("add", "gmp", 1.0, cores=cores) for cores in (0.96, 0.99, 1.0)])
    assert "busy" not in printed(free)
    several = msgspec.structs.replace(busy.machine, usable_cores=2)
    assert "busy" not in printed(make_record(busy.rows, machine=several))


def test_ratios_of_unequal_parts_of_the_core_are_marked() -> None:
    shares = {"gmp": 0.46, "simd": 0.30, "phe": 0.44}
    rows = [make_row("add", name, 1.0, cores=share) for name, share in shares.items()]
    record = make_record(
        [*rows, make_row("sum", "gmp", 1.0, cores=0.5), make_row("sum", "phe", 2.0, cores=0.5)]
    )
    text = printed(record)
    assert "add simd 0.30, gmp 0.46; add simd 0.30, phe 0.44" in text
    assert "ratios with ? do not hold" in text
    add, sums = ([line for line in markdown(record).splitlines() if "×" in line][part] for part in (1, -1))
    assert add.endswith("| ×1.0? | ×1.0? |")
    assert sums.endswith("| ×0.50 |  |")
    equal = make_record([make_row("add", name, 1.0, cores=0.5) for name in shares])
    assert "ratios hold" in printed(equal)
    assert "?" not in printed(equal)


def test_one_call_has_no_spread() -> None:
    row = make_row("add", "gmp", 1.0)
    once = msgspec.structs.replace(row, seconds=msgspec.structs.replace(row.seconds, calls=1))
    assert "| – |" in markdown(make_record([once]))
    assert "| 2 % |" in markdown(make_record([row]))


def test_markdown(record: Record) -> None:
    lines = markdown(record).splitlines()
    assert lines[0] == "### 2048-bit keys"
    assert lines[2] == "| operation | on | batch | rate | IQR | cores | vs gmp | vs phe |"
    assert lines[3] == "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    assert lines[5] == "|  | simd | 1,000 | 2.00 M/s | 2 % | 1.00 | ×8.0 | ×16 |"
    assert lines[-1] == "- no CUDA here: no device"


def test_list() -> None:
    out = io.StringIO()
    print_cases(all_cases(), Console(file=out, width=120))
    text = out.getvalue()
    assert all(case.name in text for case in all_cases())
    assert "add *" in text
    assert "add-plain *" not in text
