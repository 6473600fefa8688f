"""The planner: sizes within their bounds, smaller where memory is short, and said in the log."""

from __future__ import annotations

import logging

import pytest

import hecore
from hecore.algorithms.gbdt import planner
from hecore.algorithms.gbdt.config import GBDTConfig

GIGABYTE = 1 << 30


@pytest.mark.parametrize(
    ("rows", "memory", "expected"),
    [
        (500, 8 * GIGABYTE, planner.LEAST_BLOCK),
        (100_000, 8 * GIGABYTE, 12_500),
        (10_000_000, 8 * GIGABYTE, planner.MOST_BLOCK),
        (10_000_000, 100 << 20, 16_384),
        (10_000_000, 1 << 20, planner.LEAST_BLOCK),
    ],
)
def test_blocks(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    key: hecore.PrivateKey,
    rows: int,
    memory: int,
    expected: int,
) -> None:
    monkeypatch.setattr(planner, "free_memory", lambda: memory)
    with caplog.at_level(logging.INFO, "hecore.gbdt"):
        chosen = planner.plan(GBDTConfig(), key.public, rows, 1000)
    assert chosen.block_rows == expected
    assert f"blocks of {expected} rows" in caplog.text


def test_a_block_size_that_is_asked_for(key: hecore.PrivateKey) -> None:
    assert planner.plan(GBDTConfig(block_rows=777), key.public, 10_000, 1).block_rows == 777


def test_nodes_of_a_message(monkeypatch: pytest.MonkeyPatch, key: hecore.PrivateKey) -> None:
    """As many as make 2^17 sums; at least one, however many candidates it has."""
    monkeypatch.setattr(planner, "free_memory", lambda: 8 * GIGABYTE)
    nodes = [planner.plan(GBDTConfig(), key.public, 1000, many).nodes_at_once for many in (0, 1000, 10**9)]
    assert nodes == [1 << 17, 131, 1]


def test_joint_tables(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, key: hecore.PrivateKey
) -> None:
    monkeypatch.setattr(planner, "free_memory", lambda: 8 * GIGABYTE)
    with caplog.at_level(logging.INFO, "hecore.gbdt"):
        assert planner.table_bins(key.public, 32) == 1 << 18
    assert "up to 3 columns of 32 bins share one" in caplog.text
    monkeypatch.setattr(planner, "free_memory", lambda: 32 << 20)
    assert planner.table_bins(key.public, 32) == (32 << 20) // (30 * 512)
    assert planner.table_bins(key.public, 5000) == 5000  # a single column always fits


def test_free_memory_is_some() -> None:
    assert planner.free_memory() > 1 << 20
