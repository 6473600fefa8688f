"""The passive parties as the active one sees them: who is there, with what, and what was asked of whom."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial

from hecore.algorithms.errors import PeerLost
from hecore.algorithms.messages import Message
from hecore.algorithms.serving import messages as msg
from hecore.algorithms.serving.line import Contact, Line
from hecore.errors import HecoreError
from hecore.randomness import random_bytes

log = logging.getLogger(__name__)

#: Seconds between two questions whether a party is there; without an answer for so long it counts as away.
HEARTBEAT, SILENCE = 0.5, 3.0


class DeclinedError(HecoreError):
    """A passive party did not answer a question, and said why."""

    def __init__(self, peer: str, declined: msg.Declined) -> None:
        super().__init__(f"{peer}: {declined.reason}")
        self.peer, self.code, self.retry_after = peer, declined.code, declined.retry_after


@dataclass
class _Standing:
    """What is known of a peer."""

    process: bytes = b""
    offers: dict[str, msg.Offer] = field(default_factory=dict)
    heard: float = -1e9
    there: bool = False
    pending: dict[int, Future[msg.Answer]] = field(default_factory=dict)


class Peers:
    """See the module. Calls come from any thread."""

    def __init__(self, me: str, contact: Contact, names: list[str], *, job: str) -> None:
        self.names = names
        self._process = random_bytes(16)
        self._standing = {name: _Standing() for name in names}
        self._lock = threading.Lock()
        self._number = 0
        self._asked = -1e9
        self.finished = False  # said with every sign of life from then on
        self.line = Line(
            me,
            contact,
            job=job,
            kinds=(msg.Presence, msg.Answer, msg.Declined),
            expected=names,
            on_message=self._on_message,
            on_change=self._on_change,
            on_turn=self._on_turn,
        )
        self.line.start()

    def there(self, peer: str) -> bool:
        """Whether a peer answers."""
        standing = self._standing.get(peer)
        return standing is not None and standing.there and self.line.failure is None

    def offers(self, model: str) -> dict[str, msg.Offer]:
        """Of all peers that are there and serve a model, by name."""
        return {
            name: standing.offers[model]
            for name, standing in self._standing.items()
            if standing.there and model in standing.offers
        }

    def lacking(self, names: Iterable[str], model: str, *, others: bool = False) -> str:
        """Why these peers cannot be asked for a model: who is not there, and who does not serve it.

        others   name what such a peer serves instead: for whoever runs this party, and for no caller
        """
        return "; ".join(self._lacks(name, model, others) for name in names)

    def _lacks(self, name: str, model: str, others: bool) -> str:
        if not self.there(name):
            return f"{name} is not there"
        instead = f": it serves {_named(self._standing[name].offers)}" if others else ""
        return f"{name} is there without model {model}{instead}"

    def ask(self, names: Sequence[str], model: str, ids: list[str]) -> dict[str, Future[msg.Answer]]:
        """Ask peers one and the same question, which their masks follow from.

        Each future ends with an answer, PeerLost when the peer goes away, or DeclinedError.
        """
        with self._lock:
            self._number += 1
            question = msg.question(self._process, self._number, model, ids)
            answers = {name: self._opened(name, question.number) for name in names}
        for name, answer in answers.items():
            if not answer.done():
                answer.add_done_callback(partial(self._forget, name, question.number))
                self.line.send(name, question)
        return answers

    def _opened(self, peer: str, number: int) -> Future[msg.Answer]:
        """A future that waits for an answer; one that has failed where the peer is away. The lock is held."""
        answer: Future[msg.Answer] = Future()
        standing = self._standing[peer]
        if standing.there:
            standing.pending[number] = answer
        else:
            answer.set_exception(PeerLost(f"{peer} is not there"))
        return answer

    def close(self) -> None:
        """Say that this process ends, and end."""
        for name in self.names:
            self.line.send(name, msg.Presence(process=self._process, leaving=True))
        self.line.close()
        for name in self.names:
            self._lost(name, "this process ends")

    # --- the line's thread ------------------------------------------------------------------------

    def _on_turn(self) -> None:
        now = time.monotonic()
        if now - self._asked >= HEARTBEAT:
            self._asked = now
            for name in self.names:
                self.line.send(name, msg.Presence(process=self._process, asks=True, finished=self.finished))
        for name, standing in self._standing.items():
            if standing.there and now - standing.heard > SILENCE:
                self._lost(name, f"silent for {SILENCE:g} s")

    def _on_change(self, peer: str, up: bool) -> None:
        if up:
            self.line.send(peer, msg.Presence(process=self._process, asks=True))
        elif self._standing[peer].there:
            self._lost(peer, "its connection has ended")

    def _on_message(self, peer: str, message: Message) -> None:
        standing = self._standing.get(peer)
        if standing is None:
            return
        standing.heard = time.monotonic()
        if isinstance(message, msg.Presence):
            self._met(peer, standing, message)
        elif isinstance(message, msg.Answer | msg.Declined) and message.process == self._process:
            with self._lock:
                waiting = standing.pending.pop(message.number, None)
            if waiting is None or not waiting.set_running_or_notify_cancel():
                return
            if isinstance(message, msg.Declined):
                waiting.set_exception(DeclinedError(peer, message))
            else:
                waiting.set_result(message)

    def _met(self, peer: str, standing: _Standing, presence: msg.Presence) -> None:
        if presence.leaving:
            if standing.there and presence.process == standing.process:
                self._lost(peer, "it ends")
            return
        if standing.there and presence.process != standing.process:
            self._lost(peer, "it was started again")
        offers = {offer.model: offer for offer in presence.offers}
        if not standing.there:
            log.info("%s is there, with model %s", peer, _named(offers))
        elif offers.keys() != standing.offers.keys():
            log.info("%s serves model %s from now on", peer, _named(offers))
        standing.process, standing.offers, standing.there = presence.process, offers, True

    def _lost(self, peer: str, why: str) -> None:
        standing = self._standing[peer]
        with self._lock:
            was, standing.there = standing.there, False
            pending, standing.pending = standing.pending, {}
        if was:  # with all rows scored, nobody needs it any more
            log.log(logging.INFO if self.finished else logging.WARNING, "%s is away: %s", peer, why)
        for waiting in pending.values():
            if waiting.set_running_or_notify_cancel():
                waiting.set_exception(PeerLost(f"{peer} is away: {why}"))

    def _forget(self, peer: str, number: int, _: Future[msg.Answer]) -> None:
        with self._lock:
            self._standing[peer].pending.pop(number, None)


def _named(offers: Iterable[str]) -> str:
    return ", ".join(offers) or "none"
