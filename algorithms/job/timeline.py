"""When a party did what during a job: seconds by phase in slots of equal width.

A party's own time line has the phases of its meter. What it shows to others is coarse: four categories.

    encrypt   making keys, encrypting, decrypting, packing, validating ciphertexts
    compute   everything else that it does
    wait      for a message of a peer
    network   handing messages over
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec

from hecore.meter import MOST_SLOTS, Timeline

COMPUTE, ENCRYPT, WAIT, NETWORK = CATEGORIES = ("compute", "encrypt", "wait", "network")
_CATEGORY = {
    "encrypt": ENCRYPT,
    "decrypt": ENCRYPT,
    "pack": ENCRYPT,
    "validate": ENCRYPT,
    "keys": ENCRYPT,
    "wait": WAIT,
    "send": NETWORK,
    NETWORK: NETWORK,
}
MOST_PHASES = 32
#: Seconds of a slot: 240 of the widest are seven years.
LEAST_WIDTH, MOST_WIDTH = 1e-6, 1e6
#: Seconds are kept to the millisecond; a slot may seem fuller than it is wide by that.
_ROUNDING = 1e-3

PhaseName = Annotated[str, msgspec.Meta(min_length=1, max_length=40)]


def category(phase: str) -> str:
    """The category of a phase of the meter; a category's own name is left as it is."""
    return _CATEGORY.get(phase, COMPUTE)


class TimelineRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A Timeline that is kept or sent: slot i covers [i·width, (i+1)·width) seconds after the job's start.

    phases   seconds in each slot, 0 … width, at most MOST_SLOTS of them; at most MOST_PHASES phases.
             Slots missing at the end are empty

    Raises ValueError for anything else; from a message, MalformedMessage.
    """

    width: float
    phases: dict[PhaseName, tuple[float, ...]] = {}

    def __post_init__(self) -> None:
        if not LEAST_WIDTH <= self.width <= MOST_WIDTH:
            raise ValueError(f"a slot of {self.width} seconds")
        if len(self.phases) > MOST_PHASES:
            raise ValueError(f"{len(self.phases)} phases, at most {MOST_PHASES} are allowed")
        for name, row in self.phases.items():
            if len(row) > MOST_SLOTS:
                raise ValueError(f"phase {name!r} has {len(row)} slots, at most {MOST_SLOTS} are allowed")
            if not all(0 <= seconds <= self.width + _ROUNDING for seconds in row):
                raise ValueError(f"phase {name!r} has a slot that is not within 0 … {self.width} seconds")

    @classmethod
    def of(cls, timeline: Timeline, shift: float = 0.0) -> TimelineRecord:
        """The record of a timeline that began `shift` seconds after the job's start, its phases by name.

        Phases beyond MOST_PHASES are summed up under their categories.
        """
        names = {name: name for name in timeline.slots}
        if len(names) > MOST_PHASES:
            names = {name: category(name) for name in names}
        target = Timeline(0.0, timeline.width)
        _spread(target, timeline.slots, timeline.width, shift, names)
        return _record(target)

    def coarse(self) -> TimelineRecord:
        """The four categories alone: what a party shows to others at the end of a job.

        They learn how long each took, in slots of a 240th to a 120th of the job, nothing finer.
        """
        target = Timeline(0.0, self.width)
        _spread(target, self.phases, self.width, 0.0, {name: category(name) for name in self.phases})
        return _record(target)

    def joined(self, later: TimelineRecord) -> TimelineRecord:
        """Both in one: of a run whose earlier process has ended before the later one began."""
        target = Timeline(0.0, max(self.width, later.width))
        for part in (self, later):
            _spread(target, part.phases, part.width, 0.0, {name: name for name in part.phases})
        return _record(target)

    def timeline(self) -> Timeline:
        """As a Timeline that begins at 0."""
        return Timeline(0.0, self.width, {name: list(row) for name, row in self.phases.items()})

    @property
    def end(self) -> float:
        """Seconds after the job's start at which the last slot ends that has anything in it."""
        return self.width * max(map(len, self.phases.values()), default=0)

    def seconds(self) -> dict[str, float]:
        """Seconds by phase, over all slots."""
        return {name: sum(row) for name, row in self.phases.items()}


def _spread(
    target: Timeline, slots: Mapping[str, Sequence[float]], width: float, shift: float, names: dict[str, str]
) -> None:
    """Add slots to a timeline: what one slot holds is spread evenly over it."""
    for name, row in slots.items():
        for place, seconds in enumerate(row):
            if seconds > 0:
                begin = shift + place * width
                target.add(names[name], begin, begin + width, seconds / width)


def _record(timeline: Timeline) -> TimelineRecord:
    slots = timeline.slots.items()
    phases = {name: tuple(_trimmed([round(seconds, 3) for seconds in row])) for name, row in slots}
    return TimelineRecord(width=timeline.width, phases={name: row for name, row in phases.items() if row})


def _trimmed(row: list[float]) -> list[float]:
    while row and not row[-1]:
        row.pop()
    return row
