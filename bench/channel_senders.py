"""What one durable, encrypted sender gets through to a party, and what several do at once.

    share = rate of all together / rate of one alone
    Jain  = (Σ x)² / (n · Σ x²)   for the rates x of n senders; 1 where all are equal

Each sender is a process with its own store; the receiver is one node with a thread for each of them.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from hecore.algorithms.channel import CurveKeys, FolderStore, Node, ZmqChannel
from hecore.algorithms.errors import ChannelError
from hecore.bench.channel import Load
from hecore.randomness import random_bytes

MESSAGE = 4_000_000
#: Seconds until all are under way.
BEFORE = 1.0
RECEIVER, JOB = "receiver", "bench"


@dataclass(frozen=True)
class SenderFigures:
    """Rates in MB a second: of one sender alone, and of each of several at once."""

    alone: float
    each: list[float]

    @property
    def share(self) -> float:
        """What they reach together of what one reaches."""
        return sum(self.each) / self.alone

    @property
    def jain(self) -> float:
        """How alike they are served."""
        return sum(self.each) ** 2 / (len(self.each) * sum(rate**2 for rate in self.each))


def measure_senders(folder: Path | None = None, senders: int = 8, seconds: float = 5.0) -> SenderFigures:
    """One sender, then `senders` at once, each for so many seconds; stores below `folder`."""
    [alone] = _rates(folder, 1, seconds)
    return SenderFigures(alone, _rates(folder, senders, seconds))


def senders_line(figures: SenderFigures) -> str:
    """The figures for people."""
    count, together = len(figures.each), sum(figures.each)
    return (
        f"{count} senders at once        {together:,.0f} MB/s together, {figures.share:.0%} of the"
        f" {figures.alone:,.0f} MB/s of one alone; Jain's index {figures.jain:.3f}"
    )


def _rates(folder: Path | None, count: int, seconds: float) -> list[float]:
    names = [f"sender{number}" for number in range(count)]
    keys = {name: CurveKeys.generate() for name in [RECEIVER, *names]}
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="hecore-bench-", dir=folder) as place:
        allowed = {name: pair.public for name, pair in keys.items()}
        store = FolderStore(Path(place) / RECEIVER, RECEIVER, JOB)
        node = Node(RECEIVER, keys[RECEIVER], allowed, job=JOB, listen="tcp://127.0.0.1:0", store=store)
        ends = {name: context.Pipe() for name in names}
        processes = [
            context.Process(target=_push, args=(place, name, keys, node.endpoint, ends[name][1]), daemon=True)
            for name in names
        ]
        for process in processes:
            process.start()
        try:
            return _watch([ZmqChannel(node, name) for name in names], seconds)
        finally:
            for mine, _ in ends.values():
                mine.send("enough")
            for process in processes:
                process.join(10)
                process.kill()
            node.close()


def _watch(channels: list[ZmqChannel], seconds: float) -> list[float]:
    """Take from all of them, and count for a while."""
    begun = threading.Barrier(len(channels) + 1)
    for channel in channels:
        threading.Thread(target=_pull, args=(channel, begun), daemon=True).start()
    begun.wait(60)
    time.sleep(BEFORE)
    started, before = time.perf_counter(), [channel.metrics.received_bytes for channel in channels]
    time.sleep(seconds)
    after = [channel.metrics.received_bytes for channel in channels]
    passed = time.perf_counter() - started
    return [(end - start) / 1e6 / passed for start, end in zip(before, after, strict=True)]


def _pull(channel: ZmqChannel, begun: threading.Barrier) -> None:
    """Take until the channel ends, and let the store forget as a checkpoint would."""
    count = 0
    try:
        while True:
            channel.receive(Load)
            if count == 0:
                begun.wait()
            count += 1
            if count % 16 == 0:
                channel.retain(channel.watermarks())
    except ChannelError:
        return


def _push(
    place: str,
    name: str,
    keys: dict[str, CurveKeys],
    endpoint: str,
    pipe: multiprocessing.connection.Connection,
) -> None:
    """A sender's process: messages until it is enough."""
    allowed = {party: pair.public for party, pair in keys.items()}
    store = FolderStore(Path(place) / name, name, JOB)
    node = Node(name, keys[name], allowed, job=JOB, store=store)
    channel = ZmqChannel(node, RECEIVER, endpoint, owns=True)
    payload = random_bytes(MESSAGE)
    while not pipe.poll():
        while channel.metrics.queued_bytes > 16 * MESSAGE:
            time.sleep(0.002)
        channel.send(Load(payload=(payload,)))
        channel.retain(channel.watermarks())
    node.close()
