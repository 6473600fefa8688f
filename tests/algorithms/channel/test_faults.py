"""Rows 5 to 10, 14 and 19 of the fault table, through real sockets and processes; times are scaled down."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hecore.algorithms import channel as package
from hecore.algorithms.channel import CurveKeys, FolderStore, Metrics, Node, ZmqChannel, ZmqOptions
from hecore.algorithms.errors import ChannelError, Fenced, PeerAborted
from hecore.algorithms.messages import Message

from ..patience import until
from .conftest import Line, Proxy
from .pairs import Life, Pair, expected, pair_in

LONG = [pytest.mark.slow, pytest.mark.timeout(400)]


class Note(Message, frozen=True, kw_only=True, tag="test.fault"):
    number: int = 0


@contextlib.contextmanager
def between(pair: Pair) -> Iterator[Proxy]:
    """A proxy on the way from b to a."""
    proxy = Proxy(int(pair.endpoint.rpartition(":")[2]))
    pair.settings["b"].endpoint = proxy.endpoint
    try:
        yield proxy
    finally:
        proxy.close()


def begin(pair: Pair) -> None:
    for name in pair.names:
        pair.start(name)
    ways = [way for name in pair.names[1:] for way in (("a", name), (name, "a"))]
    until(lambda: all(pair.taken(me, peer) for me, peer in ways))


def metrics(life: Life) -> dict[str, float]:
    """The figures of a link that a party has told at its end."""
    figures: dict[str, float] = json.loads(life.said("metrics")[0].partition(" ")[2])
    return figures


def warned(life: Life, away: float) -> None:
    """A line about the missing peer comes in time: within 5 s where a long test has a quiet machine."""
    until(
        lambda: life.said("silent") or life.said("is lost") or life.said("not connected"),
        5 if away >= 60 else 20,
    )


def stop(life: Life) -> None:
    """Stop a process, and wait until it stands: a thread may be on its way out of a system call."""
    life.process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, life.process.pid, os.WSTOPPED | os.WNOWAIT)


@pytest.mark.parametrize(
    "seconds", [2.5, pytest.param(90, marks=[pytest.mark.slow, pytest.mark.timeout(400)])]
)
def test_a_partition_pauses_and_goes_on_by_itself(tmp_path: Path, seconds: float) -> None:
    """Row 5: nothing passes, one way first and then both, for several times the heartbeat time-out."""
    with pair_in(tmp_path, 6000) as pair, between(pair) as proxy:
        begin(pair)
        proxy.swallow = True
        time.sleep(seconds)
        proxy.swallow_all = True
        warned(pair.lives["b"][0], seconds)
        time.sleep(seconds)
        proxy.swallow = proxy.swallow_all = False
        proxy.cut()  # what was swallowed is lost: a connection does not survive that
        assert pair.finish(100) == expected(6000)


def test_a_reset_every_second(tmp_path: Path) -> None:
    """Row 6: it progresses, and what is sent again is bounded by the resets times the window."""
    with pair_in(tmp_path, 3000, size=20_000, window=1 << 22) as pair, between(pair) as proxy:
        begin(pair)
        resets = 0
        while pair.lives["a"][0].process.poll() is None and resets < 40:
            time.sleep(1)
            proxy.reset()
            resets += 1
        assert pair.finish(100) == expected(3000)
        for name in ("a", "b"):
            assert metrics(pair.lives[name][0])["resent_bytes"] <= (resets + 1) * (1 << 22)


@pytest.mark.parametrize("seconds", [4, pytest.param(60, marks=LONG)])
def test_a_stopped_peer_is_noticed_and_waited_for(tmp_path: Path, seconds: float) -> None:
    """Row 8."""
    with pair_in(tmp_path, 6000) as pair:
        begin(pair)
        stop(pair.lives["b"][0])
        warned(pair.lives["a"][0], seconds)
        time.sleep(seconds)
        pair.lives["b"][0].process.send_signal(signal.SIGCONT)
        assert pair.finish(100) == expected(6000)
        assert not pair.lives["a"][0].said("error")


def test_a_process_of_an_old_epoch_is_fenced(tmp_path: Path) -> None:
    """Row 14: a party is stopped, another process goes on with a copy of its folder, the first comes back."""
    with pair_in(tmp_path, 40_000) as pair:
        begin(pair)
        old = pair.lives["b"][0]
        stop(old)
        shutil.copytree(tmp_path / "b", tmp_path / "copy")
        pair.settings["b"].folder = str(tmp_path / "copy")
        pair.start("b").wait_for("ready", 60)
        time.sleep(1)
        old.process.send_signal(signal.SIGCONT)
        assert old.end(100) == 3
        assert (
            "Fenced this process of b is of epoch 1, and one of epoch 2 has taken over"
            in old.said("error")[0]
        )
        assert pair.lives["a"][0].process.poll() is None
        assert pair.lives["b"][1].process.poll() is None


def test_a_wall_clock_that_jumps_has_no_effect(tmp_path: Path) -> None:
    """Row 19: a day ahead in mid-run and two days back, at both parties; the log's clock jumps with it."""
    day = 86_400
    hour = {"heartbeat_timeout": 3600.0, "retry": 3600.0}  # a busy machine does not come to it, a day does
    with pair_in(tmp_path, 1500, clock=[day, -2 * day], **hour) as pair:
        begin(pair)
        assert pair.finish(100) == expected(1500)
        for name in pair.names:
            life = pair.lives[name][0]
            jumps = [line.split() for line in life.said("clock")]
            assert [int(seconds) for _, seconds, _ in jumps] == [day, -2 * day]
            assert float(jumps[0][2]) - float(jumps[1][2]) > 1.9 * day
            assert metrics(life)["connections"] == 1
            assert metrics(life)["resent_bytes"] == 0


