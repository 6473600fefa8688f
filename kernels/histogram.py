"""Encrypted histograms of many features, planned once for every backend.

For one feature the histogram is a `segment_product`: out[b] = ∏ x[i] over rows i with code b, n products. Two
plans make it cheaper, and they combine (kernels.md, "Fewer products"):

*joint bins*    k features share one table of B^k joint bins, filled with n products and summed out to the k
                histograms with about 2·B^k more: (n + 2·B^k)/k a feature.
*default bin*   Rows in the most frequent (joint) bin are not multiplied; that bin is the total of all rows over
                the product of the others. The total and its inverse are taken once for all features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from .backend import Backend, Residues

#: Largest joint table, in elements: 2^18 of 512 bytes are 128 MiB.
MAX_JOINT_BINS = 1 << 18


@dataclass(frozen=True)
class FeatureGroup:
    """Features `start … stop − 1` counted in one joint table; `default_bin` is skipped unless None."""

    start: int
    stop: int
    default_bin: int | None


def histogram(backend: Backend, x: Residues, codes: NDArray[np.integer], bins: int) -> Residues:
    """out[f·B + b] = ∏ x[i] over rows i with codes[i, f] = b; `bins` = B.

    `codes` integers [n, features] in [0, B). Empty bins are 1. Raises ValueError on other shapes or codes.
    """
    codes = np.asarray(codes)
    if codes.ndim != 2 or codes.shape[0] != len(x):  # noqa: PLR2004
        raise ValueError(f"codes must be [{len(x)}, features], not {codes.shape}")
    if codes.size and (int(codes.min()) < 0 or int(codes.max()) >= bins):
        raise ValueError(f"codes must lie in 0 … {bins - 1}")
    groups = plan_groups(codes, bins)
    everything = _product(backend, x) if any(g.default_bin is not None for g in groups) else None
    parts: list[Residues] = []
    for group in groups:
        joint = joint_codes(codes[:, group.start : group.stop], bins)
        features = group.stop - group.start
        table = _joint_table(backend, x, joint, bins**features, group.default_bin, everything)
        parts += _marginals(backend, table, features, bins)
    return backend.concatenate(parts) if parts else backend.gather(x, np.empty(0, dtype=np.int64))


def joint_codes(codes: NDArray[np.integer], bins: int) -> NDArray[np.int64]:
    """Σ_f codes[:, f]·B^(k−1−f): the first feature is the most significant digit."""
    joint = np.zeros(codes.shape[0], dtype=np.int64)
    for feature in range(codes.shape[1]):
        joint = joint * bins + codes[:, feature]
    return joint


def plan_groups(codes: NDArray[np.integer], bins: int) -> list[FeatureGroup]:
    """Consecutive features in joint tables of the width k that costs least for this n and B.

    The default bin is skipped in a group where that saves products.
    """
    rows, features = codes.shape
    plans = []
    width = 1
    while width <= max(1, features) and bins**width <= MAX_JOINT_BINS:
        groups, cost = [], 0
        for start in range(0, features, width):
            stop = min(start + width, features)
            group, products = _plan_group(codes, start, stop, bins)
            groups.append(group)
            cost += products
        if any(group.default_bin is not None for group in groups):
            cost += rows
        plans.append((cost, groups))
        if 2 * bins**width > 2 * rows + bins:  # wider tables only cost more from here on
            break
        width += 1
    if not plans:
        raise ValueError(f"{bins} bins are more than the {MAX_JOINT_BINS} that a table may hold")
    return min(plans, key=lambda plan: plan[0])[1]


def _plan_group(
    codes: NDArray[np.integer], start: int, stop: int, bins: int
) -> tuple[FeatureGroup, int]:
    """The group and its products, its share of the total of all rows apart."""
    rows, features = codes.shape[0], stop - start
    table = bins**features
    counts = np.bincount(joint_codes(codes[:, start:stop], bins), minlength=table)
    occupied = int(np.count_nonzero(counts))
    most = int(counts.argmax())
    summing = 0 if features == 1 else 2 * table
    skipping = rows - int(counts[most]) + occupied
    # The shared total costs n once; demand a saving of a third so that a few features do not pay for it alone.
    if skipping * 3 < rows * 2:
        return FeatureGroup(start, stop, most), skipping + summing
    return FeatureGroup(start, stop, None), rows + summing


def _joint_table(  # noqa: PLR0913
    backend: Backend,
    x: Residues,
    joint: NDArray[np.int64],
    size: int,
    default_bin: int | None,
    everything: Residues | None,
) -> Residues:
    """∏ x[i] per joint bin, the default bin (if any) as the total over the others."""
    kept = np.arange(joint.size) if default_bin is None else np.flatnonzero(joint != default_bin)
    order = kept[np.argsort(joint[kept], kind="stable")]
    counts = np.bincount(joint[kept], minlength=size)
    offsets = np.zeros(size + 1, dtype=np.int64)
    np.cumsum(counts, out=offsets[1:])
    table = backend.segment_product(x, order.astype(np.int64), offsets)
    if default_bin is None or everything is None:
        return table
    others = _product(backend, backend.gather(table, np.flatnonzero(counts)))
    default = backend.mod_mul(everything, backend.mod_inv(others))
    places = np.arange(size, dtype=np.int64)
    places[default_bin] = size
    return backend.gather(backend.concatenate([table, default]), places)


def _marginals(backend: Backend, table: Residues, features: int, bins: int) -> list[Residues]:
    """The histogram of each feature from their joint table: sum out one half, then the other, and so on."""
    if features == 1:
        return [table]
    first = features // 2
    shape = (bins**first, bins ** (features - first))
    places = np.arange(len(table), dtype=np.int64).reshape(shape)
    by_first = backend.segment_product(table, places.ravel(), _even_offsets(*shape))
    by_second = backend.segment_product(table, places.T.ravel(), _even_offsets(*shape[::-1]))
    return _marginals(backend, by_first, first, bins) + _marginals(
        backend, by_second, features - first, bins
    )


def _even_offsets(segments: int, length: int) -> NDArray[np.int64]:
    return np.arange(segments + 1, dtype=np.int64) * length


def _product(backend: Backend, x: Residues) -> Residues:
    """∏ x, a batch of one."""
    return backend.segment_product(x, np.arange(len(x), dtype=np.int64), _even_offsets(1, len(x)))
