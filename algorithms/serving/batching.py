"""Requests that come at the same time become one question: fewer messages, and more rows a comparison.

While no question is under way, the first request waits a moment for others. While some are, requests gather
until one of them is answered, so that batches grow with the load.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from hecore.algorithms.data.table import Matrix
from hecore.algorithms.serving.parts import Whole
from hecore.algorithms.serving.scoring import Scored
from hecore.algorithms.serving.settings import Batch
from hecore.errors import HecoreError


class Overloaded(HecoreError):
    """More rows wait than may."""


@dataclass(eq=False)
class Job:
    """The rows of one request. `done` gets its part of the batch's scores."""

    whole: Whole
    ids: Sequence[str]
    values: Matrix
    done: asyncio.Future[Scored]


class Batcher:
    """`work` scores jobs of one model and sets their `done`. All calls are of one event loop."""

    def __init__(self, work: Callable[[Sequence[Job]], Awaitable[None]], options: Batch) -> None:
        self._work, self._options = work, options
        self._jobs: deque[Job] = deque()
        self._waiting = 0  # rows
        self._flying: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def put(self, job: Job) -> None:
        """Queue a job. Raises Overloaded."""
        if self._waiting + len(job.ids) > self._options.waiting:
            raise Overloaded(f"{self._waiting} rows are waiting already")
        self._jobs.append(job)
        self._waiting += len(job.ids)
        if self._waiting >= self._options.rows:
            self._start()
        elif not self._flying and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._options.wait_ms / 1000, self._start)

    def _start(self) -> None:
        """Begin as many batches as may be under way."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._jobs and len(self._flying) < self._options.in_flight:
            task = asyncio.get_running_loop().create_task(self._run(self._take()))
            self._flying.add(task)
            task.add_done_callback(self._ended)

    def _take(self) -> list[Job]:
        """The next jobs of one model, whose callers still wait."""
        taken: list[Job] = []
        rows = 0
        while self._jobs and (not taken or self._jobs[0].whole is taken[0].whole):
            if taken and rows + len(self._jobs[0].ids) > self._options.rows:
                break
            job = self._jobs.popleft()
            self._waiting -= len(job.ids)
            if not job.done.done():
                taken.append(job)
                rows += len(job.ids)
        return taken

    async def _run(self, jobs: Sequence[Job]) -> None:
        try:
            if jobs:
                await self._work(jobs)
        except Exception as error:
            for job in jobs:
                if not job.done.done():
                    job.done.set_exception(error)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._flying.discard(task)
        self._start()
