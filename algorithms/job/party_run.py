"""The phases of one party's run of a job, and what is open meanwhile."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hecore import Meter
from hecore.algorithms.channel import AllowList, CurveKeys, FolderStore, ZmqChannel, ZmqOptions
from hecore.algorithms.channel.node import Node
from hecore.algorithms.checkpoint import Checkpoints
from hecore.algorithms.data import Ids, Split, Table, split_rows
from hecore.algorithms.errors import (
    AlignmentError,
    PeerAborted,
    ProtocolError,
)
from hecore.algorithms.job.changed import naming_what_changed
from hecore.algorithms.job.config import JobFile
from hecore.algorithms.job.data import JobData, check_labels, check_parts
from hecore.algorithms.job.ending import all_delivered, end_job
from hecore.algorithms.job.folder import RunFolder
from hecore.algorithms.job.home import Home
from hecore.algorithms.job.meeting import JobRefused, meet
from hecore.algorithms.job.progress import Pace, ProgressKeeper
from hecore.algorithms.job.recording import row_counts
from hecore.algorithms.job.scores import PREDICTIONS, evaluate, write_predictions
from hecore.algorithms.job.training import Round, Training, make_training
from hecore.algorithms.psi import Progress as PsiProgress
from hecore.algorithms.psi import PsiConfig, align
from hecore.meter import Timeline

log = logging.getLogger(__name__)

#: Seconds of a phase after which its progress is recorded.
RECORDED = 2.0


@dataclass(frozen=True)
class Outcome:
    """What a run came to: metrics of the test rows at the active party, and where its share lies.

    again        it was finished before, and nothing was done
    undelivered  the peers may still need something of this party: it goes out when it is started again
    """

    folder: Path
    model: Path
    results: dict[str, float]
    again: bool = False
    undelivered: bool = False

    @property
    def predictions(self) -> Path | None:
        """Where the scores of the test rows lie, if this party has them."""
        path = self.folder / PREDICTIONS
        return path if path.exists() else None


class PartyRun:
    """The phases of a run, and what is open meanwhile."""

    def __init__(
        self, job: JobFile, home: Home, store: FolderStore, folder: RunFolder, keeper: ProgressKeeper
    ) -> None:
        self._job, self._home, self._store = job, home, store
        self._folder, self._keeper = folder, keeper
        self._meter = Meter()
        self._node: Node | None = None
        self._channels: list[ZmqChannel] = []
        self._pace = Pace(keeper.together)
        self._aligned_already = False
        self._measured = time.monotonic()

    def run(self) -> Outcome:
        """All phases."""
        job = self._job
        self._keeper.phase("reading the file")
        data = JobData(job)
        if job.is_active:
            check_labels(job, data.labels())
        self._open()
        with self._meter.activate():
            self._keeper.phase("waiting for the other parties")
            split_key = meet(
                self._channels,
                self._checkpoints,
                job.terms(),
                active=job.is_active,
                split_key=job.split.key.encode() if job.split.key else None,
            )
            # The parties have met: slot 0 of all their time lines is about the same moment.
            self._meter.timeline = Timeline(time.perf_counter())
            self._measure()
            table = self._aligned(data)
            self._aligned_already = True
            with self._meter.phase("read"):
                share = job.split
                parts = split_rows(Ids(table.ids), split_key, validation=share.validation, test=share.test)
                self._folder.update(rows=row_counts(data, table, parts), columns=len(table.columns))
            training = self._train(table, parts)
            with self._meter.phase("train"):
                model = training.save(job.folder)
                self._folder.update(importances=training.importances(), model=model.name)
            results = self._score(training, table, parts)
            self._folder.update(results={name: {"test": value} for name, value in results.items()})
            delivered = self._end()
        return Outcome(job.folder, model, results, undelivered=not delivered)

    def was_in_vain(self, error: BaseException) -> bool:
        """Whether there is nothing to go on with: nobody was met, or all parties have heard a no.

        Then all forget what was said, and begin anew when what was wrong is mended. Any other error may be
        this party's alone: the others wait for it, and would not know that it has forgotten.
        """
        if self._aligned_already:
            return False
        if self._store.epoch == 1 and not any(channel.metrics.connections for channel in self._channels):
            return True
        told = isinstance(error, PeerAborted) and error.reason == AlignmentError.__name__
        return told or isinstance(error, JobRefused | AlignmentError)

    def close(self, *, leave: bool) -> None:
        """Let go of the network and the store."""
        if self._channels:
            self._measure()
        if self._node is not None:
            self._node.close(leave=leave)  # and with it the store
        else:
            self._store.close()

    # --- phases -------------------------------------------------------------------------------------

    def _open(self) -> None:
        job = self._job
        self._keeper.phase("opening the connection")
        keys, allowed = CurveKeys.load(job.at(job.party.keys)), AllowList.load(job.at(job.party.allowed))
        options = ZmqOptions(connect_timeout=job.run.wait, grace=job.run.grace)
        self._node = node = Node(
            job.party.name,
            keys,
            allowed,
            job=job.job,
            listen=job.party.listen,
            store=self._store,
            options=options,
        )
        self._channels = [ZmqChannel(node, name, peer.dial) for name, peer in sorted(job.peers.items())]
        self._checkpoints = Checkpoints(
            self._store, self._channels, every=0, seconds=job.run.checkpoint_seconds
        )
        self._keeper.watch(self._channels)

    def _aligned(self, data: JobData) -> Table:
        """The rows that all parties have, in the order of all."""
        job = self._job
        if job.alignment.method == "none":
            with self._phase("reading the rows", "read"):
                return data.rows(None)
        config = PsiConfig(min_intersection=job.alignment.min_intersection)
        with self._phase("aligning rows", "psi"), naming_what_changed(job, self._home, "align"):
            found = align(
                self._channels,
                data.ids,
                job.party.role,
                config,
                checkpoints=self._checkpoints,
                on_progress=self._tell_psi,
            )
        if found.rows is None:
            raise ProtocolError("the alignment did not tell which rows are common")
        with self._phase("reading the common rows", "read"):
            return data.rows(found.rows)

    def _train(self, table: Table, parts: Split) -> Training:
        job = self._job
        key = None
        if job.needs_key:
            with self._phase("making keys", "keys"):
                key = self._home.paillier_key()
        with self._phase("training", "train"):
            training = make_training(job, self._channels, key, self._checkpoints, self._meter)
            self._folder.update(backend=training.backend)
            check_parts(job, table, parts)
            train = table.take(parts.train)
            validation = table.take(parts.validation) if parts.validation.size else None
            started, self._pace = time.perf_counter(), Pace(self._keeper.together)
            with naming_what_changed(job, self._home, "train"):
                training.fit(train, validation, self._tell_round)
            seconds = time.perf_counter() - started
        for one in training.measured():
            self._folder.round(
                one.number, seconds=seconds, metric=one.metric, train=one.train, validation=one.validation
            )
        return training

    def _score(self, training: Training, table: Table, parts: Split) -> dict[str, float]:
        if not parts.test.size:
            return {}
        with self._phase("scoring test rows", "score"):
            test = table.take(parts.test)
            with naming_what_changed(self._job, self._home, "train"):
                scores = training.predict(test)
            if scores is None or test.label is None:
                return {}
            if self._job.run.predictions:
                write_predictions(self._job.folder / PREDICTIONS, test, scores)
            return evaluate(training.objective, test.label, scores)

    def _end(self) -> bool:
        """Whether all others have everything that they need of this party."""
        self._keeper.phase("waiting until the others have everything")
        self._measure()
        own = self._folder.record.timelines.get(self._job.party.name)  # of earlier processes as well
        shown = own if self._job.run.share_timeline else None
        peers = end_job(self._channels, self._checkpoints, shown)
        for peer, timeline in peers.items():
            self._folder.peer_timeline(peer, timeline)
        with self._meter.phase("wait"):
            delivered = all_delivered(self._channels)
        self._measure()
        self._folder.finish("finished")
        self._keeper.phase("finished")
        return delivered

    # --- what is told -------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _phase(self, told: str, name: str) -> Iterator[None]:
        """A phase for people and for the meter, which takes the pieces that have a name of their own out."""
        self._keeper.phase(told)
        with self._meter.phase(name):
            yield
        self._measure()

    def _measure(self, *, unless_lately: bool = False) -> None:
        """Put into the records what was done so far: what a process did that is killed then is in them."""
        if unless_lately and time.monotonic() < self._measured + RECORDED:
            return
        self._measured = time.monotonic()
        with contextlib.suppress(OSError):  # a full disk is told by what ended the run
            self._folder.measure(self._meter, self._channels)

    def _tell_psi(self, progress: PsiProgress) -> None:
        detail = f"with {progress.peer}, {progress.rate:,.0f} ids/s" if progress.rate else ""
        self._keeper.tell("aligning rows", detail, progress.done / progress.total, progress.remaining)
        self._measure(unless_lately=True)

    def _tell_round(self, round: Round) -> None:
        detail = f"{round.unit} {round.number}/{round.rounds}"
        for value, part in ((round.train, ""), (round.validation, " validation")):
            detail += "" if value is None else f",{part} {round.metric} {value:.4f}"
        if not round.is_whole and round.train is not None:
            detail += f" after {round.unit} {round.number - 1}"
        self._pace.step(round.done, round.step)
        pace = f"{self._pace.whole / round.rounds:.1f} s per {round.unit}"
        self._keeper.tell("training", f"{detail}, {pace}", round.done, self._pace.remaining)
        if not round.is_whole:
            self._measure(unless_lately=True)
            return
        log.info("%s", detail)
        if (round.train, round.validation) != (None, None):
            self._folder.round(
                round.number,
                seconds=round.seconds,
                metric=round.metric,
                train=round.train,
                validation=round.validation,
            )
        self._measure()
