"""What the estimator hands to the training of a mode, and what it gets back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from hecore import Meter
from hecore.algorithms.channel import Channel
from hecore.algorithms.data import Table
from hecore.algorithms.draws import Draws
from hecore.algorithms.lr.config import LinearConfig
from hecore.algorithms.lr.messages import Terms
from hecore.algorithms.lr.objectives import Objective
from hecore.algorithms.objectives import Floats
from hecore.algorithms.party import Peer
from hecore.kernels import Backend
from hecore.keys import PrivateKey

Arrays: TypeAlias = dict[str, NDArray[Any]]
Dump: TypeAlias = Callable[[], tuple[msgspec.Struct, Arrays]]
Save: TypeAlias = Callable[[int, Dump], None]


def keep_nothing(done: int, dump: Dump) -> None:
    """A Save without checkpoints."""


@dataclass(frozen=True)
class Progress:
    """Where a training stands, after a batch; `loss` is that of the last finished epoch.

    `seconds` that it has run in this process.
    """

    epoch: int
    epochs: int
    batch: int
    batches: int
    loss: float | None
    seconds: float

    @property
    def done(self) -> float:
        """Fraction of all batches."""
        return ((self.epoch * self.batches) + self.batch) / (self.epochs * self.batches)


@dataclass(frozen=True)
class Rows:
    """One party's rows: standardised columns, and at the active party a last column of ones.

    features   float64 (rows, columns), or a scipy CSR array
    table      the rows as they came, for labels
    """

    features: Any
    table: Table

    def __len__(self) -> int:
        return len(self.table)


@dataclass(frozen=True)
class LabelSide:
    """What the active party knows besides its columns; weights have mean 1, None where all are 1."""

    objective: Objective
    targets: Floats
    weight: Floats | None


@dataclass(frozen=True, kw_only=True)
class Side:
    """One party's side of a training: all that a mode is given.

    peers         at the active party all passive ones, in the order of `channels`; else the active one
    label         at the active party
    training, evaluation   rows; all parties have evaluation rows, or none
    draws         where masks come from: repeatable ones for a run that may be restarted
    save          is given the steps done, and what gives the mode's own standing and its arrays: at the start
                  and after each batch
    resume        a standing as JSON and its arrays, to go on from
    """

    config: LinearConfig
    channels: Sequence[Channel]
    peers: Sequence[Peer]
    terms: Terms
    training: Rows
    evaluation: Rows | None
    label: LabelSide | None
    key: PrivateKey
    backend: Backend
    meter: Meter
    draws: Draws
    on_progress: Callable[[Progress], None] | None = None
    save: Save = keep_nothing
    resume: tuple[bytes, Arrays] | None = None

    @property
    def is_active(self) -> bool:
        """Whether this party has the label."""
        return self.label is not None


@dataclass(frozen=True)
class Outcome:
    """A trained block.

    weights    (columns, outputs) of this party's standardised columns, the active party's intercept last
    loss       of each epoch
    metrics    of the evaluation rows, one each `evaluate_every` epochs; at the active party
    history    what else a mode has measured by epoch, by name; at the active party
    """

    weights: Floats
    loss: list[float]
    metrics: list[float] = field(default_factory=list)
    history: dict[str, list[float]] = field(default_factory=dict)


def shuffled_epochs(seed: int, rows: int) -> Any:
    """The orders of the rows of epoch 0, 1, …: public, all parties draw the same."""
    generator = np.random.default_rng(seed)
    while True:
        yield generator.permutation(rows)
