"""One party's side of the exchange of masked ids with one other.

Both send their masked ids chunk by chunk and in step; what a party masks next is computed while it waits:

    chunk k     A → P  α·H(a)        P → A  β·H(p)
                P → A  β·α·H(a)      A computes α·β·H(p)
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from hecore.algorithms.channel import Channel
from hecore.algorithms.data.ids import Ids, Places
from hecore.algorithms.draws import Draws
from hecore.algorithms.errors import AlignmentError, HandshakeError, ProtocolError
from hecore.algorithms.party import ACTIVE, compare_settings
from hecore.algorithms.psi import messages as msg
from hecore.algorithms.psi import steps
from hecore.algorithms.psi.group import SCALAR_BYTES, Rows, check_points
from hecore.algorithms.psi.tags import EMPTY, Tags
from hecore.algorithms.rows_done import RowsDone


@dataclass(frozen=True, kw_only=True)
class Progress(RowsDone):
    """Where the exchange with `peer` stands; rows of both sides count."""

    peer: str


@dataclass(frozen=True)
class Own:
    """What this party brings, alike to every other."""

    ids: Ids
    role: str
    config: msg.PsiConfig
    repeated: int
    empty: int
    fingerprint: str

    @classmethod
    def of(cls, ids: Ids, role: str, config: msg.PsiConfig) -> Own:
        """Count what is wrong with the ids; it is judged at the meeting, on both sides."""
        repeated, empty = int(ids.repeated().size), int(ids.empty().size)
        return cls(ids, role, config, repeated, empty, ids.fingerprint().hex())

    @property
    def configuration(self) -> str:
        """The settings as they are compared."""
        return msgspec.json.encode(self.config, order="sorted").decode()

    def binding(self) -> dict[str, str]:
        """What must be the same when this party starts again; with others it draws other secrets."""
        configuration = hashlib.sha256(self.configuration.encode()).hexdigest()
        return {"role": self.role, "configuration": configuration, "row ids": self.fingerprint}


class Standing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How far an exchange has come, for a checkpoint: ids of the peer, chunks done, SHA-256 of both tags."""

    ids: msg.Count
    chunks: msg.Count = 0
    own: str = EMPTY
    peers: str = EMPTY


