"""How far work on rows has come: alignments, predictions of files."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class RowsDone:
    """Rows done of all; `resumed` of them by an earlier process, which count for no rate."""

    done: int
    total: int
    resumed: int
    seconds: float

    @property
    def rate(self) -> float:
        """Rows a second in this process."""
        return (self.done - self.resumed) / max(self.seconds, 1e-9)

    @property
    def remaining(self) -> float:
        """Seconds still to go at this rate; infinite before the first chunk."""
        return (self.total - self.done) / self.rate if self.rate else float("inf")
