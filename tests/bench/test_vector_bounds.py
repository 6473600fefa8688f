"""The bounds of the vector kernels: what they count, and the command that prints them."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

import hecore
from hecore import BackendUnavailable
from hecore.bench.cases import all_cases
from hecore.bench.cli import app

from .conftest import make_record, make_row

TINY = ["bound", "--key-bits", "256", "--insecure-test-key", "--seconds", "0.001"]


@pytest.fixture
def bounds():
    try:
        hecore.get_backend("simd")
    except BackendUnavailable as error:
        pytest.skip(str(error))
    from hecore.bench import vector_bounds

    return vector_bounds


def test_a_product_of_two_digits_is_five_products_of_one(bounds) -> None:
    from hecore.kernels import Modulus
    from hecore.kernels.simd.constants import Constants

    limbs = Constants(Modulus((1 << 2048) - 1)).limbs
    costs = bounds.Costs(2048)
    assert costs.product == 5 * limbs**2 * bounds.HALVES
    assert costs.message * 5 == costs.product * 2
    assert costs.comb(1024) == 127 * costs.product
    # Two primes of half the length: products of a quarter, combs of the same length as the public one's.
    half = Constants(Modulus((1 << 1024) - 1)).limbs
    assert costs.owner_comb() * limbs**2 == 2 * costs.comb(1024) * half**2
    # A power needs its squarings and a product for each window at least.
    assert costs.power(2048) > 2048 * 0.7 * costs.product
    assert costs.power(2048) < 2048 * costs.product


def test_only_rows_of_simd_with_a_bound_count(bounds) -> None:
    rows = [
        make_row("add", "simd", 0.001),
        make_row("add", "gmp", 0.001),
        make_row("keygen", "simd", 0.001),
    ]
    (one,) = bounds.bounds(make_record(rows), 1e9)
    assert (one.row.case, one.row.subject) == ("add", "simd")
    assert one.rate == bounds.LANES * 1e9 / bounds.Costs(2048).product
    assert one.share == one.row.rate / one.rate
    assert set(bounds.OPERATIONS) <= {case.name for case in all_cases()}


def test_the_command_measures_and_prints(bounds) -> None:
    result = CliRunner().invoke(app, [*TINY, "--ops", "add,decrypt"])
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines[1:3]] == ["decrypt", "add"]
    assert all(line.rstrip().endswith("%") for line in lines[1:3])
    assert "ceiling of one core" in lines[3]


def test_the_command_without_simd(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def get_backend(name: str) -> object:
        raise BackendUnavailable(f"{name} needs what is not here")

    monkeypatch.setattr(hecore, "get_backend", get_backend)
    result = CliRunner().invoke(app, TINY)
    assert result.exit_code == 1
    assert "simd needs what is not here" in result.stderr
