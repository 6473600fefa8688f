"""Signs of life: when one is due, how long the peer has given none, and how long an answer takes."""

from __future__ import annotations

from hecore.algorithms.channel.ports import LinkOptions
from hecore.algorithms.errors import HandshakeError

#: Beats whose echoes are waited for.
BEATS = 8


class Pulse:
    """Of one link. `now` is monotonic time in seconds."""

    def __init__(self, now: float, options: LinkOptions) -> None:
        self._options = options
        self.heard = now  # the last time
        self.silent = False  # and it was warned of
        self.round_trip: float | None = None
        self.echo = 0  # the peer's beat that is to be answered
        self._doubt: tuple[float, HandshakeError] | None = None
        self._beat = 0
        self._beaten = -1e9
        self._beats: dict[int, float] = {}

    def hears(self, now: float) -> bool:
        """Something came; whether that ends a silence that was warned of."""
        self.heard, self._doubt = now, None
        was, self.silent = self.silent, False
        return was

    def warns(self) -> bool:
        """The peer is silent or away; whether that is news."""
        was, self.silent = self.silent, True
        return not was

    def doubt(self, now: float, error: HandshakeError) -> None:
        """Another process of the peer says why nobody can go on: is the one that was met still there?"""
        self._doubt = self._doubt or (now, error)

    def doubted(self, now: float) -> HandshakeError | None:
        """What the other process said, if since then nothing came for as long as makes a silence."""
        due = self._doubt is not None and now - self._doubt[0] >= self._options.silence
        return self._doubt[1] if self._doubt is not None and due else None

    def connected(self, now: float) -> None:
        """Both sides have greeted: the next beat is due after a while."""
        self._beaten = now

    def beat(self, now: float) -> int | None:
        """The number of a new beat, if one is due."""
        if now < self.deadline():
            return None
        self._beat += 1
        self._beats[self._beat] = self._beaten = now
        self._beats.pop(self._beat - BEATS, None)
        return self._beat

    def deadline(self) -> float:
        """When the next beat is due."""
        return self._beaten + self._options.heartbeat

    def echoed(self, now: float, beat: int) -> None:
        """The peer answers a beat; the round trip is smoothed over some."""
        if beat in self._beats:
            trip = now - self._beats.pop(beat)
            old = self.round_trip
            self.round_trip = trip if old is None else 0.8 * old + 0.2 * trip

    def take_echo(self) -> int:
        """The beat that is to be answered now, or 0."""
        echo, self.echo = self.echo, 0
        return echo

    def lost(self) -> None:
        """The connection has gone, and with it what was to come back over it."""
        self._beats.clear()