def test_nobody_asks_for_the_wall_clock() -> None:
    """Row 19, for what no run comes across."""
    folder = Path(package.__file__).parent
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute):
                assert node.attr not in {"time_ns", "now", "utcnow", "today"}, path
                assert not (node.attr == "time" and getattr(node.value, "id", "") == "time"), path


# More than two parties: one node listens, the others dial.


def test_one_of_three_parties_is_killed_and_the_others_go_on(tmp_path: Path) -> None:
    """Rows 1 and 4: while b is dead, a and c come to their end; b comes back alone, and so does the rest."""
    with pair_in(tmp_path, 600, names="abc") as parties:
        parties.settings["b"].halt = 300
        begin(parties)
        parties.kill("b")
        parties.settings["b"].halt = 0
        assert parties.lives["c"][0].end(100) == 0
        assert parties.taken("a", "c") == 600
        assert parties.lives["a"][0].process.poll() is None
        assert parties.taken("a", "b") < 600
        parties.start("b")
        assert parties.finish(100) == expected(600, "abc")
        assert not parties.lives["a"][0].said("error")


def test_the_middle_of_three_parties_is_killed_and_the_others_wait(tmp_path: Path) -> None:
    """The one with two peers goes on with both from its checkpoints."""
    with pair_in(tmp_path, 600, names="abc") as parties:
        begin(parties)
        parties.kill("a")
        time.sleep(0.5)
        parties.start("a")
        assert parties.finish(100) == expected(600, "abc")


class Star:
    """A hub and parties around it, in this process; proxies where they are asked for."""

    def __init__(self, folder: Path | None, names: list[str], **options: float) -> None:
        self.keys = {name: CurveKeys.generate() for name in ["hub", *names]}
        self.allowed = {name: keys.public for name, keys in self.keys.items()}
        self.folder = folder
        times = {"heartbeat": 0.25, "heartbeat_timeout": 1.0, "linger": 2.0}
        self.options = ZmqOptions(**(times | options))  # type: ignore[arg-type]
        self.nodes: list[Node] = []
        self.hub = self._node("hub", listen="tcp://127.0.0.1:0")
        self.spokes: dict[str, ZmqChannel] = {}
        self.faces = {name: ZmqChannel(self.hub, name) for name in names}

    def join(self, name: str, endpoint: str | None = None, folder: str | None = None) -> ZmqChannel:
        node = self._node(name, folder=folder)
        self.spokes[name] = ZmqChannel(node, "hub", endpoint or self.hub.endpoint, owns=True)
        return self.spokes[name]

    def _node(self, name: str, listen: str | None = None, folder: str | None = None) -> Node:
        store = None if self.folder is None else FolderStore(self.folder / (folder or name), name, "star")
        node = Node(
            name, self.keys[name], self.allowed, job="star", listen=listen, store=store, options=self.options
        )
        self.nodes.append(node)
        return node

    def close(self) -> None:
        for node in self.nodes:
            node.close()


