"""The records of mode `exact`, and who can read what. Ciphertexts travel as payload frames.

A is the active party (label, key), P a passive one; [x] is x encrypted under A's key; W = U + V are the weights
of P's columns, U at P and V at A.

    MaskKey          P → A   a public key for masks among passive parties
    SourceStart      A → P   columns of the layer, how it starts, the mask keys of the other passive parties
    SourceWeights    A → P   [V]: P reads nothing
    SourceLogits     P → A   [X·W + s], packed and re-randomised: A reads X·W, with several passive parties its sum
    SourceErrors     A → P   [dL/dZ] of a batch: P reads nothing
    SourceGradient   P → A   [Xᵀ·dL/dZ + r], packed and re-randomised: A reads gradient + mask; with Adam r = 0
    SourceEpoch      A → P   whether this is the best epoch so far, and whether it is the last
    FinalShare       A → P   V, cut to output_bits (as in mode `shared`)
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from hecore.algorithms.errors import ProtocolError
from hecore.algorithms.lr.exact.masks import KEY_BYTES
from hecore.algorithms.lr.messages import Step
from hecore.algorithms.messages import Message

#: Columns of a source layer, and passive parties; both size arrays.
MAX_OUTPUTS, MAX_PARTIES = 4096, 256


class MaskKey(Message, frozen=True, kw_only=True, tag="lr.exact.mask_key"):
    """An X25519 public key; payload: its bytes."""

    def __post_init__(self) -> None:
        _check_keys(self.payload, 1, 1)


class SourceStart(Message, frozen=True, kw_only=True, tag="lr.exact.start"):
    """How a source layer begins; payload: the mask keys of all other passive parties."""

    outputs: Annotated[int, msgspec.Meta(ge=1, le=MAX_OUTPUTS)]
    random: bool

    def __post_init__(self) -> None:
        _check_keys(self.payload, 0, MAX_PARTIES)


class SourceWeights(Message, frozen=True, kw_only=True, tag="lr.exact.weights"):
    """The active party's share of the weights under its key; payload: one batch."""

    leg: str
    epoch: int
    batch: int


class SourceLogits(Message, frozen=True, kw_only=True, tag="lr.exact.logits"):
    """Products of a passive party's rows and the weights; payload: a batch for each group of outputs."""

    leg: str
    epoch: int
    batch: int


class SourceErrors(Message, frozen=True, kw_only=True, tag="lr.exact.errors"):
    """dL/dZ of the rows of a batch under the active party's key; payload: one batch."""

    leg: str
    epoch: int
    batch: int


class SourceGradient(Message, frozen=True, kw_only=True, tag="lr.exact.gradient"):
    """Products of a passive party's columns and dL/dZ; payload: a batch for each group of outputs."""

    leg: str
    epoch: int
    batch: int


class SourceEpoch(Message, frozen=True, kw_only=True, tag="lr.exact.epoch"):
    """The active party's decision after an epoch."""

    epoch: int
    best: bool
    stop: bool


OfStep = SourceWeights | SourceLogits | SourceErrors | SourceGradient


def expect_step(message: OfStep, step: Step) -> None:
    """ProtocolError unless the message belongs to this step, and has a payload."""
    if (message.leg, message.epoch, message.batch) != step or not message.payload:
        leg, epoch, batch = step
        raise ProtocolError(
            f"a {type(message).__name__} of {message.leg} {message.epoch}/{message.batch} came in step"
            f" {leg} {epoch}/{batch}: the parties are out of step"
        )


def _check_keys(payload: tuple[bytes, ...], fewest: int, most: int) -> None:
    if not fewest <= len(payload) <= most or any(len(key) != KEY_BYTES for key in payload):
        raise ValueError(f"{len(payload)} mask keys of {[len(key) for key in payload[:3]]} bytes")
