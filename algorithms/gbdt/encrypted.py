"""A passive party's mathematics: left sums of its candidate splits over encrypted gradients.

    rows of a node ─ histogram ─► bins of each column ─ prefix sums ─► left sum of each candidate
        ─ secret order, open ones only ─ shift-and-add ─► few packed ciphertexts ─ fresh noise ─► wire

Columns are treated in groups of about as many bins, so that joint bins and default bins (kernels/histogram)
work on whole groups. Rows stand in partitions, whose histograms add up: a partition a block while blocks
arrive, few large ones afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hecore import CipherBatch, concatenate
from hecore import histogram as encrypted_histogram
from hecore.algorithms.gbdt.binning import Binned
from hecore.algorithms.gbdt.candidates import Candidates, Indices
from hecore.evaluator import pack_rows
from hecore.histogram import prefix_sums
from hecore.randomness import Draw, random_bits, random_bytes


@dataclass(frozen=True)
class ColumnGroup:
    """Columns whose histograms are computed together, in `width` bins each.

    columns   their places in the table
    places    their places among the columns of the tree
    missing   of those with a missing bin: their place in the group, and that bin
    """

    columns: Indices
    places: Indices
    width: int
    missing: Indices
    missing_bin: Indices


def group_columns(binned: Binned, columns: Indices) -> list[ColumnGroup]:
    """The columns in groups of about equal numbers of bins: at most an eighth of a table is padding."""
    widths = np.array([_rounded(binned.columns[column].width) for column in columns], dtype=np.int64)
    groups = []
    for width in np.unique(widths):
        places = np.flatnonzero(widths == width)
        inside = [binned.columns[column] for column in columns[places]]
        missing = np.array([place for place, bins in enumerate(inside) if bins.missing], dtype=np.int64)
        missing_bin = np.array([inside[place].bins for place in missing], dtype=np.int64)
        groups.append(ColumnGroup(columns[places], places, int(width), missing, missing_bin))
    return groups


def _rounded(width: int) -> int:
    """The next integer of four significant bits."""
    step = 1 << max(0, width.bit_length() - 4)
    return -(-width // step) * step


@dataclass(frozen=True)
class RowPartition:
    """Encrypted gradients of some drawn rows, and the codes of these rows.

    batch   packed (rows, 2·K); `codes` (rows, columns of the table), by column in memory
    start   number of the first among all drawn rows
    """

    batch: CipherBatch
    codes: NDArray[np.integer]
    start: int

    def histograms(self, drawn: Indices, groups: Sequence[ColumnGroup], table_bins: int) -> list[CipherBatch]:
        """Encrypted histograms of each group over the `drawn` rows that stand here: (columns, width, 2·K)."""
        inside = drawn[(drawn >= self.start) & (drawn < self.start + len(self.batch))] - self.start
        whole = inside.size == len(self.batch)
        batch = self.batch if whole else self.batch[inside]
        by_column = self.codes.T
        out = []
        for group in groups:
            codes = by_column[group.columns] if whole else by_column[np.ix_(group.columns, inside)]
            out.append(encrypted_histogram(batch, codes.T, group.width, table_bins=table_bins))
        return out


def merged(partitions: Sequence[RowPartition], most: int) -> list[RowPartition]:
    """Consecutive partitions joined to larger ones of up to `most` rows (or one that is larger already)."""
    out: list[RowPartition] = []
    waiting: list[RowPartition] = []
    for partition in partitions:
        if waiting and sum(len(part.batch) for part in waiting) + len(partition.batch) > most:
            out.append(_joined(waiting))
            waiting = []
        waiting.append(partition)
    return [*out, _joined(waiting)] if waiting else out


def _joined(partitions: Sequence[RowPartition]) -> RowPartition:
    if len(partitions) == 1:
        return partitions[0]
    codes = np.concatenate([partition.codes.T for partition in partitions], axis=1).T
    batch = concatenate([partition.batch for partition in partitions])
    return RowPartition(batch, codes, partitions[0].start)


def add_histograms(first: Sequence[CipherBatch], second: Sequence[CipherBatch]) -> list[CipherBatch]:
    """Histograms of two sets of rows as those of their union: the associative step of a reduction."""
    return [a + b for a, b in zip(first, second, strict=True)]


@dataclass(frozen=True)
class SumsPlan:
    """Where each candidate's left sum stands behind the histograms and prefix sums of all groups."""

    groups: list[ColumnGroup]
    places: Indices

    @classmethod
    def of(cls, groups: list[ColumnGroup], candidates: Candidates) -> SumsPlan:
        """The plan for these groups and candidates.

        For each group stand one after another: the bins, their prefix sums, and for columns with missing
        values the prefix sums that begin with the missing bin.
        """
        count = len(candidates.offsets) - 1
        bins_at, prefix_at, shifted_at = (np.zeros(count, dtype=np.int64) for _ in range(3))
        base = 0
        for group in groups:
            rows = np.arange(group.places.size) * group.width
            bins_at[group.places] = base + rows
            prefix_at[group.places] = base + rows.size * group.width + rows
            base += 2 * rows.size * group.width
            shifted = np.arange(group.missing.size) * group.width
            shifted_at[group.places[group.missing]] = base + shifted + 1
            base += shifted.size * group.width
        place = np.searchsorted(candidates.offsets, candidates.last, side="right") - 1
        start = np.where(candidates.missing >= 0, shifted_at[place], prefix_at[place])
        start = np.where(candidates.category, bins_at[place], start)
        return cls(groups, start + candidates.bin)

    def left_sums(self, histograms: Sequence[CipherBatch], chosen: Indices) -> CipherBatch:
        """Encrypted left sums (len(chosen), 2·K) of the chosen candidates of one node."""
        parts = []
        for group, sums in zip(self.groups, histograms, strict=True):
            tables = [sums, prefix_sums(sums)]
            if group.missing.size:
                # Bins in the order: missing, 0, 1, …, B−1, unused.
                order = np.arange(group.width) - 1
                rotated = np.where(order < group.missing_bin[:, None], order, order + 1)
                rotated[:, 0] = group.missing_bin
                tables.append(prefix_sums(sums[group.missing[:, None], rotated]))
            parts += [table.reshape(-1, table.shape[-1]) for table in tables]
        return concatenate(parts)[self.places[chosen]]


def packed_reply(sums: Sequence[CipherBatch], randomness: str) -> bytes:
    """Left sums of all nodes of a message, side by side where a row is one ciphertext, and re-randomised."""
    rows = concatenate(sums)
    return (pack_rows(rows) if rows.row_length == 1 else rows).rerandomize(randomness).to_bytes()


def secret_order(count: int, draw: Draw = random_bytes) -> Indices:
    """A permutation made of `draw`: uniform up to equal 64-bit keys."""
    return np.argsort(random_bits(count, 64, draw)[:, 0], kind="stable").astype(np.int64)
