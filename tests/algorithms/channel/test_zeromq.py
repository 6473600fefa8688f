"""What only a network can do: strangers, dead peers, broken and slow lines."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest
import zmq

from hecore.algorithms.channel import CurveKeys, ZmqChannel, ZmqOptions, listen
from hecore.algorithms.channel.zeromq import PIECE
from hecore.algorithms.errors import (
    AuthenticationError,
    ChannelError,
    ChannelTimeout,
    ConfigurationError,
    HandshakeError,
    MalformedMessage,
    PeerAborted,
    PeerLost,
    SequenceError,
)
from hecore.algorithms.messages import Message, encode

if TYPE_CHECKING:
    from conftest import Network, Proxy

Proxied = Callable[[ZmqChannel], "Proxy"]


class Note(Message, frozen=True, kw_only=True):
    number: int


def talk(active: ZmqChannel, passive: ZmqChannel, number: int = 0) -> None:
    """One message each way."""
    passive.send(Note(number=number))
    assert active.receive(Note, 10).number == number
    active.send(Note(number=number))
    assert passive.receive(Note, 10).number == number


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
    with pytest.raises(ChannelError, match=f"active cannot listen on {taken}: .*in use"):
        network.listen(taken)
    for endpoint in ("nonsense", "localhost:5701", "tcp://localhost", "no://localhost:1"):
        with pytest.raises(ChannelError, match=f"passive cannot dial {endpoint}: .* tcp://host:port"):
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
    with pytest.raises(AuthenticationError, match="does not let passive in: passive's public key"):
        dialler.send(Note(number=1))
    assert time.monotonic() - start < 5
    with pytest.raises(ChannelTimeout, match="another key than passive's was refused"):
        listener.receive(Note)
    assert f"refused a connection with key {unknown.public}, which is not passive's" in caplog.text


def test_the_key_of_another_party_on_the_list_is_refused(network: Network) -> None:
    listener = network.listen()
    dialler = network.dial(listener.endpoint, keys=network.keys["third"])
    with pytest.raises(AuthenticationError, match="does not let passive in"):
        dialler.receive(Note)


def test_a_stranger_does_not_disturb(network: Network) -> None:
    listener = network.listen(grace=0.2)
    dialler = network.dial(listener.endpoint)
    talk(listener, dialler)
    stranger = network.dial(listener.endpoint, keys=CurveKeys.generate())
    with pytest.raises(AuthenticationError):
        stranger.send(Note(number=1))
    with socket.create_connection(("127.0.0.1", port_of(listener))) as scanner:
        scanner.sendall(b"GET / HTTP/1.0\r\n\r\n")
    with pytest.raises(ChannelTimeout, match=r"within the time given$"):
        listener.receive(Note, 0.5)
    talk(listener, dialler, 2)


def test_a_wrong_listener_is_refused(network: Network) -> None:
    """The dialler expects another key than the listener has: nothing is said, and the hint helps."""
    listener = network.listen(connect_timeout=1)
    allowed = network.allowed | {"active": CurveKeys.generate().public}
    dialler = network.dial(listener.endpoint, allowed=allowed, connect_timeout=0.7)
    with pytest.raises(ChannelTimeout, match="the key that passive was given for active the right one"):
        dialler.send(Note(number=1))
    with pytest.raises(ChannelTimeout, match="have active's right public key"):
        listener.receive(Note)


def test_nobody_there(network: Network) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        endpoint = f"tcp://127.0.0.1:{server.getsockname()[1]}"
    dialler = network.dial(endpoint, connect_timeout=0.3)
    with pytest.raises(ChannelTimeout, match=f"at {endpoint} within 0.3 s: nobody answered"):
        dialler.receive(Note)
    listener = network.listen(connect_timeout=0.3)
    with pytest.raises(ChannelTimeout, match="nobody came; is passive started"):
        listener.send(Note(number=1))


def test_a_listener_without_curve(network: Network) -> None:
    with zmq.Context() as context, context.socket(zmq.DEALER) as plain:
        plain.linger = 0
        port = plain.bind_to_random_port("tcp://127.0.0.1")
        dialler = network.dial(f"tcp://127.0.0.1:{port}")
        with pytest.raises(HandshakeError, match="does not speak CURVE"):
            dialler.receive(Note)


def test_another_job_is_refused_on_both_sides(network: Network) -> None:
    listener = network.listen()
    dialler = network.dial(listener.endpoint, job="other")
    dialler.send(Note(number=1))
    with pytest.raises(HandshakeError, match="passive works on job 'other', active on 'test'"):
        listener.receive(Note, 10)
    with pytest.raises(HandshakeError, match="active works on job 'test', passive on 'other'"):
        dialler.receive(Note, 10)


# The last words: a peer hears them, whichever side it is on and whatever it does meanwhile.


def connect(*channels: ZmqChannel) -> None:
    """Until all are connected, have said Hello, and have looked once whether there is a message."""
    limit = time.monotonic() + 10
    while not all([channel._greet() for channel in channels]):
        assert time.monotonic() < limit
        time.sleep(0.01)
    for channel in channels:
        with pytest.raises(ChannelTimeout):
            channel.receive(Note, 0.1)


def away(channel: ZmqChannel) -> bool:
    channel._presence.update()
    return not channel._presence.present


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
    while not away(stays):
        time.sleep(0.01)
    time.sleep(0.2)
    assert [stays.receive(Note, 5).number for _ in range(5)] == list(range(5))
    with pytest.raises(PeerLost, match="closed the channel"):
        stays.receive(Note, 5)


@pytest.mark.parametrize("leaver", ["listener", "dialler"])
def test_an_abort_before_the_first_message_is_heard(network: Network, leaver: str) -> None:
    listener = network.listen()
    dialler = network.dial(listener.endpoint)
    leaves, stays = (listener, dialler) if leaver == "listener" else (dialler, listener)
    connect(stays)
    with pytest.raises(RuntimeError), leaves:
        raise RuntimeError
    while not away(stays):
        time.sleep(0.01)
    with pytest.raises(PeerAborted, match="RuntimeError"):
        stays.receive(Note, 5)


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
            stays.receive(Note, 5)
        timer.join()


@pytest.mark.parametrize("leaver", ["listener", "dialler"])
def test_a_peer_that_comes_late_hears_an_abort(network: Network, leaver: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        endpoint = f"tcp://127.0.0.1:{server.getsockname()[1]}"
    opens = [network.listen, network.dial]
    leaves = opens.pop(0 if leaver == "listener" else 1)(endpoint)
    thread = threading.Thread(target=leaves.abort, args=["no table"])
    thread.start()
    time.sleep(0.5)
    assert thread.is_alive()
    with pytest.raises(PeerAborted, match="no table"):
        opens[0](endpoint).receive(Note, 5)
    thread.join(5)
    assert not thread.is_alive()


def test_an_abort_that_nobody_hears_is_bounded(network: Network) -> None:
    start = time.monotonic()
    network.listen(linger=0.5).abort("no table")
    assert 0.4 < time.monotonic() - start < 3
    network.listen(connect_timeout=0.5).abort("no table")  # patience ends before linger does
    with pytest.raises(KeyboardInterrupt), network.listen():  # and an interrupt does not wait
        raise KeyboardInterrupt
    assert time.monotonic() - start < 4


def test_waiting_for_an_absent_peer_takes_no_processor_time(network: Network) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        endpoint = f"tcp://127.0.0.1:{server.getsockname()[1]}"
    dialler = network.dial(endpoint, connect_timeout=1)
    start = time.process_time()
    with pytest.raises(ChannelTimeout):
        dialler.send(Note(number=1))
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


def header(sender: str = "passive", payload: tuple[bytes, ...] = ()) -> list[bytes]:
    note = Note(number=1, payload=payload)
    return encode(note, job="test", sender=sender, receiver="active", sequence=0)


@pytest.mark.parametrize(
    ("parts", "kind", "text"),
    [
        (header("third"), AuthenticationError, "passive claims to be 'third'"),
        ([b"garbage"], MalformedMessage, "not the header"),
        ([b""], MalformedMessage, "not the header"),
        ([pickle.dumps(Note), b"x"], MalformedMessage, "not the header"),
        (header()[:1], MalformedMessage, "1 pieces, announced were 2"),
        ([*header(), b"more"], MalformedMessage, "3 pieces, announced were 2"),
        (header(payload=(bytes(PIECE + 1),)), MalformedMessage, "3 pieces, announced were 4"),
        ([*header(payload=(bytes(PIECE + 1),))[:2], b"", b""], MalformedMessage, "announces"),
    ],
)
def test_frames_that_are_refused(
    network: Network, parts: list[bytes], kind: type[ChannelError], text: str
) -> None:
    listener = network.listen()
    with raw_peer(network, listener.endpoint) as sock:
        sock.send_multipart(parts)
        with pytest.raises(kind, match=text):
            listener.receive(Note, 10)


def test_a_piece_over_the_limit_is_never_taken_in(network: Network) -> None:
    """libzmq cuts the connection at its length field, before the bytes."""
    listener = network.listen()
    with raw_peer(network, listener.endpoint) as sock:
        sock.send_multipart([header()[0], bytes(PIECE + 64)])
        with pytest.raises(ChannelTimeout):
            listener.receive(Note, 0.5)
        assert listener._presence.met


def test_a_message_over_the_limit_is_refused_by_the_receiver(network: Network) -> None:
    listener = network.listen(max_message_bytes=1000)
    dialler = network.dial(listener.endpoint)
    dialler.send(Note(number=1, payload=(bytes(1000),)))
    with pytest.raises(MalformedMessage, match="the limits are 4096 frames and 1000 bytes"):
        listener.receive(Note, 10)
    with pytest.raises(PeerAborted, match="limits"):
        dialler.receive(Note, 10)


# Big and many.


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE])
def test_frames_around_the_size_of_a_piece(network: Network, size: int) -> None:
    listener = network.listen()
    dialler = network.dial(listener.endpoint)
    payload = (os.urandom(size), b"end")
    dialler.send(Note(number=1, payload=payload))
    assert listener.receive(Note, 10).payload == payload


def test_64_mebibytes_and_close(network: Network) -> None:
    listener = network.listen()
    payload = (os.urandom(1 << 20) * 64,)
    with network.dial(listener.endpoint) as dialler:
        dialler.send(Note(number=1, payload=payload))
    assert listener.receive(Note, 20).payload == payload
    with pytest.raises(PeerLost, match="closed"):
        listener.receive(Note, 5)


def test_a_busy_receiver_is_not_lost(network: Network) -> None:
    """Messages pile up for longer than the heartbeat time-out while the receiver computes."""
    listener = network.listen()
    dialler = network.dial(listener.endpoint)
    for number in range(300):
        dialler.send(Note(number=number, payload=(bytes(50_000),)))
    time.sleep(1.5)
    assert [listener.receive(Note, 10).number for _ in range(300)] == list(range(300))
    talk(listener, dialler)


def test_a_slow_line_is_not_taken_for_dead(network: Network, proxied: Proxied) -> None:
    """2.5 MB at 1 MB/s with a heartbeat time-out of 0.8 s, which a whole frame would exceed."""
    listener = network.listen()
    proxy = proxied(listener)
    proxy.rate = 1e6
    dialler = network.dial(proxy.endpoint)
    payload = (bytes(2_500_000),)
    start = time.monotonic()
    dialler.send(Note(number=1, payload=payload))
    dialler.close()
    assert listener.receive(Note, 20).payload == payload
    assert time.monotonic() - start > 1.5
    with pytest.raises(PeerLost, match="passive closed the channel"):
        listener.receive(Note, 10)


# Broken lines and dead peers.


def test_a_cut_while_idle_heals(network: Network, proxied: Proxied) -> None:
    listener = network.listen(grace=10)
    proxy = proxied(listener)
    dialler = network.dial(proxy.endpoint, grace=10)
    for number in range(3):
        talk(listener, dialler, number)
        proxy.cut()
        time.sleep(0.1)


def test_a_message_lost_in_a_cut_is_an_error_for_both(network: Network, proxied: Proxied) -> None:
    """Both wait for each other after the loss of the last message: neither may hang."""
    listener = network.listen(grace=10)
    proxy = proxied(listener)
    dialler = network.dial(proxy.endpoint, grace=10)
    talk(listener, dialler)
    proxy.swallow = True
    dialler.send(Note(number=1))
    time.sleep(0.1)
    proxy.swallow = False
    proxy.cut()
    failures: list[ChannelError] = []

    def wait(channel: ZmqChannel) -> None:
        with contextlib.suppress(ChannelTimeout):
            try:
                channel.receive(Note, 10)
            except ChannelTimeout:
                raise
            except ChannelError as error:
                failures.append(error)

    threads = [threading.Thread(target=wait, args=(end,)) for end in (listener, dialler)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {type(failure) for failure in failures} == {SequenceError, PeerAborted}
    assert all("message 1 from passive was due, message 2 came: 1 lost" in str(f) for f in failures)


def test_a_line_gone_for_longer_than_the_grace(network: Network, proxied: Proxied) -> None:
    listener = network.listen(grace=0.5)
    proxy = proxied(listener)
    dialler = network.dial(proxy.endpoint, grace=0.5)
    talk(listener, dialler)
    proxy.close()
    for call in (lambda: listener.receive(Note), lambda: dialler.send(Note(number=1))):
        start = time.monotonic()
        with pytest.raises(PeerLost, match=r"has been away for 0.5 s"):
            call()
        assert time.monotonic() - start < 5


def test_a_second_process_with_the_same_key_is_an_error(network: Network) -> None:
    listener = network.listen()
    talk(listener, network.dial(listener.endpoint))
    network.dial(listener.endpoint).send(Note(number=1))
    with pytest.raises(HandshakeError, match="another process of passive has connected"):
        listener.receive(Note, 10)


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
    listener = network.listen(grace=0.5, connect_timeout=30)
    with child(network, listener.endpoint) as process:
        assert listener.receive(Note, 30).number == 1
        with pytest.raises(ChannelTimeout):
            listener.receive(Note, 1)
        os.kill(process.pid, signal.SIGKILL)
        start = time.monotonic()
        with pytest.raises(PeerLost, match="passive has been away for"):
            listener.receive(Note)
        assert 0.4 < time.monotonic() - start < 5


def send_until_it_fails(channel: ZmqChannel) -> None:
    while True:
        channel.send(Note(number=1, payload=(bytes(1 << 20),)))


def receive(channel: ZmqChannel) -> None:
    channel.receive(Note)


@pytest.mark.parametrize("waits", [receive, send_until_it_fails])
def test_a_stopped_peer_is_lost_after_the_grace(
    network: Network, waits: Callable[[ZmqChannel], None]
) -> None:
    """Also while a lot of output is stuck on its way to it, where heartbeats are no help."""
    listener = network.listen(grace=0.5, connect_timeout=30, linger=1)
    with child(network, listener.endpoint) as process:
        assert listener.receive(Note, 30).number == 1
        os.kill(process.pid, signal.SIGSTOP)
        start = time.monotonic()
        with pytest.raises(PeerLost, match="passive has been away for"):
            waits(listener)
        assert 1 < time.monotonic() - start < 10


def test_a_refused_start_leaves_nothing_open(network: Network) -> None:
    """The fixture turns an unclosed socket or context into a failure."""
    before = threading.active_count()
    with pytest.raises(ChannelError):
        network.listen("tcp://256.0.0.1:1")
    assert threading.active_count() == before
