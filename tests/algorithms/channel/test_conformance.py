"""One contract, every channel: loopback and ZeroMQ."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from hecore.algorithms.channel import loopback_pair
from hecore.algorithms.channel.framed import FramedChannel
from hecore.algorithms.errors import (
    ChannelError,
    ChannelTimeout,
    MalformedMessage,
    PeerAborted,
    PeerLost,
    UnexpectedMessage,
)
from hecore.algorithms.messages import Message

Pair = tuple[FramedChannel, FramedChannel]


class Note(Message, frozen=True, kw_only=True):
    number: int
    text: str = ""


class Other(Message, frozen=True, kw_only=True, tag="test.other"):
    values: tuple[float, ...]


def test_fields_and_payload_arrive(pair: Pair) -> None:
    active, passive = pair
    note = Note(number=-(2**40), text="größer", payload=(b"abc", b"", bytes(range(256))))
    passive.send(note)
    active.send(Other(values=(0.1, float("inf"))))
    assert active.receive(Note, 60) == note
    assert passive.receive(Other, 60) == Other(values=(0.1, float("inf")))


def test_names(pair: Pair) -> None:
    active, passive = pair
    assert (active.me, active.peer) == ("active", "passive") == (passive.peer, passive.me)


def test_many_small_messages_keep_their_order_in_both_directions(pair: Pair) -> None:
    def talk(channel: FramedChannel) -> list[int]:
        for number in range(2500):
            channel.send(Note(number=number))
        return [channel.receive(Note, 60).number for _ in range(2500)]

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(talk, pair)) == [list(range(2500))] * 2


def test_large_messages_cross_in_both_directions(pair: Pair) -> None:
    """Both send before they receive: neither waits for the other."""
    payload = (bytes(1 << 20) * 8, b"", b"x" * ((1 << 18) + 1))

    def talk(channel: FramedChannel) -> bool:
        for number in range(3):
            channel.send(Note(number=number, payload=payload))
        return all(channel.receive(Note, 60).payload == payload for _ in range(3))

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(talk, pair)) == [True, True]


def test_another_type_is_named_and_stays(pair: Pair) -> None:
    active, passive = pair
    passive.send(Note(number=1))
    with pytest.raises(UnexpectedMessage, match=r"expected 'test.other' from passive.*'Note'"):
        active.receive(Other, 60)
    assert active.receive(Note, 60).number == 1


def test_a_record_that_refuses_its_values_ends_the_channel(pair: Pair) -> None:
    class Note(Message, frozen=True, kw_only=True):  # the same tag with another field
        number: str

    active, passive = pair
    passive.send(Note(number="one"))
    with pytest.raises(MalformedMessage, match="Expected `int`"):
        active.receive(globals()["Note"], 10)
    with pytest.raises(MalformedMessage, match="Expected `int`"):
        active.send(Note(number="two"))
    with pytest.raises(PeerAborted, match="Expected `int`"):
        passive.receive(Note, 60)


def test_an_oversized_message_is_not_sent(pair: Pair) -> None:
    active, passive = pair
    passive._limit = 100
    with pytest.raises(MalformedMessage, match="limits"):
        passive.send(Note(number=1, payload=(bytes(101),)))
    passive.send(Note(number=2))
    assert active.receive(Note, 60).number == 2


def test_a_payload_must_be_bytes(pair: Pair) -> None:
    with pytest.raises(TypeError, match="memoryview"):
        pair[0].send(Note(number=1, payload=(memoryview(b"x"),)))  # type: ignore[arg-type]


def test_timeout_may_be_repeated(pair: Pair) -> None:
    active, passive = pair
    passive.send(Note(number=1))
    active.receive(Note, 60)
    for timeout in (0, 0.05, 0.1):
        start = time.monotonic()
        with pytest.raises(ChannelTimeout, match="passive"):
            active.receive(Note, timeout)
        assert timeout <= time.monotonic() - start < timeout + 30
    passive.send(Note(number=2))
    assert active.receive(Note, 60).number == 2


def test_receive_waits_for_a_late_message(pair: Pair) -> None:
    active, passive = pair
    timer = threading.Timer(0.3, passive.send, [Note(number=3)])
    timer.start()
    assert active.receive(Note).number == 3
    timer.join()


def test_close_delivers_what_was_sent_and_says_so(pair: Pair) -> None:
    active, passive = pair
    for number in range(3):
        passive.send(Note(number=number, payload=(bytes(1 << 20),)))
    passive.close()
    passive.close()
    assert [active.receive(Note, 60).number for _ in range(3)] == [0, 1, 2]
    for _ in range(2):
        with pytest.raises(PeerLost, match="passive closed the channel"):
            active.receive(Note, 60)
    with pytest.raises(PeerLost, match="passive closed the channel"):
        active.send(Note(number=0))
    with pytest.raises(ChannelError, match="closed on this side"):
        passive.send(Note(number=0))
    with pytest.raises(ChannelError, match="closed on this side"):
        passive.receive(Note, 60)


def test_send_to_a_closed_peer_ends_in_an_error(pair: Pair) -> None:
    active, passive = pair
    passive.send(Note(number=0))
    active.receive(Note, 60)
    passive.close()

    def send_for(seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            active.send(Note(number=0, payload=(bytes(1 << 16),)))

    with pytest.raises(PeerLost, match="closed the channel"):
        send_for(60)


def test_abort_carries_its_reason(pair: Pair) -> None:
    active, passive = pair
    passive.send(Note(number=7))
    passive.abort("the table is empty\n" + "x" * 2000)
    assert active.receive(Note, 60).number == 7
    with pytest.raises(PeerAborted, match="passive aborted: 'the table is empty\ufffdx") as caught:
        active.receive(Note, 60)
    assert len(caught.value.reason) == 1000


def test_an_error_in_the_block_aborts_without_telling_data(pair: Pair) -> None:
    active, passive = pair
    active.send(Note(number=0))
    passive.receive(Note, 60)
    with pytest.raises(RuntimeError), passive:
        raise RuntimeError("patient 4711")
    with pytest.raises(PeerAborted) as caught:
        active.receive(Note, 60)
    assert caught.value.reason == "RuntimeError"


def test_the_end_of_the_block_closes(pair: Pair) -> None:
    active, passive = pair
    with passive:
        passive.send(Note(number=0))
    active.receive(Note, 60)
    with pytest.raises(PeerLost, match="closed"):
        active.receive(Note, 60)


def test_traffic_is_counted_alike(pair: Pair) -> None:
    """The same talk over any channel gives the counts that the loopback gives."""

    def talk(active: FramedChannel, passive: FramedChannel) -> list[object]:
        for number in (1, 2, 300):
            passive.send(Note(number=number, payload=(bytes(number),)))
            active.receive(Note, 60)
        active.send(Other(values=(1.0,), payload=(bytes(1 << 19),)))
        passive.receive(Other, 60)
        return [active.traffic.snapshot(), passive.traffic.snapshot()]

    reference = loopback_pair(job=pair[0].job)
    counts = talk(*pair)
    assert counts == talk(*reference)
    active, passive = pair[0].traffic, pair[1].traffic
    assert active.received == passive.sent
    assert active.sent == passive.received
    assert active.received.messages == 3
    assert active.received.by_type["Note"] == (3, active.received.bytes)
    assert active.sent.bytes > 1 << 19
