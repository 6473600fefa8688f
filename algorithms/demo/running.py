"""The parties of the demo as processes: `hecore party run job.toml`, each in its own folder."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from hecore.algorithms.errors import ChannelTimeout, PeerAborted, PeerLost, ProtocolError
from hecore.algorithms.job.config import JobFile
from hecore.algorithms.job.folder import RECORD, read_record
from hecore.algorithms.job.progress import PROGRESS, JobProgress, read_progress

#: What a party writes to its terminal goes to this file of its folder.
OUTPUT = "output.txt"
#: Seconds that a party gets to end by itself, or to say why its peer lost it, on a busy machine too.
PATIENCE = 20.0
#: Phases of a job whose training is over.
AFTER_TRAINING = ("scoring test rows", "waiting until the others have everything", "finished")
#: How errors begin where the fault is another party's.
ECHOES = tuple(f"{kind.__name__}:" for kind in (PeerAborted, PeerLost, ChannelTimeout))
#: Seconds between two looks at the parties.
INTERVAL = 0.02


def run_parties(
    jobs: Sequence[JobFile],
    *,
    kills: int = 0,
    on_progress: Callable[[JobProgress], None],
    on_kill: Callable[[str, JobProgress], None],
) -> None:
    """Run the first party's job with all others to its end.

    kills         kill −9 of a party, at random moments of the training; it is started again
    on_progress   where the first party stands, as `hecore party run` shows it
    on_kill       who was killed, and where the first party stood

    Raises ProtocolError with the parties' own words when one fails.
    """
    # Shares of the training: of three trees the last one counts as done when there is none left to kill in.
    moments = sorted(random.SystemRandom().uniform(0, 2 / 3) for _ in range(kills))
    shown = JobProgress(phase="starting")
    on_progress(shown)
    with _Processes(jobs) as processes:
        running = [job.party.name for job in jobs]
        while running:
            running = processes.running()  # none: where the first party ended is shown all the same
            progress = read_progress(jobs[0].folder / PROGRESS)
            if progress not in (None, shown):
                shown = progress
                on_progress(shown)
            if running and moments and moments[0] <= _trained(shown):
                moments.pop(0)
                name = random.SystemRandom().choice(running)
                processes.kill(name)
                on_kill(name, shown)
                processes.start(name)
            time.sleep(INTERVAL)


def _trained(progress: JobProgress) -> float:
    """The share of the training that is done, as far as can be told from the phase."""
    if progress.phase == "training":
        return progress.done or 0.0
    return 1.0 if progress.phase in AFTER_TRAINING else 0.0


class _Processes:
    """A process for each party. None is left when the block ends."""

    def __init__(self, jobs: Sequence[JobFile]) -> None:
        self._jobs = {job.party.name: job for job in jobs}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> _Processes:
        try:
            for name in self._jobs:
                self.start(name)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def start(self, name: str) -> None:
        """Start a party, or start it again."""
        file = self._jobs[name].path
        command = [sys.executable, "-m", "hecore.algorithms.cli", "party", "run", file.name]
        with open(file.parent / OUTPUT, "ab") as output:
            self._processes[name] = subprocess.Popen(  # noqa: S603 - this Python, this package
                command, cwd=file.parent, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )

    def kill(self, name: str) -> None:
        """End a party as a power cut would, at whatever it is doing."""
        self._processes[name].kill()
        self._processes[name].wait()

    def running(self) -> list[str]:
        """The parties that have not finished. ProtocolError if one has failed."""
        codes = {name: process.poll() for name, process in self._processes.items()}
        if any(codes.values()):
            raise ProtocolError(self._why())
        return [name for name, code in codes.items() if code is None]

    def _why(self) -> str:
        """How they failed. A party that only saw another one go may be the first to say so."""
        deadline = time.monotonic() + PATIENCE
        causes: dict[str, str] = {}
        while not causes and time.monotonic() < deadline:
            codes = {name: process.poll() for name, process in self._processes.items()}
            words = {name: self._words(name, code) for name, code in codes.items() if code}
            causes = {name: text for name, text in words.items() if not text.startswith(ECHOES)}
            if None not in codes.values():
                break
            time.sleep(INTERVAL)
        causes = causes or words
        named = {text: [name for name in causes if causes[name] == text] for text in causes.values()}
        return "; ".join(f"{' and '.join(names)} failed: {text}" for text, names in named.items())

    def _words(self, name: str, code: int) -> str:
        if code < 0:
            return f"its process was ended by signal {-code} ({signal.strsignal(-code)})"
        job = self._jobs[name]
        if (job.folder / RECORD).exists():
            record = read_record(job.folder)
            if record.status == "failed":
                return record.error
        return f"exit code {code}, {job.path.parent / OUTPUT} says why"

    def _stop(self) -> None:
        for process in self._processes.values():
            process.terminate()  # a party takes it for Ctrl-C, and leaves in order
        deadline = time.monotonic() + PATIENCE
        for process in self._processes.values():
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
