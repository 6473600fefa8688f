"""Whether the simd backend runs on this machine."""

from __future__ import annotations

import logging

from ..backend import Backend
from ..selftest import self_test
from .forms import chosen

logger = logging.getLogger("hecore.kernels")


def load_simd() -> Backend:
    """The backend, after its self-test. BackendUnavailable says what this machine lacks."""
    form = chosen()
    from .backend import SimdBackend

    backend = SimdBackend()
    self_test(backend)
    logger.info("simd kernels: %s", form.description)
    return backend
