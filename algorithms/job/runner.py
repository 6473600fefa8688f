"""One party's run of a job: handshake, alignment, training, scores, its share of the model.

A run that ends early, for whatever reason, goes on from its last checkpoint when it is started again, at this
party alone or at all. A job that is finished stays finished.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hecore.algorithms.channel import AllowList, CurveKeys, ZmqChannel, ZmqOptions
from hecore.algorithms.channel.node import Node
from hecore.algorithms.checkpoint import Checkpoints
from hecore.algorithms.data import Schema, Split, Table, infer_schema, split_rows
from hecore.algorithms.data.read import read_table
from hecore.algorithms.job.config import JobFile
from hecore.algorithms.job.home import Home
from hecore.algorithms.job.meeting import meet
from hecore.algorithms.job.progress import JobProgress, ProgressKeeper
from hecore.algorithms.job.scores import evaluate
from hecore.algorithms.job.training import Round, Training, make_training
from hecore.algorithms.psi import Progress as PsiProgress
from hecore.algorithms.psi import PsiConfig, align

log = logging.getLogger(__name__)

OnProgress = Callable[[JobProgress], None]


@dataclass(frozen=True)
class Outcome:
    """What a run came to: metrics of the test rows at the active party, and where its share lies."""

    folder: Path
    model: Path
    results: dict[str, float]
    again: bool = False  # it was finished before


def run_job(job: JobFile, on_progress: OnProgress | None = None) -> Outcome:
    """Run a job, or go on with it.

    Raises what went wrong: ConfigurationError, TableError, AlignmentError, HandshakeError for what must be mended
    before it can go on; PeerLost, ChannelTimeout, PeerAborted where another party is at fault; StoreError.
    """
    job.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    keeper = ProgressKeeper(job.folder / "progress.json", on_progress)
    with keeper, _JobRun(job, keeper) as run:
        return run.run()


class _JobRun:
    def __init__(self, job: JobFile, keeper: ProgressKeeper) -> None:
        self._job, self._keeper = job, keeper
        self._home = Home(job)
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> _JobRun:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self) -> Outcome:
        """All phases."""
        job = self._job
        schema = self._look()
        self._open()
        self._keeper.phase("waiting for the other parties")
        self._split_key = meet(
            list(self._channels.values()),
            self._checkpoints,
            job.terms(),
            active=job.is_active,
            split_key=job.split.key.encode() if job.split.key else None,
        )
        table = self._aligned(schema)
        split = split_rows(
            table.ids,
            self._split_key,
            validation=job.split.validation,
            test=job.split.test,  # type: ignore[arg-type]
        )
        training = self._train(table, split, schema)
        results = self._score(training, table, split)
        model = training.save(job.folder)
        self._keeper.phase("waiting until the others have everything")
        return Outcome(job.folder, model, results)

    def _look(self) -> Schema:
        """What stands in the file, before anybody is asked."""
        data = self._job.data
        self._keeper.phase("reading the file")
        return infer_schema(
            self._job.at(data.file), id_column=data.id, label_column=data.label, categorical=data.categorical
        )

    def _open(self) -> None:
        job = self._job
        self._keeper.phase("making keys")
        keys, allowed = CurveKeys.load(job.at(job.party.keys)), AllowList.load(job.at(job.party.allowed))
        store = self._home.open_store()
        self._key = self._home.paillier_key()
        options = ZmqOptions(connect_timeout=job.run.wait, grace=job.run.grace)
        node = Node(
            job.party.name, keys, allowed, job=job.job, listen=job.party.listen, store=store, options=options
        )
        self._stack.callback(node.close)
        self._channels = {name: ZmqChannel(node, name, peer.dial) for name, peer in sorted(job.peers.items())}
        self._checkpoints = Checkpoints(
            store, list(self._channels.values()), every=0, seconds=job.run.checkpoint_seconds
        )
        self._keeper.watch(self._channels)

    def _aligned(self, schema: Schema) -> Table:
        job = self._job
        data = job.data
        table = read_table(
            job.at(data.file), id_column=data.id, label_column=data.label, categorical=data.categorical
        )
        if job.alignment.method == "none":
            return table
        self._keeper.phase("aligning rows")
        config = PsiConfig(min_intersection=job.alignment.min_intersection)
        found = align(
            list(self._channels.values()), table.ids, job.party.role, config, on_progress=self._tell_psi
        )
        return table.take(found.rows)

    def _tell_psi(self, progress: PsiProgress) -> None:
        detail = f"with {progress.peer}, {progress.rate:,.0f} ids/s" if progress.rate else ""
        self._keeper.tell("aligning rows", detail, progress.done / progress.total, progress.remaining)

    def _train(self, table: Table, split: Split, schema: Schema) -> Training:
        job = self._job
        training = make_training(
            job, list(self._channels.values()), self._key, self._checkpoints, job.data.categorical
        )
        self._keeper.phase("training")
        validation = table.take(split.validation) if split.validation.size else None
        training.fit(table.take(split.train), validation, self._tell_round)
        return training

    def _tell_round(self, round: Round) -> None:
        detail = f"{round.unit} {round.number}/{round.rounds}, {round.metric} {round.train:.4f}"
        done = round.number / round.rounds
        self._keeper.tell("training", detail, done, round.seconds / done - round.seconds)

    def _score(self, training: Training, table: Table, split: Split) -> dict[str, float]:
        if not split.test.size:
            return {}
        self._keeper.phase("scoring test rows")
        test = table.take(split.test)
        scores = training.predict(test)
        if scores is None or test.label is None:
            return {}
        return evaluate(training.objective, test.label, scores)
