"""One party's half of the talk with one peer: a state machine without socket, clock or file.

    inputs     connected, disconnected, packet, submit, stored, take, farewell, tick
    outputs    `sends` (packets), `appends` (blocks to make durable), `notices` (lines for the log),
               `reconnect` (this connection is dead), `end` (why nothing comes any more)

What makes every message arrive exactly once, whatever is lost, doubled, or killed:

1. A block is sent after it is durable here, and kept until its acknowledgement.
2. The receiver accepts the next block only, and acknowledges it after it is durable there.
3. Both count blocks per stream from its start, so a Greeting says where to go on, after any restart.
4. Epochs grow with every start of a process: packets of an older one are refused.

Flow: the sender has at most `window` bytes under way, which the receiver sets; a stream that nobody
takes from is closed until someone does. Time-outs run on progress: as long as acknowledgements move,
nothing is sent again, however slow the line.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from hecore.algorithms.channel.meeting import disagreement
from hecore.algorithms.channel.packet import (
    CHUNK,
    MAX_STREAMS,
    MAX_TEXT,
    AnyPacket,
    Buffer,
    Data,
    Farewell,
    Greeting,
    Kept,
    Refusal,
    Standing,
    State,
)
from hecore.algorithms.channel.ports import Append, Chunk, LinkOptions, Metrics, Outputs
from hecore.algorithms.channel.streams import Arrived, Block, InStream, OutStream
from hecore.algorithms.errors import (
    ChannelError,
    Fenced,
    HandshakeError,
    MalformedMessage,
    PeerAborted,
    PeerLost,
)

#: Blocks under way at once, however small.
MAX_FLYING = 1024
UNKNOWN = bytes(16)


class Link:
    """See the module. `now` is monotonic time in seconds, the same clock in every call."""

    def __init__(
        self,
        me: str,
        peer: str,
        job: str,
        *,
        epoch: int,
        process: bytes,
        now: float,
        options: LinkOptions | None = None,
        window: int = 32 << 20,
        outgoing: Iterable[OutStream] = (),
        incoming: Iterable[InStream] = (),
        peer_epoch: int = 0,
    ) -> None:
        self.me, self.peer, self.job = me, peer, job
        self.epoch, self.process, self.peer_epoch = epoch, process, peer_epoch
        self.options = options or LinkOptions()
        self.window = window
        self.out = {stream.stream: stream for stream in outgoing}
        self.into = {stream.stream: stream for stream in incoming}
        self.outputs = Outputs()
        self.metrics = Metrics()
        self.end: ChannelError | None = None
        self.up = False  # greeted on this connection, both ways
        self.met = False  # greeted at least once
        self.silent = False  # and it was warned of
        self.farewell_heard = False
        self.left = False  # the peer has closed, and does not even acknowledge any more
        self.absent_since: float | None = now
        self.terms: dict[str, str] = {}
        self.peer_process = UNKNOWN
        self._peer_number = -1
        self._peer_window = 0
        self._number = 0
        self._left = False
        self._widest = window  # the peer may still act on a window that was made smaller since
        self._farewell: Farewell | None = None
        self._last_words: Farewell | None = None  # the peer's, until all before them has arrived
        self._heard = now
        self._greeted = self._beaten = -1e9
        self._progress = now
        self._retry = self.options.retry
        self._beat = 0
        self._echo = 0
        self._beats: dict[int, float] = {}
        self._state_due = False
        self._closed: set[int] = set()  # incoming streams that are closed

    # --- the carrier ----------------------------------------------------------------------------

    def connected(self, now: float) -> None:
        """There is a new connection: greet."""
        self._down(now)
        self._heard = now
        self._greet(now, answers=False)

    def disconnected(self, now: float) -> None:
        """The connection has gone."""
        self._down(now)

    def packet(self, now: float, packet: AnyPacket, pieces: Sequence[Buffer] = ()) -> bool:
        """A packet has come whose sender is authenticated as the peer, and whose data are checked.

        One that cannot be right is counted, noted and dropped. True if it is of the peer's process that
        this link goes on with: what is sent next goes where it came from.
        """
        if self.end is not None and not self._farewell:
            self._tell_end(packet)
            return False
        try:
            self._read(now, packet, pieces)
        except MalformedMessage as error:
            self.refuse(str(error))
        self._pump(now)
        return packet.process == self.peer_process

    @property
    def idle(self) -> bool:
        """The peer has acknowledged all that was submitted."""
        return not any(out.waiting for out in self.out.values())

    def refuse(self, why: str) -> None:
        """Count and note something that was dropped."""
        self.metrics.refused_packets += 1
        self.outputs.notices.append(f"dropped a packet from {self.peer}: {why[:MAX_TEXT]}")

    # --- the application ------------------------------------------------------------------------

    def submit(self, stream: int, chunks: Sequence[Chunk]) -> None:
        """Queue one message, cut by `cut_up`."""
        out = self.out.setdefault(stream, OutStream(stream))
        for number, chunk in enumerate(chunks):
            block = Block(stream, out.next, out.sequence, number, len(chunks), chunk.length, chunk.crc)
            out.add(block)
            self.outputs.appends.append(Append(True, block, chunk.pieces))
        self.metrics.sent_messages += 1
        self._count_queue()

    def stored(self, now: float, out: bool, stream: int, upto: int) -> None:
        """Blocks below `upto` are durable."""
        if out:
            self._store_out(self.out[stream], upto)
        else:
            into = self.into[stream]
            before = len(into.ready)
            into.store(upto)
            self.metrics.received_messages += len(into.ready) - before
            self._state_due = True
            self._judge(into)
            self._hear_last_words()
        self._pump(now)

    def take(self, now: float, stream: int) -> Arrived | None:
        """The next message of a stream, if one is ready."""
        into = self.into.get(stream)
        taken = into.take() if into is not None else None
        if into is not None and taken is not None and self._judge(into):
            self._state_due = True
            self._pump(now)
        return taken

    def agree(self, now: float, terms: Mapping[str, str]) -> None:
        """Set hashes that must be equal at both parties, and have them compared now and always."""
        self.terms = dict(terms)
        if self.up:
            self._greet(now, answers=False)

    def farewell(self, now: float, reason: str) -> None:
        """Give up: the peer hears why after all that was submitted before. Ends with `farewell_heard`."""
        after = tuple(Standing(out.stream, out.next) for out in self.out.values())
        self._farewell = Farewell(*self._from(), after, reason[:MAX_TEXT])
        if self.up:
            self.outputs.sends.append(self._farewell)

    @property
    def durable(self) -> bool:
        """All that was submitted is durable here."""
        return all(out.stored == out.next for out in self.out.values())

    @property
    def credit(self) -> int:
        """What the peer allows under way, in bytes."""
        return self._peer_window

    def ready(self, stream: int) -> bool:
        """A message of the stream waits to be taken."""
        into = self.into.get(stream)
        return into is not None and bool(into.ready)

    def leave(self) -> None:
        """Say that this side has closed and goes."""
        self._left = True
        if self.up:
            self._state()

    def fail(self, error: ChannelError) -> None:
        """End this link for a reason that concerns the peer, and tell it."""
        if self.end is None:
            self.end = error
            self.outputs.sends.append(self._refusal(error))

    # --- time -----------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Do what time asks for; call it at `deadline` at the latest."""
        if self.end is not None and not self._farewell:
            return
        if self.up:
            self._listen(now)
        if not self.up:
            if now - self._greeted >= self.options.heartbeat:
                self._greet(now, answers=False)
            away = now - (self.absent_since if self.absent_since is not None else now)
            if away >= self.options.silence and not self.silent:
                self.silent = True
                self.outputs.notices.append(f"{self.peer} is not connected; waiting for it")
            if self.met and away >= self.options.grace:
                self.end = PeerLost(f"{self.peer} has been away for {self.options.grace:g} s")
            return
        if now - self._beaten >= self.options.heartbeat:
            self._beat += 1
            self._beats[self._beat] = self._beaten = now
            self._beats.pop(self._beat - 8, None)
            self._state(beat=self._beat)
            if self._farewell:
                self.outputs.sends.append(self._farewell)
        if self._flying() and now - self._progress >= self._retry:
            self._progress, self._retry = now, min(2 * self._retry, self.options.retry_most)
            for out in self.out.values():
                out.go_back()
        self._pump(now)

    def deadline(self) -> float:
        """When `tick` is due."""
        if not self.up:
            return self._greeted + self.options.heartbeat
        due = self._beaten + self.options.heartbeat
        return min(due, self._progress + self._retry) if self._flying() else due

    # --- packets --------------------------------------------------------------------------------

    def _read(self, now: float, packet: AnyPacket, pieces: Sequence[Buffer]) -> None:
        if isinstance(packet, Refusal):
            self._refused(packet)
            return
        if packet.epoch < self.peer_epoch:
            self.metrics.refused_packets += 1
            self.outputs.sends.append(self._refusal(Fenced(self.peer, packet.epoch, self.peer_epoch), packet))
            return
        if isinstance(packet, Greeting):
            self._meet(now, packet)
            return
        if not self.up or packet.epoch != self.peer_epoch or packet.process != self.peer_process:
            if now - self._greeted >= self.options.heartbeat / 4:
                self._greet(now, answers=False)
            return
        self._hears(now)
        if isinstance(packet, Data):
            self._data(packet, pieces)
        elif isinstance(packet, State):
            self._hear(now, packet)
        else:
            self._last_words = packet
            self._hear_last_words()
            self._state_due = True

    def _meet(self, now: float, greeting: Greeting) -> None:
        """Compare who is there with who was, and go on from what each has."""
        same = greeting.process == self.peer_process
        if same and greeting.number <= self._peer_number:
            return
        if not same and greeting.epoch == self.peer_epoch and self.peer_process != UNKNOWN:
            error = HandshakeError(
                f"another process of {self.peer} has connected: it was restarted without what it had"
                " stored, or runs twice"
            )
            self.outputs.sends.append(self._refusal(error, greeting))
            self.refuse(str(error))
            return
        problem = disagreement(self, greeting)
        if problem is not None:
            self.fail(problem)
            return
        self.left = self.left and same
        self.peer_epoch, self.peer_process = greeting.epoch, greeting.process
        self._peer_number, self._peer_window = greeting.number, greeting.window
        self._hears(now)
        standings = {standing.stream: standing for standing in greeting.received}
        for out in self.out.values():
            standing = standings.get(out.stream, Standing(out.stream, 0))
            out.acknowledge(standing.block)
            out.open = standing.open
            out.go_back()
        if not greeting.answers:
            self._greet(now, answers=True)
        if not self.up:
            self.up = self.met = True
            self.absent_since = None
            self.metrics.connections += 1
            self._beaten = now
            if self._farewell:
                self.outputs.sends.append(self._farewell)
        self._progress, self._retry = now, self.options.retry
        self._count_queue()

    def _refused(self, packet: Refusal) -> None:
        if packet.refused != self.process or self.end is not None:
            return
        if packet.kind == "Fenced":
            self.end = Fenced(self.me, self.epoch, packet.known)
        elif packet.kind == "HandshakeError":
            self.end = HandshakeError(f"{self.peer} refuses to go on: {packet.reason}")
        else:
            self.end = PeerAborted(self.peer, packet.reason)

    def _data(self, packet: Data, pieces: Sequence[Buffer]) -> None:
        into = self.into.get(packet.stream)
        if into is None:
            if len(self.into) >= MAX_STREAMS:
                raise MalformedMessage(f"more than {MAX_STREAMS} streams")
            into = self.into[packet.stream] = InStream(packet.stream)
        block = Block(*(getattr(packet, name) for name in Block._fields))
        if not into.check(block, self.options.max_message // CHUNK + 2):
            self.metrics.doubled_blocks += block.block < into.accepted
            self._state_due = True
            return
        self._check_credit(into, block)
        into.accept(block)
        self.metrics.received_bytes += block.length
        self.outputs.appends.append(Append(False, block, tuple(pieces)))

    def _check_credit(self, into: InStream, block: Block) -> None:
        """MalformedMessage for what a peer sends beyond what it was ever allowed."""
        self._widest = max(self._widest, self.window)
        unstored = sum(stream.unstored for stream in self.into.values())
        waiting = self.options.inbox + self.options.max_message + self._widest
        if (unstored and unstored + block.length > self._widest) or into.ready_bytes > waiting:
            raise MalformedMessage(f"block {block.block} of stream {into.stream} exceeds the window")

    def _hear(self, now: float, state: State) -> None:
        self._peer_window = state.window
        moved = False
        for standing in state.received:
            out = self.out.get(standing.stream)
            if out is None:
                raise MalformedMessage(f"stream {standing.stream} was acknowledged, which has no messages")
            moved |= out.acknowledge(standing.block)
            out.open = standing.open
        if moved:
            self._progress, self._retry = now, self.options.retry
            self._count_queue()
        if state.beat:
            self._echo, self._state_due = state.beat, True
        if state.echo in self._beats:
            trip = now - self._beats.pop(state.echo)
            old = self.metrics.round_trip
            self.metrics.round_trip = trip if old is None else 0.8 * old + 0.2 * trip
        self.left |= state.left
        self.farewell_heard |= state.heard and self._farewell is not None

    def _hear_last_words(self) -> None:
        words = self._last_words
        if words is None or self.end is not None:
            return
        for standing in words.after:
            into = self.into.get(standing.stream)
            if standing.block > (into.stored if into is not None else 0):
                return
        self.end = PeerAborted(self.peer, words.reason)
        self._state(heard=True)

    def _tell_end(self, packet: AnyPacket) -> None:
        """After the end: a farewell is answered, and whoever greets hears why nobody goes on."""
        if isinstance(packet, Farewell):
            self._state(heard=True)
        elif isinstance(packet, Greeting) and isinstance(self.end, HandshakeError | Fenced):
            self.outputs.sends.append(self._refusal(self.end, packet))

    # --- pieces ---------------------------------------------------------------------------------

    def _store_out(self, out: OutStream, upto: int) -> None:
        """Only whole messages count as durable: see OutStream."""
        while upto > out.stored and not out.waiting[upto - 1 - out.acked].ends_message:
            upto -= 1
        out.stored = max(out.stored, upto)

    def _pump(self, now: float) -> None:
        """Send what may go, and a State where one is due."""
        if not self.up:
            return
        if self._state_due:
            self._state()
        flying = self._flying()
        count = sum(out.sent - out.acked for out in self.out.values())
        waiting = True
        while waiting and count < MAX_FLYING:
            waiting = False
            for out in self.out.values():  # in turn, so that no stream waits behind another
                block = out.due()
                if block is None or (flying and flying + block.length > self._peer_window):
                    continue
                if not flying:
                    self._progress = now
                if out.went(block):
                    self.metrics.resent_bytes += block.length
                self.metrics.sent_bytes += block.length
                flying += block.length
                count += 1
                waiting = True
                self.outputs.sends.append(Data(*self._from(), *block))

    def _flying(self) -> int:
        return sum(out.flying for out in self.out.values())

    def _count_queue(self) -> None:
        self.metrics.queued_bytes = sum(out.waiting_bytes for out in self.out.values())

    def _judge(self, into: InStream) -> bool:
        """Close a stream from which too much waits, open it when half is taken; whether that changed."""
        closed = into.stream in self._closed
        if not closed and into.ready_bytes > self.options.inbox:
            self._closed.add(into.stream)
        elif closed and into.ready_bytes <= self.options.inbox // 2:
            self._closed.discard(into.stream)
        return closed != (into.stream in self._closed)

    def _standings(self) -> tuple[Standing, ...]:
        return tuple(
            Standing(into.stream, into.stored, into.stream not in self._closed) for into in self.into.values()
        )

    def _state(self, beat: int = 0, heard: bool = False) -> None:
        self._state_due = False
        heard |= isinstance(self.end, PeerAborted)
        echo, self._echo = self._echo, 0
        self.outputs.sends.append(
            State(*self._from(), self.window, self._standings(), beat, echo, heard, self._left)
        )

    def _greet(self, now: float, answers: bool) -> None:
        self._greeted = now
        self._number += 1
        kept = tuple(Kept(out.stream, out.acked, out.next) for out in self.out.values())
        self.outputs.sends.append(
            Greeting(*self._from(), self._number, answers, self.window, self._standings(), kept, self.terms)
        )

    def _refusal(self, error: ChannelError, packet: AnyPacket | None = None) -> Refusal:
        refused = self.peer_process if packet is None else packet.process
        return Refusal(*self._from(), refused, self.peer_epoch, type(error).__name__, str(error)[:MAX_TEXT])

    def _from(self) -> tuple[str, str, str, int, bytes]:
        return self.job, self.me, self.peer, self.epoch, self.process

    def _hears(self, now: float) -> None:
        self._heard = now
        if self.silent:
            self.silent = False
            self.outputs.notices.append(f"{self.peer} is there again")

    def _listen(self, now: float) -> None:
        """Warn of a silent peer once; give a connection up that has been silent for very long."""
        silent = now - self._heard
        if silent >= self.options.silence and not self.silent:
            self.silent = True
            self.outputs.notices.append(f"{self.peer} has been silent for {silent:.1f} s; waiting for it")
        if silent >= self.options.dead:
            self._down(now)
            self.outputs.reconnect = True

    def _down(self, now: float) -> None:
        if self.up and not self.left:
            self.outputs.notices.append(f"the connection to {self.peer} is lost")
        self.up = False
        if self.absent_since is None:
            self.absent_since = now
        for out in self.out.values():
            out.go_back()
        self._beats.clear()
