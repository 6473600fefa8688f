"""The records of joint linear models. Ciphertexts and shares travel as payload frames.

A is the active party (it holds y), P a passive one, P₁ the first of them; [x]_Q is x encrypted under Q's key.
The table stands in THREAT_MODEL.md with what can be inferred; mode `exact` has records of its own.

    Terms            A → P    name of the model, outputs, passive parties with their keys, columns in all
    Seeds            P → A → P'  the seed of P's forward masks under the key of P': A reads nothing
    EncryptedShare   P ↔ A    [share of w]_P (forward) or [share of e]_P (backward): nothing is read
    MaskedProduct    P ↔ A    [X·w + r] or [Xᵀ·e + r], re-randomised: the receiver reads product + mask
    Reshared         P₁ → A   X_A·w_A + r − s, s of a seed: A removes its r and reads a uniform share
    LinkShare        A → P₁   [ω·a^j]_A for the powers of A's share a of a logit, weighted: P₁ reads nothing
    LossQuery        A → P₁   [Σ e_A·e_P + r]_P₁: P₁ reads a masked number
    LossShare        P₁ → A   Σ e_P² + 2·(Σ e_A·e_P + r): A removes its own r and reads the loss of the epoch
    EpochEnd         A → P    the loss, whether this epoch is the best, and whether to stop
    OpenedShare      P₁ → A   the passive parties' share of the logits of evaluation rows: A reads the logits
    FinalShare       A ↔ P    the sender's share of the receiver's weights
    ScoreShare       P → A    [X_P·w_P]_A, packed: A reads P's partial logits of the rows that are scored
"""

from __future__ import annotations

from typing import Annotated, Self

import msgspec

from hecore.algorithms.errors import ProtocolError
from hecore.algorithms.messages import Message, Name
from hecore.encoding import FixedPoint
from hecore.kernels import limbs as lb

MOST_PARTIES = 1024


class Terms(Message, frozen=True, kw_only=True, tag="lr.terms"):
    """What the active party decides for all; payload: the public keys of the passive parties.

    columns   of all parties, the intercept's included
    weighted  whether rows have weights
    """

    model: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}\Z")]
    outputs: Annotated[int, msgspec.Meta(ge=1, le=1000)]
    passive: Annotated[tuple[Name, ...], msgspec.Meta(min_length=1, max_length=MOST_PARTIES)]
    columns: Annotated[int, msgspec.Meta(ge=2, le=1 << 30)]
    weighted: bool

    def __post_init__(self) -> None:
        if len(self.payload) != len(self.passive) or len(set(self.passive)) < len(self.passive):
            raise ValueError(f"{len(self.payload)} public keys for {len(self.passive)} passive parties")


class Seeds(Message, frozen=True, kw_only=True, tag="lr.seeds"):
    """Seeds of forward masks; `parties` are receivers on the way to the active party, senders from it."""

    parties: Annotated[tuple[Name, ...], msgspec.Meta(max_length=MOST_PARTIES)]


Step = tuple[str, int, int]


class OfStep(Message, frozen=True, kw_only=True):
    """What belongs to a batch of an epoch, of training or evaluation rows; `leg` says to which part of it."""

    leg: str
    epoch: int
    batch: int

    @classmethod
    def at(cls, step: Step, *payload: bytes) -> Self:
        """The message of a step."""
        leg, epoch, batch = step
        return cls(leg=leg, epoch=epoch, batch=batch, payload=payload)


class EncryptedShare(OfStep, frozen=True, kw_only=True, tag="lr.share"):
    """A share of weights or residuals under the sender's key; payload: one batch."""


class MaskedProduct(OfStep, frozen=True, kw_only=True, tag="lr.product"):
    """A masked product under the receiver's key; payload: one packed batch."""


class Reshared(OfStep, frozen=True, kw_only=True, tag="lr.reshared"):
    """A masked number a row and output, under another mask; payload: integers of one width."""


class LinkShare(OfStep, frozen=True, kw_only=True, tag="lr.link"):
    """Powers of a share of logits under the sender's key; payload: one batch a power."""


class LossQuery(Message, frozen=True, kw_only=True, tag="lr.loss_query"):
    """The masked cross term of the loss; payload: one batch of shape ()."""

    epoch: int


class LossShare(Message, frozen=True, kw_only=True, tag="lr.loss_share"):
    """The masked rest of the loss; payload: one integer."""

    epoch: int


class EpochEnd(Message, frozen=True, kw_only=True, tag="lr.epoch"):
    """The mean training loss of an epoch where it is opened; whether training ends, and what is kept."""

    epoch: int
    loss: float | None
    stop: bool
    best: bool


class OpenedShare(Message, frozen=True, kw_only=True, tag="lr.opened"):
    """A share of the logits of evaluation rows; payload: integers of one width."""

    epoch: int
    batch: int


class FinalShare(Message, frozen=True, kw_only=True, tag="lr.final_share"):
    """The sender's share of the receiver's weights; payload: fixed-point numbers."""

    scale_bits: int
    count: int


class ScoreShare(Message, frozen=True, kw_only=True, tag="lr.score"):
    """Partial logits under the active party's key; payload: one packed batch."""

    rows: int


def share_message(weights: FixedPoint) -> FinalShare:
    """The FinalShare of a matrix of weights."""
    return FinalShare(
        scale_bits=weights.scale_bits, count=len(weights.limbs), payload=(lb.to_bytes(weights.limbs),)
    )


def read_share(message: FinalShare, shape: tuple[int, ...], scale_bits: int) -> FixedPoint:
    """The weights of a FinalShare. ProtocolError unless it has as many numbers at `scale_bits`."""
    numbers = read_numbers(message.payload, shape, scale_bits)
    if message.count != len(numbers.limbs) or message.scale_bits != scale_bits:
        raise ProtocolError(
            f"a final share of {message.count} numbers at {message.scale_bits} bits:"
            f" {len(numbers.limbs)} at {scale_bits} were expected"
        )
    return numbers


def read_numbers(payload: tuple[bytes, ...], shape: tuple[int, ...], scale_bits: int) -> FixedPoint:
    """Fixed-point numbers of a payload of one frame. ProtocolError for another number of bytes."""
    data = payload[0] if len(payload) == 1 else b""
    count = 1
    for length in shape:
        count *= length
    unit = count * lb.LIMB_BYTES
    if not data or len(data) % unit or len(data) > MOST_LIMBS * unit:
        raise ProtocolError(f"the final share or numbers of shape {shape} came in {len(data)} bytes")
    return FixedPoint(lb.from_bytes(data, len(data) // unit), shape, scale_bits)


#: Of a share: some 300 bits at most.
MOST_LIMBS = 16


def expect_step(message: OfStep, step: Step) -> None:
    """ProtocolError unless the message belongs to this step."""
    leg, epoch, batch = step
    if (message.leg, message.epoch, message.batch) != step:
        raise ProtocolError(
            f"a {type(message).__name__} of {message.leg} {message.epoch}/{message.batch} came in step"
            f" {leg} {epoch}/{batch}: the parties are out of step"
        )


def expect_one(message: OfStep, step: Step) -> bytes:
    """The one payload of a message. ProtocolError unless it belongs to this step."""
    expect_step(message, step)
    if len(message.payload) != 1:
        raise ProtocolError(
            f"a {type(message).__name__} has {len(message.payload)} parts instead of one:"
            " the parties are out of step"
        )
    return message.payload[0]


class ScoreTerms(msgspec.Struct, frozen=True, kw_only=True):
    """What the parties must agree on to score: shares of one training."""

    model: str
