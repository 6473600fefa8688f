"""The drivers of private set intersection: one for the active party, one for a passive one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from hecore.algorithms.built import built
from hecore.algorithms.channel import Channel
from hecore.algorithms.channel.store import folder_name
from hecore.algorithms.checkpoint import AnyRun, Checkpoints, NoRun
from hecore.algorithms.checks import counted
from hecore.algorithms.data.ids import Ids, Places
from hecore.algorithms.errors import AlignmentError, ConfigurationError, HandshakeError, ProtocolError
from hecore.algorithms.party import ACTIVE, PASSIVE
from hecore.algorithms.psi import messages as msg
from hecore.algorithms.psi import steps
from hecore.algorithms.psi.exchange import Exchange, Own, Progress, Standing

TASK = "psi.align"


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
    checkpoints: Checkpoints | None = None,
    on_progress: OnProgress | None = None,
) -> Alignment:
    """Find the ids that all parties have. Every party calls it, in any order.

    channels     of the active party: one to each passive party; of a passive one: to the active party
    checkpoints  of the same channels, which are durable: a party that was killed starts again with the same
                 ids and settings and goes on where it was; one that had its outcome has it at once

    Raises AlignmentError naming party and count for repeated or empty ids and for a too small intersection,
    on all sides; HandshakeError where settings or roles do not fit; ProtocolError for values that no honest
    party sends; CheckpointError where a party starts again with other ids or settings.
    """
    several = list(channels) if isinstance(channels, Sequence) else [channels]
    settings = config or msg.PsiConfig()
    if role not in (ACTIVE, PASSIVE):
        raise ConfigurationError(f"role = {role!r} is neither {ACTIVE!r} nor {PASSIVE!r}")
    if not several or (role == PASSIVE and len(several) != 1):
        raise ConfigurationError(f"the {role} party has {len(several)} channels")
    own = Own.of(ids, role, settings)
    kept = _Kept(NoRun() if checkpoints is None else checkpoints.begin(TASK, own.binding()))
    if kept.outcome is not None:
        return kept.outcome
    exchanges = kept.exchanges(several, own, on_progress)
    with _talking(exchanges):
        if role == ACTIVE:
            outcome = _align_active(exchanges, ids, settings)
        else:
            outcome = _align_passive(exchanges[0], ids, settings)
    kept.finish(outcome)
    return outcome


def _align_active(exchanges: list[Exchange], ids: Ids, config: msg.PsiConfig) -> Alignment:
    for exchange in exchanges:  # all of them first: what does not fit is found before anything is computed
        exchange.meet()
    inside = np.ones(len(ids), bool)
    places = []
    for exchange in exchanges:
        exchange.run()
        places.append(exchange.places())
        inside &= places[-1] >= 0
    common = int(inside.sum())
    enough = common >= config.min_intersection
    rows = steps.aligned_rows(ids, np.flatnonzero(inside))
    for exchange, place in zip(exchanges, places, strict=True):
        chosen = np.zeros(exchange.theirs, bool)
        chosen[place[inside]] = True
        bits = (steps.pack_rows(chosen),) if enough and config.reveal == "both" else ()
        exchange.channel.send(msg.Outcome(common=common, parties=len(exchanges) + 1, payload=bits))
    _check_common([(exchanges[0].channel.me, len(ids))], exchanges, common, config)
    if config.reveal == "both":
        alignment = ids.take(rows).fingerprint().hex()
        for exchange in exchanges:
            if exchange.channel.receive(msg.Aligned).alignment != alignment:
                raise ProtocolError(f"{exchange.channel.peer} aligned its rows to other ids")
    return Alignment(rows, common)


def _align_passive(exchange: Exchange, ids: Ids, config: msg.PsiConfig) -> Alignment:
    exchange.meet()
    exchange.run()
    channel = exchange.channel
    outcome = channel.receive(msg.Outcome)
    rest = f" and {outcome.parties - 2} more" if outcome.parties > 2 else ""
    _check_common([(channel.me, len(ids))], [exchange], outcome.common, config, rest)
    if config.reveal == "active":
        return Alignment(None, outcome.common)
    if len(outcome.payload) != 1:
        raise ProtocolError(f"{channel.peer} sent {len(outcome.payload)} frames of rows instead of one")
    chosen = steps.unpack_rows(outcome.payload[0], len(ids))
    if int(chosen.sum()) != outcome.common:
        raise ProtocolError(f"{channel.peer} marks {chosen.sum()} rows but counts {outcome.common}")
    rows = steps.aligned_rows(ids, exchange.order[chosen])
    channel.send(msg.Aligned(alignment=ids.take(rows).fingerprint().hex()))
    return Alignment(rows, outcome.common)


def _check_common(
    own: list[tuple[str, int]], exchanges: list[Exchange], common: int, config: msg.PsiConfig, rest: str = ""
) -> None:
    if common >= config.min_intersection:
        return
    for exchange in exchanges:
        exchange.channel.close()  # all parties have the count, and end alike
    parties = [*own, *((exchange.channel.peer, exchange.theirs) for exchange in exchanges)]
    named = ", ".join(f"{name} ({counted(count, 'id')})" for name, count in sorted(parties))
    wanted = config.min_intersection
    least = "" if wanted == 1 else f", fewer than min_intersection = {wanted}"
    number = "no id" if common == 0 else counted(common, "id")
    raise AlignmentError(f"{named}{rest} have {number} in common{least}")


class _Saved(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The state of an alignment in a checkpoint: its exchanges by peer; `common` alone when it is over."""

    exchanges: dict[str, Standing] = {}
    common: int = 0


