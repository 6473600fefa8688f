"""NVRTC without a GPU, a driver or CuPy: the library of the wheel `nvidia-cuda-nvrtc`, through ctypes.

With it the CUDA kernels are compiled where they cannot run: to PTX, for the emulator of the tests, and to
machine code, whose instructions are counted.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.metadata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hecore.errors import HecoreError
from hecore.kernels import cuda
from hecore.kernels.cuda.shapes import Shape

WHEELS = ("nvidia-cuda-nvrtc", "nvidia-cuda-nvrtc-cu12")
SOURCES = Path(cuda.__file__).resolve().parent / "src"


class ToolMissing(HecoreError, RuntimeError):
    """A compiler or disassembler is not on this machine; the message names its package."""


class CompileError(Exception):
    """The source does not compile; the message is NVRTC's log."""


def why_not() -> str | None:
    """Why there is no NVRTC here; None if there is."""
    return None if _files() else f"the package {WHEELS[0]} is not installed"


def version() -> str:
    """NVRTC's version."""
    major, minor = ctypes.c_int(), ctypes.c_int()
    _check(_library().nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)))
    return f"{major.value}.{minor.value}"


def architectures() -> list[int]:
    """Compute capabilities that NVRTC compiles for: 90 is 9.0."""
    count = ctypes.c_int()
    _check(_library().nvrtcGetNumSupportedArchs(ctypes.byref(count)))
    found = (ctypes.c_int * count.value)()
    _check(_library().nvrtcGetSupportedArchs(found))
    return list(found)


def compile_family(family: str, shape: Shape, target: str, sources: Path = SOURCES) -> tuple[bytes, str]:
    """A family of kernels for a shape: the result and the log.

    `target` is `sm_90` for machine code (a cubin; the log has registers and spills), `compute_90` for PTX.
    """
    options = (
        "-std=c++17",
        f"-arch={target}",
        f"-I{sources}",
        f"-DHECORE_T={shape.lanes}",
        f"-DHECORE_K={shape.limbs}",
        "--ptxas-options=-v",
    )
    source = (sources / f"{family}.cu").read_bytes()
    return compile_source(source, f"{family}.cu", options, "PTX" if "compute" in target else "CUBIN")


def compile_source(source: bytes, name: str, options: Sequence[str], result: str) -> tuple[bytes, str]:
    """Compile a source to `result`, PTX or CUBIN: the result and the log. CompileError with the log."""
    library = _library()
    program = ctypes.c_void_p()
    _check(library.nvrtcCreateProgram(ctypes.byref(program), source, name.encode(), 0, None, None))
    try:
        encoded = [option.encode() for option in options]
        failed = library.nvrtcCompileProgram(
            program, len(encoded), (ctypes.c_char_p * len(encoded))(*encoded)
        )
        log = _text("ProgramLog", program).rstrip(b"\0").decode()
        if failed:
            raise CompileError(log)
        return _text(result, program), log
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))


def _text(what: str, program: ctypes.c_void_p) -> bytes:
    size = ctypes.c_size_t()
    _check(getattr(_library(), f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
    room = ctypes.create_string_buffer(size.value)
    _check(getattr(_library(), f"nvrtcGet{what}")(program, room))
    return room.raw


def _check(code: int) -> None:
    if code:
        raise RuntimeError(f"NVRTC answers with error {code}")


def _files() -> list[Path]:
    """libnvrtc and what it loads, of the first wheel that is installed."""
    for wheel in WHEELS:
        try:
            files = importlib.metadata.files(wheel) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        found = [
            Path(str(f.locate())) for f in files if f.name.startswith("libnvrtc") and "alt" not in f.name
        ]
        if found:
            # The library of built-in functions first: the other one finds it loaded.
            return sorted(found, key=lambda path: "builtins" not in path.name)
    return []


@functools.cache
def _library() -> Any:
    files = _files()
    if not files:
        raise RuntimeError(why_not())
    return [ctypes.CDLL(str(path)) for path in files][-1]
