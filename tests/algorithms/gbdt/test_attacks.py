"""Known attacks on joint trees, with the guard that meets each off and on. Figures are printed with -s.

Each test asserts that the attack works where the guard is off: else it would say nothing about the guard.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest

import hecore
from hecore.algorithms.data import Table
from hecore.algorithms.errors import ConfigurationError, TableError
from hecore.algorithms.gbdt import GBDTConfig
from hecore.algorithms.gbdt.encrypted import secret_order
from hecore.algorithms.gbdt.gradients import row_layout
from hecore.algorithms.gbdt.growth import Grower
from hecore.algorithms.gbdt.passive_tree import PassiveTree
from hecore.algorithms.gbdt.weights import check_weights
from hecore.evaluator import pack_rows

from .conftest import fit_jointly, tables

ROWS = 240


# --- the active party: which row stands where ------------------------------------------------------


def named_rows(
    monkeypatch: pytest.MonkeyPatch,
    config: GBDTConfig,
    keys: Any,
    parts: list[Table],
    weight: np.ndarray | None = None,
) -> float:
    """Share of (row, tree) pairs that the active party names from differences of the sums it was sent.

    In every node, of all pairs of left sums, the empty set and the whole node among them: a difference that
    is the (g, h) of one row of the node, and of no other, names it. Weights make every row's (g, h) its own,
    as the margins of a few trees do.
    """
    named: set[tuple[int, int]] = set()
    tree = iter(range(1000))
    began = Grower.__init__

    def begin(self: Any, *arguments: Any) -> None:
        began(self, *arguments)
        self.attacked = next(tree)

    consider = Grower._consider

    def watch(self: Any, place: int, node: Any, left: np.ndarray, allowed: np.ndarray) -> None:
        consider(self, place, node, left, allowed)
        if place == 0:
            return
        sums = np.concatenate([left[allowed], np.zeros_like(node.total)[None], node.total[None]])
        gaps = (sums[:, None] - sums[None]).reshape(-1, sums.shape[1])
        rows = self._rows[node.number]
        rows = rows[self._data.drawn[rows]]
        values, first, times = np.unique(
            self._data.values[rows], axis=0, return_index=True, return_counts=True
        )
        own = {tuple(v): int(rows[at]) for v, at, n in zip(values, first, times, strict=True) if n == 1}
        found = {own[gap] for gap in map(tuple, np.unique(gaps, axis=0)) if gap in own}
        named.update((self.attacked, row) for row in found)

    monkeypatch.setattr(Grower, "__init__", begin)
    monkeypatch.setattr(Grower, "_consider", watch)
    if weight is None:
        weight = np.random.default_rng(1).uniform(0.5, 1.5, ROWS)
    fit_jointly(parts, config, keys, sample_weight=weight)
    return len(named) / (ROWS * config.n_estimators)


def test_sums_that_name_a_row(monkeypatch: pytest.MonkeyPatch, small_keys: list[hecore.PrivateKey]) -> None:
    """Residual solving in one node: a bin with one row gives the row away."""
    parts = tables(ROWS, [2, 3], seed=31)
    config = GBDTConfig(n_estimators=2, max_depth=4, max_bin=64, min_samples_leaf=1, sample_weights="any")
    off = msgspec.structs.replace(config, min_samples_bin=1)
    without = named_rows(monkeypatch, off, small_keys, parts)
    monkeypatch.undo()
    guarded = named_rows(monkeypatch, config, small_keys, parts)
    print(f"rows named by a sum: {without:.0%} without the guard, {guarded:.0%} with min_samples_bin = 5")
    assert without > 0.5
    assert guarded == 0.0


WEIGHTED = GBDTConfig(n_estimators=1, max_depth=3, max_bin=64, sample_weights="any")
LEVELS = msgspec.structs.replace(WEIGHTED, sample_weights="levels")


@pytest.mark.parametrize("config", [LEVELS, msgspec.structs.replace(WEIGHTED, sample_weights="none")])
def test_weights_that_let_one_row_of_many_show(
    monkeypatch: pytest.MonkeyPatch, small_keys: list[hecore.PrivateKey], config: GBDTConfig
) -> None:
    """Rows that weigh next to nothing count for min_samples_bin, and are not seen in a sum."""
    parts = tables(ROWS, [2, 3], seed=31)
    weight = np.full(ROWS, 1e-12)
    weight[:20] = np.random.default_rng(1).uniform(0.5, 1.5, 20)
    without = named_rows(monkeypatch, WEIGHTED, small_keys, parts, weight)
    monkeypatch.undo()
    print(f"of 20 rows that weigh something, {without * ROWS:.0f} are named by sums over 5 rows and more")
    assert without * ROWS > 10
    with pytest.raises((ConfigurationError, TableError), match="sample_weights"):
        named_rows(monkeypatch, config, small_keys, parts, weight)


def test_rows_of_weight_zero_are_no_rows_of_a_sum(
    monkeypatch: pytest.MonkeyPatch, small_keys: list[hecore.PrivateKey]
) -> None:
    """They are not drawn, so that min_samples_bin counts the others; whatever is agreed on weights."""
    parts = tables(ROWS, [2, 3], seed=31)
    weight = np.zeros(ROWS)
    weight[:120] = np.random.default_rng(1).uniform(0.5, 1.5, 120)
    assert named_rows(monkeypatch, WEIGHTED, small_keys, parts, weight) == 0.0


def marked_rows_read(
    monkeypatch: pytest.MonkeyPatch, config: GBDTConfig, keys: Any, parts: list[Table], weight: np.ndarray
) -> float:
    """Share of (marked row, split of the root) pairs of which the bits of Σh tell the side rightly.

    Rows of weight 2^k are marked: bit k of the sum over the smallest weight's h.
    """
    right: list[bool] = []
    consider = Grower._consider

    def watch(self: Any, place: int, node: Any, left: np.ndarray, allowed: np.ndarray) -> None:
        consider(self, place, node, left, allowed)
        if place != 1 or node.number != 0:
            return
        marked = np.flatnonzero(weight >= 1)
        h = self._data.values[marked, 1]
        for total in left[allowed, 1]:
            rest, inside = int(total), np.zeros(marked.size, dtype=bool)
            for at in np.argsort(-h, kind="stable"):
                if rest >= h[at]:
                    rest, inside[at] = rest - int(h[at]), True
            right.extend([rest <= ROWS, int(h[inside].sum()) + rest == int(total)])
            seen.append(inside)

    seen: list[np.ndarray] = []
    monkeypatch.setattr(Grower, "_consider", watch)
    joint = fit_jointly(parts, config, keys, sample_weight=weight)
    monkeypatch.undo()
    # What stands left at the thresholds of all columns: each must be among what was read.
    share = joint.models[1].share
    truth = []
    marked = np.flatnonzero(weight >= 1)
    for column, bins in enumerate(share.bins):
        truth += [parts[1].values[marked, column] < edge for edge in bins.edges]
    read = {inside.tobytes() for inside in seen}
    assert all(right)
    return float(np.mean([row.tobytes() in read for row in truth]))


def test_weights_that_mark_rows(monkeypatch: pytest.MonkeyPatch, small_keys: list[hecore.PrivateKey]) -> None:
    """Weights 1, 2, 4, …: the bits of each sum are the rows in it, however many others are there as well."""
    parts = tables(ROWS, [2, 3], seed=31)
    weight = np.full(ROWS, 1e-12)
    weight[:16] = 2.0 ** np.arange(16)
    config = msgspec.structs.replace(WEIGHTED, max_depth=1, max_bin=16, min_samples_leaf=1)
    without = marked_rows_read(monkeypatch, config, small_keys, parts, weight)
    print(f"sums of which the marked rows are read off: {without:.0%}")
    assert without > 0.9
    for agreed in ("levels", "none"):
        with pytest.raises((ConfigurationError, TableError), match="sample_weights"):
            fit_jointly(
                parts,
                msgspec.structs.replace(config, sample_weights=agreed),
                small_keys,
                sample_weight=weight,
            )


def test_few_levels_of_weights_name_nobody(
    monkeypatch: pytest.MonkeyPatch, small_keys: list[hecore.PrivateKey]
) -> None:
    """Class weights, as "levels" allows them: every level has many rows."""
    parts = tables(ROWS, [2, 3], seed=31)
    weight = np.where(parts[0].label == 1, 3.7, 1.0)
    assert named_rows(monkeypatch, LEVELS, small_keys, parts, weight) == 0.0


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.where(np.arange(ROWS) < 49, 2.0, 1.0), "each of 49 rows or more"),
        (np.where(np.arange(ROWS) < 120, 1001.0, 1.0), "the largest 1001 times the smallest"),
        (1.0 + np.arange(ROWS) % 9, "9 different weights"),
    ],
)
def test_weights_beyond_levels(weight: np.ndarray, message: str) -> None:
    config = msgspec.structs.replace(LEVELS, min_samples_bin=5 if weight.max() < 9 else 2)
    with pytest.raises(TableError, match=message):
        check_weights(config, weight)
    check_weights(config, np.where(np.arange(ROWS) < 120, 1000.0, 0.0))


def test_equations_over_many_trees() -> None:
    """Residual solving over trees: as many sums of one split as there are rows determine its left rows.

    The secret order of each tree hides which sums are of one split. (Sums with a size of their own can still
    be followed, with squared error above all, where Σh is the number of rows: see THREAT_MODEL.md.)
    """
    rng = np.random.default_rng(2)
    rows = splits = 128
    left = rng.permuted(np.tile(np.arange(rows) < rows // 2, (splits, 1)), axis=1)
    g = rng.integers(-1000, 1000, (rows, rows))  # a column a tree
    sums = left @ g

    def recovered(seen: np.ndarray) -> float:
        """Share of rows placed rightly for the split that the attacker takes for the first."""
        solved = np.linalg.lstsq(g.T.astype(float), seen[0].astype(float), rcond=None)[0] > 0.5
        return float((solved == left[0]).mean())

    ordered = np.column_stack([sums[secret_order(splits), tree] for tree in range(rows)])
    without, guarded = recovered(sums), recovered(ordered)
    print(f"rows placed rightly: {without:.0%} in a fixed order, {guarded:.0%} in a secret one (chance 50%)")
    assert without == 1.0
    assert guarded < 0.8  # once in 10^12 by chance


def test_rows_planted_in_gradients(small_keys: list[hecore.PrivateKey]) -> None:
    """Reverse sum: an active party that deviates puts a bit a row into its "gradients".

    Without packing a sum of whole plaintexts returns as many rows as the key has bits. Side by side, sums run
    into each other beyond the slots of one row: what can be planted is bounded by their bits.
    """
    key = small_keys[0]
    rows = 400
    layout = row_layout(key.public, 24, rows, 1)
    slots = 2 * layout.slot_bits
    rng = np.random.default_rng(3)
    left = rng.random((6, rows)) < 0.5  # six splits

    def sums(bits: int) -> hecore.CipherBatch:
        """Of plaintexts 2^(i mod bits), as the passive party computes them in good faith."""
        plain = np.array([1 << (row % bits) if row < bits else 0 for row in range(rows)], dtype=object)
        batch = hecore.Encryptor(key).encrypt(plain)
        whole = [batch[np.flatnonzero(side)].sum() for side in left]
        joined = hecore.concatenate([part.reshape(1) for part in whole])
        # The layout is what the passive party believes.
        return hecore.CipherBatch(key.public, joined.backend, joined.residues, (6, 2), 0, layout, terms=rows)

    def plaintexts(batch: hecore.CipherBatch) -> list[int]:
        flat = hecore.CipherBatch(key.public, batch.backend, batch.residues, (len(batch.residues),), 0, None)
        halves = hecore.Decryptor(key)
        return [int(value) for value in _raw(halves, flat)]

    def right(bits: int, packed: bool) -> float:
        """Share of the planted rows that are placed rightly."""
        values = plaintexts(pack_rows(sums(bits)) if packed else sums(bits))
        if packed:
            joint = values[0] % key.public.n
            values = [(joint >> (slots * place)) & ((1 << slots) - 1) for place in range(6)]
        found = [[bool(value >> row & 1) for row in range(bits)] for value in values]
        return float((np.array(found) == left[:, :bits]).mean())

    many = 300
    without, guarded, few = right(many, packed=False), right(many, packed=True), right(slots, packed=True)
    print(f"{many} rows planted: {without:.0%} placed rightly unpacked, {guarded:.0%} packed (chance 50%)")
    assert without == 1.0
    assert guarded < 0.75
    assert few == 1.0  # the bound is what is planted, not that nothing is


def _raw(decryptor: hecore.Decryptor, batch: hecore.CipherBatch) -> list[int]:
    """Plaintexts modulo n, wherever they lie: what a key holder can always compute."""
    key = decryptor._key
    n = key.public.n
    values = batch.backend.to_ints(batch.residues)
    order = (key.p - 1) * (key.q - 1)
    inverse = pow(order, -1, n)
    return [(pow(value, order, n * n) - 1) // n * inverse % n for value in values]


# --- a passive party: which rows have which label --------------------------------------------------


def label_known_from_partitions(
    monkeypatch: pytest.MonkeyPatch, config: GBDTConfig, keys: Any, parts: list[Table]
) -> float:
    """Share of rows whose label is right when each group that the passive party sees takes its majority.

    Groups are the rows that no partition of the first tree it takes part in tells apart. The majority is an
    upper bound: the attacker still has to learn which label is whose.
    """
    complete = PassiveTree.complete

    seen: list[Any] = []

    def watch(self: Any) -> None:
        complete(self)
        seen.append(self)

    monkeypatch.setattr(PassiveTree, "complete", watch)
    fit_jointly(parts, config, keys)
    nodes = seen[0]._nodes
    groups = list(nodes._rows.values())
    label = parts[0].label
    right = sum(max((label[group] == 0).sum(), (label[group] == 1).sum()) for group in groups)
    return right / len(label)


def test_labels_from_the_partitions_of_a_tree(
    monkeypatch: pytest.MonkeyPatch, small_keys: list[hecore.PrivateKey]
) -> None:
    """Instance-space clustering: rows that stay together in the first trees tend to have one label.

    The label depends on the active party's columns: what the passive one learns, it learns from partitions.
    Local first trees blunt this where learning is fast, and hardly where it is slow (THREAT_MODEL.md): rows
    that a column tells apart stay apart.
    """
    parts = tables(ROWS, [4, 2], seed=33)
    score = (parts[0].values / parts[0].values.std(axis=0)) @ [2.0, -1.0, 1.0, 0.5]
    parts[0] = replace(parts[0], label=(score > np.median(score)).astype(np.float64))
    config = GBDTConfig(n_estimators=12, max_depth=3, max_bin=32, learning_rate=0.5)
    without = label_known_from_partitions(monkeypatch, config, small_keys, parts)
    monkeypatch.undo()
    local = msgspec.structs.replace(config, first_trees_local=10)
    guarded = label_known_from_partitions(monkeypatch, local, small_keys, parts)
    base = max(parts[0].label.mean(), 1 - parts[0].label.mean())
    print(f"labels right: {without:.0%} from the first joint tree, {guarded:.0%} after ten local ones")
    print(f"  ({base:.0%} without any partition)")
    assert without > base + 0.15
    assert guarded < without - 0.05


def test_leaves_are_not_told(monkeypatch: pytest.MonkeyPatch, small_keys: list[hecore.PrivateKey]) -> None:
    """Of a split by the active party whose children are leaves, the passive party does not learn the rows."""
    parts = tables(ROWS, [3, 2], seed=34)
    seen: list[Any] = []
    complete = PassiveTree.complete
    monkeypatch.setattr(PassiveTree, "complete", lambda self: (complete(self), seen.append(self)))
    joint = fit_jointly(parts, GBDTConfig(n_estimators=1, max_depth=2), small_keys)
    forest = joint.models[0].share.forest
    known = seen[0]._nodes._rows
    last = [node for node in range(1, 3) if forest.owner[node] == 0]
    assert last
    for node in last:
        assert node in known
        assert forest.left[node] not in known
        assert forest.right[node] not in known


@pytest.mark.parametrize("policy", ["depthwise", "lossguide"])
def test_the_last_leaves_of_a_full_tree_are_not_told(
    monkeypatch: pytest.MonkeyPatch, small_keys: list[hecore.PrivateKey], policy: str
) -> None:
    """With max_leaves reached nothing more is asked: children that could be split are leaves all the same."""
    parts = tables(ROWS, [6, 1], seed=34)
    seen: list[Any] = []
    complete = PassiveTree.complete
    monkeypatch.setattr(PassiveTree, "complete", lambda self: (complete(self), seen.append(self)))
    config = GBDTConfig(n_estimators=1, max_depth=5, max_leaves=3, grow_policy=policy)
    joint = fit_jointly(parts, config, small_keys)
    forest = joint.models[0].share.forest
    known = seen[0]._nodes._rows
    inner = [node for node in range(len(forest.owner)) if forest.owner[node] >= 0]
    assert len(inner) == 2
    # The passive party knows its own splits, and what the active one had to tell before the tree was full.
    last = inner if policy == "depthwise" else inner[-1:]
    silent = [node for node in last if forest.owner[node] == 0 and node != 0]
    assert silent
    for node in silent:
        assert forest.left[node] not in known
        assert forest.right[node] not in known