class _Kept:
    """The checkpoints of an alignment.

    A step is a chunk of one exchange. The first checkpoint is made before anything is sent, so that a party
    that starts again with other ids is refused however early it was killed.
    """

    def __init__(self, run: AnyRun) -> None:
        self._run, self._exchanges = run, list[Exchange]()
        self._saved = _Saved()
        self.outcome: Alignment | None = None
        found = run.latest()
        if found is None:
            run.save(0, self._saved, {})
            return
        self._saved = msgspec.json.decode(found.state, type=built(_Saved))
        if found.over:
            self.outcome = Alignment(found.arrays.get("rows"), self._saved.common)

    def exchanges(
        self, channels: Sequence[Channel], own: Own, on_progress: OnProgress | None
    ) -> list[Exchange]:
        """One for each channel, where its last checkpoint stands."""
        self._exchanges = [
            Exchange(
                channel,
                own,
                self._run.draws,
                keep=self._keep,
                on_progress=on_progress,
                files=self._files(channel.peer),
                standing=self._saved.exchanges.get(channel.peer),
            )
            for channel in channels
        ]
        return self._exchanges

    def finish(self, outcome: Alignment) -> None:
        """Keep the outcome alone."""
        arrays = {} if outcome.rows is None else {"rows": outcome.rows}
        self._run.finish(_Saved(common=outcome.common), arrays)
        for exchange in self._exchanges:
            exchange.forget()

    @property
    def _steps(self) -> int:
        return sum(exchange.chunks for exchange in self._exchanges)

    def _keep(self) -> None:
        if self._run.due(self._steps):
            standings = {exchange.channel.peer: exchange.standing() for exchange in self._exchanges}
            self._run.save(self._steps, _Saved(exchanges=standings), {})

    def _files(self, peer: str) -> Callable[[str], Path | None]:
        return lambda what: self._run.file(f"{folder_name(peer)}.{what}")


@contextmanager
def _talking(exchanges: list[Exchange]) -> Iterator[None]:
    """On an error tell every peer what kind it was, never an id.

    A text that concerns the talk with one party goes to that party alone.
    """
    try:
        yield
    except Exception as error:
        told = isinstance(error, HandshakeError | ConfigurationError | ProtocolError) and len(exchanges) == 1
        for exchange in exchanges:
            exchange.channel.abort(str(error) if told else type(error).__name__)
        raise
    finally:
        for exchange in exchanges:
            exchange.close()
