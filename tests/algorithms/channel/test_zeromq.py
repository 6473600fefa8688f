"""What only a network can do: strangers, dead peers, broken and slow lines."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import zmq

from hecore.algorithms.channel import AllowList, CurveKeys, ZmqChannel, ZmqOptions, dial, listen
from hecore.algorithms.channel.dialled import PIECE
from hecore.algorithms.channel.mailbox import prepare
from hecore.algorithms.channel.packet import CHUNK, Data, Greeting, Standing, State, dump_header, load_header
from hecore.algorithms.errors import (
    AuthenticationError,
    ChannelError,
    ChannelTimeout,
    ConfigurationError,
    HandshakeError,
    MalformedMessage,
    PeerAborted,
    PeerLost,
)
from hecore.algorithms.free_port import free_port
from hecore.algorithms.messages import MAGIC, Message, encode

from ..patience import until

if TYPE_CHECKING:
    from conftest import Network, Proxy

Proxied = Callable[[ZmqChannel], "Proxy"]


class Note(Message, frozen=True, kw_only=True):
    number: int


def talk(active: ZmqChannel, passive: ZmqChannel, number: int = 0) -> None:
    """One message each way."""
    passive.send(Note(number=number))
    assert active.receive(Note, 30).number == number
    active.send(Note(number=number))
    assert passive.receive(Note, 30).number == number


def port_of(channel: ZmqChannel) -> int:
    return int(channel.endpoint.rpartition(":")[2])


# Endpoints.


@pytest.mark.parametrize("wildcard", ["tcp://127.0.0.1:0", "tcp://127.0.0.1:*"])
def test_a_free_port_is_told(network: Network, wildcard: str) -> None:
    listener = network.listen(wildcard)
    assert port_of(listener) > 0
    assert listener.endpoint.startswith("tcp://127.0.0.1:")
    talk(listener, network.dial(listener.endpoint))


def test_all_interfaces_only_in_so_many_words(network: Network) -> None:
    with pytest.raises(ConfigurationError, match="all interfaces"):
        network.listen("tcp://*:0")
    assert network.listen("tcp://0.0.0.0:0").endpoint.startswith("tcp://0.0.0.0:")


def test_an_endpoint_that_cannot_be_used_is_named(network: Network) -> None:
    taken = network.listen().endpoint
    with pytest.raises(ChannelError, match=f"cannot listen on {taken}: .*in use"):
        network.listen(taken)
    for endpoint in ("nonsense", "localhost:5701", "tcp://localhost", "no://localhost:1"):
        with pytest.raises(ChannelError, match=f"cannot dial {endpoint}: .* tcp://host:port"):
            network.dial(endpoint)


def test_a_peer_must_be_on_the_list(network: Network) -> None:
    with pytest.raises(AuthenticationError, match="'stranger' is not on the allow-list"):
        listen("active", "stranger", "tcp://127.0.0.1:0", network.keys["active"], network.allowed, job="j")


def test_options_are_positive() -> None:
    with pytest.raises(ValueError, match="grace must be positive"):
        ZmqOptions(grace=0)


# Who is let in.


def test_an_unknown_key_is_refused(network: Network, caplog: pytest.LogCaptureFixture) -> None:
    listener = network.listen(connect_timeout=1)
    unknown = CurveKeys.generate()
    dialler = network.dial(listener.endpoint, keys=unknown)
    start = time.monotonic()
    told = f"does not let passive in: passive's public key, {re.escape(unknown.public)}, is not on"
    with pytest.raises(AuthenticationError, match=told):
        dialler.receive(Note)
    assert time.monotonic() - start < 30  # not for connect_timeout
    told = rf"somebody came and was refused: key {re.escape(unknown.public)} is not on the allow-list"
    with pytest.raises(ChannelTimeout, match=told):
        listener.receive(Note)
    assert f"refused 127.0.0.1: key {unknown.public} is not on the allow-list" in caplog.text


def test_a_door_that_lets_everybody_in_is_found_at_start(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A listener knocks at its own door with an unknown key; the trial itself is no line in the log."""
    monkeypatch.setattr(AllowList, "find", lambda self, key: "passive")
    with pytest.raises(ChannelError, match="let a key in that is not on the allow-list"):
        network.listen()


