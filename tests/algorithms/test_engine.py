"""Steps over partitions: the order of joining, and that a training uses it for all its histograms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import hecore
from hecore.algorithms.engine import LocalEngine
from hecore.algorithms.gbdt import passive_tree


def test_partitions_are_joined_in_their_order() -> None:
    engine = LocalEngine()
    assert engine.reduce(str, [1, 2, 3], lambda a, b: f"({a} {b})") == "((1 2) 3)"
    assert engine.reduce(str, [1], lambda a, b: a + b) == "1"


class Backwards:
    """An engine that starts with the last partition and joins pairs, as one with many workers may."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def reduce(self, work: Callable[[Any], Any], partitions: Sequence[Any], join: Callable[..., Any]) -> Any:
        self.sizes.append(len(partitions))
        parts = [work(partition) for partition in reversed(partitions)][::-1]
        while len(parts) > 1:
            parts = [
                join(parts[place], parts[place + 1]) if place + 1 < len(parts) else parts[place]
                for place in range(0, len(parts), 2)
            ]
        return parts[0]


def test_small_partitions_give_the_same_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 16 rows, partitions of 40: the histograms of a node come out the same."""
    from hecore.algorithms.gbdt.binning import apply_bins, fit_bins
    from hecore.algorithms.gbdt.config import GBDTConfig
    from hecore.algorithms.gbdt.gradients import row_layout
    from hecore.algorithms.gbdt.messages import Grow, Split
    from hecore.algorithms.gbdt.rows import pack_bits

    key = hecore.generate_key(512, insecure_test_key=True)
    rng = np.random.default_rng(0)
    rows, columns = 100, 3
    values = rng.normal(size=(rows, columns))
    gradients = rng.integers(-50, 50, (rows, 2))
    layout = row_layout(key.public, 24, rows, 1)
    config = GBDTConfig(max_bin=6, min_samples_bin=1, min_samples_leaf=1)
    binned = apply_bins(fit_bins(["a", "b", "c"], values, 6, 1), values)
    left = rng.random(rows) < 0.4
    monkeypatch.setattr(passive_tree, "PARTITION_ROWS", 40)
    engine = Backwards()
    drawn = np.ones(rows, dtype=bool)
    tree = passive_tree.PassiveTree(0, config, binned, drawn, ("passive", "active"), engine)
    encryptor, decryptor = hecore.Encryptor(key), hecore.Decryptor(key)
    for start in range(0, rows, 16):
        tree.take(encryptor.encrypt(gradients[start : start + 16], layout=layout))
    tree.complete()
    tree.sums((0,))
    tree.apply(Grow(tree=0, splits=(Split(0, 1, 2),), payload=(pack_bits([left]),)))
    for group, sums in zip(tree._groups, tree._histograms(1), strict=True):
        expected = np.zeros((group.columns.size, group.width, 2), dtype=np.int64)
        for place, column in enumerate(group.columns):
            np.add.at(expected[place], binned.codes[left, column], gradients[left])
        assert np.array_equal(decryptor.decrypt(sums), expected)
    assert engine.sizes == [3]  # 32, 32 and 36 rows; the root came from the blocks
