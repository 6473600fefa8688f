"""How much may wait of one peer, whatever it sends, and that it always goes on."""

from __future__ import annotations

import pytest

from hecore.algorithms.channel.inflow import Inflow
from hecore.algorithms.channel.outflow import Outflow
from hecore.algorithms.channel.ports import Chunk, LinkOptions, Metrics
from hecore.algorithms.channel.streams import Block, InStream
from hecore.algorithms.errors import MalformedMessage

LIMIT = 1000


def inflow(window: int = 10_000, streams: list[InStream] | None = None) -> Inflow:
    return Inflow(streams or [], window, LinkOptions(inbox=LIMIT, max_message=500), Metrics())


def arrive(into: Inflow, stream: int, length: int) -> None:
    """A message of one block comes and is durable."""
    number = into.streams[stream].accepted if stream in into.streams else 0
    assert into.accept(Block(stream, number, number, 0, 1, length, 0))
    into.stored(stream, number + 1)


def open_streams(into: Inflow) -> list[int]:
    return [standing.stream for standing in into.standings() if standing.open]


def test_streams_share_one_limit() -> None:
    """Above it only those stay open of which nothing is ready; all open when half is taken."""
    into = inflow()
    for stream in (0, 1):
        arrive(into, stream, 500)
    arrive(into, 2, 0)
    assert open_streams(into) == [0, 1, 2]
    into.take(2)
    arrive(into, 0, 1)
    assert (into.waiting_bytes, open_streams(into)) == (1001, [2])
    assert into.take(1)[1]  # nothing of it is ready any more: it may bring what the driver waits for
    assert open_streams(into) == [1, 2]
    assert into.take(0)[1]
    assert open_streams(into) == [0, 1, 2]


def test_messages_without_bytes_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that goes on nevertheless is not taken in: what is known of each block takes memory."""
    monkeypatch.setattr("hecore.algorithms.channel.inflow.MAX_WAITING", 10)
    monkeypatch.setattr("hecore.algorithms.channel.inflow.MAX_FLYING", 5)
    into = inflow()
    for _ in range(10):
        arrive(into, 0, 0)
    assert open_streams(into) == [0]
    arrive(into, 0, 0)
    assert open_streams(into) == []
    for _ in range(5 + 2):
        arrive(into, 0, 0)  # under way when the stream was closed
    with pytest.raises(MalformedMessage, match="exceeds the window"):
        arrive(into, 0, 0)
    assert into.waiting_blocks == 10 + 5 + 2 + 1
    for _ in range(13):
        into.take(0)
    assert open_streams(into) == [0]


def test_parts_of_messages_count() -> None:
    """Many streams, each with a message that never ends."""
    into = inflow(window=100)
    refused = 0
    for stream in range(60):
        try:
            assert into.accept(Block(stream, 0, 0, 0, 2, 90, 0))
            into.stored(stream, 1)
        except MalformedMessage:
            refused += 1
    assert refused > 40
    assert into.waiting_bytes < LIMIT + 500 + 100 + 90


def test_what_an_earlier_process_has_taken_closes_nothing() -> None:
    """A restarted party finds more in its inbox than may wait, skips it, and hears of what follows."""
    stream = InStream(0)
    for number in range(20):
        stream.accept(Block(0, number, number, 0, 1, 100, 0))
    stream.store(20)
    into = inflow(streams=[stream])
    assert into.accept(Block(0, 20, 20, 0, 1, 0, 0)) is True
    into.stored(0, 21)
    assert open_streams(into) == []
    into.skip(0, 21)
    assert open_streams(into) == [0]
    assert not into.ready(0)


def test_a_driver_that_takes_from_one_stream_alone_goes_on() -> None:
    """The other stream fills what may wait; nothing of the first is ever held back for good."""
    into = inflow(window=400)
    out = Outflow([], 0.0, LinkOptions(), Metrics())
    out.greet(0.0, 400, ())
    for number in range(200):
        for stream in (0, 1):
            out.submit(stream, [Chunk((), 100, 0)])
            out.stored(stream, number + 1)
    taken = 0
    for _ in range(2000):
        for block in list(out.due(0.0)):
            if into.accept(block):
                into.stored(block.stream, block.block + 1)
        taken += into.take(1)[0] is not None
        out.acknowledge(0.0, into.standings())
    assert taken == 200
    assert LIMIT // 2 < into.waiting_bytes <= LIMIT + 400 + 100
    assert open_streams(into) == [1]
