"""Heavy local steps over row partitions: one small interface between an algorithm and what runs it.

A step is a pure function of one partition; partial results are joined by an associative function. Nothing
above assumes that all rows of a party stand in one array or on one machine. Here partitions run one after
another, since each step already uses all threads of its backend; an engine over a cluster implements the same
call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Protocol, TypeVar

P = TypeVar("P")
T = TypeVar("T")


class Engine(Protocol):
    """Runs steps over partitions."""

    def reduce(self, work: Callable[[P], T], partitions: Sequence[P], join: Callable[[T, T], T]) -> T:
        """join(… join(work(p₀), work(p₁)) …, work(pₘ)); at least one partition, `join` associative."""
        ...


class LocalEngine:
    """Partition after partition in this process."""

    def reduce(self, work: Callable[[P], T], partitions: Sequence[P], join: Callable[[T, T], T]) -> T:
        """See Engine."""
        return reduce(join, map(work, partitions))
