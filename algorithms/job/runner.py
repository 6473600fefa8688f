"""One party's run of a job: begun, gone on with, or found finished.

A run that ends early, for whatever reason, goes on from its last checkpoint when it is started again, at this
party alone or at all. A job that is finished stays finished.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Literal

from hecore.algorithms.errors import (
    CheckpointError,
    ConfigurationError,
    StoreError,
    TableError,
    told,
)
from hecore.algorithms.job.config import JobFile
from hecore.algorithms.job.folder import RECORD, RunFolder, read_record
from hecore.algorithms.job.home import Home
from hecore.algorithms.job.party_run import Outcome, PartyRun
from hecore.algorithms.job.progress import PROGRESS, JobProgress, ProgressKeeper
from hecore.algorithms.job.recording import check_folder, check_same, open_records, test_values

log = logging.getLogger(__name__)

#: Errors that this party mends at home; meanwhile the others wait, as for one that was stopped.
MENDABLE = (ConfigurationError, TableError, CheckpointError, StoreError, OSError, MemoryError)

OnProgress = Callable[[JobProgress], None]


def run_job(job: JobFile, on_progress: OnProgress | None = None, *, anew: bool = False) -> Outcome:
    """Run a job, or go on with it; `anew`: first `forget` what an earlier run has left here.

    Raises what went wrong: ConfigurationError, TableError, AlignmentError, HandshakeError for what must be
    mended before it can go on; PeerLost, ChannelTimeout, PeerAborted where another party is at fault;
    StoreError. On KeyboardInterrupt it goes without a word, so that its peers wait.
    """
    home = Home(job)
    if anew:
        forget(job)
    check_folder(job)
    done = _finished(job, home)
    if done is not None:
        return done
    last_chance = _record_status(job) == "finished"  # and something could not be delivered: once more
    store = home.open_store()  # first of all: another process may be at work here
    with open_records(job) as folder, ProgressKeeper(job.folder / PROGRESS, on_progress) as keeper:
        run = PartyRun(job, home, store, folder, keeper)
        try:
            outcome = run.run()
        except KeyboardInterrupt as interrupt:
            vain = run.was_in_vain(interrupt)
            run.close(leave=False)
            if vain:
                home.remove()
            _end(folder, "stopped", "")
            raise
        except BaseException as error:
            vain = run.was_in_vain(error)
            run.close(leave=not isinstance(error, MENDABLE))
            if vain:
                home.remove()
            _end(folder, "failed", f"{type(error).__name__}: {told(error)}")
            raise
        run.close(leave=True)
        if last_chance:
            outcome = replace(outcome, undelivered=False)
        if not outcome.undelivered:
            home.remove()
    return outcome


def forget(job: JobFile, tell: Callable[[str], None] = log.warning) -> None:
    """Remove the state of a run, whatever its condition, and put its records and model aside.

    All parties must do so; `tell` is told whom to ask. StoreInUse while a process works with it,
    ConfigurationError where it is of another job or party.
    """
    check_folder(job)
    Home(job).remove_unless_used()
    if (job.folder / RECORD).exists():
        kept = job.folder.with_name(f"{job.folder.name}.{datetime.now():%Y%m%d-%H%M%S-%f}")
        job.folder.rename(kept)
        others = " and ".join(sorted(job.peers))
        tell(
            f"{job.party.name} begins anew, and {others} must be started with --anew as well;"
            f" what was there is kept in {kept}"
        )


def _finished(job: JobFile, home: Home) -> Outcome | None:
    """The outcome of a run that is over and owes nobody anything.

    ConfigurationError if the job file asks for something else now.
    """
    if home.folder.exists() or _record_status(job) != "finished":
        return None
    record = read_record(job.folder)
    check_same(job, record)
    return Outcome(job.folder, job.folder / record.model, test_values(record.results), again=True)


def _record_status(job: JobFile) -> str:
    return read_record(job.folder).status if (job.folder / RECORD).exists() else ""


def _end(folder: RunFolder, status: Literal["failed", "stopped"], error: str) -> None:
    (log.error if error else log.info)("%s", error or status)
    with contextlib.suppress(OSError):  # a full disk has ended the run, and its error is on its way
        folder.finish(status, error)
