"""The active party's service: models side by side, one active; callers within limits; batches of requests.

`web` is its face over HTTP and decides nothing. Everything but loading runs in one event loop.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from hecore.algorithms.built import built
from hecore.algorithms.data.table import Matrix
from hecore.algorithms.errors import ConfigurationError, PeerLost, ProtocolError
from hecore.algorithms.objectives import Floats
from hecore.algorithms.private_files import READABLE, write_whole
from hecore.algorithms.serving import messages as msg
from hecore.algorithms.serving.audit import AuditLog
from hecore.algorithms.serving.batching import Batcher, Job, Overloaded
from hecore.algorithms.serving.callers import Caller, Callers
from hecore.algorithms.serving.features import Adapted
from hecore.algorithms.serving.limits import Daily, Rate
from hecore.algorithms.serving.metrics import Metrics
from hecore.algorithms.serving.parts import Whole
from hecore.algorithms.serving.peers import DeclinedError, Peers
from hecore.algorithms.serving.refusals import Refusal
from hecore.algorithms.serving.scoring import Own, Scored, ask, put_together
from hecore.algorithms.serving.settings import Scores, Settings

log = logging.getLogger(__name__)

#: What a caller gets for a row without a score; alike whichever party it is.
NO_SCORE = {
    msg.UNKNOWN: ("unknown_id", 404),
    msg.SPENT: ("id_limit", 429),
    msg.UNUSABLE: ("missing_value", 422),
}
#: A row's features by column, null where missing.
Cells = Mapping[str, float | str | None]


@dataclass(frozen=True)
class Loaded:
    """What was read from files; replaced as a whole by a reload. `features` None: callers send them."""

    wholes: Mapping[str, Whole]
    features: Mapping[str, Adapted] | None
    callers: Callers


class Choice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which model is active, and which were before, the last one last."""

    active: str
    before: tuple[str, ...] = ()


@dataclass
class _Usage:
    """What a caller may still ask."""

    rate: Rate
    daily: Daily


@dataclass(frozen=True)
class Reply:
    """Scores of a request; `missing`: passive parties that are not in them."""

    model: str
    scores: Floats
    missing: tuple[str, ...]


