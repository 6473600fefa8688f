"""What one party's estimators of all models have in common."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import ClassVar

import msgspec

from hecore import Meter, generate_key
from hecore.algorithms.channel import Channel
from hecore.algorithms.checkpoint import Checkpoints
from hecore.algorithms.data import Table
from hecore.algorithms.draws import Draws
from hecore.algorithms.errors import ConfigurationError
from hecore.algorithms.party import ACTIVE, PASSIVE, Peer, handshake, telling
from hecore.kernels import Backend
from hecore.kernels.select import resolve
from hecore.keys import PrivateKey, PublicKey


class Estimator:
    """A party's channels, key and backend, and the meter of its work.

    channel      the Channel to the active party; at the active party one, or one to each passive party
    objective    of the configuration
    key          this party's key pair; None generates a fresh 2048-bit one, when it is first needed
    backend      a Backend, its name, or None for automatic choice
    checkpoints  of the same channels, or None

    ConfigurationError for another class's objective, no channel, or two to one peer.
    """

    #: Whether passive parties have a key as well.
    keys_of_passive = True
    #: Which objectives the predictions of a class are of.
    objectives: ClassVar[tuple[str, ...]]

    def __init__(
        self,
        channel: Channel | Sequence[Channel],
        *,
        objective: str,
        key: PrivateKey | None,
        backend: Backend | str | None,
        checkpoints: Checkpoints | None,
    ) -> None:
        if objective not in self.objectives:
            raise ConfigurationError(
                f"objective = {objective!r} is not one of {type(self).__name__}:"
                f" {', '.join(map(repr, self.objectives))}"
            )
        self.channels = list(channel) if isinstance(channel, Sequence) else [channel]
        peers = [end.peer for end in self.channels]
        if not peers or len(set(peers)) < len(peers):
            raise ConfigurationError(
                f"channels to {', '.join(peers) or 'nobody'}: one to each peer is needed"
            )
        self.backend = resolve(backend)
        self._given_key = key
        self.checkpoints = checkpoints
        self.meter = Meter()

    @cached_property
    def key(self) -> PrivateKey:
        """This party's key pair."""
        return self._given_key or generate_key()

    def _public(self, *, active: bool) -> PublicKey | None:
        """The key that this party shows; none is made at a passive party that needs none."""
        if active or self.keys_of_passive or self._given_key is not None:
            return self.key.public
        return None

    def _shake_hands(
        self,
        *,
        task: str,
        active: bool,
        configuration: msgspec.Struct,
        table: Table,
        draws: Draws,
        label: str,
    ) -> list[Peer]:
        """Handshakes with all peers; `label` tells their draws from those of other handshakes of the run.

        HandshakeError where anything does not match, naming both sides; ConfigurationError for a passive
        party with several channels.
        """
        if not active and len(self.channels) != 1:
            raise ConfigurationError(
                f"a passive party has one channel, to the active one: {self.channels[0].me} has no label and"
                f" {len(self.channels)} channels"
            )
        return [
            handshake(
                channel,
                task=task,
                role=ACTIVE if active else PASSIVE,
                configuration=configuration,
                table=table,
                public=self._public(active=active),
                keyless=not self.keys_of_passive,
                draw=draws(f"{label} {channel.peer}"),
            )
            for channel in self.channels
        ]

    @staticmethod
    def _check_stopping(rounds: int, evaluation: Table | None) -> None:
        """ConfigurationError for early stopping without rows to decide it on."""
        if rounds and evaluation is None:
            raise ConfigurationError(
                f"early_stopping_rounds = {rounds} needs evaluation rows: give fit an evaluation table at"
                " every party, or take 0"
            )

    @contextmanager
    def _talking(self) -> Iterator[None]:
        """Count into the meter; see `telling` for what peers hear of an error."""
        with telling(self.channels), self.meter.activate():
            yield
