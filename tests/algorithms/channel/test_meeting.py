"""Two processes that can never go on together: both hear it within seconds, and what is to be done."""

from __future__ import annotations

import copy
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hecore.algorithms.channel import ZmqChannel
from hecore.algorithms.channel.link import Link
from hecore.algorithms.channel.packet import Farewell, Greeting, Refusal
from hecore.algorithms.errors import ChannelError, HandshakeError, PeerAborted, PeerLost
from hecore.algorithms.free_port import free_port
from hecore.algorithms.messages import Message

from ..patience import until
from .simulation import OPTIONS, Party, World

if TYPE_CHECKING:
    from .conftest import Network

#: Longer than any test: who is not told waits for ever.
PATIENT = {"grace": 300.0, "connect_timeout": 300.0, "linger": 60.0}


class Note(Message, frozen=True, kw_only=True, tag="test.meeting"):
    number: int = 0


# In the played world.


def disk_of(party: Party) -> tuple[object, ...]:
    return copy.deepcopy((party.disk, party.indices, party.epoch, party.peer_epoch, party.saved))


def set_back(party: Party, disk: tuple[object, ...]) -> None:
    party.disk, party.indices, party.epoch, party.peer_epoch, party.saved = copy.deepcopy(disk)  # type: ignore[assignment]


def both_end(world: World, lost: float) -> dict[str, ChannelError]:
    """Why the links have ended, after half a minute in which a share of all packets is lost."""
    for _ in range(300 if lost else 100):
        for name in world.parties:
            world.write(name)
        for _ in range(len(world.flying)):
            world.lose() if world.rng.random() < lost else world.deliver()
        world.pass_time(0.1)
    ends = {name: party.box.link.end for name, party in world.parties.items()}
    assert all(isinstance(end, HandshakeError) for end in ends.values()), ends
    return {name: end for name, end in ends.items() if end is not None}


@pytest.mark.parametrize("lost", [0.0, 0.5])
@pytest.mark.parametrize("other", ["runs", "is started again"])
@pytest.mark.parametrize("lives", [1, 3])
@pytest.mark.parametrize("how", ["removed", "set back"])
@pytest.mark.parametrize("name", ["a", "b"])
def test_a_store_that_is_removed_or_set_back(
    name: str, how: str, lives: int, other: str, lost: float
) -> None:
    """Whatever the epochs are, and whether the other party has met the process before or not."""
    world = World(7)
    party, peer = world.parties[name], world.parties[world.parties[name].peer]
    empty = disk_of(Party(name, peer.name, party.rng, party.messages))
    world.work(8)
    party.checkpoint()
    old = disk_of(party)
    for _ in range(lives):
        world.kill(name)
        world.restart(name)
        world.work(30)
    world.kill(name)
    if other != "runs":
        world.kill(peer.name)
    set_back(party, empty if how == "removed" else old)
    world.flying.clear()
    world.restart(name)
    world.restart(peer.name)
    for error in both_end(world, lost).values():
        assert "begin anew with empty stores at all parties" in str(error)
        assert len({name, peer.name} & set(str(error).replace(":", " ").split())) == 2


def test_a_process_that_comes_twice_ends_nothing_while_the_first_is_heard() -> None:
    world = World(3)
    world.work(10)
    a, b = world.parties["a"], world.parties["b"]
    twin = Party("b", "a", b.rng, b.messages)
    twin.start(world.now)
    twins = [packet for packet in twin.box.link.outputs.sends]
    for _ in range(80):
        a.box.link.packet(world.now, twins[0])
        for packet in a.box.link.outputs.sends:
            twin.box.link.packet(world.now, packet)
        world.collect()
        world.work(2)
    assert isinstance(twin.box.link.end, HandshakeError)
    assert a.box.link.end is None
    world.finish()


def fresh(me: str, peer: str, **more: int) -> Link:
    return Link(me, peer, "job", epoch=1, process=me.encode() * 16, now=0.0, options=OPTIONS, **more)


def met() -> tuple[Link, Link]:
    """Two that have greeted."""
    a, b = fresh("a", "b"), fresh("b", "a")
    a.connected(0.0)
    b.connected(0.0)
    for link, other in ((a, b), (b, a), (a, b)):
        sends, link.outputs.sends = link.outputs.sends, []
        for packet in sends:
            other.packet(0.0, packet)
    assert a.up
    assert b.up
    return a, b


