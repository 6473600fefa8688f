"""Choosing a backend by name, by HECORE_BACKEND, or automatically."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from functools import cache
from threading import RLock

from .backend import Backend
from .errors import BackendUnavailable

logger = logging.getLogger("hecore.kernels")
#: Held while something is loaded: two threads that ask at once get the same backend.
_loading = RLock()


def _load_gmp() -> Backend:
    from .gmp import GmpBackend

    return GmpBackend()


def _load_cuda() -> Backend:
    from .cuda.load import load_cuda

    return load_cuda()


def _load_simd() -> Backend:
    try:
        from .simd.load import load_simd
    except ImportError as error:
        raise BackendUnavailable(f"simd cannot be imported: {error}") from None
    return load_simd()


#: Name → loader, fastest first: "auto" takes the first that does not raise BackendUnavailable.
LOADERS: dict[str, Callable[[], Backend]] = {"cuda": _load_cuda, "simd": _load_simd, "gmp": _load_gmp}


def get_backend(name: str | None = None, *, count: int | None = None) -> Backend:
    """The backend called `name`; without a name, $HECORE_BACKEND, else "auto": the fastest here.

    `count`: the fastest for powers of so many elements, since vectors and devices gain nothing on a few. A
    backend asked for by name takes any number and never falls back to another: BackendUnavailable says why.
    """
    chosen = name or os.environ.get("HECORE_BACKEND") or "auto"
    if chosen != "auto":
        return _load(chosen)
    reasons = []
    for candidate in LOADERS:
        try:
            backend = _load(candidate)
        except BackendUnavailable as error:
            reasons.append(f"{candidate}: {error}")
            continue
        if count is None:
            logger.info("backend %s chosen automatically", candidate)
        elif max(count, 1) < backend.least_count:
            continue
        with _loading:
            return _gpu_with_fallback() if candidate == "cuda" else backend
    raise BackendUnavailable("no backend runs here; " + "; ".join(reasons))


def resolve(backend: Backend | str | None, *, count: int | None = None) -> Backend:
    """A backend from its name, None (as `get_backend`, for `count` elements) or itself."""
    return get_backend(backend, count=count) if backend is None or isinstance(backend, str) else backend


@cache
def _gpu_with_fallback() -> Backend:
    """The cuda backend, whose device may fail, with the fastest CPU backend behind it."""
    from .cuda.batch import CudaResidues
    from .fallback import FallbackBackend

    return FallbackBackend(_load("cuda"), CudaResidues, _fastest_cpu)


def _fastest_cpu() -> Backend:
    try:
        return _load("simd")
    except BackendUnavailable:
        return _load("gmp")


def _load(name: str) -> Backend:
    if name not in LOADERS:
        known = ", ".join(["auto", *LOADERS])
        raise BackendUnavailable(f"this version of hecore has no backend {name!r} (it has {known})")
    with _loading:
        loaded = _loaded(name)
    if isinstance(loaded, str):
        raise BackendUnavailable(loaded)
    return loaded


@cache
def _loaded(name: str) -> Backend | str:
    """The backend, or why it does not run here: a loader is asked once in a process."""
    try:
        return LOADERS[name]()
    except BackendUnavailable as error:
        return str(error)
