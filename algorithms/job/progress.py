"""Where a job stands at this party: for the line on the terminal, and for `hecore party status`.

The file FOLDER/progress.json is written at every step and once a second. It is for people alone.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import msgspec

from hecore.algorithms.built import built
from hecore.algorithms.channel import ZmqChannel
from hecore.algorithms.private_files import open_emptied

log = logging.getLogger(__name__)

PROGRESS = "progress.json"
INTERVAL = 1.0
#: Seconds of work before the time left is told: of less it would say next to nothing.
SURE = 1.0
#: So many seconds are no forecast.
UNKNOWABLE = 1e8


class PeerLine(msgspec.Struct, frozen=True, kw_only=True):
    """The line to one peer; bytes of this process."""

    connected: bool
    met: bool
    away: float  # seconds, while it is not connected
    sent: int
    received: int
    waiting: int  # bytes that it has not acknowledged
    round_trip: float | None


class JobProgress(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot. `done` is a share of the phase, `remaining` seconds of it, both None where nobody knows."""

    phase: str
    detail: str = ""
    done: float | None = None
    remaining: float | None = None
    seconds: float = 0.0
    peers: dict[str, PeerLine] = {}
    process: int = 0
    time: float = 0.0

    @property
    def left(self) -> timedelta | None:
        """The time left; None where nobody knows, as while a party is away."""
        away = any(not line.connected for line in self.peers.values())
        if away or self.remaining is None or not self.remaining < UNKNOWABLE:
            return None
        return timedelta(seconds=round(self.remaining))


class Pace:
    """How long the steps of a training take, by a clock of this process, which began with it.

    What an earlier process has done counts for nothing; nor does the time for which the clock stands still.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._started = clock, clock()
        self._before: float | None = None
        #: Seconds that all steps would take.
        self.whole = 0.0
        self.remaining = float("inf")

    def step(self, done: float, step: float) -> None:
        """A step is done, which is the share `step` of all, and `done` is the share done by now."""
        if self._before is None:
            self._before = done - step
        self.whole = (self._clock() - self._started) / (done - self._before)
        known = self._clock() >= self._started + SURE
        self.remaining = (1 - done) * self.whole if known else float("inf")


class ProgressKeeper:
    """Joins what the job tells with what the channels know, once a second; used as a context manager."""

    def __init__(self, path: Path, on_progress: Callable[[JobProgress], None] | None) -> None:
        self._path, self._on_progress = path, on_progress
        self._started = time.monotonic()
        self._now = JobProgress(phase="starting")
        self._channels: Sequence[ZmqChannel] = ()
        self._away: dict[str, float] = {}
        self._met: set[str] = set()
        self._together, self._looked = 0.0, self._started
        self._stop = threading.Event()
        self._lock, self._showing, self._writing = (threading.Lock() for _ in range(3))
        self._thread = threading.Thread(target=self._run, name="hecore-progress", daemon=True)

    def __enter__(self) -> ProgressKeeper:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._write()

    def watch(self, channels: Sequence[ZmqChannel]) -> None:
        """The lines to the peers, once they are there."""
        self._channels = channels

    def phase(self, name: str) -> None:
        """A phase begins."""
        self.tell(name)

    def tell(
        self, phase: str, detail: str = "", done: float | None = None, remaining: float | None = None
    ) -> None:
        """Where the job stands; shown at once."""
        with self._lock:
            if phase != self._now.phase:
                log.info("%s", phase)
            self._now = JobProgress(phase=phase, detail=detail, done=done, remaining=remaining)
        self._show()
        self._write()

    def _run(self) -> None:
        while not self._stop.wait(INTERVAL):
            self.together()
            self._show()
            self._write()

    def _show(self) -> None:
        if self._on_progress is not None:
            with self._showing:  # the job's thread and this one's tell
                self._on_progress(self.snapshot())

    def snapshot(self) -> JobProgress:
        """What is known now."""
        now = time.monotonic()
        peers = {channel.peer: self._line(channel.peer, channel, now) for channel in self._channels}
        with self._lock:
            return msgspec.structs.replace(
                self._now, seconds=now - self._started, peers=peers, process=os.getpid(), time=time.time()
            )

    def together(self) -> float:
        """Seconds for which all peers were there, counted once a second."""
        with self._lock:
            now = time.monotonic()
            if all(channel.metrics.connected for channel in self._channels):
                self._together += now - self._looked
            self._looked = now
            return self._together

    def _line(self, name: str, channel: ZmqChannel, now: float) -> PeerLine:
        metrics = channel.metrics
        if metrics.connected:
            self._away.pop(name, None)
            self._met.add(name)
        since = self._away.setdefault(name, now) if not metrics.connected else now
        return PeerLine(
            connected=metrics.connected,
            met=name in self._met,
            away=now - since,
            sent=metrics.sent_bytes,
            received=metrics.received_bytes,
            waiting=metrics.queued_bytes,
            round_trip=metrics.round_trip,
        )

    def _write(self) -> None:
        fresh = self._path.with_suffix(".new")
        with self._writing, suppress(OSError):  # a full disk is told by what must not be lost
            with open_emptied(fresh) as file:
                file.write(msgspec.json.encode(self.snapshot()))
            fresh.rename(self._path)


def read_progress(path: Path) -> JobProgress | None:
    """The last snapshot that was written; None if there is none."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=built(JobProgress))
    except (OSError, msgspec.MsgspecError):
        return None