def test_a_known_key_is_let_in_for_its_own_domain_only(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The socket names its domain, and the handler answers for that one: another, or "*", is not enough."""
    listener = network.listen(connect_timeout=1)
    monkeypatch.setattr("hecore.algorithms.channel.wire.DOMAIN", b"*")
    with pytest.raises(AuthenticationError, match="does not let passive in"):
        network.dial(listener.endpoint).receive(Note)


def test_both_keys_of_a_party_are_let_in_and_reached(network: Network) -> None:
    """A party changes its key while it is on the other's list with both."""
    old, new = network.keys["passive"], CurveKeys.generate()
    network.allowed["passive"] = [old.public, new.public]
    for keys in (old, new):
        listener = network.listen()
        talk(listener, network.dial(listener.endpoint, keys=keys))


@pytest.mark.parametrize("place", [0, 1])
def test_a_listener_is_reached_under_either_of_its_keys(network: Network, place: int) -> None:
    listener = network.listen()
    keys = [CurveKeys.generate().public]
    keys.insert(place, network.keys["active"].public)
    talk(listener, network.dial(listener.endpoint, allowed=network.allowed | {"active": keys}))


def test_a_known_key_speaks_for_nobody_else(network: Network, caplog: pytest.LogCaptureFixture) -> None:
    """Row 15: the third party is let in, and claims to be the passive one."""
    listener = network.listen()
    liar = network.dial(listener.endpoint, keys=network.keys["third"], connect_timeout=1, linger=1)
    liar.send(Note(number=13))
    with pytest.raises(ChannelTimeout):
        liar.receive(Note)
    dialler = network.dial(listener.endpoint)
    talk(listener, dialler)
    assert listener.metrics.received_messages == 1
    listener.node.add("third")
    told = "third, as this party calls it, has 'passive' as its own name: a party goes by"
    until(lambda: told in str(listener.node.state("third")[0]))
    talk(listener, dialler, 1)  # nothing has ended but the line to the liar


def under(network: Network, me: str, peer: str, endpoint: str | None) -> ZmqChannel:
    """The passive party, or the active one where it listens, under a name of its own choice."""
    own = network.keys["active" if endpoint is None else "passive"]
    allowed = {peer: network.keys["passive" if endpoint is None else "active"].public}
    more = {"job": "test", "options": network.options}
    if endpoint is None:
        channel = listen(me, peer, "tcp://127.0.0.1:0", own, allowed, **more)  # type: ignore[arg-type]
    else:
        channel = dial(me, peer, endpoint, own, allowed, **more)  # type: ignore[arg-type]
    network.opened.callback(channel.close)
    return channel


@pytest.mark.parametrize("wrong", ["listener", "dialler"])
def test_who_has_another_name_than_the_other_side_knows_ends_both(network: Network, wrong: str) -> None:
    """A slip in one file: both hear both names at once, and not that the line is down."""
    listener = under(network, "bnk" if wrong == "listener" else "bank", "shop", None)
    dialler = under(network, "shp" if wrong == "dialler" else "shop", "bank", listener.endpoint)
    ends = {"listener": listener, "dialler": dialler}
    mistaken = ends.pop(wrong)
    (other,) = ends.values()
    began = time.monotonic()
    with pytest.raises(HandshakeError) as mine:
        mistaken.receive(Note)
    with pytest.raises(HandshakeError) as its:
        other.receive(Note)
    assert time.monotonic() - began < 30  # of 60 that each would wait for the other
    me, name = mistaken.me, other.peer
    assert f"{other.me} calls this party {name!r}, and its own name here is {me!r}" in str(mine.value)
    assert f"{name}, as this party calls it, has {me!r} as its own name" in str(its.value)


def test_a_stranger_does_not_disturb(network: Network) -> None:
    listener = network.listen()
    dialler = network.dial(listener.endpoint)
    talk(listener, dialler)
    stranger = network.dial(listener.endpoint, keys=CurveKeys.generate())
    with pytest.raises(AuthenticationError):
        stranger.receive(Note)
    with socket.create_connection(("127.0.0.1", port_of(listener))) as scanner:
        scanner.sendall(b"GET / HTTP/1.0\r\n\r\n")
    with pytest.raises(ChannelTimeout, match=r"within the time given$"):
        listener.receive(Note, 0.5)
    talk(listener, dialler, 2)


def test_a_wrong_listener_is_refused(
    network: Network, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The dialler expects another key than the listener has: nothing is said, and both sides are helped."""
    monkeypatch.setattr("hecore.algorithms.channel.absence.EXPLAIN", 2)
    listener = network.listen(connect_timeout=3, handshake_timeout=0.3)
    allowed = network.allowed | {"active": CurveKeys.generate().public}
    dialler = network.dial(listener.endpoint, allowed=allowed, connect_timeout=3, handshake_timeout=0.3)
    with pytest.raises(ChannelTimeout, match="the key that passive was given for active the right one"):
        dialler.receive(Note)
    with pytest.raises(ChannelTimeout, match="somebody came and was refused: whoever dialled has a wrong"):
        listener.receive(Note)
    public = network.keys["active"].public
    refused = f"whoever dialled has a wrong public key of this party; its own is {public}"
    again = f"refused a connection to {listener.endpoint}: {refused}"
    assert caplog.text.count(again) == 1  # though it came again
    for told in (
        "passive: active has not come within 2 s: a handshake failed: a wrong public key at one of",
        f"active: passive has not come within 2 s: somebody came and was refused: {refused}",
    ):
        assert caplog.text.count(told) == 1


def test_nobody_there(network: Network) -> None:
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    dialler = network.dial(endpoint, connect_timeout=0.3)
    with pytest.raises(ChannelTimeout, match=r"within 0.3 s: nobody answered"):
        dialler.receive(Note)
    listener = network.listen(connect_timeout=0.3)
    with pytest.raises(ChannelTimeout, match="nobody came; is it started"):
        listener.receive(Note)


def test_a_listener_without_curve(network: Network) -> None:
    with zmq.Context() as context, context.socket(zmq.DEALER) as plain:
        plain.linger = 0
        port = plain.bind_to_random_port("tcp://127.0.0.1")
        dialler = network.dial(f"tcp://127.0.0.1:{port}", connect_timeout=10)
        # Whichever side finds it out first: the other one sees no more than an end of the handshake.
        with pytest.raises((HandshakeError, ChannelTimeout), match="speak CURVE"):
            dialler.receive(Note)


def test_another_job_is_refused_on_both_sides(network: Network) -> None:
    listener = network.listen()
    dialler = network.dial(listener.endpoint, job="other")
    dialler.send(Note(number=1))
    with pytest.raises(HandshakeError, match="passive works on job 'other', active on 'test'"):
        listener.receive(Note, 30)
    with pytest.raises(HandshakeError, match="passive works on job 'other', active on 'test'"):
        dialler.receive(Note, 30)


# The last words: a peer hears them, whichever side it is on and whatever it does meanwhile.


def connect(*channels: ZmqChannel) -> None:
    """Until all are connected."""
    until(lambda: all(channel.metrics.connected for channel in channels))


def away(channel: ZmqChannel) -> bool:
    end, left = channel.node.state(channel.peer)
    return end is not None or left


@pytest.mark.parametrize("leaver", ["listener", "dialler"])
def test_all_that_was_sent_before_the_end_is_received(network: Network, leaver: str) -> None:
    """The connection has ended long before the busy peer begins to read what came over it."""
    listener = network.listen()
    dialler = network.dial(listener.endpoint)
    leaves, stays = (listener, dialler) if leaver == "listener" else (dialler, listener)
    connect(leaves, stays)
    for number in range(5):
        leaves.send(Note(number=number, payload=(bytes(1000),)))
    leaves.close()
    until(lambda: away(stays))
    time.sleep(0.2)
    assert [stays.receive(Note, 30).number for _ in range(5)] == list(range(5))
    with pytest.raises(PeerLost, match="closed the channel"):
        stays.receive(Note, 30)


@pytest.mark.parametrize("leaver", ["listener", "dialler"])
def test_an_abort_before_the_first_message_is_heard(network: Network, leaver: str) -> None:
    listener = network.listen()
    dialler = network.dial(listener.endpoint)
    leaves, stays = (listener, dialler) if leaver == "listener" else (dialler, listener)
    connect(stays)
    with pytest.raises(RuntimeError), leaves:
        raise RuntimeError
    until(lambda: away(stays))
    with pytest.raises(PeerAborted, match="RuntimeError"):
        stays.receive(Note, 30)


@pytest.mark.parametrize("leaver", ["listener", "dialler"])
def test_a_waiting_peer_hears_an_abort(network: Network, leaver: str) -> None:
    """The peer sits in `receive`, so it races with the end of the connection; hence the rounds."""
    for _ in range(5):
        listener = network.listen()
        dialler = network.dial(listener.endpoint)
        leaves, stays = (listener, dialler) if leaver == "listener" else (dialler, listener)
        connect(stays)
        timer = threading.Timer(0.1, leaves.abort, ["no table"])
        timer.start()
        with pytest.raises(PeerAborted, match="no table"):
            stays.receive(Note, 30)
        timer.join()


@pytest.mark.parametrize("leaver", ["listener", "dialler"])
def test_a_peer_that_comes_late_hears_an_abort(network: Network, leaver: str) -> None:
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    opens = [network.listen, network.dial]
    leaves = opens.pop(0 if leaver == "listener" else 1)(endpoint)
    thread = threading.Thread(target=leaves.abort, args=["no table"])
    thread.start()
    time.sleep(0.5)
    assert thread.is_alive()
    with pytest.raises(PeerAborted, match="no table"):
        opens[0](endpoint).receive(Note, 30)
    thread.join(30)
    assert not thread.is_alive()


def test_an_abort_that_nobody_hears_is_bounded(network: Network) -> None:
    start = time.monotonic()
    network.listen(linger=0.5).abort("no table")
    assert 0.4 < time.monotonic() - start < 30
    network.listen(connect_timeout=0.5, linger=60).abort("no table")  # patience ends before linger does
    with pytest.raises(KeyboardInterrupt), network.listen(linger=60):  # and an interrupt does not wait
        raise KeyboardInterrupt
    assert time.monotonic() - start < 50


def test_waiting_for_an_absent_peer_takes_no_processor_time(network: Network) -> None:
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    dialler = network.dial(endpoint, connect_timeout=1)
    start = time.process_time()
    with pytest.raises(ChannelTimeout):
        dialler.receive(Note)
    assert time.process_time() - start < 0.5


# What an allowed peer may not send.


@contextlib.contextmanager
def raw_peer(network: Network, endpoint: str) -> Iterator[zmq.Socket[bytes]]:
    """A socket with the passive party's key that sends what it likes."""
    keys = network.keys["passive"]
    with zmq.Context() as context, context.socket(zmq.DEALER) as sock:
        sock.linger = 0
        sock.curve_publickey = keys.public.encode()
        sock.curve_secretkey = keys.secret.encode()
        sock.curve_serverkey = network.allowed["active"].encode()
        sock.connect(endpoint)
        yield sock


def greeting(**changes: object) -> Greeting:
    fields = {
        "job": "test", "sender": "passive", "receiver": "active", "epoch": 1, "process": bytes(16),
        "number": 1, "answers": False, "window": 1 << 20, "received": (), "kept": (), "terms": {},
    }  # fmt: skip
    return Greeting(**(fields | changes))  # type: ignore[arg-type]


def data(content: bytes = b"x", **changes: object) -> list[bytes]:
    fields = {
        "job": "test", "sender": "passive", "receiver": "active", "epoch": 1, "process": bytes(16),
        "stream": 0, "block": 0, "sequence": 0, "chunk": 0, "chunks": 1,
        "length": len(content), "crc": zlib.crc32(content),
    }  # fmt: skip
    return [dump_header(Data(**(fields | changes))), content]  # type: ignore[arg-type]


def acknowledged(block: int) -> State:
    standings = (Standing(0, block, True),)
    return State("test", "passive", "active", 1, bytes(16), 1 << 20, standings, 0, 0, False, False)


def note(number: int) -> bytes:
    """A whole message as one run of bytes."""
    frames = encode(Note(number=number), job="test", sender="passive", receiver="active", sequence=0)
    return b"".join(bytes(piece) for chunk in prepare(frames) for piece in chunk.pieces)


GARBAGE: dict[str, list[bytes]] = {
    "no bytes": [b""],
    "garbage": [bytes(range(256))],
    "pickle": [pickle.dumps(Note), b"x"],
    "another name": data(sender="third"),
    "a name that is not here": data(receiver="third"),
    "a negative length": data(length=-1),
    "a length over a block's": data(length=CHUNK + 1),
    "another length": data(length=2),
    "another checksum": data(crc=1),
    "the wrong chunk": data(chunk=1, chunks=2),
    "a chunk beyond the last": data(chunk=3, chunks=2),
    "too many chunks": data(chunks=1 << 21),
    "the wrong message": data(sequence=4),
    "an acknowledgement of what was never sent": [dump_header(acknowledged(5))],
    "a header without end": [MAGIC + b"\x02" + b"\xdd\xff\xff\xff\xff"],
    "a header that is too long": [dump_header(greeting()) + bytes(1 << 15)],
    "prelude of 2**32 frames": data(b"\xff" * 8),
}


@pytest.mark.parametrize("name", GARBAGE)
def test_what_an_allowed_peer_may_not_send_is_dropped(network: Network, name: str) -> None:
    """Row 16: no effect, no memory, and the talk goes on with what is right."""
    listener = network.listen()
    with raw_peer(network, listener.endpoint) as sock:
        sock.send(dump_header(greeting()))
        sock.recv_multipart()
        sock.send_multipart(GARBAGE[name])
        if name.startswith("prelude"):
            with pytest.raises(MalformedMessage):
                listener.receive(Note, 30)
            return
        run = note(7)
        sock.send_multipart(data(run))
        assert listener.receive(Note, 30).number == 7
        assert listener.metrics.refused_packets == 1
        assert listener.metrics.received_bytes == len(run)


def test_a_peer_that_ignores_the_window_is_not_taken_in(network: Network) -> None:
    """It is allowed 2 MiB and sends 50, which all are the next block: memory holds what was allowed."""
    listener = network.listen(window=2 << 20)
    with raw_peer(network, listener.endpoint) as sock:
        sock.send(dump_header(greeting()))
        sock.recv_multipart()
        link = listener.node._peers["passive"].box.link
        with listener.node._lock:  # nothing becomes durable meanwhile
            for number in range(50):
                packet = load_header(data(bytes(CHUNK), block=number, chunk=number, chunks=60)[0])
                link.packet(time.monotonic(), packet, [bytes(CHUNK)])
            assert link.into[0].unstored == 2 << 20
            assert link.metrics.refused_packets == 1  # the others are not the next any more
            link.outputs.appends.clear()


@pytest.mark.parametrize("durable", [False, True])
def test_a_block_acknowledged_while_it_waits_to_be_sent_again(
    network: Network, tmp_path: Path, durable: bool
) -> None:
    """The second greeting has it sent again, and the acknowledgement behind it lets it go."""
    network.folder = tmp_path if durable else None
    listener = network.listen()
    with raw_peer(network, listener.endpoint) as sock:
        sock.send(dump_header(greeting()))
        sock.recv_multipart()
        listener.send(Note(number=1))
        listener.retain(listener.watermarks())
        while not isinstance(load_header(sock.recv_multipart()[0]), Data):
            pass
        with listener.node._lock:  # both are there when the next turn begins
            sock.send(dump_header(greeting(number=2)))
            state = State(
                "test", "passive", "active", 1, bytes(16), 1, (Standing(0, 1, True),), 0, 0, False, False
            )
            sock.send(dump_header(state))
            time.sleep(0.3)
        frames = encode(Note(number=7), job="test", sender="passive", receiver="active", sequence=0)
        sock.send_multipart(
            data(b"".join(bytes(piece) for chunk in prepare(frames) for piece in chunk.pieces))
        )
        assert listener.receive(Note, 30).number == 7


def test_a_packet_of_another_version_ends_the_talk(network: Network) -> None:
    listener = network.listen()
    with raw_peer(network, listener.endpoint) as sock:
        sock.send(MAGIC + b"\x63" + b"future")
        with pytest.raises(HandshakeError, match="protocol 99"):
            listener.receive(Note, 30)


def test_a_piece_over_the_limit_is_never_taken_in(network: Network) -> None:
    """libzmq cuts the connection at its length field, before the bytes."""
    listener = network.listen()
    with raw_peer(network, listener.endpoint) as sock:
        sock.send_multipart([dump_header(greeting()), bytes(PIECE + 64)])
        with pytest.raises(ChannelTimeout):
            listener.receive(Note, 0.5)
        assert not listener.metrics.connected


def test_a_message_over_the_limit_is_refused_by_the_receiver(network: Network) -> None:
    listener = network.listen(max_message_bytes=1000)
    dialler = network.dial(listener.endpoint)
    dialler.send(Note(number=1, payload=(bytes(1000),)))
    with pytest.raises(MalformedMessage, match="the limits are 4096 frames and 1000 bytes"):
        listener.receive(Note, 30)
    with pytest.raises(PeerAborted, match="limits"):
        dialler.receive(Note, 30)


# Big and many.


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE])
def test_frames_around_the_size_of_a_piece(network: Network, size: int) -> None:
    listener = network.listen()
    dialler = network.dial(listener.endpoint)
    payload = (os.urandom(size), b"end")
    dialler.send(Note(number=1, payload=payload))
    assert listener.receive(Note, 30).payload == payload


