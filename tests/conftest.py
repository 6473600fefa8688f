"""Shared by all tests: no chance between two runs, and an honest word about a missing GPU."""

from __future__ import annotations

import functools
import os

import pytest
from hypothesis import HealthCheck, settings

import hecore

# Neither an example nor the making of examples has a deadline: a busy machine is slow at both.
settings.register_profile(
    "hecore", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("hecore")


@functools.cache
def why_no_gpu() -> str | None:
    """Return the reason why tests marked `gpu` cannot run here; None if they can."""
    try:
        import cupy
    except ImportError as error:
        return f"CuPy is not installed ({error})"
    try:
        devices = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return f"no CUDA device ({error})"
    return None if devices else "no CUDA device"


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") is None:
        return
    reason = why_no_gpu()
    if reason is None:
        return
    # On a machine that is there for its GPU, a silent skip would pass for a success.
    if os.environ.get("HECORE_REQUIRE_GPU"):
        pytest.fail(f"HECORE_REQUIRE_GPU is set, but {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def key() -> hecore.PrivateKey:
    """One 2048-bit key for all tests."""
    return hecore.generate_key()


@pytest.fixture(scope="session")
def test_key() -> hecore.PrivateKey:
    """One short key for tests with many operations. It protects nothing."""
    return hecore.generate_key(512, insecure_test_key=True)
