"""A run as the page takes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hecore.algorithms.job.records import RoundRecord, RunRecord


@dataclass(frozen=True)
class RunView:
    """The record of a run at one party, and its rounds by metric."""

    record: RunRecord
    rounds: Mapping[str, Sequence[RoundRecord]] = field(default_factory=dict)

    @property
    def rounds_done(self) -> int:
        """The last round of any metric; 0 if there is none."""
        return max((rounds[-1].number for rounds in self.rounds.values() if rounds), default=0)

    @property
    def round_name(self) -> str:
        """What a round is called."""
        return "tree" if self.record.algorithm == "gbdt" else "epoch"
