"""What a share can do while it serves: the passive party's part of a score, and the active party's score.

    Part     a passive share: values of its own columns → the payload of an answer
    Whole    an active share: its own values, and the parts of the others → scores

A part is an array whose last axis are rows: directions (splits, rows), or partial sums (outputs, rows).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hecore.algorithms.data.table import Matrix
from hecore.algorithms.errors import ConfigurationError, ProtocolError
from hecore.algorithms.gbdt.binning import ColumnBins
from hecore.algorithms.gbdt.model import ActiveShare, PassiveShare
from hecore.algorithms.gbdt.objectives import transform
from hecore.algorithms.lr.share import ActiveSide, ModelRecord
from hecore.algorithms.model import AnyShare, is_active
from hecore.algorithms.objectives import BINARY, CLASSES, Floats
from hecore.algorithms.serving import messages as msg
from hecore.algorithms.serving.masks import Masks
from hecore.algorithms.serving.trees import Splits, Trees

Rows = NDArray[np.integer]
#: |partial sum| must stay below this many bits before the point.
LIMIT_BITS = 20
Partial = Callable[[Matrix], Floats]


class Part(Protocol):
    """A passive share."""

    model: str
    party: str
    columns: tuple[str, ...]
    texts: Mapping[str, ColumnBins]

    def offer(self) -> msg.Offer:
        """What the active party must know of it."""

    def usable(self, values: Matrix) -> NDArray[np.bool_]:
        """Which rows have all that the model needs."""

    def answer(self, question: msg.Question, known: Rows, values: Matrix) -> bytes:
        """The second frame of an answer: for the known rows, by their places, with these values."""


class Whole(Protocol):
    """An active share; `peers`: the passive parties whose part it needs, None: all that it has lines to."""

    model: str
    party: str
    columns: tuple[str, ...]
    texts: Mapping[str, ColumnBins]
    peers: tuple[str, ...] | None
    takes_missing: bool
    probabilities: bool

    def check(self, offers: Mapping[str, msg.Offer]) -> None:
        """ProtocolError where the shares that the peers serve do not fit this one."""

    def read(self, peer: str, answer: msg.Answer, known: int) -> NDArray[Any]:
        """A peer's part for the rows that it knows. ProtocolError where it does not fit."""

    def scores(self, values: Matrix, parts: Mapping[str, NDArray[Any]]) -> Floats:
        """Predictions (rows,) or (rows, outputs); for the part of a peer that is not there its mean."""


class TreePart:
    """Directions of a passive party's splits."""

    def __init__(self, share: PassiveShare) -> None:
        self.model, self.party, self.columns = share.model, share.party, share.columns
        self.texts = _texts(share)
        self._splits = Splits(share.splits, share.bins)

    def offer(self) -> msg.Offer:
        """See Part."""
        return msg.Offer(model=self.model, kind="gbdt", size=len(self._splits))

    def usable(self, values: Matrix) -> NDArray[np.bool_]:
        """See Part: trees take missing values."""
        return np.ones(len(values), dtype=np.bool_)

    def answer(self, question: msg.Question, known: Rows, values: Matrix) -> bytes:
        """See Part."""
        return msg.pack_directions(self._splits.directions(values))


class TreeWhole:
    """The forest of an active share."""

    takes_missing = True

    def __init__(self, share: ActiveShare) -> None:
        self.model, self.party, self.columns = share.model, share.party, share.columns
        self.texts = _texts(share)
        self._splits = Splits(share.splits, share.bins)
        self._trees = Trees(share.forest, share.outputs, share.start)
        self._owner = {peer: number for number, peer in enumerate(share.peers, start=1)}
        self._objective = share.objective
        self.probabilities = share.objective in CLASSES
        self.peers: tuple[str, ...] | None = tuple(
            peer for peer, owner in self._owner.items() if self._trees.needs(owner)
        )

    def check(self, offers: Mapping[str, msg.Offer]) -> None:
        """See Whole."""
        for peer, offer in offers.items():
            splits = self._trees.needs(self._owner[peer])
            if (offer.kind, offer.size) != ("gbdt", splits):
                raise ProtocolError(
                    f"{peer} serves {offer.kind} of {offer.size} splits as {self.model}: here it has {splits}"
                )

    def read(self, peer: str, answer: msg.Answer, known: int) -> NDArray[Any]:
        """See Whole."""
        return msg.read_directions(answer, peer, self._trees.needs(self._owner[peer]), known)

    def scores(self, values: Matrix, parts: Mapping[str, NDArray[Any]]) -> Floats:
        """See Whole."""
        rows = len(values)
        there = {0: self._splits.directions(values)}
        there |= {self._owner[peer]: part for peer, part in parts.items()}
        if all(peer in parts for peer in self.peers or ()):
            owners = range(len(self._trees.splits))
            none = np.empty((0, rows), np.bool_)
            margins = self._trees.margins([there.get(owner, none) for owner in owners], rows)
        else:
            margins = self._trees.expected_margins(there, rows)
        return transform(self._objective, margins)


