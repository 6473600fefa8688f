"""What is measured: one `Case` a row, used by the command line and by pytest-benchmark alike.

A case prepares its numbers and returns a `Work`: the call to be timed, how many items it handles, and a check
of its result. Numbers come from numpy's generator with a fixed seed: they are benchmark data, and no key and
no noise is ever drawn from it. The cases stand in `cases_common` (any library) and `cases_hecore`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from math import isqrt
from typing import Any, NamedTuple

import numpy as np

from hecore import HecoreError

from .subjects import HecoreSubject, Integers, Pace, Subject

#: The groups in the order of the tables, with the unit that their rates count.
GROUPS = {
    "keys": "keys",
    "encoding": "values",
    "encryption": "values",
    "decryption": "values",
    "arithmetic": "values",
    "linear": "entries",
    "packing": "values",
    "wire": "ciphertexts",
    "kernel": "products",
}
#: Another name for the cases that most people ask for first.
HEADLINE = "headline"
SEED = 20_240_229
#: |value| < 2^40: an integer of a fixed-point number as users have it.
VALUE_BITS = 40
#: Fresh ciphertexts from which the operands of cheap operations are made.
POOL = 128


class UnknownCase(HecoreError, ValueError):
    """A name that is no case, no group and not "headline"."""


class Batch(NamedTuple):
    """Elements a call by pace: long enough to be typical of the subject, short enough to be repeated."""

    slow: int
    fast: int
    device: int

    def for_pace(self, pace: Pace) -> int:
        """The size for one pace."""
        return {"slow": self.slow, "fast": self.fast, "device": self.device}[pace]


@dataclass(frozen=True)
class Work:
    """A prepared case: `run` is timed and handles `items` items; `check` raises WrongResult."""

    run: Callable[[], Any]
    items: int
    check: Callable[[Any], None]


Prepare = Callable[[Subject, int], Work]


@dataclass(frozen=True)
class Case:
    """One row of the tables.

    prepare        (subject, elements a call) → Work
    batch          the elements a call unless asked otherwise
    uses_backend   False where all backends do the same: measured once, on the first
    own            True for what only hecore has
    headline       whether "headline" means this case too
    """

    name: str
    group: str
    text: str
    batch: Batch
    prepare: Prepare
    uses_backend: bool = True
    own: bool = False
    headline: bool = False

    @property
    def unit(self) -> str:
        """What its rate counts."""
        return GROUPS[self.group]

    def suits(self, subject: Subject) -> bool:
        """Whether this subject can run the case."""
        return isinstance(subject, HecoreSubject) or not (self.own or self.name in subject.lacks)


class CaseList(list[Case]):
    """Cases in the order of their definition."""

    def define(self, name: str, group: str, text: str, batch: Batch, **flags: bool) -> Callable[..., Prepare]:
        """A decorator that makes a case of a `prepare` function."""

        def register(prepare: Prepare) -> Prepare:
            self.append(Case(name, group, text, batch, prepare, **flags))
            return prepare

        return register


@cache
def all_cases() -> tuple[Case, ...]:
    """Every case, group by group."""
    from .cases_common import CASES as COMMON
    from .cases_hecore import CASES as OWN

    order = list(GROUPS)
    return tuple(sorted([*COMMON, *OWN], key=lambda case: order.index(case.group)))


def select(names: Iterable[str]) -> list[Case]:
    """The cases with these names or groups, in table order; all for no names. UnknownCase otherwise."""
    wanted = set(names)
    cases = all_cases()
    known = {case.name for case in cases} | set(GROUPS) | {HEADLINE}
    unknown = sorted(wanted - known)
    if unknown:
        raise UnknownCase(f"no case or group {', '.join(map(repr, unknown))}: see `hecore-bench list`")
    return [
        case
        for case in cases
        if not wanted or {case.name, case.group} & wanted or (case.headline and HEADLINE in wanted)
    ]


# --- numbers --------------------------------------------------------------------------------------


def generator(count: int) -> np.random.Generator:
    """A generator that gives the same benchmark numbers in every run."""
    return np.random.default_rng([SEED, count])


def draw_values(count: int, bits: int = VALUE_BITS) -> Integers:
    """`count` signed integers below 2^bits in magnitude."""
    return generator(count).integers(-(1 << bits) + 1, 1 << bits, count, dtype=np.int64)


def draw_twice(count: int) -> Integers:
    """`count` integers of which each stands twice: with shared noise their ciphertexts would be equal."""
    return np.resize(draw_values(-(-count // 2)), count)


def draw_wide(count: int, bits: int) -> Integers:
    """`count` Python integers of exactly `bits` bits, as an object array."""
    width = bits // 8 + 1
    data = generator(count).bytes(count * width)
    mask, top = (1 << bits) - 1, 1 << (bits - 1)
    out = np.empty(count, dtype=object)
    out[:] = [int.from_bytes(data[i : i + width], "little") & mask | top for i in range(0, len(data), width)]
    return out


def derived(subject: Subject, count: int, bits: int = VALUE_BITS) -> tuple[Any, Integers]:
    """`count` ciphertexts and their values, made quickly: sums of pairs from a pool of fresh ones.

    Each is a full-size integer with a place of its own in memory, as after a real computation.
    """
    pool = min(count, max(POOL, isqrt(count) + 1))
    values = draw_values(pool, bits)
    fresh = subject.encrypt(values)
    if count == pool:
        return fresh, values
    places = np.arange(count, dtype=np.int64)
    left, right = places // pool % pool, places % pool
    return subject.add(subject.take(fresh, left), subject.take(fresh, right)), values[left] + values[right]
