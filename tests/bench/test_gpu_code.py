"""What `hecore-bench gpu-code` computes from counted instructions; the counting is in tests/kernels/cuda."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from hecore.bench import gpu_code, sass
from hecore.bench.cli import app
from hecore.bench.gpu_code import H200, MEANING, ROWS, Operation, Step
from hecore.bench.sass import Counts, Usage
from hecore.kernels.cuda.shapes import Shape

USAGE = Usage(registers=84, shared=8448, stack=0, spills=0)


def made_up(shape: Shape, target: str = "sm_90") -> dict[str, Step]:
    """Exactly the multiplications of the algorithm, half as many instructions besides."""
    wide = {kernel: rows * shape.words * shape.limbs for kernel, rows in ROWS.items()}
    return {k: Step(k, shape, USAGE, Counts(3 * w // 2, w, 0)) for k, w in wide.items()}


def test_a_step_takes_the_multiplier_or_the_issue_of_instructions() -> None:
    def clocks(counts: Counts) -> int:
        return Step("multiply_2", Shape(8, 8), USAGE, counts).clocks

    assert clocks(Counts(all=100, wide=50, imad=10)) == 220
    assert clocks(Counts(all=400, wide=50, imad=10)) == 400


def test_bounds_of_a_key() -> None:
    found = {o.name: o for o in gpu_code.operations(2048, made_up(Shape(8, 8)), made_up(Shape(4, 8)))}
    add = found["add, device resident"]
    assert add == Operation(add.name, pytest.approx(132 * 4 * 1.98e9 * 4 / (4 * 5 * 64 * 8)), 300e6)
    # p² and q²: half the windows of a product of a quarter, twice.
    owner, public = found["encrypt, owner, comb of 8 bits"], found["encrypt, public, comb of 8 bits"]
    assert owner.bound == pytest.approx(2 * public.bound)
    assert found["encrypt, public, comb of 12 bits"].bound == pytest.approx(public.bound * 127 / 85)
    assert found["decrypt"].bound > 3 * found["encrypt, classic r^n"].bound


def test_a_loop_in_a_loop() -> None:
    inner = sass.Loop(10, 19, Counts(10, 8, 0))
    outer = sass.Loop(5, 29, Counts(25, 9, 2))
    other = sass.Loop(40, 45, Counts(6, 1, 0))
    code = sass.Code("multiply_1", USAGE, Counts(60, 12, 5), (outer, inner, other))
    assert code.product_loop() is inner
    assert code.around(inner) is outer
    assert code.around(outer) is None
    # Two rows of four limbs for each limb of the multiplier: one limb a round, of the eight.
    step = gpu_code.step_of("multiply_1", code, Shape(2, 4))
    assert step.counts == Counts(15 + 8 * 10, 1 + 8 * 8, 2)


def test_the_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_code, "steps", made_up)
    monkeypatch.setattr(gpu_code.nvrtc, "version", lambda: "13.0")
    text = gpu_code.report()
    assert all(meaning in text for meaning in MEANING.values())
    assert "| product, two digits | 8×8 | 84 | 0 | 20 | 2560 | 0 | 3840 | 30.7 k | 408 |" in text
    assert "| add, device resident | 408 M | 300 M | 73% |" in text
    assert f"{H200.multiprocessors} multiprocessors at 1.98 GHz" in text


def test_without_the_tools_the_command_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sass, "why_not", lambda: "the package x is not installed")
    result = CliRunner().invoke(app, ["gpu-code"])
    assert result.exit_code == 1
    assert result.stderr.strip() == "error: the package x is not installed"
