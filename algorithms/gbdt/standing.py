"""What a party keeps in the checkpoints of a run: enough to go on, and no key.

    training, active party    margins of all rows, trees and own splits so far, metrics, sizes of messages
    training, passive party   own splits so far, the active party's public key
    training that is over     the share
    prediction that is over   the margins, at the active party

The margins tell the label: the store is as secret as the table.

Trees are the steps. A passive party's rows by node, its ciphertexts and its secret order belong to one tree,
and are made again when the tree is: its messages come out of the inbox.

What a restarted party sends again must have the same small fields as before (`channel.mailbox`), and a tree
that is grown again needs the secret order under which its sums were sent. So nonces, the model's name and
secret orders come from repeatable draws, one label for each. The model's name depends on the active party's
handshakes with all; secret orders depend on that name, and so on every party's data (`draws`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from hecore.algorithms.built import built
from hecore.algorithms.checkpoint import AnyRun
from hecore.algorithms.gbdt.growth import GrownTree
from hecore.algorithms.gbdt.model import (
    FOREST_TENSORS,
    SPLIT_TENSORS,
    ActiveShare,
    Header,
    PassiveShare,
    share_of,
)
from hecore.algorithms.gbdt.planner import Plan
from hecore.algorithms.gbdt.trees import Forest, SplitTable

Arrays: TypeAlias = dict[str, NDArray[Any]]
Metrics: TypeAlias = list[tuple[float, float | None]]


class ActiveState(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="active"):
    """The small part of `ActiveStanding`; sizes of messages, which followed from free memory, stay."""

    block_rows: int
    nodes_at_once: int
    peer_columns: tuple[int, ...]
    rounds: int
    kept: int
    best: float | None
    seconds: float


class PassiveState(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="passive"):
    """The small part of `PassiveStanding`, and the active party's key."""

    public: bytes
    grown: int
    last: int


class Finished(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="finished"):
    """A training that is over: the share's header."""

    share: Header


class Scored(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="scored"):
    """A prediction that is over; `told`: whether this party has the margins."""

    told: bool


State: TypeAlias = ActiveState | PassiveState | Finished | Scored


@dataclass(frozen=True)
class ActiveStanding:
    """How far an active party's training has come.

    rounds   that are done; `kept` of them until now, with the metric `best` of the evaluation rows
    margins  of all rows; `trees` and the `splits` of each block, of this training
    seconds  that they took, in all processes
    """

    rounds: int
    kept: int
    best: float
    margins: NDArray[np.float64]
    trees: list[GrownTree]
    splits: list[SplitTable]
    metrics: Metrics
    seconds: float = 0.0

    def dump(self, plan: Plan, peer_columns: Sequence[int]) -> tuple[ActiveState, Arrays]:
        """As a state and arrays."""
        best = float(self.best) if np.isfinite(self.best) else None
        width = self.trees[0].value.shape[1] if self.trees else 1
        forest = Forest.of(self.trees, [-1] * len(self.trees), width)
        arrays: Arrays = {f"forest.{name}": getattr(forest, name) for name in FOREST_TENSORS}
        for place, splits in enumerate(self.splits):
            arrays |= {f"splits {place}.{name}": getattr(splits, name) for name in SPLIT_TENSORS}
        arrays["margins"] = self.margins
        arrays["metrics"] = np.array([entry[0] for entry in self.metrics], dtype=np.float64)
        seen = [entry[1] for entry in self.metrics if entry[1] is not None]
        arrays["evaluation metrics"] = np.array(seen, dtype=np.float64)
        state = ActiveState(
            **asdict(plan),
            peer_columns=tuple(peer_columns),
            rounds=self.rounds,
            kept=self.kept,
            best=best,
            seconds=self.seconds,
        )
        return state, arrays

    @classmethod
    def load(cls, state: ActiveState, arrays: Arrays) -> ActiveStanding:
        """The inverse of `dump`."""
        forest = Forest(**{name: arrays[f"forest.{name}"] for name in FOREST_TENSORS})
        blocks = sum(name.endswith(".tree") for name in arrays)
        train, evaluation = arrays["metrics"].tolist(), arrays["evaluation metrics"].tolist()
        return cls(
            rounds=state.rounds,
            kept=state.kept,
            best=np.inf if state.best is None else state.best,
            margins=arrays["margins"].copy(),
            trees=forest.grown(),
            splits=[_splits(arrays, f"splits {place}") for place in range(blocks)],
            metrics=list(zip(train, evaluation or [None] * len(train), strict=True)),
            seconds=state.seconds,
        )


@dataclass(frozen=True)
class PassiveStanding:
    """How far a passive party's training has come: trees grown with it, number of the last, own splits."""

    grown: int
    last: int
    splits: SplitTable

    def dump(self, public: bytes) -> tuple[PassiveState, Arrays]:
        """As a state and arrays."""
        arrays: Arrays = {f"splits.{name}": getattr(self.splits, name) for name in SPLIT_TENSORS}
        return PassiveState(public=public, grown=self.grown, last=self.last), arrays

    @classmethod
    def load(cls, state: PassiveState, arrays: Arrays) -> PassiveStanding:
        """The inverse of `dump`."""
        return cls(state.grown, state.last, _splits(arrays, "splits"))


def _splits(arrays: Arrays, prefix: str) -> SplitTable:
    return SplitTable(**{name: arrays[f"{prefix}.{name}"] for name in SPLIT_TENSORS})


class Journal:
    """A run, and what its newest checkpoint says."""

    def __init__(self, run: AnyRun) -> None:
        self.run = run
        self._found = run.latest()

    @property
    def state(self) -> State | None:
        """None at the start."""
        if self._found is None:
            return None
        state: State = msgspec.json.decode(self._found.state, type=built(State))
        return state

    @property
    def arrays(self) -> Arrays:
        """The arrays; none at the start."""
        return {} if self._found is None else self._found.arrays

    def finished(self) -> ActiveShare | PassiveShare | None:
        """The share, where the training is over."""
        state = self.state
        return share_of(state.share, self.arrays, "a checkpoint") if isinstance(state, Finished) else None
