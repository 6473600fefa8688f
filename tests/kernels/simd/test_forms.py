"""Every vector form computes the same, and each processor gets the best that it can run.

A process has one form. So the bodies of the backend tests run here in processes of their own, on the other
forms; and numba is told to compile for other processors.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hecore.kernels import BackendUnavailable

pytest.importorskip("numba")

from hecore.kernels.simd.forms import FORMS, Form, choose, chosen, target_features

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
#: What every backend must do, on moduli of up to 4096 bits, and what is special to lanes.
BODIES = (HERE.parent / "test_backend.py", HERE / "test_montgomery.py")

#: numba's settings for processors: one with AVX-512 of the first generation, one with AVX2, two with less.
SKYLAKE_X = ("skylake-avx512", "+avx512f,+avx512bw,+avx512cd,+avx512dq,+avx512vl,+avx2,+avx,+bmi,+bmi2,+fma")
HASWELL = ("haswell", "+avx2,+avx,+bmi,+bmi2,+fma,+sse4.2")
IVY_BRIDGE = ("ivybridge", "+avx,+sse4.2")
NEHALEM = ("nehalem", "+sse4.2")

#: Seconds for a body, which takes 15: the machine may be slow, or compile.
PATIENCE = 600

CHOSEN = """
import hecore
from hecore.kernels.simd.forms import chosen
print(hecore.get_backend().name, chosen().name)
"""
AUTO = "import hecore; print(hecore.get_backend().name)"
ASKED = """
import hecore
try:
    hecore.get_backend("simd")
except hecore.BackendUnavailable as error:
    print(error)
"""


def settings(processor: tuple[str, str] | None = None, form: str = "") -> dict[str, str]:
    """The environment of a process for that processor, or this one, with that form or its best."""
    changes = {"HECORE_SIMD_FORM": form, "HECORE_BACKEND": ""}
    if processor is not None:
        changes |= {"NUMBA_CPU_NAME": processor[0], "NUMBA_CPU_FEATURES": processor[1]}
    return os.environ | changes


def run(code: str, environment: dict[str, str]) -> str:
    """What a program prints. It must end of itself: LLVM aborts a process that asks for what it lacks."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def run_bodies(bodies: tuple[Path, ...], environment: dict[str, str]) -> None:
    """The simd tests of the bodies: all pass, none is skipped."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "simd", *bodies]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE - 10, cwd=ROOT
    )
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout


def skip_unless(*features: str) -> None:
    """Code for another processor runs where this one has its instructions."""
    missing = set(features) - target_features()
    if missing:
        pytest.skip(f"this processor has no {', '.join(sorted(missing))}")


# --- the choice ---


@pytest.mark.parametrize(
    ("features", "wanted", "form"),
    [
        ({"avx512f", "avx512ifma", "avx2"}, "", "ifma"),
        ({"avx512f", "avx2"}, "", "avx512"),
        ({"avx2", "fma", "avx512ifma"}, "", "avx2"),
        ({"avx512f", "avx512ifma", "avx2", "fma"}, "avx2", "avx2"),
        ({"avx512f", "avx512ifma", "avx2"}, "avx512", "avx512"),
    ],
)
def test_the_best_form_or_the_one_asked_for(features: set[str], wanted: str, form: str) -> None:
    assert choose(frozenset(features), wanted).name == form


@pytest.mark.parametrize(
    ("features", "wanted", "text"),
    [
        (set(), "", "AVX2"),
        ({"avx2"}, "", "AVX2 and FMA"),
        ({"avx2"}, "ifma", "'ifma' needs avx512f, avx512ifma"),
        ({"avx2"}, "sse", "none of ifma, avx512, avx2"),
    ],
)
def test_a_form_that_cannot_be_had(features: set[str], wanted: str, text: str) -> None:
    with pytest.raises(BackendUnavailable, match=text):
        choose(frozenset(features), wanted)


# --- one body for every form ---


@pytest.mark.timeout(PATIENCE)
@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_every_form_passes_the_tests_of_the_backend(form: Form) -> None:
    try:
        choose(target_features(), form.name)
    except BackendUnavailable as error:
        pytest.skip(str(error))
    if form.name == chosen().name:
        pytest.skip("this process runs it")
    run_bodies(BODIES, settings(form=form.name))


# --- other processors ---


@pytest.mark.parametrize(("processor", "form"), [(SKYLAKE_X, "avx512"), (HASWELL, "avx2")])
def test_a_processor_gets_the_best_form_it_can_run(processor: tuple[str, str], form: str) -> None:
    skip_unless(*next(f.features for f in FORMS if f.name == form))
    assert run(CHOSEN, settings(processor)) == f"simd {form}"


@pytest.mark.timeout(PATIENCE)
def test_code_for_a_processor_without_avx512_is_right() -> None:
    """The avx2 form compiled for sixteen registers and none of the newer instructions."""
    skip_unless("avx2", "bmi2", "fma")
    run_bodies(BODIES[1:], settings(HASWELL))


@pytest.mark.parametrize("processor", [IVY_BRIDGE, NEHALEM], ids=lambda processor: processor[0])
def test_a_processor_without_avx2_gets_gmp(processor: tuple[str, str]) -> None:
    skip_unless("sse4.2")
    assert run(AUTO, settings(processor)) == "gmp"
    assert "needs a processor with AVX2 and FMA" in run(ASKED, settings(processor))


@pytest.mark.parametrize(
    ("processor", "form", "missing"),
    [
        (SKYLAKE_X, "ifma", "avx512ifma"),
        (HASWELL, "avx512", "avx512f"),
        (HASWELL, "ifma", "avx512f, avx512ifma"),
        (NEHALEM, "avx2", "avx2, fma"),
    ],
)
def test_a_form_beyond_the_processor_is_refused(processor: tuple[str, str], form: str, missing: str) -> None:
    skip_unless("sse4.2")
    environment = settings(processor, form)
    assert f"form '{form}' needs {missing}, which" in run(ASKED, environment)
    assert run(AUTO, environment) == "gmp"
