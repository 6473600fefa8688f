"""The records of joint serving: every question stands alone, and none is ever repeated by the channel.

A is the active party, which answers callers; P a passive one. The table stands in THREAT_MODEL.md with what
can be inferred.

    Presence   each → other   which models this process serves, and whether it is about to end
    Question   A → P          ids of rows to be scored, and the model
    Answer     P → A          what became of each row; of the known ones
                                trees   which way each of P's splits sends them, in bits, also off their path
                                linear  P's partial sum, rounded; with several passive parties masked
    Declined   P → A          why P does not answer: a limit, or a model that it does not have

A question is answered once or never. Its number and the mark of the process that asked are in the answer: one
that comes late, twice, or after a restart fits nothing and is dropped.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from hecore.algorithms.checks import counted
from hecore.algorithms.errors import MalformedMessage, ProtocolError
from hecore.algorithms.messages import Message

#: Rows of a question; a model's splits times these are the bits of an answer.
MAX_ROWS = 1 << 16
MAX_MODELS = 64
MAX_ID_BYTES = 1 << 10
#: What an answer says of a row: it has a part; the id is not known, or was answered too often today; it lacks
#: a value that the model needs.
KNOWN, UNKNOWN, SPENT, UNUSABLE = 0, 1, 2, 3
#: Why a row has no score: of one, of several.
REASONS = {
    UNKNOWN: ("is not known to all parties", "are not known to all parties"),
    SPENT: ("was asked for too often today", "were asked for too often today"),
    UNUSABLE: ("lacks a value that the model needs", "lack a value that the model needs"),
}


def ids_that(reason: int, count: int) -> str:
    """So many ids that have no score, and why: "2 ids lack a value that the model needs"."""
    return f"{counted(count, 'id')} {REASONS[reason][count != 1]}"


Mark = Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
Number = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
ModelName = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{8,64}\Z")]
Code = Literal["rate", "model", "failure"]
Rows = Annotated[int, msgspec.Meta(ge=0, le=MAX_ROWS)]


class Offer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model that a process serves.

    size   numbers that it gives for a row: splits of trees, outputs of a linear model
    bits   fractional bits of its partial sums; 0 for trees
    masks  of each other passive party, a fingerprint of the secret that both mask with
    """

    model: ModelName
    kind: Literal["gbdt", "linear"]
    size: Annotated[int, msgspec.Meta(ge=0, le=1 << 24)]
    bits: Annotated[int, msgspec.Meta(ge=0, le=40)] = 0
    masks: dict[str, str] = {}


class Presence(Message, frozen=True, kw_only=True, tag="serve.presence"):
    """A process is there; `asks`: it wants to hear the same of the other. See the module.

    leaving    it is about to end; finished: all rows of a file are scored, and nothing more will be asked
    """

    process: Mark
    offers: Annotated[tuple[Offer, ...], msgspec.Meta(max_length=MAX_MODELS)] = ()
    asks: bool = False
    leaving: bool = False
    finished: bool = False


class Question(Message, frozen=True, kw_only=True, tag="serve.question"):
    """Ids of rows; payload: them as one msgpack array of texts."""

    process: Mark
    number: Number
    model: ModelName
    rows: Rows

    def ids(self) -> list[str]:
        """The ids. MalformedMessage unless they are `rows` texts of at most MAX_ID_BYTES, none empty."""
        if len(self.payload) != 1:
            raise MalformedMessage(f"a question came with {len(self.payload)} frames of ids")
        try:
            ids = msgspec.msgpack.decode(self.payload[0], type=list[str])
        except (msgspec.MsgspecError, ValueError) as error:
            raise MalformedMessage(f"the ids of a question cannot be read: {error}") from None
        if len(ids) != self.rows or not all(0 < len(text) <= MAX_ID_BYTES for text in ids):
            raise MalformedMessage(f"a question has {len(ids)} ids for {self.rows} rows, or one of no use")
        return ids


class Answer(Message, frozen=True, kw_only=True, tag="serve.answer"):
    """Payload: uint8 status of each row; bits or int64 numbers of the known ones, row after row of `size`."""

    process: Mark
    number: Number
    model: ModelName
    rows: Rows


class Declined(Message, frozen=True, kw_only=True, tag="serve.declined"):
    """`retry_after`: seconds until it is worth to ask again."""

    process: Mark
    number: Number
    code: Code
    reason: Annotated[str, msgspec.Meta(max_length=1000)]
    retry_after: float = 0.0


def question(process: bytes, number: int, model: str, ids: list[str]) -> Question:
    """A Question for these ids."""
    payload = (msgspec.msgpack.encode(ids),)
    return Question(process=process, number=number, model=model, rows=len(ids), payload=payload)


def pack_directions(directions: NDArray[np.bool_]) -> bytes:
    """Bits of (splits, rows) directions, one after another without gaps."""
    return np.packbits(directions.ravel(), bitorder="little").tobytes()


def read_status(answer: Answer, peer: str) -> NDArray[np.uint8]:
    """What became of each row. ProtocolError naming the peer unless there is one known status a row."""
    if len(answer.payload) != 2 or len(answer.payload[0]) != answer.rows:
        raise ProtocolError(
            f"{peer} answered {answer.rows} rows in {len(answer.payload)} frames that do not fit"
        )
    status = np.frombuffer(answer.payload[0], np.uint8)
    if (status > UNUSABLE).any():
        raise ProtocolError(f"{peer} answered with the status {status.max()}, which there is not")
    return status


def read_directions(answer: Answer, peer: str, splits: int, known: int) -> NDArray[np.bool_]:
    """Directions (splits, known rows). ProtocolError naming the peer where the bits do not fit."""
    data = answer.payload[1]
    if len(data) != -(-splits * known // 8):
        raise ProtocolError(
            f"{peer} sent {len(data)} bytes of directions for {known} rows at {splits} splits"
        )
    bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
    if bits[splits * known :].any():
        raise ProtocolError(f"{peer} sent directions with bits behind their end")
    return bits[: splits * known].reshape(splits, known).astype(np.bool_)


def read_sums(answer: Answer, peer: str, outputs: int, known: int) -> NDArray[np.uint64]:
    """Partial sums modulo 2^64, (known rows, outputs). ProtocolError naming the peer if they do not fit."""
    data = answer.payload[1]
    if len(data) != 8 * outputs * known:
        raise ProtocolError(f"{peer} sent {len(data)} bytes of sums for {known} rows of {outputs} outputs")
    return np.frombuffer(data, "<u8").reshape(known, outputs)
