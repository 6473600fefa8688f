"""The I/O thread of a node: it alone touches sockets, and carries packets between them and the links."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

import zmq

from hecore.algorithms.channel.board import Board
from hecore.algorithms.channel.packet import Buffer, Data, Refusal, check_data, dump_header, load_header
from hecore.algorithms.channel.wire import Event, Incoming, Route, Wire
from hecore.algorithms.errors import (
    AuthenticationError,
    ChannelError,
    HandshakeError,
    MalformedMessage,
    StoreError,
)

log = logging.getLogger(__name__)


class Carrier:
    """See the module. `start` once, `stop` once."""

    def __init__(self, board: Board, wire: Wire) -> None:
        self._board, self._wire = board, wire
        self._stopping = False
        self._tasks: list[Callable[[], None]] = []
        self._thread = threading.Thread(target=self._run, name=f"hecore-io-{board.me}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Hand over what the links want to send still, and end the thread."""
        self._stopping = True
        if self._thread.is_alive():
            self._wire.wake()
            self._thread.join()

    def do(self, work: Callable[[], None]) -> None:
        """Have the thread do something with the sockets, and wait for it. Raises its ChannelError."""
        done = threading.Event()
        errors: list[BaseException] = []

        def task() -> None:
            try:
                work()
            except ChannelError as error:
                errors.append(error)
            finally:
                done.set()

        with self._board.lock:
            self._tasks.append(task)
        self._wire.wake()
        while not done.wait(0.2):
            if not self._thread.is_alive():
                raise self._board.failure or ChannelError(f"the channel of {self._board.me} is closed")
        if errors:
            raise errors[0]

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._turn()
            self._send_all()
        except Exception as error:  # whatever it is: a thread that has died must not look like a silent peer
            log.exception("%s: the channel's thread has ended", self._board.me)
            failed = ChannelError(f"the channel failed: {error!r}")
            self._board.fail(error if isinstance(error, StoreError) else failed)

    def _turn(self) -> None:
        """One turn: wait, read, let time pass, send."""
        with self._board.lock:
            tasks, self._tasks = self._tasks, []
            due = min(
                (served.box.link.deadline() for served in self._board.peers.values()), default=float("inf")
            )
        for task in tasks:
            task()
        due = min(due, self._wire.deadline())
        self._wire.wait(min(1.0, due - time.monotonic()))
        now = time.monotonic()
        for event in self._wire.events(now):
            self._happened(now, event)
        for incoming in self._wire.read():
            self._received(now, incoming)
        with self._board.lock:
            for name, served in self._board.peers.items():
                served.absence.refused = self._wire.refused
                served.box.link.tick(now)
                text = served.explain(now)
                if text is not None:
                    log.warning("%s: %s", self._board.me, text)
                if self._board.failure is None:
                    served.box.trim()
                self._board.flush(name)
        self._send_all()

    def _happened(self, now: float, event: Event) -> None:
        me = self._board.me
        for incoming in event.last:
            self._received(now, incoming)
        with self._board.lock:
            served = self._board.peers[event.peer]
            link = served.box.link
            served.absence.failure = event.failure
            if event.up:
                served.route = Route(event.peer)
                link.connected(now)
            else:
                served.route = None
                link.disconnected(now)
            if event.failure == zmq.EVENT_HANDSHAKE_FAILED_AUTH and not link.met:
                link.end = AuthenticationError(
                    f"{event.peer} does not let {me} in: {me}'s public key, {self._wire.public_key}, is not"
                    f" on {event.peer}'s allow-list"
                )
            elif event.failure == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL and not link.met:
                link.end = HandshakeError(
                    f"the listener that {me} dials for {event.peer} does not speak CURVE"
                )
            self._board.changed.notify_all()

    def _received(self, now: float, incoming: Incoming) -> None:
        """Check a packet and give it to its link; what is not right is dropped."""
        served = self._board.peers.get(incoming.party)
        if served is None or self._board.failure is not None:
            return
        link = served.box.link
        pieces = [part.buffer for part in incoming.parts[1:]]
        try:
            packet = load_header(incoming.parts[0].buffer)
            if isinstance(packet, Data):
                check_data(packet, pieces)
        except HandshakeError as error:
            with self._board.lock:
                link.fail(error)
                self._board.flush(incoming.party)
            return
        except MalformedMessage as error:
            with self._board.lock:
                link.refuse(str(error))
                self._board.flush(incoming.party)
            return
        with self._board.lock:
            known = link.peer_epoch
            if link.packet(now, packet, pieces):
                served.route = incoming.route
            if link.peer_epoch != known:
                self._board.store.learn(incoming.party, link.peer_epoch)
            refusals = [packet for packet in link.outputs.sends if isinstance(packet, Refusal)]
            link.outputs.sends = [packet for packet in link.outputs.sends if not isinstance(packet, Refusal)]
            self._board.flush(incoming.party)
        for refusal in refusals:
            self._wire.write(incoming.route, dump_header(refusal))

    def _send_all(self) -> None:
        for name, served in list(self._board.peers.items()):
            with self._board.lock:
                link = served.box.link
                sends, link.outputs.sends = link.outputs.sends, []
                reconnect, link.outputs.reconnect = link.outputs.reconnect, False
                route = served.route
            if reconnect:
                self._wire.hang_up(name, time.monotonic())
            for packet in sends:
                if route is None:
                    break
                pieces: Sequence[Buffer] = ()
                if isinstance(packet, Data):
                    # Acknowledged since it was to be sent again: it may be gone. This thread alone takes
                    # acknowledgements, so what is not acknowledged here stays until it is read.
                    if packet.block < link.out[packet.stream].acked:
                        continue
                    pieces = served.box.out.read(packet.stream, packet.block)
                if not self._wire.write(route, dump_header(packet), pieces):
                    with self._board.lock:
                        link.disconnected(time.monotonic())
                    break