@contextlib.contextmanager
def star(folder: Path | None, names: list[str], **options: float) -> Iterator[Star]:
    made = Star(folder, names, **options)
    try:
        yield made
    finally:
        made.close()


def test_any_party_restarts_alone(tmp_path: Path) -> None:
    """Three parties; one ends without a word and comes back: it gets what it missed, the others go on."""
    with star(tmp_path, ["b", "c"]) as world:
        first, other = world.join("b"), world.join("c")
        for face in world.faces.values():
            face.send(Note(number=0))
        assert (first.receive(Note, 60).number, other.receive(Note, 60).number) == (0, 0)
        first.send(Note(number=10))
        assert world.faces["b"].receive(Note, 60).number == 10
        marks = first.watermarks()
        first.node.close(leave=False)  # as if it had been killed
        world.faces["b"].send(Note(number=1))
        world.faces["c"].send(Note(number=1))
        assert other.receive(Note, 60).number == 1
        again = world.join("b")
        again.resume(marks)
        assert again.receive(Note, 60).number == 1
        again.send(Note(number=11))
        assert world.faces["b"].receive(Note, 60).number == 11


def test_one_peer_that_gives_up_or_is_fenced_leaves_the_others_alone(tmp_path: Path) -> None:
    """Farewell and Fenced concern one link: with the other peer everything is as it was."""
    with star(tmp_path, ["b", "c", "d"]) as world:
        for name in ("b", "c", "d"):
            world.join(name).send(Note(number=1))
            assert world.faces[name].receive(Note, 60).number == 1
        world.spokes["b"].abort("no table")
        with pytest.raises(PeerAborted, match="no table"):
            world.faces["b"].receive(Note, 60)
        old = world.spokes["c"]
        shutil.copytree(tmp_path / "c", tmp_path / "copy")
        again = world.join("c", folder="copy")
        again.resume(old.watermarks())
        again.send(Note(number=2))
        assert world.faces["c"].receive(Note, 60).number == 2
        with pytest.raises(Fenced, match="epoch 1, and one of epoch 2 has taken over"):
            old.receive(Note, 60)
        for number in range(5):
            world.faces["d"].send(Note(number=number))
            assert world.spokes["d"].receive(Note, 60).number == number
        again.send(Note(number=3))
        assert world.faces["c"].receive(Note, 60).number == 3


@contextlib.contextmanager
def relay(world: Star, line: Line | None = None) -> Iterator[Proxy]:
    """A proxy in front of the hub."""
    proxy = Proxy(int((world.hub.endpoint or "").rpartition(":")[2]), line)
    try:
        yield proxy
    finally:
        proxy.close()


