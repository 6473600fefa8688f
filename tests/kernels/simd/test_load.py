"""When the simd backend is there, when it says why not, and that it looks before it leaps."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hecore.kernels import BackendUnavailable, get_backend
from hecore.kernels.gmp import GmpBackend

pytest.importorskip("numba")

from hecore.kernels.selftest import self_test
from hecore.kernels.simd.forms import FORMS, choose, chosen, target_features

BODY = Path(__file__).with_name("test_montgomery.py")
ROOT = Path(__file__).parents[3]

NO_GPU = {"CUDA_VISIBLE_DEVICES": ""}
CHOSEN = "import hecore; print(hecore.get_backend().name)"
ASKED = """
import hecore
try:
    hecore.get_backend("simd")
except hecore.BackendUnavailable as error:
    print(error)
"""


def run(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )
    return done.stdout.strip()


def simd_or_skip():
    try:
        return get_backend("simd")
    except BackendUnavailable as error:
        pytest.skip(str(error))


def test_without_the_instructions_it_says_so_and_auto_takes_gmp() -> None:
    """LLVM would end the process if it were asked for them."""
    features = "+sse2,+avx"
    environment = {"NUMBA_CPU_FEATURES": features, "HECORE_SIMD_FORM": "", **NO_GPU}
    assert run(CHOSEN, HECORE_BACKEND="auto", **environment) == "gmp"
    assert "AVX2" in run(ASKED, NUMBA_CPU_FEATURES=features, HECORE_SIMD_FORM="")


@pytest.mark.parametrize(
    ("features", "wanted", "form"),
    [
        ({"avx512f", "avx512ifma", "avx2"}, "", "ifma"),
        ({"avx512f", "avx2"}, "", "avx512"),
        ({"avx2", "avx512ifma"}, "", "avx2"),
        ({"avx512f", "avx512ifma", "avx2"}, "avx2", "avx2"),
        ({"avx512f", "avx512ifma", "avx2"}, "avx512", "avx512"),
    ],
)
def test_the_best_form_or_the_one_asked_for(features: set[str], wanted: str, form: str) -> None:
    assert choose(frozenset(features), wanted).name == form


@pytest.mark.parametrize(
    ("features", "wanted", "text"),
    [
        (set(), "", "AVX2"),
        ({"avx2"}, "ifma", "'ifma' needs avx512f, avx512ifma"),
        ({"avx2"}, "sse", "none of ifma, avx512, avx2"),
    ],
)
def test_a_form_that_cannot_be_had(features: set[str], wanted: str, text: str) -> None:
    with pytest.raises(BackendUnavailable, match=text):
        choose(frozenset(features), wanted)


@pytest.mark.parametrize("form", [form.name for form in FORMS])
def test_every_form_computes_the_same(form: str) -> None:
    """The body of test_montgomery in a process of its own, whose kernels are of that form."""
    try:
        choose(target_features(), form)
    except BackendUnavailable as error:
        pytest.skip(str(error))
    if form == chosen().name:
        pytest.skip("this process runs it")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(BODY)]
    environment = os.environ | {"HECORE_SIMD_FORM": form}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=110, cwd=ROOT
    )
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout


def test_without_numba_it_says_so() -> None:
    hidden = "import sys; sys.modules['numba'] = None\n"
    assert run(hidden + CHOSEN, HECORE_BACKEND="auto", **NO_GPU) == "gmp"
    assert "numba" in run(hidden + ASKED)


def test_auto_prefers_it() -> None:
    simd_or_skip()
    assert run(CHOSEN, HECORE_BACKEND="", **NO_GPU) == "simd"


@pytest.mark.parametrize("operation", ["mod_mul", "mod_pow", "mul_one_plus"])
def test_the_self_test_finds_a_wrong_result(monkeypatch: pytest.MonkeyPatch, operation: str) -> None:
    backend = GmpBackend()
    self_test(backend)
    right = getattr(backend, operation)

    def wrong(*arguments):
        out = right(*arguments)
        return type(out)(out.modulus, [*out.values[:-1], (out.values[-1] + 1) % out.modulus.mpz])

    monkeypatch.setattr(backend, operation, wrong)
    with pytest.raises(BackendUnavailable, match="self-test"):
        self_test(backend)


def test_a_folder_that_cannot_be_written_costs_time_only(tmp_path) -> None:
    simd_or_skip()
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    code = "import logging; logging.basicConfig()\n" + CHOSEN
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"}
        | {"XDG_CACHE_HOME": str(blocked), "HECORE_BACKEND": "simd"},
        capture_output=True,
        text=True,
        check=True,
        timeout=110,
    )
    assert done.stdout.strip() == "simd"
    assert "compiled in every process" in done.stderr


def test_compiled_kernels_lie_in_a_folder_named_by_their_sources(tmp_path) -> None:
    simd_or_skip()
    environment = {"XDG_CACHE_HOME": str(tmp_path), "NUMBA_CACHE_DIR": ""}
    assert run(CHOSEN, HECORE_BACKEND="simd", **environment) == "simd"
    [folder] = (tmp_path / "hecore").iterdir()
    assert folder.name.startswith("kernels-")
    assert list(folder.rglob("montgomery.multiply_rows*.nbc"))
    assert folder.stat().st_mode & 0o077 == 0
