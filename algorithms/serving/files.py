"""Joint prediction for a file of ids: both sides run it, the active one writes scores.

    active    ids of the file  →  questions of CHUNK rows, a few at once  →  OUT.parts/000000.parquet, …
              all parts there  →  OUT
    passive   answers until the active party says that the file is done

Either side may be killed. Started again, the active one goes on with the first part that is not there, and a
passive one that was away is waited for.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hecore.algorithms.built import built
from hecore.algorithms.data import Ids
from hecore.algorithms.data.ids import check_ids
from hecore.algorithms.data.write import table_writer
from hecore.algorithms.errors import ChannelTimeout, ConfigurationError, PeerLost
from hecore.algorithms.private_files import move, write_whole
from hecore.algorithms.rows_done import RowsDone
from hecore.algorithms.serving import messages as msg
from hecore.algorithms.serving.features import Adapted
from hecore.algorithms.serving.parts import Whole
from hecore.algorithms.serving.peers import DeclinedError, Peers
from hecore.algorithms.serving.scoring import Answers, Own, Scored, ask, put_together, wait_for

log = logging.getLogger(__name__)

#: Rows of a question, and questions under way at once.
CHUNK, AHEAD = 2048, 2
#: Seconds that an answer may take while its party is there.
PATIENCE = 60.0
A_LOOK = 0.1
#: Ids that a summary names.
SHOWN = 5


@dataclass(frozen=True)
class Summary:
    """What was written. `lacking`: by why there is no score, how many rows, and the first ids of them."""

    rows: int
    resumed: int
    lacking: dict[int, tuple[int, list[str]]]


class _Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the parts in a folder belong to."""

    model: str
    ids: str
    features: str
    chunk: int


