"""From ids to scores at the active party: ask all passive parties at once, and put together what comes.

Used by `hecore serve` for a batch of requests, and by `hecore predict` for a chunk of a file.
"""

from __future__ import annotations

import concurrent.futures
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hecore.algorithms.data.table import Matrix
from hecore.algorithms.errors import PeerLost, ProtocolError
from hecore.algorithms.objectives import Floats
from hecore.algorithms.serving import messages as msg
from hecore.algorithms.serving.features import Adapted
from hecore.algorithms.serving.parts import Whole
from hecore.algorithms.serving.peers import DeclinedError, Peers
from hecore.errors import HecoreError

Answers = Mapping[str, Future[msg.Answer]]


@dataclass(frozen=True)
class Scored:
    """Scores of the rows that every party that answered knows; NaN elsewhere.

    status    uint8 a row: KNOWN, or the worst that a party said of it
    scores    (rows,) or (rows, outputs)
    missing   passive parties whose part is not in the scores, and why
    """

    status: NDArray[np.uint8]
    scores: Floats
    missing: Mapping[str, HecoreError]


@dataclass(frozen=True)
class Own:
    """This party's side of a request: a status for each row, and the rows that the others are asked for.

    Rows that have no score anyhow are not asked for: what becomes of the others is told together with them.
    """

    status: NDArray[np.uint8]
    asked: Sequence[str]
    values: Matrix

    @classmethod
    def of(cls, whole: Whole, features: Adapted, ids: Sequence[str]) -> Own:
        """What the data have of these ids."""
        known, values = features.lookup(ids)
        status = np.where(known, msg.KNOWN, msg.UNKNOWN).astype(np.uint8)
        if not whole.takes_missing:
            lacking = np.isnan(values).any(axis=1)
            status[np.flatnonzero(known)[lacking]] = msg.UNUSABLE
            values = values[~lacking]
        asked = [text for text, one in zip(ids, status, strict=True) if one == msg.KNOWN]
        return cls(status, asked, values)

    def joined(self, scored: Scored) -> Scored:
        """All rows, with what became of those that were asked for."""
        status, asked = self.status.copy(), self.status == msg.KNOWN
        scores = np.full((len(status), *scored.scores.shape[1:]), np.nan)
        status[asked], scores[asked] = scored.status, scored.scores
        return Scored(status, scores, scored.missing)


def ask(peers: Peers, whole: Whole, ids: Sequence[str]) -> dict[str, Future[msg.Answer]]:
    """One question to each passive party that the model needs."""
    names = peers.names if whole.peers is None else whole.peers
    return peers.ask(names, whole.model, list(ids))


def put_together(whole: Whole, values: Matrix, answers: Answers, *, active_only: bool = False) -> Scored:
    """Scores from own values and the answers; one that has not come by now is missing.

    With a part missing there are scores only if `active_only` allows it.
    """
    rows = len(values)
    status = np.full(rows, msg.KNOWN, dtype=np.uint8)
    missing: dict[str, HecoreError] = {}
    come: dict[str, tuple[NDArray[np.uint8], msg.Answer]] = {}
    for peer, future in answers.items():
        error = _error_of(peer, future)
        if error is not None:
            missing[peer] = error
            continue
        answer = future.result()
        if (answer.model, answer.rows) != (whole.model, rows):
            raise ProtocolError(
                f"{peer} answered {answer.rows} rows of {answer.model}, not what it was asked"
            )
        theirs = msg.read_status(answer, peer)
        status = np.maximum(status, theirs)
        come[peer] = theirs, answer
    usable = status == msg.KNOWN
    if missing and not active_only:
        return Scored(status, np.full(rows, np.nan), missing)
    parts = {}
    for peer, (theirs, answer) in come.items():
        known = theirs == msg.KNOWN
        part = whole.read(peer, answer, int(known.sum()))
        parts[peer] = part if usable.all() else part[..., usable[known]]
    scored = whole.scores(values[usable], parts)
    scores = np.full((rows, *scored.shape[1:]), np.nan)
    scores[usable] = scored
    return Scored(status, scores, missing)


def wait_for(answers: Answers, seconds: float) -> None:
    """Until all have come, or for so long; those that have not are given up."""
    concurrent.futures.wait(answers.values(), timeout=seconds)
    for future in answers.values():
        future.cancel()


def _error_of(peer: str, future: Future[msg.Answer]) -> HecoreError | None:
    if not future.done() or future.cancelled():
        future.cancel()
        return PeerLost(f"{peer} did not answer in time")
    error = future.exception()
    if error is None or isinstance(error, PeerLost | DeclinedError):
        return error
    raise error
