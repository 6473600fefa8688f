"""What a figure was taken on: processor, GPU, versions, commit. No host names and no absolute paths."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import gmpy2

import hecore

from .record import Machine, Source

#: Processor features that big-integer kernels depend on.
FEATURES = (
    *("bmi2", "adx", "avx2", "avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512ifma", "avx_ifma"),
    *("avx512vbmi", "vaes", "sve", "asimd"),
)
#: Libraries whose version changes a figure; those that are installed are recorded.
LIBRARIES = ("numpy", "gmpy2", "numba", "llvmlite", "cupy-cuda13x", "cupy-cuda12x", "cryptography")
#: Folders of a checkout whose changes could change a figure.
SOURCES = ("kernels", "hecore", "bench")
SECONDS_FOR_A_COMMAND = 20


def describe(threads: int | None, cpuinfo: str | None = None) -> Machine:
    """This machine; `threads` is what HECORE_THREADS was set to, `cpuinfo` replaces /proc/cpuinfo."""
    if cpuinfo is None:
        cpuinfo = _read(Path("/proc/cpuinfo"))
    flags = set(_field(cpuinfo, "flags", "Features").split())
    return Machine(
        system=f"{platform.system()} {platform.machine()}",
        cpu=_field(cpuinfo, "model name", "CPU part") or platform.processor() or "unknown",
        cpu_family=_field(cpuinfo, "cpu family"),
        cpu_model=_field(cpuinfo, "model"),
        features=[name for name in FEATURES if name in flags],
        cores=os.cpu_count() or 1,
        usable_cores=len(os.sched_getaffinity(0)),
        threads=threads,
        load=round(os.getloadavg()[0], 2),
        gpus=gpus(),
    )


def versions() -> dict[str, str]:
    """Python, hecore, GMP and the installed LIBRARIES."""
    found = {
        "python": platform.python_version(),
        "hecore": hecore.__version__,
        "GMP": gmpy2.mp_version().removeprefix("GMP "),
    }
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def gpus() -> list[str]:
    """Name, memory and driver of each GPU, as NVIDIA's tool tells them; empty without one."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    query = "--query-gpu=name,memory.total,driver_version"
    lines = _output(tool, query, "--format=csv,noheader").splitlines()
    return [", driver ".join(line.strip().rsplit(", ", 1)) for line in lines if line.strip()]


def source() -> Source | None:
    """The commit, and whether files differ from it; None unless hecore runs from a git checkout."""
    file = Path(hecore.__file__).resolve()
    root = file.parent.parent
    git = shutil.which("git")
    if git is None or not _output(git, "-C", str(root), "ls-files", "hecore/__init__.py"):
        return None
    commit = _output(git, "-C", str(root), "rev-parse", "HEAD").strip()
    changes = _output(git, "-C", str(root), "status", "--porcelain", "--", *SOURCES)
    return Source(commit, bool(changes.strip())) if commit else None


def scrub(text: str) -> str:
    """`text` without this machine's name and with absolute paths cut to their last part."""
    text = re.sub(r"(?<![\w./:])(?:/[^\s/:;,'\"()]+)+/([^\s/:;,'\"()]+)", r"…/\1", text)
    name = platform.node()
    return re.sub(rf"\b{re.escape(name)}\b", "…", text) if name else text


@contextmanager
def limited(threads: int | None) -> Iterator[None]:
    """HECORE_THREADS = `threads`, and this process bound to so many processors; undone at the end.

    Binding holds other libraries to the same number, too. None leaves everything as it is.
    """
    if threads is None:
        yield
        return
    before, usable = os.environ.get("HECORE_THREADS"), os.sched_getaffinity(0)
    os.environ["HECORE_THREADS"] = str(threads)
    os.sched_setaffinity(0, sorted(usable)[-threads:])
    try:
        yield
    finally:
        os.sched_setaffinity(0, usable)
        if before is None:
            del os.environ["HECORE_THREADS"]
        else:
            os.environ["HECORE_THREADS"] = before


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _field(cpuinfo: str, *names: str) -> str:
    """The first processor's value of the first of `names` that is there."""
    for name in names:
        match = re.search(rf"^{re.escape(name)}\s*:\s*(.*)$", cpuinfo, re.MULTILINE)
        if match:
            return match.group(1).strip()
    return ""


def _output(*command: str) -> str:
    """What a command prints; nothing if it fails."""
    try:
        done = subprocess.run(  # noqa: S603 - fixed commands
            command, check=True, capture_output=True, text=True, timeout=SECONDS_FOR_A_COMMAND
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout
