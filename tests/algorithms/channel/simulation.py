"""Two parties and a bad world, all in one thread: clock, network and disk are played.

A party has a driver that computes: it takes messages in order, mixes each into a digest, answers some,
and checkpoints digest and watermarks now and then. Whatever happens, its digest must in the end be that
of an undisturbed run: a lost, doubled or reordered effect changes it, and nothing changes it back.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from hecore.algorithms.channel.link import Link
from hecore.algorithms.channel.mailbox import Mailbox, Watermark, prepare
from hecore.algorithms.channel.packet import AnyPacket, Buffer, Data, dump_header, load_header
from hecore.algorithms.channel.ports import LinkOptions
from hecore.algorithms.channel.segments import Base, Log, Recent
from hecore.algorithms.channel.store import in_streams, out_streams

OPTIONS = LinkOptions(heartbeat=1.0, silence=3.0, dead=20.0, grace=1e9, retry=2.0, retry_most=8.0, inbox=4000)


WEIGHTS = {
    "drive": 20, "write": 20, "deliver": 40, "work": 3, "pass_time": 6, "checkpoint": 3,
    "lose": 5, "double": 3, "cut": 1, "kill": 1, "tear": 1, "restart": 4,
}  # fmt: skip


class PlayedFile:
    """Bytes with a durable part; a crash keeps the rest only as far as chance wants."""

    def __init__(self) -> None:
        self.data, self.durable = bytearray(), 0

    @property
    def size(self) -> int:
        return len(self.data)

    def append(self, pieces: Sequence[Buffer]) -> None:
        for piece in pieces:
            self.data += piece

    def sync(self) -> None:
        self.durable = len(self.data)

    def read(self, offset: int, length: int) -> bytes:
        return bytes(self.data[offset : offset + length])

    def truncate(self, size: int) -> None:
        del self.data[size:]
        self.durable = size

    def close(self) -> None:
        pass

    def crash(self, rng: random.Random) -> None:
        """What was not synced is lost from somewhere on, and what is left of it may be garbage."""
        keep = rng.randint(self.durable, len(self.data))
        del self.data[keep:]
        if keep > self.durable and rng.random() < 0.5:
            self.data[rng.randrange(self.durable, keep)] ^= 1 << rng.randrange(8)


@dataclass
class PlayedDisk:
    files: dict[Path, PlayedFile] = field(default_factory=dict)

    def open(self, path: Path) -> PlayedFile:
        return self.files.setdefault(path, PlayedFile())

    def names(self, folder: Path) -> list[str]:
        return sorted(path.name for path in self.files if path.parent == folder)

    def remove(self, path: Path) -> None:
        self.files.pop(path, None)


@dataclass
class PlayedIndex:
    """Survives every crash: SQLite's promise is not what is tested here."""

    salt: int = 4711
    first: int = 0
    known: dict[int, Base] = field(default_factory=dict)
    rows: dict[int, tuple[int, bytes]] = field(default_factory=dict)

    def sealed(self) -> dict[int, tuple[int, bytes]]:
        return dict(self.rows)

    def seal(self, number: int, size: int, places: bytes) -> None:
        self.rows[number] = (size, places)

    def bases(self) -> tuple[int, dict[int, Base]]:
        return self.first, dict(self.known)

    def forget(self, first: int, bases: dict[int, Base]) -> None:
        self.first, self.known = first, dict(bases)
        self.rows = {number: row for number, row in self.rows.items() if number >= first}


@dataclass
class Checkpoint:
    history: list[bytes] = field(default_factory=lambda: [b""])  # the digest after 0, 1, … messages
    made: int = 0
    taken: int = 0
    marks: list[Watermark] = field(default_factory=list)


class Party:
    """One party over all its lives: what is on its disk, and the process that runs now."""

    def __init__(self, name: str, peer: str, rng: random.Random, messages: int) -> None:
        self.name, self.peer, self.rng, self.messages = name, peer, rng, messages
        self.disk = PlayedDisk()
        self.indices = PlayedIndex(), PlayedIndex()
        self.epoch, self.peer_epoch = 0, 0
        self.saved = [Checkpoint()]
        self.alive = False

    # --- the process ----------------------------------------------------------------------------

    def start(self, now: float) -> None:
        self.alive = True
        self.epoch += 1
        out, into = (
            Log(Path(way), self.disk, index, Recent(1 << 12), segment_bytes=6000)
            for way, index in zip(("out", "in"), self.indices, strict=True)
        )
        link = Link(
            self.name,
            self.peer,
            "job",
            epoch=self.epoch,
            process=self.rng.randbytes(16),
            now=now,
            options=OPTIONS,
            window=3000,
            outgoing=out_streams(out),
            incoming=in_streams(into),
            peer_epoch=self.peer_epoch,
        )
        self.box = Mailbox(link, out, into)
        latest = self.saved[-1]
        self.history, self.made, self.taken = list(latest.history), latest.made, latest.taken
        self.box.resume(latest.marks)
        link.connected(now)

    def crash(self) -> None:
        self.alive = False
        for file in self.disk.files.values():
            file.crash(self.rng)

    # --- its driver -----------------------------------------------------------------------------

    def send(self) -> None:
        """Message n follows from the first n − 3 that were taken; its payload is left to chance."""
        if self.made == min(self.messages, self.taken + 4):
            return
        say = hashlib.sha256(self.history[max(0, self.made - 3)] + self.made.to_bytes(8, "little")).digest()
        noise = self.rng.randbytes(self.rng.choice([0, 9, 2500]))
        frames = [b"h", b"say" + self.made.to_bytes(4, "little"), say, noise]
        if self.box.replays(0, self.made):
            self.box.repeat(0, self.made, frames)
        else:
            self.box.submit(0, prepare(frames, 1000))
        self.made += 1

    def take(self, now: float) -> None:
        """Mix the next message into the digest."""
        arrived = self.box.take(now, 0)
        if arrived is None:
            return
        frames = self.box.load(arrived)
        assert arrived.sequence == self.taken
        assert frames[1] == b"say" + self.taken.to_bytes(4, "little")
        self.history.append(hashlib.sha256(self.history[-1] + frames[2]).digest())
        self.taken += 1

    def checkpoint(self) -> None:
        if not self.box.link.outflow.durable:
            return
        self.saved = [
            *self.saved[-2:],
            Checkpoint(list(self.history), self.made, self.taken, self.box.watermarks()),
        ]
        if len(self.saved) == 3:
            self.box.retain(self.saved[0].marks)

    @property
    def digest(self) -> bytes:
        return self.history[-1]

    @property
    def done(self) -> bool:
        return self.alive and self.taken == self.made == self.messages


