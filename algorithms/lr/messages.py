"""The records of joint logistic regression. Ciphertexts and shares travel as payload frames.

A is the active party (it holds y), B the passive one; [x]_P is x encrypted under P's key. Both parties send
EncryptedShare and MaskedProduct in every leg; the table stands in THREAT_MODEL.md with what can be inferred.

    EncryptedShare   P → Q   [share of w]_P (forward) or [share of e]_P (backward): Q reads nothing
    MaskedProduct    Q → P   [X_Q·w + r]_P or [X_Qᵀ·e + r]_P, packed and re-randomised: P reads product + mask
    LossQuery        A → B   [Σ e_A·e_B + r]_B: B reads a masked number
    LossShare        B → A   Σ e_B² + 2·(Σ e_A·e_B + r): A removes its own r and reads the loss of the epoch
    LossOpened       A → B   the loss, and whether to stop
    FinalShare       P → Q   P's share of Q's own weights
    ScoreShare       B → A   [X_B·w_B]_A, packed: A reads B's partial logits of the rows that are scored
"""

from __future__ import annotations

import math

import msgspec

from hecore.algorithms.errors import ProtocolError
from hecore.algorithms.messages import Message
from hecore.encoding import FixedPoint
from hecore.kernels import limbs as lb


class EncryptedShare(Message, frozen=True, kw_only=True, tag="lr.share"):
    """A share of weights or residuals under the sender's key; payload: one batch."""

    leg: str
    epoch: int
    batch: int


class MaskedProduct(Message, frozen=True, kw_only=True, tag="lr.product"):
    """A masked product under the receiver's key; payload: one packed batch."""

    leg: str
    epoch: int
    batch: int


class LossQuery(Message, frozen=True, kw_only=True, tag="lr.loss_query"):
    """The masked cross term of the loss; payload: one batch of shape ()."""

    epoch: int


class LossShare(Message, frozen=True, kw_only=True, tag="lr.loss_share"):
    """The masked rest of the loss; payload: one integer."""

    epoch: int


class LossOpened(Message, frozen=True, kw_only=True, tag="lr.loss"):
    """The mean training loss of an epoch, and whether training ends with it."""

    epoch: int
    loss: float
    stop: bool


class FinalShare(Message, frozen=True, kw_only=True, tag="lr.final_share"):
    """The sender's share of the receiver's weights; payload: fixed-point numbers."""

    scale_bits: int
    count: int


class ScoreShare(Message, frozen=True, kw_only=True, tag="lr.score"):
    """Partial logits under the active party's key; payload: one packed batch."""

    rows: int


def share_message(weights: FixedPoint) -> FinalShare:
    """The FinalShare of a vector."""
    payload = (lb.to_bytes(weights.limbs),)
    return FinalShare(scale_bits=weights.scale_bits, count=len(weights.limbs), payload=payload)


def read_share(message: FinalShare, count: int, scale_bits: int) -> FixedPoint:
    """The vector of a FinalShare. ProtocolError unless it has `count` numbers at `scale_bits`."""
    data = message.payload[0] if len(message.payload) == 1 else b""
    unit = count * lb.LIMB_BYTES
    if message.count != count or message.scale_bits != scale_bits or not data or len(data) % unit:
        raise ProtocolError(
            f"a final share of {message.count} numbers at {message.scale_bits} bits in {len(data)} bytes:"
            f" {count} at {scale_bits} were expected"
        )
    return FixedPoint(lb.from_bytes(data, len(data) // unit), (count,), scale_bits)


def expect_step(message: EncryptedShare | MaskedProduct, leg: str, epoch: int, batch: int) -> None:
    """ProtocolError unless the message belongs to this step."""
    if (message.leg, message.epoch, message.batch) != (leg, epoch, batch) or len(message.payload) != 1:
        raise ProtocolError(
            f"a {type(message).__name__} of {message.leg} {message.epoch}/{message.batch} came in step"
            f" {leg} {epoch}/{batch}: the parties are out of step"
        )


class ScoreTerms(msgspec.Struct, frozen=True, kw_only=True):
    """What both parties must agree on to score: shares of one training."""

    model: str


class ModelRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A party's share of a model as it stands in its JSON file; `model` is equal in all its shares."""

    format: str
    version: int
    model: str
    party: str
    columns: list[str]
    weights: list[float]
    mean: list[float]
    scale: list[float]
    intercept: float | None
    loss: list[float]

    def __post_init__(self) -> None:
        lengths = {len(values) for values in (self.columns, self.weights, self.mean, self.scale)}
        if len(lengths) != 1 or lengths == {0}:
            raise ValueError("columns, weights, mean and scale differ in length, or are empty")
        numbers = [*self.weights, *self.mean, *self.scale, self.intercept or 0.0]
        if not all(math.isfinite(number) for number in numbers) or not all(self.scale):
            raise ValueError("a weight, mean or scale is not finite, or a scale is zero")
