"""Rows 5 to 10, 14 and 19 of the fault table, through real sockets and processes; times are scaled down."""

from __future__ import annotations

import ast
import contextlib
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hecore.algorithms import channel as package
from hecore.algorithms.channel import CurveKeys, FolderStore, Node, ZmqChannel, ZmqOptions
from hecore.algorithms.messages import Message

from .conftest import Proxy
from .pairs import Life, Pair, expected, pair_in


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
    for name in ("a", "b"):
        pair.start(name)
    limit = time.monotonic() + 60
    while not all((pair.folder / name / "progress.json").exists() for name in ("a", "b")):
        assert time.monotonic() < limit
        time.sleep(0.02)


def warned(life: Life, seconds: float) -> None:
    """A line about the missing peer comes in time."""
    limit = time.monotonic() + seconds
    while not (life.said("silent") or life.said("is lost") or life.said("not connected")):
        assert time.monotonic() < limit
        time.sleep(0.02)


def test_a_partition_pauses_and_goes_on_by_itself(tmp_path: Path) -> None:
    """Row 5: nothing passes, one way first and then both, for several times the heartbeat time-out."""
    with pair_in(tmp_path, 6000) as pair, between(pair) as proxy:
        begin(pair)
        proxy.swallow = True
        time.sleep(2.5)
        proxy.swallow_all = True
        warned(pair.lives["b"][0], 5)
        time.sleep(2)
        proxy.swallow = proxy.swallow_all = False
        proxy.cut()  # what was swallowed is lost: a connection does not survive that
        assert pair.finish(60) == expected(6000)


def test_a_reset_every_second(tmp_path: Path) -> None:
    """Row 6: it progresses, and what is sent again is bounded by the resets times the window."""
    with pair_in(tmp_path, 3000, size=20_000, window=1 << 22) as pair, between(pair) as proxy:
        begin(pair)
        resets = 0
        while pair.lives["a"][0].process.poll() is None and resets < 40:
            time.sleep(1)
            proxy.reset()
            resets += 1
        assert pair.finish(30) == expected(3000)
        for name in ("a", "b"):
            resent = int(
                pair.lives[name][0].said("metrics")[0].partition('"resent_bytes": ')[2].partition(",")[0]
            )
            assert resent <= (resets + 1) * (1 << 22)


@pytest.mark.parametrize("seconds", [4, pytest.param(60, marks=[pytest.mark.slow, pytest.mark.timeout(200)])])
def test_a_stopped_peer_is_noticed_and_waited_for(tmp_path: Path, seconds: float) -> None:
    """Row 8."""
    with pair_in(tmp_path, 6000) as pair:
        begin(pair)
        pair.lives["b"][0].process.send_signal(signal.SIGSTOP)
        warned(pair.lives["a"][0], 5)
        time.sleep(seconds)
        pair.lives["b"][0].process.send_signal(signal.SIGCONT)
        assert pair.finish(60) == expected(6000)
        assert not pair.lives["a"][0].said("error")


def test_a_process_of_an_old_epoch_is_fenced(tmp_path: Path) -> None:
    """Row 14: a party is stopped, another process goes on with a copy of its folder, the first comes back."""
    with pair_in(tmp_path, 40_000) as pair:
        begin(pair)
        old = pair.lives["b"][0]
        old.process.send_signal(signal.SIGSTOP)
        shutil.copytree(tmp_path / "b", tmp_path / "copy")
        pair.settings["b"].folder = str(tmp_path / "copy")
        pair.start("b").wait_for("ready", 30)
        time.sleep(1)
        old.process.send_signal(signal.SIGCONT)
        assert old.end(30) == 3
        assert (
            "Fenced this process of b is of epoch 1, and one of epoch 2 has taken over"
            in old.said("error")[0]
        )
        assert pair.lives["a"][0].process.poll() is None
        assert pair.lives["b"][1].process.poll() is None


