"""A passive party that serves: it answers questions over the line, and nobody else.

What it has answered is bounded by its own limits and written to its own audit log, whatever the active party
says of its callers.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hecore.algorithms.errors import ChannelError
from hecore.algorithms.messages import Message
from hecore.algorithms.serving import messages as msg
from hecore.algorithms.serving.audit import AuditLog
from hecore.algorithms.serving.features import Adapted
from hecore.algorithms.serving.limits import Daily, Rate
from hecore.algorithms.serving.line import Contact, Line
from hecore.algorithms.serving.parts import Part
from hecore.errors import HecoreError
from hecore.randomness import random_bytes

log = logging.getLogger(__name__)

#: Seconds after which a question that this party could not answer is worth asking again.
AFTER_FAILURE = 1.0
#: Bits of an answer, or numbers of a linear model.
MAX_BITS = 1 << 28


@dataclass(frozen=True)
class Served:
    """What is served now; replaced as a whole when it is read again."""

    parts: Mapping[str, Part]
    features: Mapping[str, Adapted]

    def offers(self) -> tuple[msg.Offer, ...]:
        """Of all models."""
        return tuple(part.offer() for part in self.parts.values())


class PassiveServer:
    """See the module. `rate`: rows a second and burst of an active party; `daily`: answers an id and day."""

    def __init__(
        self,
        me: str,
        served: Served,
        contact: Contact,
        *,
        job: str,
        rate: tuple[float, float],
        daily: int,
        audit: AuditLog,
    ) -> None:
        self.me, self.audit = me, audit
        self._served = served
        self._process = random_bytes(16)
        self._rate, self._daily = rate, daily
        self._rates: dict[str, Rate] = {}
        self._days: dict[str, Daily] = {}
        self._peers: set[str] = set()
        self.answered = 0
        self.finished = False  # the active party has said that its file is done
        self.line = Line(
            me,
            contact,
            job=job,
            kinds=(msg.Presence, msg.Question),
            on_message=self._on_message,
            on_change=self._on_change,
        )
        self.line.start()

    def replace(self, served: Served) -> None:
        """Serve this from now on, and tell whoever asks here."""
        self._served = served
        for peer in list(self._peers):
            self.line.send(peer, self._presence())

    def close(self) -> None:
        """Say that this process ends, and end."""
        for peer in list(self._peers):
            self.line.send(peer, self._presence(leaving=True))
        self.line.close()
        self.audit.close()

    # --- the line's thread ------------------------------------------------------------------------

    def _on_change(self, peer: str, up: bool) -> None:
        if up:
            self._peers.add(peer)
            self.line.send(peer, self._presence())

    def _on_message(self, peer: str, message: Message) -> None:
        self._peers.add(peer)
        if isinstance(message, msg.Presence):
            if message.asks:
                self.line.send(peer, self._presence())
            self.finished |= message.finished
        elif isinstance(message, msg.Question):
            self.line.send(peer, self.answer(peer, message))

    def _presence(self, leaving: bool = False) -> msg.Presence:
        return msg.Presence(process=self._process, offers=self._served.offers(), leaving=leaving)

    # --- questions --------------------------------------------------------------------------------

    def answer(self, peer: str, question: msg.Question) -> msg.Answer | msg.Declined:
        """What a question gets. Never raises for what a peer can cause."""
        try:
            return self._answer(peer, question)
        except ChannelError as error:
            return self._decline(peer, question, "failure", str(error))
        except (HecoreError, OSError) as error:
            # The text may tell of this party's data: the peer gets its type alone.
            log.error("%s cannot answer %s: %s", self.me, peer, error)
            return self._decline(peer, question, "failure", type(error).__name__)

    def _answer(self, peer: str, question: msg.Question) -> msg.Answer | msg.Declined:
        served = self._served
        part = served.parts.get(question.model)
        if part is None:
            return self._decline(peer, question, "model", f"{self.me} does not serve model {question.model}")
        ids = question.ids()
        wait = self._rates.setdefault(peer, Rate(*self._rate)).take(len(ids))
        if wait:
            reason = f"more than the {self._rate[0]:g} rows a second that {self.me} allows"
            return self._decline(peer, question, "rate", reason, min(wait, 3600.0))
        if len(ids) * max(1, part.offer().size) > MAX_BITS:
            return self._decline(peer, question, "failure", f"{len(ids)} rows are too many for one answer")
        status, values = self._look_up(peer, ids, served.features[question.model])
        usable = part.usable(values)
        status[np.flatnonzero(status == msg.KNOWN)[~usable]] = msg.UNUSABLE
        values = values[usable]
        known = np.flatnonzero(status == msg.KNOWN)
        payload = part.answer(question, known, values)
        self.audit.write(
            "answered", ids=ids, peer=peer, model=question.model, rows=len(ids), known=int(known.size)
        )
        self.answered += int(known.size)
        return msg.Answer(
            process=question.process,
            number=question.number,
            model=question.model,
            rows=len(ids),
            payload=(status.tobytes(), payload),
        )

    def _look_up(
        self, peer: str, ids: list[str], features: Adapted
    ) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
        """The status of each row, and the values of those that are answered."""
        known, values = features.lookup(ids)
        free = self._days.setdefault(peer, Daily(self._daily)).take(
            [text for text, there in zip(ids, known, strict=True) if there]
        )
        status = np.full(len(ids), msg.UNKNOWN, dtype=np.uint8)
        status[known] = np.where(free, msg.KNOWN, msg.SPENT)
        return status, values[free]

    def _decline(
        self, peer: str, question: msg.Question, code: msg.Code, reason: str, retry: float = AFTER_FAILURE
    ) -> msg.Declined:
        try:
            self.audit.write(
                "declined", peer=peer, model=question.model, rows=question.rows, code=code, reason=reason
            )
        except OSError as error:
            log.error("%s: the audit log cannot be written: %s", self.me, error)
        return msg.Declined(
            process=question.process,
            number=question.number,
            code=code,
            reason=reason[:1000],
            retry_after=retry,
        )
