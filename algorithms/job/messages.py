"""The records of a job around its alignment and training.

A is the active party, P a passive one. On the network they travel inside CURVE.

    JobHello   each → other   its role, and what both must have set alike: job, alignment, split, algorithm
                              and its parameters, length of keys
    JobVerdict A → P          that the job goes on, and the key by which rows are parted into training,
                              validation, test: P can tell the part of any id, as A can. Or which settings
                              differ at which parties
    JobDone    each → other   that this party has all it needs, and the times of its phases if it shares them
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from hecore.algorithms.built import built
from hecore.algorithms.channel.framed import MAX_REASON
from hecore.algorithms.errors import ProtocolError
from hecore.algorithms.job.timeline import CATEGORIES, TimelineRecord
from hecore.algorithms.messages import Message
from hecore.algorithms.party import MAX_CONFIGURATION

LONGEST_TIMELINE = 1 << 16


class JobHello(Message, frozen=True, kw_only=True, tag="job.hello"):
    """What a party has set; `terms` is a JSON object."""

    role: Literal["active", "passive"]
    terms: Annotated[str, msgspec.Meta(max_length=MAX_CONFIGURATION)]


class JobVerdict(Message, frozen=True, kw_only=True, tag="job.verdict"):
    """Whether the job goes on: the split's key, 16 to 64 bytes in hex, or the reason why not."""

    split_key: Annotated[str, msgspec.Meta(pattern=r"^(([0-9a-f]{2}){16,64})?\Z")] = ""
    reason: Annotated[str, msgspec.Meta(max_length=MAX_REASON)] = ""

    def __post_init__(self) -> None:
        if bool(self.split_key) == bool(self.reason):
            raise ValueError("a key or a reason, one of the two")


class JobDone(Message, frozen=True, kw_only=True, tag="job.done"):
    """The sender needs nothing more but this message of the others.

    Payload: its coarse time line as JSON, or nothing. (Not a field: a restarted party has another one, and
    what it sends again must have the same fields.)
    """

    def timeline(self) -> TimelineRecord | None:
        """What the sender shows of its times. ProtocolError for anything but the four categories."""
        if not self.payload:
            return None
        try:
            if len(self.payload) != 1 or len(self.payload[0]) > LONGEST_TIMELINE:
                raise ValueError(f"{len(self.payload)} frames")
            record = msgspec.json.decode(self.payload[0], type=built(TimelineRecord))
            if not record.phases.keys() <= set(CATEGORIES):
                raise ValueError("phases that are not shown to others")
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise ProtocolError(f"a time line that cannot be read: {error}") from None
        return record


def job_done(timeline: TimelineRecord | None) -> JobDone:
    """The message, with the categories of a time line or without."""
    return JobDone(payload=() if timeline is None else (msgspec.json.encode(timeline.coarse()),))
