"""A small insecure key, hecore and phe on it, and a record to print, compare and draw."""

from __future__ import annotations

import pytest

import hecore
from hecore.bench.peers import make_peer
from hecore.bench.record import Machine, Record, Row, Seconds, Source
from hecore.bench.subjects import HecoreSubject, Subject

BITS = 256


@pytest.fixture(scope="session")
def key() -> hecore.PrivateKey:
    return hecore.generate_key(BITS, insecure_test_key=True)


@pytest.fixture(scope="session")
def mine(key: hecore.PrivateKey) -> HecoreSubject:
    return HecoreSubject(key, hecore.get_backend("gmp"))


@pytest.fixture(scope="session")
def subjects(mine: HecoreSubject) -> dict[str, Subject]:
    return {"gmp": mine, "phe": make_peer("phe", BITS)}


def make_row(case: str, subject: str, seconds: float, spread: float = 0.02, **changes: object) -> Row:
    """A row of 1000 items whose quartiles lie `spread`/2 beside the median."""
    low, high = seconds * (1 - spread / 2), seconds * (1 + spread / 2)
    fields: dict[str, object] = {
        "case": case,
        "group": "arithmetic",
        "unit": "values",
        "subject": subject,
        "peer": subject in {"phe", "heu"},
        "key_bits": 2048,
        "batch": 1000,
        "items": 1000,
        "cores": 1.0,
        "seconds": Seconds(lowest=low, lower=low, median=seconds, upper=high, highest=high, calls=7),
    }
    return Row(**{**fields, **changes})  # type: ignore[arg-type]


def make_record(rows: list[Row], **changes: object) -> Record:
    machine = Machine(
        system="Linux x86_64",
        cpu="Abacus",
        cpu_family="1",
        cpu_model="2",
        features=["avx2"],
        cores=4,
        usable_cores=1,
        threads=1,
        load=0.25,
        gpus=[],
    )
    fields: dict[str, object] = {
        "created": "2025-01-02T03:04:05+00:00",
        "command": "hecore-bench run --threads 1",
        "seconds": 1.0,
        "machine": machine,
        "versions": {"python": "3.11.7", "gmpy2": "2.3.2"},
        "source": Source("0123456789abcdef", False),
        "unavailable": {"cuda": "no device"},
        "rows": rows,
    }
    return Record(**{**fields, **changes})  # type: ignore[arg-type]


@pytest.fixture
def record() -> Record:
    return make_record(
        [
            make_row("add", "gmp", 0.004, headline=True),
            make_row("add", "simd", 0.0005, headline=True),
            make_row("add", "phe", 0.008, headline=True),
            make_row("sum", "gmp", 0.003),
            make_row("sum", "gmp", 0.09, key_bits=3072),
        ]
    )