class ActiveService:
    """See the module. `load` reads the files again; it is called in a thread of its own."""

    def __init__(self, settings: Settings, load: Callable[[], Loaded], peers: Peers, audit: AuditLog) -> None:
        self.settings, self.peers, self.audit = settings, peers, audit
        self.metrics = Metrics()
        self._load = load
        self.loaded = load()
        self.choice = self._first_choice()
        self._usage: dict[str, tuple[Caller, _Usage]] = {}
        self._batcher = Batcher(self._work, settings.batch)
        self._reloading = asyncio.Lock()

    # --- models ------------------------------------------------------------------------------------

    def _first_choice(self) -> Choice:
        """The model of the last run, where it is still there; else the first one."""
        path = self.settings.path(self.settings.choice)
        if path.exists():
            try:
                choice = msgspec.json.decode(path.read_bytes(), type=built(Choice))
            except msgspec.MsgspecError as error:
                raise ConfigurationError(f"{path} cannot be read: {error}") from None
            if choice.active in self.loaded.wholes:
                return choice
        return Choice(next(iter(self.loaded.wholes)))

    def find(self, name: str) -> Whole:
        """The model whose id begins with `name`. Raises Refusal unless it is exactly one."""
        found = [whole for model, whole in self.loaded.wholes.items() if name and model.startswith(name)]
        if len(found) != 1:
            raise Refusal(404, "unknown_model", f"{len(found)} models begin with {name[:64]!r}")
        return found[0]

    def ready(self, whole: Whole) -> tuple[bool, str]:
        """Whether all passive parties serve a model, and what is missing."""
        offers = self._offers(whole)
        if away := [name for name in self._needed(whole) if name not in offers]:
            return False, self.peers.lacking(away, whole.model)
        try:
            whole.check(offers)
        except ProtocolError as error:
            return False, str(error)
        return True, ""

    def _needed(self, whole: Whole) -> Sequence[str]:
        return self.peers.names if whole.peers is None else whole.peers

    def _offers(self, whole: Whole) -> dict[str, msg.Offer]:
        """What the passive parties that a model needs offer of it, as far as they are there."""
        needed = self._needed(whole)
        return {name: offer for name, offer in self.peers.offers(whole.model).items() if name in needed}

    def activate(self, name: str) -> str:
        """Make a model the active one. Raises Refusal where it is not there or a passive party lacks it."""
        whole = self.find(name)
        fits, why = self.ready(whole)
        if not fits:
            raise Refusal(409, "model_not_ready", f"model {whole.model} cannot be active: {why}")
        if whole.model != self.choice.active:
            self._choose(Choice(whole.model, (*self.choice.before, self.choice.active)[-20:]))
        return whole.model

    def roll_back(self) -> str:
        """Make the model active that was it before. Raises Refusal where there is none any more."""
        before = [model for model in self.choice.before if model in self.loaded.wholes]
        if not before:
            raise Refusal(409, "no_earlier_model", "no model was active before, or it is not there any more")
        fits, why = self.ready(self.loaded.wholes[before[-1]])
        if not fits:
            raise Refusal(409, "model_not_ready", f"model {before[-1]} cannot be active: {why}")
        self._choose(Choice(before[-1], tuple(before[:-1])))
        return self.choice.active

    def _choose(self, choice: Choice) -> None:
        path = self.settings.path(self.settings.choice)
        write_whole(path, msgspec.json.encode(choice), READABLE)
        log.info("model %s is active; before it was %s", choice.active, self.choice.active)
        self.choice = choice

    async def reload(self) -> None:
        """Read shares, features and callers again. What was there goes on where that fails, which raises."""
        async with self._reloading:
            loaded = await asyncio.get_running_loop().run_in_executor(None, self._load)
            self.loaded = loaded
            if self.choice.active not in loaded.wholes:
                before = [model for model in self.choice.before if model in loaded.wholes]
                self._choose(Choice((before or list(loaded.wholes))[-1], tuple(before[:-1])))
            self.audit.reopen()
        log.info("read again: %d models, %d callers", len(loaded.wholes), len(loaded.callers.callers))

    # --- requests ----------------------------------------------------------------------------------

    async def predict(
        self,
        name: str,
        model: str | None,
        ids: list[str],
        features: Sequence[Cells] | None,
    ) -> Reply:
        """Score rows for a caller. Raises Refusal."""
        loaded = self.loaded
        whole = self.find(model) if model is not None else loaded.wholes[self.choice.active]
        own = self._own(loaded, whole, ids, features)
        self._spend(name, loaded.callers.callers[name], ids)
        scored = await self._scored(whole, own) if own.asked else self._unasked(whole)
        return self._reply(whole, ids, own.joined(scored))

    async def _scored(self, whole: Whole, own: Own) -> Scored:
        """What becomes of the rows that this party can do its part of."""
        job = Job(whole, own.asked, own.values, asyncio.get_running_loop().create_future())
        try:
            self._batcher.put(job)
            async with asyncio.timeout(self.settings.http.time_limit):
                return await job.done
        except Overloaded as error:
            raise Refusal(503, "overloaded", str(error), retry_after=1) from None
        except TimeoutError:
            raise Refusal(
                504, "time_limit", f"no answer within {self.settings.http.time_limit:g} s"
            ) from None
        except ProtocolError as error:
            log.error("%s", error)
            raise Refusal(502, "peer_failed", "a passive party gave an answer that does not fit") from None

    def _unasked(self, whole: Whole) -> Scored:
        """Of no row, but with the parties that could not have been asked: a caller gets the same answer."""
        offers = self._offers(whole)
        away = [name for name in self._needed(whole) if name not in offers]
        missing = {name: PeerLost(self.peers.lacking([name], whole.model)) for name in away}
        return Scored(np.empty(0, np.uint8), np.empty(0), missing)

    def _own(
        self,
        loaded: Loaded,
        whole: Whole,
        ids: list[str],
        features: Sequence[Cells] | None,
    ) -> Own:
        """This party's values: those that the caller sends, else its own data's."""
        if features is not None:
            return Own(np.full(len(ids), msg.KNOWN, np.uint8), ids, given_values(whole, features))
        if loaded.features is None:
            raise Refusal(422, "features_needed", "this party has no data: send `rows` with features")
        return Own.of(whole, loaded.features[whole.model], ids)

    def _spend(self, name: str, caller: Caller, ids: list[str]) -> None:
        """Count the rows against the caller's limits. Raises Refusal."""
        kept = self._usage.get(name)
        if kept is None or kept[0] != caller:
            limits = self.settings.limits
            rate, burst = limits.rate(active=True)
            usage = _Usage(
                Rate(caller.rows_per_second or rate, caller.burst or burst),
                Daily(caller.per_id_per_day or limits.daily(active=True)),
            )
            kept = self._usage[name] = caller, usage
        wait = kept[1].rate.take(len(ids))
        if wait == float("inf"):
            raise Refusal(413, "too_many_rows", "more rows than this caller may ever ask for at once")
        if wait:
            raise Refusal(429, "rate_limit", "too many rows a second", retry_after=wait)
        free = kept[1].daily.take(ids)
        if not free.all():
            spent = [text for text, left in zip(ids, free, strict=True) if not left]
            raise Refusal(429, "id_limit", msg.ids_that(msg.SPENT, len(spent)), ids=spent)

    def _reply(self, whole: Whole, ids: list[str], scored: Scored) -> Reply:
        for error in scored.missing.values():
            if isinstance(error, DeclinedError) and error.code == "rate":
                raise Refusal(429, "peer_rate_limit", str(error), retry_after=error.retry_after)
        if scored.missing and self.settings.scores.when_down == "error":
            raise Refusal(503, "peer_down", "; ".join(map(str, scored.missing.values())), retry_after=1)
        # Behind these: where a party has not answered, an id that is told would be one that this party lacks.
        for status, (code, http) in NO_SCORE.items():
            bad = [text for text, one in zip(ids, scored.status, strict=True) if one == status]
            if bad:
                raise Refusal(http, code, msg.ids_that(status, len(bad)), ids=bad)
        if not np.isfinite(scored.scores).all():
            raise Refusal(422, "no_number", "the features lead to no finite score")
        return Reply(whole.model, rounded(scored.scores, whole, self.settings.scores), tuple(scored.missing))

    async def _work(self, jobs: Sequence[Job]) -> None:
        """Score a batch: one question to each passive party for all jobs, and each job its rows."""
        whole = jobs[0].whole
        ids = [text for job in jobs for text in job.ids]
        values = np.concatenate([job.values for job in jobs]) if len(jobs) > 1 else jobs[0].values
        began = time.monotonic()
        self.metrics.batch.observe(len(ids))
        offers = self._offers(whole)
        if len(offers) == len(self._needed(whole)):
            whole.check(offers)
        answers = ask(self.peers, whole, ids)
        waiting = [asyncio.wrap_future(answer) for answer in answers.values()]
        if waiting:
            await asyncio.wait(waiting, timeout=self.settings.http.time_limit * 0.8)
        for future in waiting:
            if not future.cancel():
                future.exception()  # it is read from `answers`
        self.metrics.asked.observe(time.monotonic() - began)
        active_only = self.settings.scores.when_down == "active-only"
        scored = put_together(whole, values, answers, active_only=active_only)
        start = 0
        for job in jobs:
            stop = start + len(job.ids)
            if not job.done.done():
                job.done.set_result(
                    Scored(scored.status[start:stop], scored.scores[start:stop], scored.missing)
                )
            start = stop