class FileScoring:
    """One run at the active party. `wait`: seconds for which a passive party may be away."""

    def __init__(
        self, whole: Whole, features: Adapted, ids: Ids, out: Path, peers: Peers, *, wait: float
    ) -> None:
        check_ids("ids", ids)
        self._whole, self._features, self._ids, self._out = whole, features, ids, out
        self._peers, self._wait = peers, wait
        self._folder = out.with_name(out.name + ".parts")
        self._total = -(-len(ids) // CHUNK)

    def run(self, on_progress: Callable[[RowsDone], None]) -> Summary:
        """Score all rows, and write them. Raises ChannelTimeout where a party is away for too long,
        ConfigurationError where the parts that are there are of another run, ProtocolError, TableError.
        """
        self._open_folder()
        missing = [number for number in range(self._total) if not self._part(number).exists()]
        resumed = done = len(self._ids) - sum(len(self._chunk(number)) for number in missing)
        began = time.monotonic()
        flying: deque[_Asked] = deque()
        for number in [*missing, *[None] * AHEAD]:
            if number is not None:
                flying.append(self._ask(number))
            if flying and (number is None or len(flying) >= AHEAD):
                asked = flying.popleft()
                self._write(asked, self._settled(asked))
                done += len(asked.ids)
                seconds = time.monotonic() - began
                on_progress(RowsDone(done=done, total=len(self._ids), resumed=resumed, seconds=seconds))
        return self._join(resumed)

    # --- questions ---------------------------------------------------------------------------------

    def _chunk(self, number: int) -> Ids:
        return self._ids[number * CHUNK : (number + 1) * CHUNK]

    def _ask(self, number: int) -> _Asked:
        ids = list(self._chunk(number))
        own = Own.of(self._whole, self._features, ids)
        self._meet()
        return _Asked(number, ids, own, ask(self._peers, self._whole, own.asked))

    def _settled(self, asked: _Asked) -> Scored:
        """The scores of a chunk; it is asked for again when a party was away, or asks for a pause."""
        answers = asked.answers
        while True:
            wait_for(answers, PATIENCE)
            scored = put_together(self._whole, asked.own.values, answers)
            if not scored.missing:
                return scored
            for error in scored.missing.values():
                if isinstance(error, DeclinedError) and error.code == "rate":
                    time.sleep(min(error.retry_after, 60.0))
                elif not isinstance(error, PeerLost):
                    raise error
            log.warning("asking again: %s", "; ".join(map(str, scored.missing.values())))
            self._meet()
            answers = ask(self._peers, self._whole, asked.own.asked)

    def _meet(self) -> None:
        """Wait until all passive parties are there with this model; ProtocolError where one does not fit."""
        needed = self._peers.names if self._whole.peers is None else self._whole.peers
        deadline = time.monotonic() + self._wait
        while True:
            offers = {
                name: offer for name, offer in self._peers.offers(self._whole.model).items() if name in needed
            }
            if len(offers) == len(needed):
                return self._whole.check(offers)
            if time.monotonic() > deadline:
                away = [name for name in needed if name not in offers]
                why = self._peers.lacking(away, self._whole.model, others=True)
                raise ChannelTimeout(
                    f"waited {self._wait:g} s: {why}; start `hecore predict` there with its share of model"
                    f" {self._whole.model}"
                )
            time.sleep(A_LOOK)

    # --- parts -------------------------------------------------------------------------------------

    def _part(self, number: int) -> Path:
        return self._folder / f"{number:06d}.parquet"

    def _open_folder(self) -> None:
        """The folder of parts, new or of the same run."""
        plan = _Plan(self._whole.model, self._ids.fingerprint().hex(), self._digest(), CHUNK)
        path = self._folder / "plan.json"
        if path.exists():
            try:
                there = msgspec.json.decode(path.read_bytes(), type=built(_Plan))
            except msgspec.MsgspecError:
                there = None
            if there != plan:
                raise ConfigurationError(
                    f"{self._folder} holds parts of another model, other ids or other data: remove it to"
                    " begin anew"
                )
            return
        self._folder.mkdir(mode=0o700, exist_ok=True)
        write_whole(path, msgspec.json.encode(plan))

    def _digest(self) -> str:
        """SHA-256 of the features of the first and last ids: a file that was replaced is noticed."""
        ends = [*self._chunk(0), *self._chunk(self._total - 1)]
        known, values = self._features.lookup(ends)
        return hashlib.sha256(known.tobytes() + np.ascontiguousarray(values).tobytes()).hexdigest()

    def _write(self, asked: _Asked, scored: Scored) -> None:
        """The part of one chunk, durable."""
        every = asked.own.joined(scored)
        table = pa.table({"id": asked.ids, **_score_columns(every.scores), "status": every.status})
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        write_whole(self._part(asked.number), sink.getvalue().to_pybytes())

    def _join(self, resumed: int) -> Summary:
        """All parts as one file, then without them."""
        fresh = self._out.with_name(self._out.name + ".new")
        counts = dict.fromkeys(msg.REASONS, 0)
        first: dict[int, list[str]] = {kind: [] for kind in msg.REASONS}
        writer: Any = None
        for number in range(self._total):
            table = pq.read_table(self._part(number))
            status = table["status"].to_numpy()
            for kind in counts:
                places = np.flatnonzero(status == kind)
                counts[kind] += places.size
                room = SHOWN - len(first[kind])
                first[kind] += [table["id"][int(place)].as_py() for place in places[:room]]
            kept = table.drop_columns(["status"])
            writer = writer or table_writer(self._out, fresh, kept.schema)
            writer.write_table(kept)
        writer.close()
        with open(fresh, "rb") as file:
            os.fsync(file.fileno())
        move(fresh, self._out)
        for path in self._folder.iterdir():
            path.unlink()
        self._folder.rmdir()
        lacking = {kind: (count, first[kind]) for kind, count in counts.items() if count}
        return Summary(len(self._ids), resumed, lacking)


@dataclass(frozen=True)
class _Asked:
    """A chunk under way."""

    number: int
    ids: list[str]
    own: Own
    answers: Answers


def finish(peers: Peers, seconds: float = 3.0) -> None:
    """Tell the passive parties that the file is done, until they are gone or the time is over."""
    peers.finished = True
    deadline = time.monotonic() + seconds
    with contextlib.suppress(PeerLost):
        while time.monotonic() < deadline and any(peers.there(name) for name in peers.names):
            time.sleep(A_LOOK)


def _score_columns(scores: Any) -> dict[str, Any]:
    """One column, or one a class; null where there is no score."""
    if scores.ndim == 1:
        return {"score": pa.array(scores, from_pandas=True)}
    return {f"score_{number}": pa.array(column, from_pandas=True) for number, column in enumerate(scores.T)}