class Exchange:
    """See the module.

    draws       where this party's scalar and the order of its ids come from
    keep        is called after every chunk, and may ask for `standing`
    files       gives the place of a file that keeps tags, or None: they are in memory
    standing    to go on from, None for the first start
    """

    def __init__(
        self,
        channel: Channel,
        own: Own,
        draws: Draws,
        *,
        keep: Callable[[], None],
        files: Callable[[str], Path | None],
        on_progress: Callable[[Progress], None] | None = None,
        standing: Standing | None = None,
    ) -> None:
        self.channel, self._own, self._ids, self._config = channel, own, own.ids, own.config
        self._keep, self._on_progress = keep, on_progress
        self.met = standing is not None
        at = standing or Standing(ids=0)
        self.theirs, self.chunks = at.ids, at.chunks
        self._resumed = self._rows_of(at.chunks)
        self._pending: list[Future[Rows]] = []  # the peer's last chunks, whose tags are being computed
        self._tags: list[Tags] = []  # at the active party: of its own ids, of the peer's
        if own.role == ACTIVE:
            self._tags.append(Tags(files("own.tags"), self._upto(at.chunks, len(self._ids)), at.own))
            self._tags.append(Tags(files("peers.tags"), self._upto(at.chunks, at.ids), at.peers))
        seed = draws(f"psi order {channel.peer}")(steps.SEED_BYTES)
        self.order: Places = steps.shuffled(len(self._ids), seed)
        self._scalar = draws(f"psi scalar {channel.peer}")(SCALAR_BYTES)
        self._masked = steps.MaskedList(self._ids, self._scalar, self.order, self._config.chunk_rows)

    def meet(self) -> None:
        """Exchange Hellos; both sides compare the same things, and name both where they do not fit."""
        if self.met:
            return
        mine = msg.PsiHello(
            role=self._own.role,
            configuration=self._own.configuration,
            ids=len(self._ids),
            repeated=self._own.repeated,
            empty=self._own.empty,
        )
        self.channel.send(mine)
        theirs = self.channel.receive(msg.PsiHello)
        try:
            _compare(self.channel.me, mine, self.channel.peer, theirs)
        except (HandshakeError, AlignmentError):
            self.channel.close()  # the peer finds the same; to tell it, one would wait for it if it has gone
            raise
        self.theirs, self.met = theirs.ids, True

    def run(self) -> None:
        """All chunks that are still to do."""
        self._started = time.monotonic()
        step = self._active_step if self._own.role == ACTIVE else self._passive_step
        with self._computing() as pool:
            for chunk, ahead in self._chunks_with_masks(pool):
                if ahead is not None:
                    self.channel.send(msg.MaskedIds(chunk=chunk, payload=(ahead.result().tobytes(),)))
                step(chunk, pool)
                self.chunks = chunk + 1
                self._keep()
                self._tell()
            self._settle()
            self._tell()

    def standing(self) -> Standing:
        """How far this side is; what it holds of that is durable when this returns."""
        if self._own.role != ACTIVE:
            return Standing(ids=self.theirs, chunks=self.chunks)
        self._settle()
        for tags in self._tags:
            tags.sync()
        own, peers = (tags.digest for tags in self._tags)
        return Standing(ids=self.theirs, chunks=self.chunks, own=own, peers=peers)

    def places(self) -> Places:
        """At the active party: for each of its ids the place in the list that the peer sent, or −1."""
        own, theirs = steps.match(*(tags.rows() for tags in self._tags))
        return steps.placed(len(self._ids), self.order[own], theirs)

    def close(self) -> None:
        """Let go of files."""
        for tags in self._tags:
            tags.close()

    def forget(self) -> None:
        """The outcome is kept elsewhere: remove what this side held for it."""
        for tags in self._tags:
            tags.remove()

    # --- pieces -------------------------------------------------------------------------------------

    def _active_step(self, chunk: int, pool: ThreadPoolExecutor) -> None:
        points = self._receive_masked(chunk)
        if points is not None:
            self._pending.append(pool.submit(steps.tags, self._scalar, points))
        if count := self._count(chunk, len(self._ids)):
            reply = self.channel.receive(msg.Returned)
            self._expect(reply.chunk, chunk)
            self._tags[0].append(steps.read_tags(reply.payload[0], count))
        self._settle(0 if points is None else 1)  # one chunk of the peer's may be under way

    def _passive_step(self, chunk: int, pool: ThreadPoolExecutor) -> None:
        points = self._receive_masked(chunk)
        if points is not None:
            returned = steps.tags(self._scalar, points).tobytes()
            self.channel.send(msg.Returned(chunk=chunk, payload=(returned,)))

    @contextmanager
    def _computing(self) -> Iterator[ThreadPoolExecutor]:
        """One thread that hands work to the group's threads while this one waits for the peer."""
        pool = ThreadPoolExecutor(1, "hecore-psi-ahead")
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)

    def _chunks_with_masks(self, pool: ThreadPoolExecutor) -> Iterator[tuple[int, Future[Rows] | None]]:
        """Every chunk that is still to do, and its masked ids: they are computed one chunk ahead."""

        def start(chunk: int) -> Future[Rows] | None:
            return pool.submit(self._masked.chunk, chunk) if self._count(chunk, len(self._ids)) else None

        current = start(self.chunks)
        for chunk in range(self.chunks, self._chunks(max(len(self._ids), self.theirs))):
            if current is not None:
                current.result()
            ahead = start(chunk + 1)
            yield chunk, current
            current = ahead

    def _receive_masked(self, chunk: int) -> Rows | None:
        count = self._count(chunk, self.theirs)
        if not count:
            return None
        message = self.channel.receive(msg.MaskedIds)
        self._expect(message.chunk, chunk)
        return check_points(message.payload[0], count)

    def _expect(self, got: int, chunk: int) -> None:
        if got != chunk:
            raise ProtocolError(f"{self.channel.peer} sent chunk {got} instead of {chunk}")

    def _settle(self, under_way: int = 0) -> None:
        """Take in the peer's tags, but for the last ones that are still being computed."""
        while len(self._pending) > under_way:
            self._tags[1].append(self._pending.pop(0).result())

    def _chunks(self, rows: int) -> int:
        return -(-rows // self._config.chunk_rows)

    def _count(self, chunk: int, rows: int) -> int:
        """Rows of a chunk; 0 behind the last one."""
        return min(max(rows - chunk * self._config.chunk_rows, 0), self._config.chunk_rows)

    def _upto(self, chunks: int, rows: int) -> int:
        """Rows of the first chunks."""
        return min(chunks * self._config.chunk_rows, rows)

    def _rows_of(self, chunks: int) -> int:
        return self._upto(chunks, len(self._ids)) + self._upto(chunks, self.theirs)

    def _tell(self) -> None:
        if self._on_progress is not None:
            done, total = self._rows_of(self.chunks - len(self._pending)), len(self._ids) + self.theirs
            seconds = time.monotonic() - self._started
            self._on_progress(
                Progress(
                    peer=self.channel.peer, done=done, total=total, resumed=self._resumed, seconds=seconds
                )
            )


def _compare(me: str, mine: msg.PsiHello, peer: str, theirs: msg.PsiHello) -> None:
    if mine.role == theirs.role:
        raise HandshakeError(f"{me} and {peer} are both {mine.role}: exactly one party is the active one")
    compare_settings(me, mine.configuration, peer, theirs.configuration)
    for party, hello in sorted([(me, mine), (peer, theirs)]):
        steps.check_ids(party, hello.ids, hello.repeated, hello.empty)
