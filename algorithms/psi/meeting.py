"""The processes of an alignment: channels to the other parties, and what is kept of one that breaks off."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from hecore.algorithms.channel import CurveKeys, FolderStore, Node, ZmqChannel, ZmqOptions
from hecore.algorithms.checkpoint import Checkpoints
from hecore.algorithms.errors import AlignmentError, CheckpointError, HandshakeError, PeerAborted

#: Seconds of work that a break may cost.
INTERVAL = 5.0


class Meeting:
    """Where the other parties are.

    me, job  this party's name, and the run's
    listen   the address at which parties are waited for that are not in `dial`, the addresses of the others
    allowed  the CURVE public key of each party
    state    the folder that keeps a run that breaks off, or None
    tell     hears that the folder is kept although the run is over here

    A run that is over leaves nothing; `interrupted` is set where it is to be gone on with.
    """

    def __init__(
        self,
        me: str,
        job: str,
        listen: str | None,
        dial: Mapping[str, str],
        allowed: Mapping[str, str],
        state: Path | None,
        tell: Callable[[str], None],
    ) -> None:
        self._me, self._job, self._listen, self._dial = me, job, listen, dial
        self._allowed, self._state, self._tell = allowed, state, tell
        self._store: FolderStore | None = None
        self._failed = self._delivered = False
        self.interrupted = False

    @contextmanager
    def open(self, pair: CurveKeys, wait: float) -> Iterator[tuple[list[ZmqChannel], Checkpoints | None]]:
        """A channel to each party, none of them connected yet; with a state folder, its checkpoints."""
        if self._state is not None:
            self._store = FolderStore(self._state, self._me, self._job)
        node = Node(
            self._me,
            pair,
            dict(self._allowed),
            job=self._job,
            listen=self._listen,
            store=self._store,
            options=ZmqOptions(connect_timeout=wait),
        )
        try:
            channels = [ZmqChannel(node, peer, self._dial.get(peer)) for peer in self._allowed]
            kept = None
            if self._store is not None:
                kept = Checkpoints(self._store, channels, every=0, seconds=INTERVAL)
            with self._talking(node, channels):
                yield channels, kept
        finally:
            node.close(leave=not self.interrupted)
            if self._failed:
                self.tidy_up()

    @contextmanager
    def _talking(self, node: Node, channels: Sequence[ZmqChannel]) -> Iterator[None]:
        """Close the channels at the end, and find out whether the run is over at every side."""
        with ExitStack() as talks:
            for channel in channels:
                talks.enter_context(channel)
            try:
                yield
                until = time.monotonic() + node.options.linger
                self._delivered = all(node.settle(peer, until) for peer in self._allowed)
            except (KeyboardInterrupt, CheckpointError):
                if self._store is not None:  # nobody is told that it is over: this party comes back
                    talks.pop_all()
                    self.interrupted = True
                raise
            except Exception as error:
                told = isinstance(error, PeerAborted) and error.reason == AlignmentError.__name__
                self._failed = told or isinstance(error, AlignmentError | HandshakeError)
                now = time.monotonic()
                self._delivered = all(node.settle(peer, now) or node.state(peer)[1] for peer in self._allowed)
                raise

    def tidy_up(self) -> None:
        """The run is over: remove what was kept of it, unless a party may still ask for its part."""
        if self._store is None:
            return
        if self._delivered:
            self._store.remove()
        else:
            folder = self._store.folder
            self._tell(
                f"{folder} is kept: not every party has confirmed its part. Remove it when all are done"
            )
