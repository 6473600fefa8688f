"""Where a job stands at this party, for `hecore party status`."""

from __future__ import annotations

import time
from datetime import timedelta

from rich.table import Table
from rich.text import Text

from hecore.algorithms.job.config import JobFile
from hecore.algorithms.job.failures import next_step
from hecore.algorithms.job.folder import RECORD, read_record
from hecore.algorithms.job.home import Home
from hecore.algorithms.job.progress import PROGRESS, JobProgress, PeerLine, read_progress
from hecore.algorithms.job.records import RunRecord


def status_table(job: JobFile) -> Table:
    """A table of two columns."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column()
    table.add_column(overflow="fold")  # a long path is not cut
    for what, text in status_lines(job):
        table.add_row(what, Text(text))
    return table


def status_lines(job: JobFile) -> list[tuple[str, str]]:
    """What there is to tell: name, text."""
    lines = [("job", f"{job.job}, as {job.party.name} ({job.party.role})")]
    progress = read_progress(job.folder / PROGRESS)
    running = Home(job).in_use()
    record = read_record(job.folder) if (job.folder / RECORD).exists() else None
    lines.append(("status", _standing(job, progress, record, running)))
    if record is not None and record.error and not running:
        lines.append(("error", record.error))
    if progress is None:
        return lines
    lines.append(("phase", progress.phase + (f": {progress.detail}" if progress.detail else "")))
    if progress.done is not None:
        left = f", {progress.left} left" if running and progress.left is not None else ""
        lines.append(("done", f"{progress.done:.0%}{left}"))
    for name, line in progress.peers.items():
        state = _now(line) if running else "was met" if line.met else "never came"
        whose = "by this process" if running else "by the last process"
        lines.append((name, f"{state}, {line.sent:,} bytes sent, {line.received:,} received {whose}"))
    lines.append(("records", str(job.folder)))
    return lines


def _now(line: PeerLine) -> str:
    """Where a peer is, while this party runs: what was known before it ended is old."""
    if line.connected:
        return "connected"
    return f"away for {timedelta(seconds=round(line.away))}" if line.met else "not met yet"


def _standing(job: JobFile, progress: JobProgress | None, record: RunRecord | None, running: bool) -> str:
    if running:
        if progress is None:
            return "running"
        return f"running, process {progress.process}, for {timedelta(seconds=round(progress.seconds))}"
    if record is None and not (job.folder / "state").exists():
        return "not started"
    if record is not None and record.status == "finished":
        kept = (job.folder / "state").exists()
        return "finished" + (", but others may still need something: start it once more" if kept else "")
    when = "" if progress is None else f" {timedelta(seconds=round(time.time() - progress.time))} ago"
    failed = record is not None and record.status == "failed"  # a process that was killed says nothing
    error = record.error if record is not None and failed else ""
    step = next_step(f"hecore party run {job.path}", error, begun=Home(job).folder.exists())
    return f"{'failed' if failed else 'stopped'}{when}: {step}"
