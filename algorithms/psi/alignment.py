"""The drivers of private set intersection: one for the active party, one for a passive one.

Both send their masked ids chunk by chunk and in step; what a party masks next is computed while it waits:

    chunk k     A → P  α·H(a)        P → A  β·H(p)
                P → A  β·α·H(a)      A computes α·β·H(p)
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from hecore.algorithms.channel import Channel
from hecore.algorithms.data.ids import Ids, Places
from hecore.algorithms.errors import AlignmentError, ConfigurationError, HandshakeError, ProtocolError
from hecore.algorithms.party import ACTIVE, PASSIVE, compare_settings
from hecore.algorithms.psi import messages as msg
from hecore.algorithms.psi import steps
from hecore.algorithms.psi.group import Rows, check_points
from hecore.algorithms.psi.state import ExchangeState
from hecore.randomness import random_bytes


@dataclass(frozen=True)
class Progress:
    """Where the exchange with `peer` stands; rows of both sides count. `resumed`: from an earlier run."""

    peer: str
    done: int
    total: int
    resumed: int
    seconds: float

    @property
    def rate(self) -> float:
        """Rows a second in this run."""
        return (self.done - self.resumed) / max(self.seconds, 1e-9)

    @property
    def remaining(self) -> float:
        """Seconds still to go at this rate; infinite before the first chunk."""
        return (self.total - self.done) / self.rate if self.rate else float("inf")


@dataclass(frozen=True)
class Alignment:
    """The outcome at one party.

    rows     places of the common ids in this party's list, in the order of all parties (sorted by id);
             None where they were not revealed to it
    common   how many there are
    """

    rows: Places | None
    common: int


OnProgress = Callable[[Progress], None]


def align(
    channels: Channel | Sequence[Channel],
    ids: Ids,
    role: str,
    config: msg.PsiConfig | None = None,
    *,
    state: Path | None = None,
    on_progress: OnProgress | None = None,
) -> Alignment:
    """Find the ids that all parties have. Every party calls it, in any order.

    channels     of the active party: one to each passive party; of a passive one: to the active party
    state        folder that keeps the exchange: a run that broke off goes on from there when every party
                 starts again with its folder, the same ids and the same settings

    Raises AlignmentError naming party and count for repeated or empty ids and for a too small intersection,
    on all sides; HandshakeError where settings or roles do not fit; ProtocolError for values that no honest
    party sends.
    """
    several = list(channels) if isinstance(channels, Sequence) else [channels]
    settings = config or msg.PsiConfig()
    if role not in (ACTIVE, PASSIVE):
        raise ConfigurationError(f"role = {role!r} is neither {ACTIVE!r} nor {PASSIVE!r}")
    if not several or (role == PASSIVE and len(several) != 1):
        raise ConfigurationError(f"the {role} party has {len(several)} channels")
    own = _Own(ids, role, settings, int(ids.repeated().size), int(ids.empty().size))
    pairs = [_Pair(channel, own, state, on_progress) for channel in several]
    with _talking(pairs):
        if role == ACTIVE:
            return _align_active(pairs, ids, settings)
        return _align_passive(pairs[0], ids, settings)


def _align_active(pairs: list[_Pair], ids: Ids, config: msg.PsiConfig) -> Alignment:
    for pair in pairs:  # all of them first: what does not fit is found before anything is computed
        pair.meet()
    inside = np.ones(len(ids), bool)
    places = []
    for pair in pairs:
        pair.run_active()
        own, theirs = steps.match(pair.state.own, pair.state.peers)
        place = np.full(len(ids), -1)
        place[pair.masked.order[own]] = theirs
        inside &= place >= 0
        places.append(place)
    common = int(inside.sum())
    enough = common >= config.min_intersection
    rows = steps.aligned_rows(ids, np.flatnonzero(inside))
    for pair, place in zip(pairs, places, strict=True):
        chosen = np.zeros(pair.theirs.ids, bool)
        chosen[place[inside]] = True
        bits = (steps.pack_rows(chosen),) if enough and config.reveal == "both" else ()
        pair.channel.send(msg.Outcome(common=common, parties=len(pairs) + 1, payload=bits))
    _check_common([(pair.channel.me, len(ids)) for pair in pairs[:1]], pairs, common, config)
    if config.reveal == "both":
        alignment = ids.take(rows).fingerprint().hex()
        for pair in pairs:
            if pair.channel.receive(msg.Aligned).alignment != alignment:
                raise ProtocolError(f"{pair.channel.peer} aligned its rows to other ids")
    for pair in pairs:
        pair.state.drop()
    return Alignment(rows, common)


def _align_passive(pair: _Pair, ids: Ids, config: msg.PsiConfig) -> Alignment:
    pair.meet()
    pair.run_passive()
    outcome = pair.channel.receive(msg.Outcome)
    rest = f" and {outcome.parties - 2} more" if outcome.parties > 2 else ""
    _check_common([(pair.channel.me, len(ids))], [pair], outcome.common, config, rest)
    if config.reveal == "active":
        pair.state.drop()
        return Alignment(None, outcome.common)
    if len(outcome.payload) != 1:
        raise ProtocolError(f"{pair.channel.peer} sent {len(outcome.payload)} frames of rows instead of one")
    chosen = steps.unpack_rows(outcome.payload[0], len(ids))
    if int(chosen.sum()) != outcome.common:
        raise ProtocolError(f"{pair.channel.peer} marks {chosen.sum()} rows but counts {outcome.common}")
    rows = steps.aligned_rows(ids, pair.masked.order[chosen])
    pair.channel.send(msg.Aligned(alignment=ids.take(rows).fingerprint().hex()))
    pair.state.drop()
    return Alignment(rows, outcome.common)


def _check_common(
    own: list[tuple[str, int]], pairs: list[_Pair], common: int, config: msg.PsiConfig, rest: str = ""
) -> None:
    if common >= config.min_intersection:
        return
    for pair in pairs:
        pair.state.drop()
        pair.channel.close()  # all parties have the count, and end alike
    parties = [*own, *((pair.channel.peer, pair.theirs.ids) for pair in pairs)]
    named = ", ".join(f"{name} ({count} ids)" for name, count in sorted(parties))
    wanted = config.min_intersection
    least = "" if wanted == 1 else f", fewer than min_intersection = {wanted}"
    number = "no id" if common == 0 else f"{common} {'id' if common == 1 else 'ids'}"
    raise AlignmentError(f"{named}{rest} have {number} in common{least}")


@dataclass(frozen=True)
class _Own:
    """What this party brings, alike to every other."""

    ids: Ids
    role: str
    config: msg.PsiConfig
    repeated: int
    empty: int

    @property
    def configuration(self) -> str:
        return msgspec.json.encode(self.config, order="sorted").decode()

    def purpose(self, me: str, peer: str) -> str:
        """SHA-256 of all that the secrets of an exchange may be used for again."""
        names = msgspec.json.encode([self.role, me, peer, self.configuration])
        return hashlib.sha256(names + self.ids.fingerprint()).hexdigest()


class _Pair:
    """One party's side of the exchange with one other."""

    def __init__(
        self, channel: Channel, own: _Own, folder: Path | None, on_progress: OnProgress | None
    ) -> None:
        if folder is not None and Path(channel.peer).name != channel.peer:
            raise ConfigurationError(f"{channel.peer!r} cannot be the name of a folder that keeps its state")
        self.channel, self._own, self._ids, self._config = channel, own, own.ids, own.config
        self._on_progress = on_progress
        self._folder = None if folder is None else folder / channel.peer
        self.state = ExchangeState(None, "")
        self.masked: steps.MaskedList
        self.theirs: msg.PsiHello

    def meet(self) -> None:
        """Exchange Hellos; both sides compare the same things, and name both where they do not fit."""
        me, peer = self.channel.me, self.channel.peer
        purpose = "" if self._folder is None else self._own.purpose(me, peer)
        self.state = ExchangeState(self._folder, purpose)
        mine = msg.PsiHello(
            role=self._own.role,
            configuration=self._own.configuration,
            ids=len(self._ids),
            repeated=self._own.repeated,
            empty=self._own.empty,
            nonce=random_bytes(16).hex(),
            session=self.state.session,
            done=self.state.done,
        )
        self.channel.send(mine)
        self.theirs = theirs = self.channel.receive(msg.PsiHello)
        try:
            _compare(me, mine, peer, theirs)
        except (HandshakeError, AlignmentError):
            self.channel.close()  # the peer finds the same; to tell it, one would wait for it if it has gone
            raise
        self._begin(mine, theirs)

    def _begin(self, mine: msg.PsiHello, theirs: msg.PsiHello) -> None:
        active = mine if self._own.role == ACTIVE else theirs
        if mine.session and mine.session == theirs.session:
            session, done = mine.session, min(active.done, self._chunks(max(mine.ids, theirs.ids)))
        else:
            nonces = "".join(sorted([mine.nonce, theirs.nonce]))
            session, done = hashlib.sha256(b"hecore psi session" + nonces.encode()).hexdigest()[:32], 0
        kept = (mine.ids, theirs.ids) if self._own.role == ACTIVE else (0, 0)
        self.state.begin(session, done, *kept)
        order = steps.shuffled(len(self._ids), self.state.seed)
        self.masked = steps.MaskedList(self._ids, self.state.scalar, order, self._config.chunk_rows)
        self._started, self._resumed = time.monotonic(), self._rows_of(done)

    def run_active(self) -> None:
        """All chunks: own ids out and back, the peer's in; both sides' tags fill the state."""
        with self._computing() as pool:
            pending: list[tuple[int, Future[Rows]]] = []
            for chunk, ahead in self._chunks_with_masks(pool):
                self._send_masked(chunk, ahead)
                if theirs := self._receive_masked(chunk):
                    points = check_points(theirs.payload[0], self._count(chunk, self.theirs.ids))
                    pending.append((chunk, pool.submit(steps.tags, self.masked.scalar, points)))
                if count := self._count(chunk, len(self._ids)):
                    reply = self.channel.receive(msg.Returned)
                    self._expect(reply.chunk, chunk)
                    self._fill(self.state.own, chunk, steps.read_tags(reply.payload[0], count))
                while len(pending) > 1:  # one chunk of the peer's may be under way
                    self._take(*pending.pop(0))
                self._finish(pending[0][0] if pending else chunk + 1)
            for number, tags in pending:
                self._take(number, tags)
            self._finish(self._total_chunks)

    def run_passive(self) -> None:
        """All chunks: own ids out, the active party's in and back."""
        with self._computing() as pool:
            for chunk, ahead in self._chunks_with_masks(pool):
                self._send_masked(chunk, ahead)
                if theirs := self._receive_masked(chunk):
                    points = check_points(theirs.payload[0], self._count(chunk, self.theirs.ids))
                    returned = steps.tags(self.masked.scalar, points).tobytes()
                    self.channel.send(msg.Returned(chunk=chunk, payload=(returned,)))
                self._finish(chunk + 1)

    # --- pieces -------------------------------------------------------------------------------------

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
            return pool.submit(self.masked.chunk, chunk) if self._count(chunk, len(self._ids)) else None

        first = self.state.done
        current = start(first)
        for chunk in range(first, self._total_chunks):
            if current is not None:
                current.result()
            ahead = start(chunk + 1)
            yield chunk, current
            current = ahead

    def _send_masked(self, chunk: int, ahead: Future[Rows] | None) -> None:
        if ahead is not None:
            self.channel.send(msg.MaskedIds(chunk=chunk, payload=(ahead.result().tobytes(),)))

    def _receive_masked(self, chunk: int) -> msg.MaskedIds | None:
        if not self._count(chunk, self.theirs.ids):
            return None
        message = self.channel.receive(msg.MaskedIds)
        self._expect(message.chunk, chunk)
        return message

    def _expect(self, got: int, chunk: int) -> None:
        if got != chunk:
            raise ProtocolError(f"{self.channel.peer} sent chunk {got} instead of {chunk}")

    def _take(self, chunk: int, tags: Future[Rows]) -> None:
        self._fill(self.state.peers, chunk, tags.result())

    def _fill(self, kept: Rows, chunk: int, tags: Rows) -> None:
        start = chunk * self._config.chunk_rows
        kept[start : start + len(tags)] = tags

    def _chunks(self, rows: int) -> int:
        return -(-rows // self._config.chunk_rows)

    def _count(self, chunk: int, rows: int) -> int:
        """Rows of a chunk; 0 behind the last one."""
        return min(max(rows - chunk * self._config.chunk_rows, 0), self._config.chunk_rows)

    @property
    def _total_chunks(self) -> int:
        return self._chunks(max(len(self._ids), self.theirs.ids))

    def _rows_of(self, chunks: int) -> int:
        rows = chunks * self._config.chunk_rows
        return min(rows, len(self._ids)) + min(rows, self.theirs.ids)

    def _finish(self, chunks: int) -> None:
        self.state.finished(chunks)
        if self._on_progress is not None:
            done, total = self._rows_of(chunks), len(self._ids) + self.theirs.ids
            seconds = time.monotonic() - self._started
            self._on_progress(Progress(self.channel.peer, done, total, self._resumed, seconds))


def _compare(me: str, mine: msg.PsiHello, peer: str, theirs: msg.PsiHello) -> None:
    if mine.role == theirs.role:
        raise HandshakeError(f"{me} and {peer} are both {mine.role}: exactly one party is the active one")
    compare_settings(me, mine.configuration, peer, theirs.configuration)
    for party, hello in sorted([(me, mine), (peer, theirs)]):
        steps.check_ids(party, hello.ids, hello.repeated, hello.empty)


@contextmanager
def _talking(pairs: list[_Pair]) -> Iterator[None]:
    """Keep the state of a run that breaks off; tell every peer what kind of error it was, never an id.

    A text that concerns the talk with one party goes to that party alone.
    """
    try:
        yield
    except BaseException as error:
        for pair in pairs:
            pair.state.keep()
        told = isinstance(error, HandshakeError | ConfigurationError | ProtocolError) and len(pairs) == 1
        for pair in pairs:
            pair.channel.abort(str(error) if told else type(error).__name__)
        raise