class LinearPart:
    """Partial sums of a passive party's columns, rounded to 2^−bits and masked."""

    def __init__(self, share: ModelRecord, bits: int, masks: Masks | None) -> None:
        self.model, self.party, self.columns = share.model, share.party, tuple(share.columns)
        self.texts: Mapping[str, ColumnBins] = {}
        self._outputs, self._partial = share.outputs, _partial(share)
        self._bits, self._masks = bits, masks

    def offer(self) -> msg.Offer:
        """See Part."""
        masks = dict(self._masks.fingerprints()) if self._masks else {}
        return msg.Offer(model=self.model, kind="linear", size=self._outputs, bits=self._bits, masks=masks)

    def usable(self, values: Matrix) -> NDArray[np.bool_]:
        """See Part: no value is missing, and the sums stay within their limit."""
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray((np.abs(self._partial(values)) < 2.0**LIMIT_BITS).all(axis=1))

    def answer(self, question: msg.Question, known: Rows, values: Matrix) -> bytes:
        """See Part."""
        sums = self._partial(values)
        numbers = np.rint(sums * 2.0**self._bits).astype("<i8").view("<u8")
        if self._masks:
            numbers = numbers + self._masks.of(question, numbers.shape[1])[known]
        return numbers.astype("<u8").tobytes()


class LinearWhole:
    """A linear model's active share: intercept, own weights, the others' partial sums."""

    takes_missing = False
    peers: tuple[str, ...] | None = None

    def __init__(self, share: ModelRecord, active: ActiveSide) -> None:
        self.model, self.party, self.columns = share.model, share.party, tuple(share.columns)
        self.texts: Mapping[str, ColumnBins] = {}
        self._outputs, self._partial = share.outputs, _partial(share)
        self._objective, self._intercept = active.objective, np.array(active.intercept)
        if active.network:
            raise ConfigurationError(f"the share of {share.party} has a network on it: that is not served")
        self.probabilities = active.objective.name in CLASSES
        self._bits: dict[str, int] = {}

    def check(self, offers: Mapping[str, msg.Offer]) -> None:
        """See Whole. With several passive parties every two must mask alike, or none be masked."""
        for peer, offer in offers.items():
            if (offer.kind, offer.size) != ("linear", self._outputs):
                raise ProtocolError(f"{peer} serves another kind of model as {self.model}")
            for other, theirs in offers.items():
                if other != peer and offer.masks.get(other) != theirs.masks.get(peer):
                    raise ProtocolError(f"{peer} and {other} do not mask with one secret: their keys differ")
            if alone := set(offer.masks) - set(offers):
                raise ProtocolError(f"{peer} masks with {min(alone)}, which this party has no line to")
        self._bits = {peer: offer.bits for peer, offer in offers.items()}
        if len(set(self._bits.values())) > 1:
            raise ProtocolError(f"the passive parties round to different bits: {self._bits}")

    def read(self, peer: str, answer: msg.Answer, known: int) -> NDArray[Any]:
        """See Whole."""
        return msg.read_sums(answer, peer, self._outputs, known).T

    def scores(self, values: Matrix, parts: Mapping[str, NDArray[Any]]) -> Floats:
        """See Whole. Missing parties' columns count as their means: a sum of 0."""
        with np.errstate(over="ignore", invalid="ignore"):  # a caller may send any numbers
            return self._predicted(values, parts)

    def _predicted(self, values: Matrix, parts: Mapping[str, NDArray[Any]]) -> Floats:
        logits = self._partial(values) + self._intercept
        if parts and len(parts) == len(self._bits):  # masks cancel in the sum of all alone
            total = np.zeros((self._outputs, len(values)), dtype=np.uint64)
            for part in parts.values():
                total = total + part
            logits = logits + total.T.astype("<i8") / 2.0 ** next(iter(self._bits.values()))
        predicted = self._objective.predict(logits)
        return predicted[:, 1] if self._objective.name == BINARY else predicted


def make_part(share: AnyShare, bits: int, masks: Masks | None) -> Part:
    """The part of a passive share. ConfigurationError for an active party's."""
    if isinstance(share, PassiveShare):
        return TreePart(share)
    if isinstance(share, ModelRecord) and not is_active(share):
        return LinearPart(share, bits, masks)
    raise ConfigurationError(f"the share of {share.party} is the active party's")


def make_whole(share: AnyShare) -> Whole:
    """The whole of an active share. ConfigurationError for a passive party's."""
    if isinstance(share, ActiveShare):
        return TreeWhole(share)
    if isinstance(share, ModelRecord) and share.active is not None:
        if share.active.network:
            raise ConfigurationError(f"model {share.model} ends in a neural network, which is not served")
        return LinearWhole(share, share.active)
    raise ConfigurationError(f"the share of {share.party} is a passive party's")


def _texts(share: ActiveShare | PassiveShare) -> Mapping[str, ColumnBins]:
    """The bins of columns that hold texts."""
    return {
        name: bins for name, bins in zip(share.columns, share.bins, strict=True) if bins.texts is not None
    }


def _partial(share: ModelRecord) -> Partial:
    mean, scale, weights = (np.array(part) for part in (share.mean, share.scale, share.weights))

    def partial(values: Matrix) -> Floats:
        return np.asarray(((values - mean) / scale) @ weights)

    return partial