def test_64_mebibytes_and_close(network: Network) -> None:
    listener = network.listen()
    payload = (os.urandom(1 << 20) * 64,)
    with network.dial(listener.endpoint, linger=60) as dialler:
        dialler.send(Note(number=1, payload=payload))
    assert listener.receive(Note, 60).payload == payload
    with pytest.raises(PeerLost, match="closed"):
        listener.receive(Note, 30)


def test_a_busy_receiver_is_not_lost(network: Network) -> None:
    """Messages pile up for longer than the heartbeat time-out while the receiver computes."""
    listener = network.listen(heartbeat_timeout=0.8)
    dialler = network.dial(listener.endpoint, heartbeat_timeout=0.8)
    for number in range(300):
        dialler.send(Note(number=number, payload=(bytes(50_000),)))
    time.sleep(1.5)
    assert [listener.receive(Note, 30).number for _ in range(300)] == list(range(300))
    talk(listener, dialler)


def test_a_slow_line_is_not_taken_for_dead(network: Network, proxied: Proxied) -> None:
    """2.5 MB at 1 MB/s with a heartbeat time-out of 0.8 s, which a whole frame would exceed."""
    listener = network.listen(heartbeat_timeout=0.8)
    proxy = proxied(listener)
    proxy.rate = 1e6
    dialler = network.dial(proxy.endpoint, heartbeat_timeout=0.8)
    payload = (bytes(2_500_000),)
    start = time.monotonic()
    dialler.send(Note(number=1, payload=payload))
    dialler.close()
    assert listener.receive(Note, 30).payload == payload
    assert time.monotonic() - start > 1.5
    with pytest.raises(PeerLost, match="passive closed the channel"):
        listener.receive(Note, 30)


