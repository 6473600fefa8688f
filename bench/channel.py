"""`hecore-bench channel`: a durable, encrypted channel between two processes over the loopback interface.

throughput   large messages, from the first `send` to the acknowledgement of the last: each byte is
             encrypted, decrypted, and written and synced on both sides
ack          small messages, one after the other: from `send` to the acknowledgement that the peer has
             made the message durable
memory       what each process grew by at its peak, over what it had before the first message
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import resource
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hecore.algorithms.channel import CurveKeys, FolderStore, ZmqChannel, ZmqOptions, dial, listen
from hecore.algorithms.messages import Message
from hecore.randomness import random_bytes

PATIENCE = 120.0
SMALL = 1024


class Load(Message, frozen=True, kw_only=True, tag="bench.load"):
    """Bytes that nobody reads."""

    last: bool = False


@dataclass(frozen=True)
class ChannelFigures:
    """What was measured; milliseconds for acknowledgements, MB = 10^6 bytes."""

    megabytes: float
    seconds: float
    acks: int
    ack_median: float
    ack_p99: float
    ack_worst: float
    sender_growth: float
    receiver_growth: float
    window: float

    @property
    def rate(self) -> float:
        """MB a second."""
        return self.megabytes / self.seconds


def measure_channel(
    folder: Path | None = None, megabytes: int = 2000, message: int = 16, acks: int = 2000
) -> ChannelFigures:
    """Run both parties with their stores below `folder`, a temporary one by default."""
    with tempfile.TemporaryDirectory(prefix="hecore-bench-", dir=folder) as place:
        keys = {name: CurveKeys.generate() for name in ("sender", "receiver")}
        context = multiprocessing.get_context("spawn")
        mine, theirs = context.Pipe()
        receiver = context.Process(target=_receive, args=(place, keys, theirs), daemon=True)
        receiver.start()
        try:
            return _send(Path(place), keys, mine, megabytes, message, acks)
        finally:
            receiver.join(10)
            receiver.kill()


def report_lines(figures: ChannelFigures) -> list[str]:
    """The figures for people."""
    return [
        f"durable and encrypted    {figures.rate:,.0f} MB/s "
        f" ({figures.megabytes:,.0f} MB in {figures.seconds:.2f} s)",
        f"acknowledged after       {figures.ack_median:.2f} ms median, {figures.ack_p99:.2f} ms p99,"
        f" {figures.ack_worst:.2f} ms at most  ({figures.acks:,} messages of {SMALL} bytes)",
        f"memory grew by           {figures.sender_growth:.0f} MB at the sender,"
        f" {figures.receiver_growth:.0f} MB at the receiver  (window {figures.window:.0f} MB)",
    ]


def _send(
    place: Path,
    keys: dict[str, CurveKeys],
    pipe: multiprocessing.connection.Connection,
    megabytes: int,
    message: int,
    acks: int,
) -> ChannelFigures:
    allowed = {name: pair.public for name, pair in keys.items()}
    store = FolderStore(place / "sender", "sender", "bench")
    endpoint = pipe.recv()
    with dial("sender", "receiver", endpoint, keys["sender"], allowed, job="bench", store=store) as channel:
        payload = random_bytes(message * 1_000_000)
        channel.send(Load())
        _settled(channel)
        pipe.send("go")
        before = _peak()
        times = [_ack_time(channel) for _ in range(acks)]
        started = time.perf_counter()
        count = -(-megabytes // message)
        for number in range(count):
            channel.send(Load(last=number == count - 1, payload=(payload,)))
        _settled(channel)
        seconds = time.perf_counter() - started
        growth = _peak() - before
        receiver_growth = pipe.recv()
    milliseconds = 1000 * np.array(times)
    return ChannelFigures(
        megabytes=count * message,
        seconds=seconds,
        acks=acks,
        ack_median=float(np.median(milliseconds)),
        ack_p99=float(np.percentile(milliseconds, 99)),
        ack_worst=float(milliseconds.max()),
        sender_growth=growth,
        receiver_growth=receiver_growth,
        window=ZmqOptions().window / 1e6,
    )


def _ack_time(channel: ZmqChannel) -> float:
    started = time.perf_counter()
    channel.send(Load(payload=(bytes(SMALL),)))
    _settled(channel)
    return time.perf_counter() - started


def _settled(channel: ZmqChannel) -> None:
    if not channel.node.settle(channel.peer, time.monotonic() + PATIENCE):
        raise TimeoutError(f"no acknowledgement within {PATIENCE:g} s")


def _receive(place: str, keys: dict[str, CurveKeys], pipe: multiprocessing.connection.Connection) -> None:
    """The other process: takes everything, and lets its store forget it as a checkpoint would."""
    allowed = {name: pair.public for name, pair in keys.items()}
    store = FolderStore(Path(place) / "receiver", "receiver", "bench")
    listener = listen(
        "receiver", "sender", "tcp://127.0.0.1:0", keys["receiver"], allowed, job="bench", store=store
    )
    with listener as channel:
        pipe.send(channel.endpoint)
        channel.receive(Load)
        pipe.recv()
        before = _peak()
        done = False
        count = 0
        while not done:
            done = channel.receive(Load).last
            count += 1
            if count % 16 == 0:
                channel.retain(channel.watermarks())
        pipe.send(_peak() - before)


def _peak() -> float:
    """The most memory that this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
