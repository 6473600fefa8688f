"""Parties in threads over loopback channels, and ids with known overlaps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from hecore.algorithms.channel import Channel, loopback_pair
from hecore.algorithms.data import Ids
from hecore.algorithms.psi import Alignment, PsiConfig, align

SMALL = PsiConfig(chunk_rows=7)


def at_once(*parties: Callable[[], Any]) -> list[Any]:
    """What each party returns, or the exception that it ended with."""
    with ThreadPoolExecutor(len(parties)) as pool:
        futures = [pool.submit(party) for party in parties]
        return [future.exception(timeout=250) or future.result() for future in futures]


def run(
    active: Sequence[str],
    *passives: Sequence[str],
    config: PsiConfig = SMALL,
    other: PsiConfig | None = None,
    ends: Sequence[tuple[Channel, Channel]] | None = None,
    on_progress: Callable[[Any], None] | None = None,
) -> list[Any]:
    """Alignment or exception of every party, the active one first; `other`: the passive ones' settings."""
    pairs = ends or [loopback_pair("active", f"passive{i or ''}") for i in range(len(passives))]

    def first() -> Alignment:
        mine = [here for here, _ in pairs]
        return align(mine, Ids(active), "active", config, on_progress=on_progress)

    def second(place: int) -> Alignment:
        _, there = pairs[place]
        return align(there, Ids(passives[place]), "passive", other or config)

    return at_once(first, *(lambda place=i: second(place) for i in range(len(passives))))


def names(prefix: str, numbers: Sequence[int] | range) -> list[str]:
    return [f"{prefix}{number}" for number in numbers]