# Broken lines and dead peers.


def test_a_cut_while_idle_heals(network: Network, proxied: Proxied) -> None:
    listener = network.listen()
    proxy = proxied(listener)
    dialler = network.dial(proxy.endpoint)
    for number in range(3):
        talk(listener, dialler, number)
        proxy.cut()
        time.sleep(0.1)


def test_what_is_lost_in_a_cut_is_sent_again(network: Network, proxied: Proxied) -> None:
    listener = network.listen()
    proxy = proxied(listener)
    dialler = network.dial(proxy.endpoint)
    talk(listener, dialler)
    proxy.swallow = True
    dialler.send(Note(number=1, payload=(bytes(10_000),)))
    until(lambda: proxy.swallowed > 10_000)
    proxy.swallow = False
    proxy.cut()
    assert listener.receive(Note, 30).number == 1
    assert dialler.metrics.resent_bytes > 0


def test_a_line_gone_for_longer_than_the_grace(network: Network, proxied: Proxied) -> None:
    listener = network.listen(grace=0.5)
    proxy = proxied(listener)
    dialler = network.dial(proxy.endpoint, grace=0.5)
    talk(listener, dialler)
    proxy.close()
    for call in (lambda: listener.receive(Note), lambda: dialler.receive(Note)):
        start = time.monotonic()
        with pytest.raises(PeerLost, match=r"has been away for 0.5 s"):
            call()
        assert time.monotonic() - start < 30