def given_values(whole: Whole, features: Sequence[Cells]) -> Matrix:
    """The values that a caller sends. Raises Refusal naming a column that is missing, foreign or wrong."""
    wanted = set(whole.columns)
    for row in features:
        if row.keys() != wanted:
            lacking, extra = sorted(wanted - row.keys()), sorted(row.keys() - wanted)
            raise Refusal(
                422,
                "wrong_columns",
                f"features missing: {lacking or 'none'}, not of this model: {extra or 'none'}",
            )
    rows = [[_given(whole, name, row[name]) for name in whole.columns] for row in features]
    values = np.array(rows, dtype=np.float64).reshape(len(features), len(whole.columns))
    if not whole.takes_missing and np.isnan(values).any():
        raise Refusal(422, "missing_value", "this model takes no missing values")
    return values


def _given(whole: Whole, name: str, cell: float | str | None) -> float:
    """A cell as the model takes it."""
    bins = whole.texts.get(name)
    if cell is None:
        return float("nan")
    if isinstance(cell, str) != (bins is not None):
        raise Refusal(422, "wrong_columns", f"column {name!r} takes a {'number' if bins is None else 'text'}")
    return float(cell) if bins is None else float(bins.numbers([str(cell)])[0])


def rounded(scores: Floats, whole: Whole, options: Scores) -> Floats:
    """Scores as callers see them: no finer than agreed."""
    if whole.probabilities:
        if not options.probability_step:
            return scores
        return np.asarray(np.rint(scores / options.probability_step) * options.probability_step).round(12)
    if not options.digits:
        return scores
    with np.errstate(divide="ignore"):
        size = np.where(scores == 0, 0.0, np.floor(np.log10(np.abs(scores))))
    step = 10.0 ** (size - options.digits + 1)
    return np.asarray(np.rint(scores / step) * step)
