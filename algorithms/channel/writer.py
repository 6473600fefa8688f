"""The thread that makes blocks durable, many with one sync.

While one sync runs, the next batch gathers: under load a batch is as long as a sync takes, and a lone
block is not kept waiting. Batches end at 8 MiB. After the first failure nothing is written any more.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from hecore.algorithms.channel.ports import Append
from hecore.algorithms.channel.segments import Log
from hecore.algorithms.errors import StoreError

BATCH_BYTES = 8 << 20

Stored = Callable[[str, bool, dict[int, int]], None]


class Writer:
    """Writes for all links of a node. `on_stored(peer, out, upto)` and `on_failure` run in its thread."""

    def __init__(self, on_stored: Stored, on_failure: Callable[[StoreError], None]) -> None:
        self._on_stored, self._on_failure = on_stored, on_failure
        self._queue: deque[tuple[str, Log, Append]] = deque()
        self._changed = threading.Condition()
        self._stopping = False
        self.queued_bytes = 0
        self._thread = threading.Thread(target=self._run, name="hecore-writer", daemon=True)
        self._thread.start()

    def put(self, peer: str, log: Log, append: Append) -> None:
        """Queue a block."""
        with self._changed:
            self._queue.append((peer, log, append))
            self.queued_bytes += append.block.length
            self._changed.notify()

    def stop(self) -> None:
        """Write what is queued, and end."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while batch := self._gather():
            try:
                stored = _write(batch)
            except Exception as error:  # whatever it is, nothing more becomes durable
                text = f"the store cannot be written, and the job stops: {error}"
                self._on_failure(error if isinstance(error, StoreError) else StoreError(text))
                return
            for (peer, out), upto in stored.items():
                self._on_stored(peer, out, upto)

    def _gather(self) -> list[tuple[str, Log, Append]]:
        """The next batch; empty when there is nothing more to come."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._stopping)
            batch, size = [], 0
            while self._queue and size < BATCH_BYTES:
                batch.append(self._queue.popleft())
                size += batch[-1][2].block.length
            self.queued_bytes -= size
            return batch


def _write(batch: list[tuple[str, Log, Append]]) -> dict[tuple[str, bool], dict[int, int]]:
    """Append and sync; by link and direction, how far each stream is durable now."""
    groups: dict[tuple[str, bool], list[Append]] = {}
    logs: dict[tuple[str, bool], Log] = {}
    for peer, log, append in batch:
        groups.setdefault((peer, append.out), []).append(append)
        logs[peer, append.out] = log
    for key, appends in groups.items():
        logs[key].append([(append.block, append.data) for append in appends])
    for log in logs.values():
        log.sync()
    return {
        key: {append.block.stream: append.block.block + 1 for append in appends}
        for key, appends in groups.items()
    }