def test_a_refusal_for_another_process_is_not_obeyed() -> None:
    link = fresh("a", "b")
    for refused in (bytes(16), b"x" * 16):
        link.packet(0.0, Refusal("job", "b", "a", 1, b"b" * 16, refused, 1, "HandshakeError", "no"))
    assert link.end is None


def misnamed(number: int) -> Greeting:
    return Greeting("job", "b", "A", 1, b"B" * 16, number, False, 1 << 20, (), (), {})


def test_a_wrong_name_ends_nothing_between_parties_that_have_met() -> None:
    """It was right once, so this is a stray process under the peer's key; it is told of once."""
    a, _ = met()
    again = fresh("a", "b", peer_epoch=1)
    for link in (a, again):
        link.outputs.notices.clear()
        for number in range(1, 20):
            link.packet(float(number), misnamed(number))
        assert link.end is None
        assert link.metrics.refused_packets == 19
        (told,) = link.outputs.notices
        assert "dropped a packet from b: b calls this party 'A', and its own name here is 'a'" in told
    for number in range(100, 103):
        a.packet(float(number), misnamed(number))
    assert len(a.outputs.notices) == 2  # a minute later it is worth another line


def test_a_party_that_ended_over_a_name_says_so_to_each_greeting() -> None:
    a = fresh("a", "b")
    a.packet(0.0, misnamed(1))
    assert isinstance(a.end, HandshakeError)
    a.packet(1.0, misnamed(2))
    refusals = [packet for packet in a.outputs.sends if isinstance(packet, Refusal)]
    assert [packet.refused for packet in refusals] == [b"B" * 16] * 2
    assert a.unheard
    a.packet(2.0, Refusal("job", "b", "A", 1, b"B" * 16, b"a" * 16, 0, "HandshakeError", "no"))
    assert not a.unheard


def test_a_fenced_party_does_not_fence_its_peer() -> None:
    """What it says after its end must not read as if the peer's process were the old one."""
    a, b = met()
    a.packet(0.0, Refusal("job", "b", "a", 1, b"b" * 16, b"a" * 16, 2, "Fenced", "old"))
    b.connected(1.0)
    for packet in b.outputs.sends:
        a.packet(1.0, packet)
    for packet in a.outputs.sends:
        b.packet(1.0, packet)
    assert b.end is None


# What a peer says reaches a terminal without its control characters.


@pytest.mark.parametrize("kind", ["HandshakeError", "Other"])
def test_the_reason_of_a_refusal_is_printable(kind: str) -> None:
    link = fresh("a", "b")
    link.packet(0.0, Refusal("job", "b", "a", 1, b"b" * 16, b"a" * 16, 1, kind, "no\x1b[2J\nroot: yes\x9b"))
    assert "no\ufffd[2J\ufffdroot: yes\ufffd" in str(link.end)
    assert isinstance(link.end, HandshakeError if kind == "HandshakeError" else PeerAborted)


def test_a_reason_of_a_farewell_is_printable() -> None:
    a, _ = met()
    a.packet(0.0, Farewell("job", "b", "a", 1, b"b" * 16, (), "no\x1b]0;x\x07"))
    assert isinstance(a.end, PeerAborted)
    assert a.end.reason == "no\ufffd]0;x\ufffd"


# With nodes and sockets.


def begun(network: Network, folder: Path) -> tuple[str, dict[str, ZmqChannel]]:
    """Both have sent, and both have taken."""
    network.folder, where = folder, f"tcp://127.0.0.1:{free_port()}"
    ends = {"active": network.listen(where, **PATIENT), "passive": network.dial(where, **PATIENT)}
    for sender, receiver in (("active", "passive"), ("passive", "active")):
        ends[sender].send(Note(number=1))
        assert ends[receiver].receive(Note, 60).number == 1
        ends[receiver].retain(ends[receiver].watermarks())
    return where, ends


def take_all(channel: ZmqChannel) -> None:
    """After a restart what was taken before comes again first."""
    while True:
        channel.receive(Note, 60)


