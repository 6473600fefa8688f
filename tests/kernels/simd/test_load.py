"""When the simd backend is there, when it says why not, and what its self-test finds; see also test_forms."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from hecore.kernels import BackendUnavailable, Modulus, Residues, get_backend
from hecore.kernels.gmp import GmpBackend

pytest.importorskip("numba")

from hecore.kernels.selftest import self_test

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
        timeout=250,
    )
    return done.stdout.strip()


def simd_or_skip():
    try:
        return get_backend("simd")
    except BackendUnavailable as error:
        pytest.skip(str(error))


def test_without_numba_it_says_so() -> None:
    hidden = "import sys; sys.modules['numba'] = None\n"
    assert run(hidden + CHOSEN, HECORE_BACKEND="auto", **NO_GPU) == "gmp"
    assert "numba" in run(hidden + ASKED)


def test_auto_prefers_it() -> None:
    simd_or_skip()
    assert run(CHOSEN, HECORE_BACKEND="", **NO_GPU) == "simd"


#: Every operation that has a kernel of its own.
KERNELS = ["from_signed", "mod_mul", "mod_pow", "segment_product", "mul_one_plus", "high_digit", "reduce"]


def off_by_one_in_the_last(backend: GmpBackend, out: Residues) -> Residues:
    values = backend.to_ints(out)
    return backend.from_ints(out.modulus, [*values[:-1], (values[-1] + 1) % out.modulus.value])


@pytest.mark.parametrize("operation", KERNELS)
def test_the_self_test_finds_a_wrong_result(monkeypatch: pytest.MonkeyPatch, operation: str) -> None:
    backend = GmpBackend()
    self_test(backend)
    right = getattr(backend, operation)
    monkeypatch.setattr(backend, operation, lambda *given: off_by_one_in_the_last(backend, right(*given)))
    with pytest.raises(BackendUnavailable, match="self-test"):
        self_test(backend)


def test_the_self_test_finds_a_wrong_comb(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = GmpBackend()
    comb = type(backend.fixed_base(Modulus(15), 3, 8))
    right = comb.pow
    monkeypatch.setattr(comb, "pow", lambda self, e: off_by_one_in_the_last(backend, right(self, e)))
    with pytest.raises(BackendUnavailable, match="wrong combs"):
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
        timeout=250,
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


def test_every_processor_has_a_folder_of_its_own() -> None:
    """Processes of two processors that share a home and compile at once do not mix up their files."""
    simd_or_skip()
    code = "from hecore.kernels.simd.cache import FOLDER; print(FOLDER)"
    here = run(code, HECORE_SIMD_FORM="avx2")
    other = run(
        code, HECORE_SIMD_FORM="avx2", NUMBA_CPU_NAME="haswell", NUMBA_CPU_FEATURES="+avx2,+fma,+bmi2"
    )
    assert here != other


@pytest.mark.parametrize("first", ["backend", "probe"])
def test_machine_code_is_kept_by_a_hash_of_all_sources(first: str) -> None:
    """Whatever is imported first: beside a source, numba would go on using the code of older instructions."""
    code = f"""
import importlib, numba
parts = [importlib.import_module(f"hecore.kernels.simd.{{part}}")
         for part in ("{first}", "backend", "probe", "montgomery", "words", "rounding")]
from hecore.kernels.simd.cache import FOLDER
kernels = {{value for part in parts for value in vars(part).values() if hasattr(value, "py_func")}}
print(len(kernels) > 15, {{value._cache.cache_path.startswith(str(FOLDER)) for value in kernels}})
"""
    assert run(code) == "True {True}"
