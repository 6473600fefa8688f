"""What hecore finds on this machine: for `hecore doctor`, and for a report of a problem."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

import hecore
from hecore.errors import BackendUnavailable
from hecore.kernels.select import LOADERS
from hecore.kernels.threads import thread_count

LIBRARIES = (
    "numpy",
    "gmpy2",
    "numba",
    "pyzmq",
    "msgspec",
    "cryptography",
    "PyNaCl",
    "pyarrow",
    "scikit-learn",
)
NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")
#: Processor features that the vector forms of the simd backend ask for.
FEATURES = ("avx2", "avx512f", "avx512ifma")


def findings() -> list[tuple[str, str]]:
    """(what, finding) in the order of reading."""
    return [
        ("hecore", f"{hecore.__version__}, Python {platform.python_version()}, {platform.system()}"),
        ("processor", _processor()),
        ("threads", _threads()),
        *_backends(),
        ("chosen", _chosen()),
        ("GPU driver", _driver()),
        ("libraries", ", ".join(_versions())),
    ]


def _backends() -> list[tuple[str, str]]:
    found = []
    for name in LOADERS:
        try:
            hecore.get_backend(name)
        except (BackendUnavailable, ValueError) as error:
            found.append((f"backend {name}", f"not here: {error}"))
        else:
            found.append((f"backend {name}", _details(name)))
    return found


def _details(name: str) -> str:
    if name == "cuda":
        return f"works; {'; '.join(_devices())}"
    if name != "simd":
        return "works"
    from hecore.kernels.simd import cache
    from hecore.kernels.simd.forms import chosen

    where = f"kernels cached in {cache.FOLDER}" if cache.FOLDER else "kernels are compiled in every process"
    return f"works; {chosen().description}; {where}"


def _devices() -> list[str]:
    from hecore.kernels.cuda.backend import CudaBackend

    backend = hecore.get_backend("cuda")
    engines = backend.engines if isinstance(backend, CudaBackend) else []
    return [f"device {engine.device.index}: {engine.device.description}" for engine in engines]


def _chosen() -> str:
    asked = os.environ.get("HECORE_BACKEND")
    reason = f"HECORE_BACKEND={asked}" if asked else "the fastest that works"
    try:
        return f"{hecore.get_backend().name} ({reason})"
    except (BackendUnavailable, ValueError) as error:
        return f"none: {error}"


def _processor() -> str:
    text = _read(Path("/proc/cpuinfo"))
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    fields = {name.strip(): value.strip() for name, value in fields.items()}
    flags = set(fields.get("flags", "").split())
    has = ", ".join(name if name in flags else f"no {name}" for name in FEATURES)
    return f"{fields.get('model name', platform.machine())}; {has}"


def _threads() -> str:
    try:
        count = thread_count()
    except ValueError as error:
        return str(error)
    source = "HECORE_THREADS" if os.environ.get("HECORE_THREADS") else "processors this process may use"
    return f"{count} ({source})"


def _driver() -> str:
    first = _read(NVIDIA_DRIVER).splitlines()
    return first[0] if first else "none"


def _versions() -> list[str]:
    found = []
    for name in LIBRARIES:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            found.append(f"no {name}")
    return [*found, *_cupy()]


def _cupy() -> list[str]:
    """CuPy comes as one of several distributions."""
    names = sorted(d.name for d in metadata.distributions() if (d.name or "").startswith("cupy"))
    return [f"{name} {metadata.version(name)}" for name in names] or ["no CuPy"]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
