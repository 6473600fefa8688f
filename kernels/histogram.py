"""Encrypted histograms of many features, planned once for every backend.

For one feature the histogram is a `segment_product`: out[b] = ∏ x[i] over rows i with code b, n
products. Two plans make it cheaper, and they combine (n rows, B bins):

*joint bins*    k features share one table of B^k joint bins, filled with n products and summed out
                to the k histograms with about 2·B^k more: (n + 2·B^k)/k a feature.
*default bin*   Rows in the most frequent (joint) bin are not multiplied; that bin is the total of
                all rows over the product of the others. The total is taken once for all features,
                and so is the inversion of all the products of others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .offsets import counted_offsets, even_offsets

if TYPE_CHECKING:
    from .backend import Backend, Residues

#: Largest joint table, in elements: 2^18 of 512 bytes are 128 MiB.
MAX_JOINT_BINS = 1 << 18


@dataclass(frozen=True)
class FeatureGroup:
    """Features `start … stop − 1` in one joint table; `default_bin` is skipped unless None."""

    start: int
    stop: int
    default_bin: int | None


@dataclass(frozen=True)
class HistogramPlan:
    """The groups, in the order of the features, and the products they cost."""

    groups: tuple[FeatureGroup, ...]
    products: int


def histogram(
    backend: Backend,
    x: Residues,
    codes: NDArray[np.integer],
    bins: int,
    table_bins: int = MAX_JOINT_BINS,
) -> Residues:
    """out[f·B + b] = ∏ x[i] over rows i with codes[i, f] = b; `bins` = B ≥ 1. Empty bins are 1.

    `codes` integers [n, features] in [0, B). Every x[i] is taken for invertible: the default bin
    divides (NotInvertible). `table_bins` bounds a joint table, in elements: less memory, and more
    products. Raises ValueError on other shapes, types or codes.
    """
    codes = np.asarray(codes)
    if codes.dtype.kind not in "iu" or codes.ndim != 2 or codes.shape[0] != len(x):
        raise ValueError(f"codes must be integers [{len(x)}, features], not {codes.dtype} {codes.shape}")
    if bins < 1 or (codes.size and (int(codes.min()) < 0 or int(codes.max()) >= bins)):
        raise ValueError(f"codes must lie in 0 ≤ code < {bins}")
    groups = plan_groups(codes, bins, table_bins).groups
    parts: list[Residues] = []
    for group in groups:
        joint = joint_codes(codes[:, group.start : group.stop], bins)
        features = group.stop - group.start
        table = _joint_table(backend, x, joint, bins**features, group.default_bin)
        parts += _marginals(backend, table, features, bins)
    if not parts:
        return backend.gather(x, np.empty(0, dtype=np.int64))
    return _fill_default_bins(backend, backend.concatenate(parts), x, groups, bins)


def joint_codes(codes: NDArray[np.integer], bins: int) -> NDArray[np.int64]:
    """Σ_f codes[:, f]·B^(k−1−f): the first feature is the most significant digit."""
    joint = np.zeros(codes.shape[0], dtype=np.int64)
    for feature in range(codes.shape[1]):
        joint = joint * bins + codes[:, feature].astype(np.int64)
    return joint


def plan_groups(codes: NDArray[np.integer], bins: int, table_bins: int = MAX_JOINT_BINS) -> HistogramPlan:
    """Consecutive features in joint tables of the width k that costs least for these codes and B.

    Default bins are used where, over all groups, they save more than the total of all rows costs.
    Raises ValueError if B is more than a table may hold.
    """
    rows, features = codes.shape
    plans = []
    width = 1
    largest = max(bins, min(table_bins, MAX_JOINT_BINS)) if bins <= MAX_JOINT_BINS else MAX_JOINT_BINS
    while width <= max(1, features) and bins**width <= largest:
        starts = range(0, features, width)
        plans.append(_plan_width(codes, [(s, min(s + width, features)) for s in starts], bins))
        if 2 * bins**width > 2 * rows + bins:  # wider tables only cost more from here on
            break
        width += 1
    if not plans:
        raise ValueError(f"{bins} bins are more than the {MAX_JOINT_BINS} that a table may hold")
    return min(plans, key=lambda plan: plan.products)


def _plan_width(codes: NDArray[np.integer], ranges: list[tuple[int, int]], bins: int) -> HistogramPlan:
    """The plan for these groups of features, with default bins only if they pay for the total."""
    rows = codes.shape[0]
    plain, best, saved = 0, [], 0
    for start, stop in ranges:
        counts = np.bincount(joint_codes(codes[:, start:stop], bins))
        most = int(counts.argmax()) if rows else 0
        plain += rows - int(np.count_nonzero(counts)) + _marginal_products(stop - start, bins)
        # Left out: the bin's own products. Paid: the others' product, its inverse, and one product
        # for the missing factor and for each feature that it goes into.
        saving = int(counts[most]) - 1 - (bins + 3 + stop - start) if rows else 0
        best.append(FeatureGroup(start, stop, most if saving > 0 else None))
        saved += max(0, saving)
    total = max(0, rows - 1)
    if saved > total:
        return HistogramPlan(tuple(best), plain - saved + total)
    return HistogramPlan(tuple(FeatureGroup(*pair, None) for pair in ranges), plain)


def _marginal_products(features: int, bins: int) -> int:
    """What `_marginals` spends: about 2·B^k."""
    if features == 1:
        return 0
    first = features // 2
    second = features - first
    here: int = 2 * bins**features - bins**first - bins**second
    return here + _marginal_products(first, bins) + _marginal_products(second, bins)


def _joint_table(
    backend: Backend, x: Residues, joint: NDArray[np.int64], size: int, default_bin: int | None
) -> Residues:
    """∏ x[i] per joint bin; 1 in the default bin, which is filled at the end."""
    kept = np.arange(joint.size) if default_bin is None else np.flatnonzero(joint != default_bin)
    bins = joint[kept]
    if size <= 1 << 16:  # numpy sorts 16-bit numbers by counting, ten times as fast
        bins = bins.astype(np.uint16)
    order = kept[np.argsort(bins, kind="stable")]
    return backend.segment_product(x, order.astype(np.int64), counted_offsets(bins, size))


def _marginals(backend: Backend, table: Residues, features: int, bins: int) -> list[Residues]:
    """The histogram of each feature from their joint table: sum out one half, then the other."""
    if features == 1:
        return [table]
    first = features // 2
    shape = (bins**first, bins ** (features - first))
    places = np.arange(len(table), dtype=np.int64).reshape(shape)
    by_first = backend.segment_product(table, places.ravel(), even_offsets(*shape))
    by_second = backend.segment_product(table, places.T.ravel(), even_offsets(*shape[::-1]))
    return _marginals(backend, by_first, first, bins) + _marginals(backend, by_second, features - first, bins)


def _fill_default_bins(
    backend: Backend, out: Residues, x: Residues, groups: tuple[FeatureGroup, ...], bins: int
) -> Residues:
    """Multiply what each group skipped into one bin of each of its features.

    The skipped rows of a group are the total of all rows over the others, and the others are the
    product of the histogram of any of its features as it stands.
    """
    skipping = [group for group in groups if group.default_bin is not None]
    if not skipping:
        return out
    firsts = np.array([group.start for group in skipping], dtype=np.int64) * bins
    inside = (firsts[:, None] + np.arange(bins)).ravel()
    others = backend.segment_product(out, inside, even_offsets(len(skipping), bins))
    total = backend.segment_product(x, np.arange(len(x)), even_offsets(1, len(x)))
    missing = backend.mod_mul(total, backend.mod_inv(others))

    places, owners = [], []
    for owner, group in enumerate(skipping):
        code = group.default_bin or 0
        for feature in reversed(range(group.start, group.stop)):
            code, digit = divmod(code, bins)
            places.append(feature * bins + digit)
            owners.append(owner)
    changed = np.array(places, dtype=np.int64)
    filled = backend.mod_mul(
        backend.gather(out, changed), backend.gather(missing, np.array(owners, dtype=np.int64))
    )
    sources = np.arange(len(out), dtype=np.int64)
    sources[changed] = len(out) + np.arange(changed.size)
    return backend.gather(backend.concatenate([out, filled]), sources)
