from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import pytest

from hecore.kernels import Backend, BackendUnavailable, HecoreError, get_backend, select
from hecore.kernels.gmp import GmpBackend


@pytest.fixture
def loaders(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Callable[[], Backend]]]:
    """An empty table of loaders, and nothing loaded or asked for yet."""
    table: dict[str, Callable[[], Backend]] = {}
    monkeypatch.setattr(select, "LOADERS", table)
    monkeypatch.delenv("HECORE_BACKEND", raising=False)
    select._loaded.cache_clear()
    yield table
    select._loaded.cache_clear()


def broken() -> Backend:
    raise BackendUnavailable("no such processor")


def test_gmp_is_always_there() -> None:
    assert get_backend("gmp").name == "gmp"


@pytest.mark.parametrize("name", ["cpu", "GMP", "gmp "])
def test_unknown_name(name: str) -> None:
    with pytest.raises(BackendUnavailable, match=rf"no backend '{name}' \(it has auto, .*gmp"):
        get_backend(name)


def test_unavailable_is_a_hecore_error_and_a_runtime_error() -> None:
    assert issubclass(BackendUnavailable, HecoreError)
    assert issubclass(BackendUnavailable, RuntimeError)


def test_a_named_backend_never_falls_back(
    loaders: dict[str, Callable[[], Backend]], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaders.update(fast=broken, gmp=GmpBackend)
    with pytest.raises(BackendUnavailable, match=r"^no such processor$"):
        get_backend("fast")
    monkeypatch.setenv("HECORE_BACKEND", "fast")
    with pytest.raises(BackendUnavailable, match=r"^no such processor$"):
        get_backend()


@pytest.mark.parametrize("name", [None, "", "auto"])
def test_auto_takes_the_first_that_runs_and_says_so(
    name: str | None,
    loaders: dict[str, Callable[[], Backend]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    first, second = GmpBackend(), GmpBackend()
    loaders.update(fast=broken, middle=lambda: first, gmp=lambda: second)
    with caplog.at_level(logging.INFO, "hecore.kernels"):
        assert get_backend(name) is first
    assert [record.getMessage() for record in caplog.records] == ["backend middle chosen automatically"]


class Starved(GmpBackend):
    """Slower than the next backend on fewer than eight elements."""

    least_count = 8


@pytest.mark.parametrize(("count", "wins"), [(None, True), (8, True), (100, True), (7, False), (0, False)])
def test_auto_leaves_small_batches_to_the_next(
    count: int | None, wins: bool, loaders: dict[str, Callable[[], Backend]]
) -> None:
    wide, narrow = Starved(), GmpBackend()
    loaders.update(wide=lambda: wide, narrow=lambda: narrow)
    assert get_backend(count=count) is (wide if wins else narrow)
    assert select.resolve(None, count=count) is (wide if wins else narrow)
    assert get_backend("wide", count=count) is wide
    assert select.resolve(wide, count=count) is wide


def test_the_reason_is_kept_and_raised_anew(loaders: dict[str, Callable[[], Backend]]) -> None:
    asked = []

    def failing() -> Backend:
        asked.append(1)
        raise BackendUnavailable("no such processor")

    loaders.update(one=failing)
    for _ in range(2):
        with pytest.raises(BackendUnavailable, match=r"^no such processor$"):
            get_backend("one")
    assert len(asked) == 1


def test_auto_reports_every_reason(loaders: dict[str, Callable[[], Backend]]) -> None:
    loaders.update(one=broken, two=broken)
    with pytest.raises(BackendUnavailable, match="one: no such processor; two: no such processor"):
        get_backend()


def test_other_errors_of_a_loader_are_not_swallowed(
    loaders: dict[str, Callable[[], Backend]],
) -> None:
    def faulty() -> Backend:
        raise ImportError("half installed")

    loaders.update(fast=faulty, gmp=GmpBackend)
    with pytest.raises(ImportError, match="half installed"):
        get_backend()


def test_environment_names_the_default_only(
    loaders: dict[str, Callable[[], Backend]], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = GmpBackend(), GmpBackend()
    loaders.update(one=lambda: first, two=lambda: second)
    monkeypatch.setenv("HECORE_BACKEND", "two")
    assert get_backend() is second
    assert get_backend("one") is first
    monkeypatch.setenv("HECORE_BACKEND", "three")
    with pytest.raises(BackendUnavailable, match="'three'"):
        get_backend()
    monkeypatch.setenv("HECORE_BACKEND", "")
    assert get_backend() is first


def test_a_backend_is_loaded_once(loaders: dict[str, Callable[[], Backend]]) -> None:
    loaders.update(gmp=GmpBackend)
    assert get_backend("gmp") is get_backend("auto") is get_backend()