def test_a_second_process_without_what_the_first_has_stored_is_refused(network: Network) -> None:
    """And the first goes on."""
    listener = network.listen()
    first = network.dial(listener.endpoint)
    talk(listener, first)
    second = network.dial(listener.endpoint)
    with contextlib.suppress(HandshakeError):  # the refusal may come before the first message
        second.send(Note(number=13))
    with pytest.raises(HandshakeError, match="another process of passive has connected"):
        second.receive(Note, 30)
    talk(listener, first, 2)


CHILD = """
import json, sys, time
from hecore.algorithms.channel import CurveKeys, ZmqOptions, dial
from hecore.algorithms.messages import Message

class Note(Message, frozen=True, kw_only=True):
    number: int

given = json.load(sys.stdin)
keys = CurveKeys(given["allowed"]["passive"], given["secret"])
channel = dial("passive", "active", given["endpoint"], keys, given["allowed"], job="test")
channel.send(Note(number=1))
time.sleep(60)
"""


@contextlib.contextmanager
def child(network: Network, endpoint: str) -> Iterator[subprocess.Popen[str]]:
    """Another process as the passive party: it says one word and then computes."""
    given = {
        "allowed": network.allowed,
        "secret": network.keys["passive"].secret,
        "endpoint": endpoint,
    }
    process = subprocess.Popen([sys.executable, "-c", CHILD], stdin=subprocess.PIPE, text=True)
    try:
        assert process.stdin is not None
        with process.stdin:
            json.dump(given, process.stdin)
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_killed_peer_is_lost_after_the_grace(network: Network) -> None:
    listener = network.listen(grace=2)
    with child(network, listener.endpoint) as process:
        assert listener.receive(Note, 30).number == 1
        with pytest.raises(ChannelTimeout):
            listener.receive(Note, 1)
        os.kill(process.pid, signal.SIGKILL)
        start = time.monotonic()
        with pytest.raises(PeerLost, match="passive has been away for"):
            listener.receive(Note)
        assert 1.5 < time.monotonic() - start < 30


