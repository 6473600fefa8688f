"""The records of private set intersection.

A is the active party, P a passive one; α and β their secret scalars, fresh for each run and pair. With more
than two parties A runs this with each P. The table stands in THREAT_MODEL.md with what can be inferred.

    PsiHello    each → other   role, settings, number of ids, of repeated and of empty ones
    MaskedIds   A → P          α·H(a), A's ids in an order that A draws: P reads nothing
    MaskedIds   P → A          β·H(p), P's ids in an order that P draws: A reads nothing
    Returned    P → A          β·α·H(a) in A's order, cut to 16 bytes: A compares with α·β·H(p), which it
                               computes, and reads which of its ids P has, and no other id
    Outcome     A → P          how many ids all have; with reveal = "both" one bit for each of P's ids:
                               P reads which of its ids they are
    Aligned     P → A          with reveal = "both": SHA-256 of the common ids in order, which A has, too
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from hecore.algorithms.checks import check_kinds, check_range
from hecore.algorithms.errors import ConfigurationError
from hecore.algorithms.messages import Message
from hecore.algorithms.party import ACTIVE, MAX_CONFIGURATION, PASSIVE

Reveal = Literal["both", "active"]
Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 33)]

#: Of a point that both have masked, so much is compared: of n·m pairs, n·m/2^128 would match by chance.
TAG_BYTES = 16
MAX_CHUNK_ROWS = 1 << 20


class PsiConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all parties set alike.

    reveal            "both": each party learns which of its ids are common; "active": the active party alone
    min_intersection  with fewer common ids, at least 1, the run fails and no passive party learns which
    chunk_rows        ids in a message
    """

    reveal: Reveal = "both"
    min_intersection: int = 1
    chunk_rows: int = 1 << 13

    def __post_init__(self) -> None:
        check_kinds(self)
        if self.min_intersection < 1:
            raise ConfigurationError(f"min_intersection = {self.min_intersection} is not at least 1")
        check_range("chunk_rows", self.chunk_rows, 1, MAX_CHUNK_ROWS)


class PsiHello(Message, frozen=True, kw_only=True, tag="psi.hello"):
    """What a party brings."""

    role: Annotated[str, msgspec.Meta(pattern=rf"^({ACTIVE}|{PASSIVE})\Z")]
    configuration: Annotated[str, msgspec.Meta(max_length=MAX_CONFIGURATION)]
    ids: Count
    repeated: Count
    empty: Count


class MaskedIds(Message, frozen=True, kw_only=True, tag="psi.masked"):
    """One chunk of the sender's ids, masked; payload: 32 bytes an id."""

    chunk: Count

    def __post_init__(self) -> None:
        _one_frame(self)


class Returned(Message, frozen=True, kw_only=True, tag="psi.returned"):
    """One chunk of the receiver's ids, masked by both; payload: TAG_BYTES an id, in the receiver's order."""

    chunk: Count

    def __post_init__(self) -> None:
        _one_frame(self)


class Outcome(Message, frozen=True, kw_only=True, tag="psi.outcome"):
    """The size of the intersection of all `parties`; payload: a bit for each id of the receiver, or nothing.

    Bits are in the order in which the receiver sent its ids, the lowest of a byte first.
    """

    common: Count
    parties: Annotated[int, msgspec.Meta(ge=2, le=1 << 16)]


class Aligned(Message, frozen=True, kw_only=True, tag="psi.aligned"):
    """SHA-256 of the common ids in their order, as in the handshake of a training."""

    alignment: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]


def _one_frame(message: Message) -> None:
    if len(message.payload) != 1:
        raise ValueError(f"{len(message.payload)} payload frames instead of one")
