"""The sequence of a training at any party, in any mode: epochs of batches, progress, checkpoints."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod

import msgspec
import numpy as np
from numpy.typing import NDArray

from hecore.algorithms.lr.side import Arrays, Progress, Side, shuffled_epochs

Places = NDArray[np.int64]


class Epochs(ABC):
    """One party's side of a training; whoever fills it in sets `_batches`, the places of each in an order."""

    _batches: list[Places]

    def __init__(self, side: Side) -> None:
        self._side, self._config = side, side.config
        self._epoch = self._batch = 0  # what comes next
        self._stopped = False

    @property
    def steps(self) -> int:
        """Batches that are done."""
        return self._epoch * len(self._batches) + self._batch

    def _run_epochs(self) -> None:
        """All batches that are still to do."""
        started = time.perf_counter()
        if self._side.resume is None:
            self._prepare()
            self._keep()
        orders = shuffled_epochs(self._config.seed, len(self._side.training))
        for epoch, order in zip(range(self._config.epochs), orders, strict=False):
            while self._epoch == epoch and not self._stopped:
                self._step(epoch, self._batch, order[self._batches[self._batch]])
                self._tell(time.perf_counter() - started)
                self._advance()

    # --- what differs -------------------------------------------------------------------------------

    def _prepare(self) -> None:  # noqa: B027 - nothing to send, by default
        """What is sent once, before the first batch."""

    @abstractmethod
    def _step(self, epoch: int, number: int, rows: Places) -> None:
        """One batch."""

    @abstractmethod
    def _end_epoch(self, epoch: int) -> None:
        """Score what is to be scored, and set `_stopped` where the parties have agreed on it."""

    @abstractmethod
    def _dump(self) -> tuple[msgspec.Struct, Arrays]:
        """All that the rest of the training follows from, besides what never changes in it."""

    def _last_loss(self) -> float | None:
        """Of the last epoch, where this party knows it."""
        return None

    # --- the sequence -------------------------------------------------------------------------------

    def _tell(self, seconds: float) -> None:
        if self._side.on_progress:
            at = (self._epoch, self._config.epochs, self._batch + 1, len(self._batches))
            self._side.on_progress(Progress(*at, self._last_loss(), seconds))

    def _advance(self) -> None:
        """A batch is done, and with the last one its epoch; what is reached may be saved."""
        self._batch += 1
        if self._batch == len(self._batches):
            self._end_epoch(self._epoch)
            self._epoch, self._batch = self._epoch + 1, 0
        self._keep()

    def _keep(self) -> None:
        self._side.save(self.steps, self._dump)
