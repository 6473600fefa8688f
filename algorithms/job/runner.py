"""One party's run of a job: begun, gone on with, or found finished.

A run that ends early, for whatever reason, goes on from its last checkpoint when it is started again, at this
party alone or at all. A job that is finished stays finished.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from typing import Literal

from hecore.algorithms.errors import told
from hecore.algorithms.job.config import JobFile
from hecore.algorithms.job.folder import METRICS, RECORD, RunFolder, read_record
from hecore.algorithms.job.home import Home
from hecore.algorithms.job.party_run import Outcome, PartyRun
from hecore.algorithms.job.progress import JobProgress, ProgressKeeper
from hecore.algorithms.job.recording import check_same, open_records, test_values

log = logging.getLogger(__name__)

OnProgress = Callable[[JobProgress], None]


def run_job(job: JobFile, on_progress: OnProgress | None = None, *, anew: bool = False) -> Outcome:
    """Run a job, or go on with it; `anew`: forget what an earlier run has left here, as all parties must.

    Raises what went wrong: ConfigurationError, TableError, AlignmentError, HandshakeError for what must be
    mended before it can go on; PeerLost, ChannelTimeout, PeerAborted where another party is at fault;
    StoreError. On KeyboardInterrupt it goes without a word, so that its peers wait.
    """
    home = Home(job)
    if anew:
        forget(job)
    done = _finished(job, home)
    if done is not None:
        return done
    store = home.open_store()  # first of all: another process may be at work here
    with open_records(job) as folder, ProgressKeeper(job.folder / "progress.json", on_progress) as keeper:
        run = PartyRun(job, home, store, folder, keeper)
        try:
            outcome = run.run()
        except KeyboardInterrupt:
            run.close(leave=False)
            _end(folder, "stopped", "")
            raise
        except BaseException as error:
            vain = run.was_in_vain(error)
            run.close(leave=True)
            if vain:
                home.remove()
            _end(folder, "failed", f"{type(error).__name__}: {told(error)}")
            raise
        run.close(leave=True)
        if not outcome.undelivered:
            home.remove()
    return outcome


def forget(job: JobFile) -> None:
    """Remove the state and the records of a run. StoreInUse while a process works with them."""
    if job.folder.exists():
        home = Home(job)
        home.open_store().close()
        home.remove()
        for name in (RECORD, METRICS):
            (job.folder / name).unlink(missing_ok=True)


def _finished(job: JobFile, home: Home) -> Outcome | None:
    """The outcome of a run that is over and owes nobody anything.

    ConfigurationError if the job file asks for something else now.
    """
    if home.folder.exists() or not (job.folder / RECORD).exists():
        return None
    record = read_record(job.folder)
    if record.status != "finished":
        return None
    check_same(job, record)
    return Outcome(job.folder, job.folder / record.model, test_values(record.results), again=True)


def _end(folder: RunFolder, status: Literal["failed", "stopped"], error: str) -> None:
    (log.error if error else log.info)("%s", error or status)
    with contextlib.suppress(OSError):  # a full disk has ended the run, and its error is on its way
        folder.finish(status, error)