def send_until_it_fails(channel: ZmqChannel) -> None:
    while True:
        channel.send(Note(number=1, payload=(bytes(1 << 20),)))


def receive(channel: ZmqChannel) -> None:
    channel.receive(Note)


@pytest.mark.parametrize("waits", [receive, send_until_it_fails])
def test_a_stopped_peer_is_lost_after_the_grace(
    network: Network, waits: Callable[[ZmqChannel], None]
) -> None:
    """Also while a lot of output is stuck on its way to it."""
    listener = network.listen(heartbeat_timeout=2, grace=1, linger=1)
    with child(network, listener.endpoint) as process:
        assert listener.receive(Note, 30).number == 1
        os.kill(process.pid, signal.SIGSTOP)
        start = time.monotonic()
        with pytest.raises(PeerLost, match="passive has been away for"):
            waits(listener)
        assert 2 < time.monotonic() - start < 40


def test_a_node_that_is_closed_ends_what_waits_for_it(network: Network) -> None:
    """Also what a thread does with it afterwards, which must not reach files of others."""
    listener = network.listen()
    dialler = network.dial(listener.endpoint)
    talk(listener, dialler)
    errors: list[BaseException] = []

    def wait() -> None:
        try:
            listener.receive(Note)
        except ChannelError as error:
            errors.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.1)
    listener.node.close()
    thread.join(30)
    assert "closed on this side" in str(errors[0])
    listener.agree({"row ids": "other"})
    with pytest.raises(ChannelError, match="closed on this side"):
        listener.send(Note(number=1))
    assert listener.metrics.received_messages == 1


def test_a_refused_start_leaves_nothing_open(network: Network) -> None:
    """The fixture turns an unclosed socket or context into a failure."""
    before = set(threading.enumerate())
    with pytest.raises(ChannelError):
        network.listen("tcp://256.0.0.1:1")
    assert set(threading.enumerate()) <= before
