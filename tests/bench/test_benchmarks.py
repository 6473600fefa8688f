"""The cases of `hecore-bench` under pytest-benchmark: `make bench`; not run by `make test`."""

from __future__ import annotations

from functools import cache

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import hecore
from hecore.bench.cases import Case, all_cases
from hecore.bench.runner import BACKENDS
from hecore.bench.subjects import HecoreSubject

BITS = 2048


@pytest.fixture(autouse=True)
def only_when_asked(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("benchmark_disable") and not request.config.getoption("benchmark_enable"):
        pytest.skip("benchmarks run with `make bench`")


@cache
def subject(backend: str) -> HecoreSubject:
    return HecoreSubject(hecore.generate_key(BITS), hecore.get_backend(backend))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", all_cases(), ids=lambda case: case.name)
def test_case(case: Case, backend: str, benchmark: BenchmarkFixture) -> None:
    if not case.uses_backend and backend != BACKENDS[0]:
        pytest.skip("the same on every backend")
    try:
        mine = subject(backend)
    except hecore.BackendUnavailable as error:
        pytest.skip(str(error))
    work = case.prepare(mine, case.batch.for_pace(mine.pace))
    work.check(work.run())
    benchmark.group = case.name
    benchmark.extra_info.update(items=work.items, unit=case.unit, key_bits=BITS)
    benchmark.pedantic(work.run, rounds=3)
