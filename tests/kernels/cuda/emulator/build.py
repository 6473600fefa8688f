"""Compile the CUDA sources for the host: one shared library for a family of kernels and (T, K).

A library holds `run_<entry>` for every entry point of its family, which takes the arguments as CUDA's own
launch does, as an array of pointers to them. Libraries are kept in $XDG_CACHE_HOME/hecore/emulator (or under
~/.cache) by the hash of everything they are made of.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from hecore.kernels import cuda
from hecore.kernels.cuda import abi

HERE = Path(__file__).resolve().parent
SOURCES = Path(cuda.__file__).resolve().parent / "src"
COMPILER = "g++"
OPTIONS = ("-std=c++17", "-O1", "-fPIC", "-shared", "-Wall", "-Werror", "-Wno-unknown-pragmas")


def why_not() -> str | None:
    """Why nothing can be emulated here; None if it can."""
    return None if shutil.which(COMPILER) else f"{COMPILER} is not installed"


def library(family: str, lanes: int, limbs: int, sources: Path = SOURCES) -> Path:
    """The library of a family for T = `lanes`, K = `limbs`, from the sources in a folder."""
    program = f'#include "{family}.cu"\n{entries(family)}'
    defines = (f"-DHECORE_T={lanes}", f"-DHECORE_K={limbs}")
    files = [*sources.glob("*.cuh"), sources / f"{family}.cu"]
    return compiled(program, f"{family}-{lanes}x{limbs}", (*defines, f"-I{sources}"), files)


def entries(family: str) -> str:
    """Exported functions `run_<entry>(blocks, arguments, buffers, buffer_count)`."""
    lines = ['extern "C" {']
    for kernel in abi.KERNELS:
        if kernel.family != family:
            continue
        values = ", ".join(
            f"*static_cast<{kind.strip()}*>(arguments[{i}])"
            if not kind.endswith("*")
            else f"*static_cast<{kind} *>(arguments[{i}])"
            for i, (_, kind) in enumerate(kernel.parameters)
        )
        for entry in kernel.entries():
            lines.append(
                f"const char *run_{entry}(u32 blocks, void **arguments, const emulator::Buffer *buffers,"
                f" u32 buffer_count) {{\n  return emulator::launch(blocks, buffers, buffer_count,"
                f" [=] {{ {entry}({values}); }});\n}}"
            )
    return "\n".join([*lines, "}\n"])


def compiled(program: str, name: str, options: tuple[str, ...], files: list[Path]) -> Path:
    """The shared library of a C++ program, compiled unless it is in the cache.

    `files` are what the program includes, besides the emulator itself. RuntimeError with the compiler's words.
    """
    digest = hashlib.sha256(repr((program, OPTIONS, [o for o in options if not o.startswith("-I")])).encode())
    for file in sorted([*files, *HERE.glob("*.hpp")]):
        digest.update(file.name.encode() + file.read_bytes())
    path = cache_folder() / f"{name}-{digest.hexdigest()[:20]}.so"
    if path.exists():
        return path
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        source, result = Path(folder, f"{name}.cpp"), Path(folder, "result.so")
        source.write_text(program, encoding="utf-8")
        command = [COMPILER, *OPTIONS, *options, f"-I{HERE}", str(source), "-o", str(result)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
        if done.returncode:
            raise RuntimeError(f"{name}: {done.stderr[:4000]}")
        result.replace(path)
    return path


def cache_folder() -> Path:
    """Where libraries are kept; made if it is not there."""
    parent = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(parent) / "hecore" / "emulator"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder
