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
OPTIONS = ("-std=c++17", "-O2", "-fPIC", "-shared", "-Wall", "-Werror", "-Wno-unknown-pragmas")


def why_not() -> str | None:
    """Why nothing can be emulated here; None if it can."""
    return None if shutil.which(COMPILER) else f"{COMPILER} is not installed"


def library(family: str, lanes: int, limbs: int, sources: Path = SOURCES) -> Path:
    """The library with a family of kernels for T = `lanes`, K = `limbs`: here, with all of them."""
    return kernels_library(abi.FAMILIES, lanes, limbs, sources)


def kernels_library(
    families: tuple[str, ...], lanes: int, limbs: int, sources: Path = SOURCES, options: tuple[str, ...] = ()
) -> Path:
    """The library of some families, from the sources in a folder, with further options for the compiler."""
    includes = [f'#include "{family}.cu"' for family in families]
    exports = [
        f'extern "C" {{\n{exported(kernel)}}}\n' for kernel in abi.KERNELS if kernel.family in families
    ]
    defines = (f"-DHECORE_T={lanes}", f"-DHECORE_K={limbs}")
    files = [*sources.glob("*.cuh"), *(sources / f"{family}.cu" for family in families)]
    name = f"{families[0] if len(families) == 1 else 'kernels'}-{lanes}x{limbs}"
    return compiled("\n".join([*includes, *exports]), name, (*defines, f"-I{sources}", *options), files)


def exported(kernel: abi.Kernel, prefix: str = "") -> str:
    """`run_<entry>(blocks, arguments, buffers, buffer_count)` for the entry points of a kernel.

    The functions called are `prefix` + entry, with the parameters of `abi`.
    """
    values = ", ".join(
        f"*static_cast<{kind} *>(arguments[{index}])" for index, (_, kind) in enumerate(kernel.parameters)
    )
    return "".join(
        f"const char *run_{entry}(u32 blocks, void **arguments, const emulator::Buffer *buffers, u32 count)"
        f" {{\n  return emulator::launch(blocks, buffers, count, [=] {{ {prefix}{entry}({values}); }});\n}}\n"
        for entry in kernel.entries()
    )


def compiled(program: str, name: str, options: tuple[str, ...], files: list[Path]) -> Path:
    """The shared library of a C++ program, compiled unless it is in the cache.

    `files` are what the program includes, besides the emulator. RuntimeError with the compiler's words.
    """
    settings = [option for option in (*OPTIONS, *options) if not option.startswith("-I")]
    digest = hashlib.sha256(repr((program, settings)).encode())
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
