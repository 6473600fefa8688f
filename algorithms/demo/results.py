"""What the processes report, and what the demo makes of it."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
from dataclasses import dataclass, field
from typing import Any

from hecore.algorithms.channel import Metrics

Pipe = multiprocessing.connection.Connection


@dataclass
class PartyResult:
    """What one process reports at its end."""

    scores: list[float] | None
    loss: list[float]
    seconds: dict[str, float]
    operations: dict[str, int]
    sent: dict[str, Any]
    received: dict[str, Any]
    backend: str
    share: str  # SHA-256 of the party's share
    link: Metrics


@dataclass(frozen=True)
class Failure:
    """Why a process ended without a result; `secondary`: only because the other one did."""

    text: str
    secondary: bool = False


@dataclass
class DemoResult:
    """The outcome of a demo; `scores` maps a model's name to its (AUC, accuracy) on the held-out rows."""

    key_setup_seconds: float
    training_seconds: float
    train_rows: int
    test_rows: int
    scores: dict[str, tuple[float, float]]
    parties: dict[str, PartyResult] = field(default_factory=dict)
    algorithm: str = "lr"
    kills: int = 0
