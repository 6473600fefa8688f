"""The records of a job around its alignment and training.

A is the active party, P a passive one. On the network they travel inside CURVE.

    JobHello   each → other   what both must have set alike: job, alignment, split, algorithm and its
                              parameters, length of keys
    SplitKey   A → P          the key by which rows are parted into training, validation, test: P can tell the
                              part of any id, as A can
    JobDone    each → other   that this party has all it needs, and the times of its phases if it shares them
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from hecore.algorithms.messages import Message
from hecore.algorithms.party import MAX_CONFIGURATION


class JobHello(Message, frozen=True, kw_only=True, tag="job.hello"):
    """What a party has set; `terms` is a JSON object."""

    terms: Annotated[str, msgspec.Meta(max_length=MAX_CONFIGURATION)]


class SplitKey(Message, frozen=True, kw_only=True, tag="job.split_key"):
    """16 to 64 bytes in hex."""

    key: Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{2}){16,64}\Z")]