def resident() -> float:
    """Memory of this process, in MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / (1 << 20)


def test_a_slow_peer_costs_no_memory_and_harms_nobody(tmp_path: Path) -> None:
    """Row 9: 160 MB wait for a peer behind a line of 1 MB/s; the other peer is served meanwhile."""
    with star(tmp_path, ["slow", "fast"]) as world:
        proxy = Proxy(int((world.hub.endpoint or "").rpartition(":")[2]))
        proxy.back_rate = 1e6
        try:
            world.join("slow", proxy.endpoint).send(Note())
            fast = world.join("fast")
            world.faces["slow"].receive(Note, 60)
            before = resident()
            for _ in range(20):
                world.faces["slow"].send(Note(payload=(bytes(8_000_000),)))
            peak, trips, enough = 0.0, 0, time.monotonic() + 3
            while time.monotonic() < enough or trips < 20:
                world.faces["fast"].send(Note(payload=(bytes(10_000),)))
                fast.receive(Note, 60)
                trips += 1
                peak = max(peak, resident())
            # Not a third of the slow peer's has gone, at 1 MB/s: nobody has waited for it to get on.
            assert world.faces["slow"].metrics.queued_bytes > 110_000_000
            assert peak - before < 32 + 64
        finally:
            proxy.close()
            world.spokes["slow"].node.close()


def push(channel: ZmqChannel, stop: threading.Event) -> None:
    """Send until it is enough."""
    with contextlib.suppress(ChannelError):
        while not stop.is_set():
            channel.send(Note(payload=(bytes(1 << 16),)))


def pull(channel: ZmqChannel, stop: threading.Event) -> None:
    """Take until it is enough."""
    with contextlib.suppress(ChannelError):
        while not stop.is_set():
            channel.receive(Note, 1)


def received(world: Star) -> list[int]:
    """Bytes that the hub has got of each."""
    return [face.metrics.received_bytes for face in world.faces.values()]


def test_eight_senders_share_a_line_and_fill_it(tmp_path: Path) -> None:
    """Row 10: Jain's index of what each gets through, and how much of the line they use together.

    The line is slow beside a processor, and a window is a second of it: both are measured, not the machine.
    """
    names = [f"p{number}" for number in range(8)]
    line = Line(2e6)
    with star(None, names, window=2 << 20) as world, relay(world, line) as proxy:
        stop = threading.Event()
        threads = []
        for name in names:
            threads.append(threading.Thread(target=push, args=(world.join(name, proxy.endpoint), stop)))
            threads.append(threading.Thread(target=pull, args=(world.faces[name], stop)))
        for thread in threads:
            thread.start()
        until(lambda: all(received(world)))
        time.sleep(1.5)
        started, before = time.monotonic(), received(world)
        time.sleep(3)
        got = [after - count for after, count in zip(received(world), before, strict=True)]
        share = sum(got) / (line.rate * (time.monotonic() - started))
        stop.set()
        proxy.line = None
        for thread in threads:
            thread.join(60)
        for name in names:  # nothing is under way when the line is cut
            world.spokes[name].node.settle("hub", time.monotonic() + 60)
        jain = sum(got) ** 2 / (len(got) * sum(count**2 for count in got))
        assert jain >= 0.9, got
        assert share >= 0.8, got


def test_figures_can_be_asked_for_at_any_time(tmp_path: Path) -> None:
    """Another thread looks while a party sends, while its peer is away, and after the end."""
    with star(tmp_path, ["b"], heartbeat_timeout=60) as world:
        b, face = world.join("b"), world.faces["b"]
        b.send(Note())
        face.receive(Note, 60)
        seen: list[Metrics] = []
        stop = threading.Event()

        def look() -> None:
            while not stop.is_set():
                seen.append(face.metrics)
                time.sleep(0.001)

        watcher = threading.Thread(target=look)
        watcher.start()
        for number in range(30):
            face.send(Note(number=number, payload=(bytes(500_000),)))
            assert b.receive(Note, 60).number == number
        assert face.node.settle("b", time.monotonic() + 60)
        for _ in range(3):
            face.send(Note())
        until(lambda: b.metrics.waiting_messages == 3)
        assert face.node.settle("b", time.monotonic() + 60)
        until(lambda: face.metrics.round_trip is not None)
        b.node.close(leave=False)
        until(lambda: not face.metrics.connected)
        for _ in range(2):
            face.send(Note(payload=(bytes(1000),)))
        away = face.metrics
        time.sleep(0.3)
        assert face.metrics.silent_seconds >= away.silent_seconds + 0.3
        assert (away.sent_messages, away.queued_messages, away.connections) == (35, 2, 1)
        assert 2000 < away.queued_bytes < 4000
        world.hub.close()
        stop.set()
        watcher.join()
        assert face.metrics.sent_messages == 35
        for name in ("sent_bytes", "sent_messages", "received_messages", "received_bytes"):
            values = [getattr(figures, name) for figures in seen]
            assert values == sorted(values)
        assert seen[-1].sent_bytes > 15_000_000 > seen[0].sent_bytes
        assert max(figures.flying_bytes for figures in seen) > 0
        assert seen[-1].round_trip is not None
        assert 0 < seen[-1].round_trip < 60
        assert seen[-1].credit == world.options.window
        assert len(seen) > 20