def test_the_wall_clock_has_no_effect() -> None:
    """Row 19: nobody asks for it."""
    folder = Path(package.__file__).parent
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute):
                assert node.attr not in {"time_ns", "now", "utcnow", "today"}, path
                assert not (node.attr == "time" and getattr(node.value, "id", "") == "time"), path


# More than two parties: one node listens, the others dial.


class Star:
    """A hub and parties around it, in this process; proxies where they are asked for."""

    def __init__(self, folder: Path | None, names: list[str], **options: float) -> None:
        self.keys = {name: CurveKeys.generate() for name in ["hub", *names]}
        self.allowed = {name: keys.public for name, keys in self.keys.items()}
        self.folder = folder
        self.options = ZmqOptions(heartbeat=0.25, heartbeat_timeout=1.0, linger=2.0, **options)  # type: ignore[arg-type]
        self.nodes: list[Node] = []
        self.hub = self._node("hub", listen="tcp://127.0.0.1:0")
        self.spokes: dict[str, ZmqChannel] = {}
        self.faces = {name: ZmqChannel(self.hub, name) for name in names}

    def join(self, name: str, endpoint: str | None = None) -> ZmqChannel:
        node = self._node(name)
        self.spokes[name] = ZmqChannel(node, "hub", endpoint or self.hub.endpoint, owns=True)
        return self.spokes[name]

    def _node(self, name: str, listen: str | None = None) -> Node:
        store = None if self.folder is None else FolderStore(self.folder / name, name, "star")
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
        assert (first.receive(Note, 10).number, other.receive(Note, 10).number) == (0, 0)
        first.send(Note(number=10))
        assert world.faces["b"].receive(Note, 10).number == 10
        marks = first.watermarks()
        first.node.close()
        world.faces["b"].node._peers["b"].box.link.left = False  # as if it had been killed
        world.faces["b"].send(Note(number=1))
        world.faces["c"].send(Note(number=1))
        assert other.receive(Note, 10).number == 1
        again = world.join("b")
        again.resume(marks)
        assert again.receive(Note, 10).number == 1
        again.send(Note(number=11))
        assert world.faces["b"].receive(Note, 10).number == 11


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
            world.faces["slow"].receive(Note, 10)
            before = resident()
            for _ in range(20):
                world.faces["slow"].send(Note(payload=(bytes(8_000_000),)))
            peak, trips = 0.0, []
            until = time.monotonic() + 3
            while time.monotonic() < until:
                started = time.monotonic()
                world.faces["fast"].send(Note(payload=(bytes(10_000),)))
                fast.receive(Note, 10)
                trips.append(time.monotonic() - started)
                peak = max(peak, resident())
            assert world.faces["slow"].metrics.queued_bytes > 100_000_000
            assert peak - before < 32 + 64
            assert sorted(trips)[len(trips) // 2] < 0.1
            assert len(trips) > 20
        finally:
            proxy.close()
            world.spokes["slow"].node.close()


def test_eight_senders_are_served_alike(tmp_path: Path) -> None:
    """Row 10: Jain's index of the bytes that each got through while all were sending."""
    names = [f"p{number}" for number in range(8)]
    with star(None, names) as world:
        for name in names:
            world.join(name)
        stop = threading.Event()

        def push(name: str) -> None:
            payload = bytes(1 << 20)
            while not stop.is_set():
                world.spokes[name].send(Note(payload=(payload,)))

        def pull(name: str) -> None:
            with contextlib.suppress(Exception):
                while not stop.is_set():
                    world.faces[name].receive(Note, 5)

        threads = [threading.Thread(target=work, args=(name,)) for name in names for work in (push, pull)]
        for thread in threads:
            thread.start()
        time.sleep(1)
        start = {name: world.faces[name].metrics.received_bytes for name in names}
        time.sleep(3)
        got = [world.faces[name].metrics.received_bytes - start[name] for name in names]
        stop.set()
        for thread in threads:
            thread.join(10)
        jain = sum(got) ** 2 / (len(got) * sum(count**2 for count in got))
        assert jain >= 0.9, got
        assert sum(got) > 8 << 20
