"""One party's half of the talk with one peer: a state machine without socket, clock or file.

    inputs     connected, disconnected, packet, submit, stored, take, farewell, tick
    outputs    `sends` (packets), `appends` (blocks to make durable), `notices` (lines for the log),
               `reconnect` (this connection is dead), `end` (why nothing comes any more)

What makes every message arrive exactly once, whatever is lost, doubled, or killed:

1. A block is sent after it is durable here, and kept until its acknowledgement.
2. The receiver accepts the next block only, and acknowledges it after it is durable there.
3. Both count blocks per stream from its start, so a Greeting says where to go on, after any restart.
4. Epochs grow with every start of a process: packets of an older one are refused.

What goes out and when is decided in `outflow`, what may come in in `inflow`, signs of life in `pulse`,
and whether two processes can go on together in `meeting`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from hecore.algorithms.channel.inflow import Inflow
from hecore.algorithms.channel.meeting import (
    UNKNOWN,
    another_process,
    disagreement,
    is_bystander,
    misnamed,
    outrun,
)
from hecore.algorithms.channel.outflow import Outflow
from hecore.algorithms.channel.packet import (
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
from hecore.algorithms.channel.pulse import Pulse
from hecore.algorithms.channel.streams import Arrived, Block, InStream, OutStream
from hecore.algorithms.errors import (
    ChannelError,
    Fenced,
    HandshakeError,
    MalformedMessage,
    PeerAborted,
    PeerLost,
    printable,
)
from hecore.algorithms.seldom import Seldom


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
        self.metrics = Metrics()
        self.outflow = Outflow(outgoing, now, self.options, self.metrics)
        self.inflow = Inflow(incoming, window, self.options, self.metrics)
        self.outputs = Outputs()
        self.end: ChannelError | None = None
        self.up = False  # greeted on this connection, both ways
        self.met = False  # greeted at least once
        self.farewell_heard = False
        self.left = False  # the peer has closed, and does not even acknowledge any more
        self.unheard = False  # the peer has not heard yet why this link has ended
        self.absent_since: float | None = now
        self.terms: dict[str, str] = {}
        self.peer_process = UNKNOWN
        self._peer_number = -1
        self._number = 0
        self._left = False
        self._farewell: Farewell | None = None
        self._last_words: Farewell | None = None  # the peer's, until all before them has arrived
        self._pulse = Pulse(now, self.options)
        self._greeted = -1e9
        self._state_due = False
        self._now = now
        self._dropped = Seldom(lambda: self._now)  # what is wrong with one packet is wrong with the next

    @property
    def out(self) -> dict[int, OutStream]:
        """The sender's ends, by stream."""
        return self.outflow.streams

    @property
    def into(self) -> dict[int, InStream]:
        """The receiver's ends, by stream."""
        return self.inflow.streams

    def figures(self, now: float) -> Metrics:
        """What went over the link until now, and how it stands."""
        return replace(
            self.metrics,
            queued_bytes=self.outflow.queued_bytes,
            queued_messages=self.outflow.queued_messages,
            flying_bytes=self.outflow.flying,
            credit=self.outflow.window,
            waiting_bytes=self.inflow.waiting_bytes,
            waiting_messages=self.inflow.waiting_messages,
            round_trip=self._pulse.round_trip,
            silent_seconds=now - self._pulse.heard,
            connected=self.up,
        )

    # --- the carrier ----------------------------------------------------------------------------

    def connected(self, now: float) -> None:
        """There is a new connection: greet."""
        self._down(now)
        self._pulse.heard = now
        self._greet(now, answers=False)

    def disconnected(self, now: float) -> None:
        """The connection has gone."""
        self._down(now)

    def packet(self, now: float, packet: AnyPacket, pieces: Sequence[Buffer] = ()) -> bool:
        """A packet has come whose sender is authenticated as the peer, and whose data are checked.

        One that cannot be right is counted, noted and dropped. True if it is of the peer's process that
        this link goes on with: what is sent next goes where it came from.
        """
        self._now = now
        if self.end is not None and not self._farewell:
            self._tell_end(packet)
            return False
        try:
            if (packet.sender, packet.receiver) != (self.peer, self.me):
                self._misnamed(packet)
                return False
            self._read(now, packet, pieces)
        except MalformedMessage as error:
            self.refuse(str(error))
        self._pump(now)
        return packet.process == self.peer_process

    def refuse(self, why: str) -> None:
        """Count and note something that was dropped."""
        self.metrics.refused_packets += 1
        text = f"dropped a packet from {self.peer}: {printable(why)}"
        if self._dropped.due(text):
            self.outputs.notices.append(text)

    # --- the application ------------------------------------------------------------------------

    def submit(self, stream: int, chunks: Sequence[Chunk]) -> None:
        """Queue one message, cut by `cut_up`."""
        self.outputs.appends += self.outflow.submit(stream, chunks)

    def stored(self, now: float, out: bool, stream: int, upto: int) -> None:
        """Blocks below `upto` are durable."""
        if out:
            self.outflow.stored(stream, upto)
        else:
            self.inflow.stored(stream, upto)
            self._state_due = True
            self._hear_last_words()
        self._pump(now)

    def take(self, now: float, stream: int) -> Arrived | None:
        """The next message of a stream, if one is ready."""
        taken, opened = self.inflow.take(stream)
        if opened:
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

    def leave(self) -> None:
        """Say that this side has closed and goes."""
        self._left = True
        if self.up:
            self._state()

    def fail(self, error: ChannelError, packet: AnyPacket | None = None) -> None:
        """End this link for a reason that concerns the peer, and tell it: the process that sent `packet`."""
        if self.end is None:
            self.end, self.unheard = error, packet is not None
            self.outputs.sends.append(self._refusal(error, packet))

    # --- time -----------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Do what time asks for; call it at `deadline` at the latest."""
        self._now = now
        if self.end is not None and not self._farewell:
            return
        self.end = self.end or self._pulse.doubted(now)
        if self.up:
            self._listen(now)
        if not self.up:
            self._wait_for_peer(now)
            return
        beat = self._pulse.beat(now)
        if beat is not None:
            self._state(beat=beat)
            if self._farewell:
                self.outputs.sends.append(self._farewell)
        self.outflow.tick(now)
        self._pump(now)

    def deadline(self) -> float:
        """When `tick` is due."""
        if not self.up:
            return self._greeted + self.options.heartbeat
        return min(self._pulse.deadline(), self.outflow.deadline())

    def _wait_for_peer(self, now: float) -> None:
        """Greet now and then, warn once, and give up after the grace."""
        if now - self._greeted >= self.options.heartbeat:
            self._greet(now, answers=False)
        away = now - (self.absent_since if self.absent_since is not None else now)
        if away >= self.options.silence and self._pulse.warns():
            self.outputs.notices.append(f"{self.peer} is not connected; waiting for it")
        if self.met and away >= self.options.grace:
            self.end = PeerLost(f"{self.peer} has been away for {self.options.grace:g} s")

    def _listen(self, now: float) -> None:
        """Warn of a silent peer once; give a connection up that has been silent for very long."""
        silent = now - self._pulse.heard
        if silent >= self.options.silence and self._pulse.warns():
            self.outputs.notices.append(f"{self.peer} has been silent for {silent:.1f} s; waiting for it")
        if silent >= self.options.dead:
            self._down(now)
            self.outputs.reconnect = True

    # --- packets --------------------------------------------------------------------------------

    def _read(self, now: float, packet: AnyPacket, pieces: Sequence[Buffer]) -> None:
        if isinstance(packet, Refusal):
            self._refused(now, packet)
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
        if is_bystander(self, greeting):
            error = another_process(self)
            self.outputs.sends.append(self._refusal(error, greeting))
            self.refuse("it is of another process than the one that was met")
            self._pulse.doubt(now, error)
            return
        problem = disagreement(self, greeting)
        if problem is not None:
            self.fail(problem, greeting)
            return
        self.left = self.left and same
        self.peer_epoch, self.peer_process = greeting.epoch, greeting.process
        self._peer_number = greeting.number
        self._hears(now)
        self.outflow.greet(now, greeting.window, greeting.received)
        if not greeting.answers:
            self._greet(now, answers=True)
        if not self.up:
            self.up = self.met = True
            self.absent_since = None
            self.metrics.connections += 1
            self._pulse.connected(now)
            if self._farewell:
                self.outputs.sends.append(self._farewell)

    def _misnamed(self, packet: AnyPacket) -> None:
        """The peer's key speaks for another name, or to one: of parties that have never met, both end.

        Of those that have, the names were right once, so this is a stray process, and its packet is dropped.
        """
        error = misnamed(self, packet)
        if self.met or self.peer_epoch:
            raise MalformedMessage(str(error))
        self.end, self.unheard = error, not isinstance(packet, Refusal)
        self.outputs.sends.append(self._refusal(error, packet))

    def _refused(self, now: float, packet: Refusal) -> None:
        if packet.refused != self.process or self.end is not None:
            return
        reason = printable(packet.reason)
        if packet.kind == "Fenced":
            if self.met:
                self.end = Fenced(self.me, self.epoch, packet.known)
            else:
                self.fail(outrun(self, packet.known), packet)
        elif packet.kind == "HandshakeError":
            error = HandshakeError(f"{self.peer} refuses to go on with {self.me}: {reason}")
            if is_bystander(self, packet):
                self._pulse.doubt(now, error)
            else:
                self.end = error
            self.outputs.sends.append(self._refusal(error, packet))
        else:
            self.end = PeerAborted(self.peer, reason)

    def _data(self, packet: Data, pieces: Sequence[Buffer]) -> None:
        block = Block(*(getattr(packet, name) for name in Block._fields))
        if self.inflow.accept(block):
            self.outputs.appends.append(Append(False, block, tuple(pieces)))
        else:
            self._state_due = True

    def _hear(self, now: float, state: State) -> None:
        self.outflow.window = state.window
        self.outflow.acknowledge(now, state.received)
        if state.beat:
            self._pulse.echo, self._state_due = state.beat, True
        self._pulse.echoed(now, state.echo)
        self.left |= state.left
        self.farewell_heard |= state.heard and self._farewell is not None

    def _hear_last_words(self) -> None:
        words = self._last_words
        if words is None or self.end is not None or not self.inflow.has(words.after):
            return
        self.end = PeerAborted(self.peer, words.reason)
        self._state(heard=True)

    def _tell_end(self, packet: AnyPacket) -> None:
        """After the end: a farewell is answered, and whoever greets hears why nobody goes on."""
        if isinstance(packet, Farewell):
            self._state(heard=True)
        elif isinstance(packet, Refusal) and packet.kind == "HandshakeError":
            self.unheard &= packet.refused != self.process
        elif isinstance(self.end, HandshakeError) and (self.unheard or isinstance(packet, Greeting)):
            self.outputs.sends.append(self._refusal(self.end, packet))

    # --- pieces ---------------------------------------------------------------------------------

    def _pump(self, now: float) -> None:
        """Send what may go, and a State where one is due."""
        if not self.up:
            return
        if self._state_due:
            self._state()
        self.outputs.sends += [Data(*self._from(), *block) for block in self.outflow.due(now)]

    def _state(self, beat: int = 0, heard: bool = False) -> None:
        self._state_due = False
        heard |= isinstance(self.end, PeerAborted)
        standings, echo = self.inflow.standings(), self._pulse.take_echo()
        self.outputs.sends.append(
            State(*self._from(), self.inflow.window, standings, beat, echo, heard, self._left)
        )

    def _greet(self, now: float, answers: bool) -> None:
        self._greeted = now
        self._number += 1
        kept = tuple(Kept(out.stream, out.acked, out.next) for out in self.out.values())
        window, received = self.inflow.window, self.inflow.standings()
        greeting = Greeting(*self._from(), self._number, answers, window, received, kept, self.terms)
        self.outputs.sends.append(greeting)

    def _refusal(self, error: ChannelError, packet: AnyPacket | None = None) -> Refusal:
        refused = self.peer_process if packet is None else packet.process
        return Refusal(*self._from(), refused, self.peer_epoch, type(error).__name__, str(error)[:MAX_TEXT])

    def _from(self) -> tuple[str, str, str, int, bytes]:
        return self.job, self.me, self.peer, self.epoch, self.process

    def _hears(self, now: float) -> None:
        if self._pulse.hears(now):
            self.outputs.notices.append(f"{self.peer} is there{' again' if self.met else ''}")

    def _down(self, now: float) -> None:
        if self.up and not self.left:
            self.outputs.notices.append(f"the connection to {self.peer} is lost")
        self.up = False
        if self.absent_since is None:
            self.absent_since = now
        self.outflow.go_back()
        self._pulse.lost()