class World:
    """The two parties, the packets between them, and time."""

    def __init__(self, seed: int, messages: int = 40) -> None:
        self.rng = random.Random(seed)
        self.now = 0.0
        self.parties = {
            name: Party(name, peer, random.Random(f"{seed} {name}"), messages)
            for name, peer in (("a", "b"), ("b", "a"))
        }
        self.flying: list[tuple[str, bytes, bytes]] = []  # to whom, header, data
        for party in self.parties.values():
            party.start(self.now)
        self.collect()

    # --- what can happen ------------------------------------------------------------------------

    def deliver(self, place: int = 0) -> None:
        """One packet arrives; packets behind it in the queue may have to wait longer."""
        if self.flying:
            self.hand_over(*self.flying.pop(place % len(self.flying)))

    def double(self) -> None:
        if self.flying:
            self.flying.insert(self.rng.randrange(len(self.flying)), self.rng.choice(self.flying))

    def lose(self) -> None:
        if self.flying:
            self.flying.pop(self.rng.randrange(len(self.flying)))

    def cut(self) -> None:
        """The connection breaks, and a new one is made."""
        self.flying.clear()
        for party in self.living():
            party.box.link.connected(self.now)
        self.collect()

    def write(self, name: str, torn: bool = False) -> None:
        """A party's writer writes some of what is queued; `torn`: and dies before the sync."""
        party = self.parties[name]
        if not party.alive:
            return
        queue = party.box.link.outputs.appends
        count = len(queue) if self.rng.random() < 0.5 else self.rng.randint(0, len(queue))
        appends = queue[:count]
        del queue[:count]
        for out, log in ((True, party.box.out), (False, party.box.into)):
            items = [(append.block, append.data) for append in appends if append.out == out]
            if not items:
                continue
            log.append(items)
            if torn:
                continue
            log.sync()
            party.box.link.stored(self.now, out, 0, items[-1][0].block + 1)
        if torn:
            party.crash()
        self.collect()

    def kill(self, name: str) -> None:
        if self.parties[name].alive:
            self.parties[name].crash()

    def restart(self, name: str) -> None:
        if not self.parties[name].alive:
            self.parties[name].start(self.now)
            self.collect()

    def drive(self, name: str) -> None:
        party = self.parties[name]
        if party.alive:
            party.send()
            party.take(self.now)
            self.collect()

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        for party in self.living():
            party.box.link.tick(self.now)
            party.box.trim()
        self.collect()

    def work(self, rounds: int) -> None:
        """Things as they should be, for a while."""
        for _ in range(rounds):
            for name in self.parties:
                self.drive(name)
                self.write(name)
            for _ in range(min(8, len(self.flying))):
                self.deliver()
            self.pass_time(0.05)

    def walk(self, steps: int) -> None:
        """What happens is left to chance, as often as it would be on a very bad day."""
        names = list(self.parties)
        for what in self.rng.choices(list(WEIGHTS), list(WEIGHTS.values()), k=steps):
            name = self.rng.choice(names)
            if what in ("drive", "write", "kill", "restart"):
                getattr(self, what)(name)
            elif what == "tear":
                self.write(name, torn=True)
            elif what == "checkpoint":
                self.checkpoint(name)
            elif what == "pass_time":
                self.pass_time(self.rng.choice([0.1, 0.5, 2.5]))
            elif what == "deliver":
                self.deliver(0 if self.rng.random() < 0.8 else self.rng.randrange(5))
            elif what == "work":
                self.work(self.rng.randrange(6))
            else:
                getattr(self, what)()

    def checkpoint(self, name: str) -> None:
        if self.parties[name].alive:
            self.parties[name].checkpoint()

    # --- how it goes on -------------------------------------------------------------------------

    def living(self) -> list[Party]:
        return [party for party in self.parties.values() if party.alive]

    def collect(self) -> None:
        """Put what the links want to send on the wire, as bytes."""
        for party in self.living():
            outputs = party.box.link.outputs
            sends, outputs.sends = outputs.sends, []
            for packet in sends:
                data = b"".join(party.box.out.read(0, packet.block)) if isinstance(packet, Data) else b""
                self.flying.append((party.peer, dump_header(packet), data))
            outputs.notices.clear()

    def hand_over(self, name: str, header: bytes, data: bytes) -> None:
        party = self.parties[name]
        if not party.alive:
            return
        packet: AnyPacket = load_header(header)
        party.box.link.packet(self.now, packet, [data] if data else [])
        party.peer_epoch = max(party.peer_epoch, party.box.link.peer_epoch)
        self.collect()

    def finish(self) -> None:
        """From now on nothing bad happens: everything must come to its end."""
        for name in self.parties:
            self.restart(name)
        for _ in range(3000):
            for name, party in self.parties.items():
                self.drive(name)
                self.write(name)
                if self.rng.random() < 0.1:
                    party.checkpoint()
            for _ in range(len(self.flying)):
                self.deliver()
            self.pass_time(0.25)
            if all(party.done for party in self.parties.values()):
                return
        states = {
            name: (party.made, party.taken, vars(party.box.link)) for name, party in self.parties.items()
        }
        raise AssertionError(f"the parties do not come to an end: {states}")


@cache
def undisturbed(messages: int = 40) -> dict[str, bytes]:
    """The digests of a run in which nothing happens."""
    world = World(0, messages)
    world.finish()
    return {name: party.digest for name, party in world.parties.items()}
