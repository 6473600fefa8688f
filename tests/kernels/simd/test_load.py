"""When the simd backend is there, when it says why not, and that it looks before it leaps."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from hecore.kernels import BackendUnavailable, get_backend
from hecore.kernels.gmp import GmpBackend

pytest.importorskip("numba")

from hecore.kernels.simd.load import self_test

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
    features = "+sse2,+avx,+avx2"
    assert run(CHOSEN, NUMBA_CPU_FEATURES=features, HECORE_BACKEND="auto") == "gmp"
    assert "AVX512-IFMA" in run(ASKED, NUMBA_CPU_FEATURES=features)
    assert "avx512ifma" in run(ASKED, NUMBA_CPU_FEATURES="+avx512f")


def test_without_numba_it_says_so() -> None:
    hidden = "import sys; sys.modules['numba'] = None\n"
    assert run(hidden + CHOSEN, HECORE_BACKEND="auto") == "gmp"
    assert "numba" in run(hidden + ASKED)


def test_auto_prefers_it() -> None:
    simd_or_skip()
    assert run(CHOSEN, HECORE_BACKEND="") == "simd"


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