def told(channel: ZmqChannel) -> str:
    """Why a waiting driver ends, whose node is closed right after."""
    with pytest.raises(HandshakeError) as caught, channel:
        take_all(channel)
    return str(caught.value)


@pytest.mark.parametrize("other", ["runs", "is started again"])
@pytest.mark.parametrize("name", ["active", "passive"])
def test_both_parties_hear_that_a_store_was_removed(
    network: Network, tmp_path: Path, name: str, other: str
) -> None:
    """Whoever finds out raises, and closes at once; the other has heard it, or would wait for minutes."""
    where, ends = begun(network, tmp_path)
    opens = {"active": network.listen, "passive": network.dial}
    for me, channel in ends.items():
        if me == name or other != "runs":
            channel.node.close(leave=False)
    shutil.rmtree(tmp_path / name)
    for me in ends:
        if me == name or other != "runs":
            ends[me] = opens[me](where, **PATIENT)
    start = time.monotonic()
    with ThreadPoolExecutor() as threads:
        texts = list(threads.map(told, ends.values()))
    assert time.monotonic() - start < 50
    for text in texts:
        assert "active" in text
        assert "passive" in text
        assert f"{name} has begun anew" in text or f"another process of {name}" in text
        assert "begin anew with empty stores at all parties (a job: hecore party run --anew)" in text


@pytest.mark.parametrize("first", ["active", "passive"])
@pytest.mark.parametrize("what", ["store", "terms", "job"])
def test_the_first_to_raise_closes_and_the_other_hears_it_still(
    network: Network, tmp_path: Path, first: str, what: str
) -> None:
    """The other's driver is busy until then."""
    where, ends = begun(network, tmp_path)
    if what == "terms":
        ends["active"].agree({"row ids": "1"})
        ends["passive"].agree({"row ids": "2"})
    else:
        for channel in ends.values():
            channel.node.close(leave=False)
        shutil.rmtree(tmp_path / "passive")
        job = {"job": "other"} if what == "job" else {}
        ends = {"active": network.listen(where, **PATIENT), "passive": network.dial(where, **job, **PATIENT)}  # type: ignore[arg-type]
    start = time.monotonic()
    texts = [told(ends.pop(first)), told(*ends.values())]
    assert time.monotonic() - start < 50
    assert all("active" in text and "passive" in text for text in texts)


def test_who_refuses_does_not_wait_for_one_that_is_gone(network: Network, tmp_path: Path) -> None:
    where, ends = begun(network, tmp_path)
    for channel in ends.values():
        channel.node.close(leave=False)
    shutil.rmtree(tmp_path / "passive")
    active, passive = network.listen(where, **PATIENT), network.dial(where, **PATIENT)
    with pytest.raises(HandshakeError):
        passive.receive(Note, 60)
    passive.node.close(leave=False)
    start = time.monotonic()
    active.close()
    assert time.monotonic() - start < 50


@pytest.mark.parametrize("leave", [True, False])
@pytest.mark.parametrize("goes", ["active", "passive"])
def test_a_peer_goes_on_with_the_next_process(
    network: Network, tmp_path: Path, goes: str, leave: bool
) -> None:
    """In order or without a word: who has not asked for more meanwhile goes on as if nothing had been."""
    where, ends = begun(network, tmp_path)
    opens = {"active": network.listen, "passive": network.dial}
    stays = ends[ends[goes].peer]
    for number in range(2, 4):
        marks = ends[goes].watermarks()
        ends[goes].node.close(leave=leave)
        until(lambda: not stays.metrics.connected and stays.node.state(goes) == (None, leave))
        if leave:
            with pytest.raises(PeerLost, match=f"{goes} closed the channel"):
                stays.node.take(goes, 0, time.monotonic() + 30)
        else:
            stays.send(Note(number=number))
        ends[goes] = opens[goes](where, **PATIENT)
        ends[goes].resume(marks)
        ends[goes].send(Note(number=number))
        until(lambda: not stays.node.state(goes)[1])
        assert stays.receive(Note, 60).number == number
        if leave:
            stays.send(Note(number=number))
        assert ends[goes].receive(Note, 60).number == number
