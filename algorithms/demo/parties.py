"""The two child processes of the demo, as their parent sees them."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from typing import Any, NoReturn

from hecore.algorithms.demo.party import run_party
from hecore.algorithms.demo.results import Failure, PartyResult, Pipe
from hecore.algorithms.demo.settings import DemoSettings
from hecore.algorithms.errors import ProtocolError
from hecore.algorithms.lr import Progress
from hecore.algorithms.party import ACTIVE, PASSIVE

#: Seconds that a process gets to end by itself, or to say why its peer lost it.
PATIENCE = 5.0


class Parties:
    """The two child processes and the pipes on which they report."""

    def __init__(self, settings: DemoSettings) -> None:
        self._settings = settings
        self._processes: dict[str, Any] = {}
        self._pipes: dict[str, Pipe] = {}

    def __enter__(self) -> Parties:
        try:
            with _interrupts_held():
                for role in (ACTIVE, PASSIVE):
                    self._start(role)
        except BaseException:
            self._stop(patience=0)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stop(patience=PATIENCE if kind is None else 0)

    def _start(self, role: str) -> None:
        context = multiprocessing.get_context("spawn")
        mine, theirs = context.Pipe()
        process = context.Process(
            target=run_party, args=(role, self._settings, theirs), name=role, daemon=True
        )
        process.start()
        theirs.close()
        self._processes[role], self._pipes[role] = process, mine

    def _stop(self, patience: float) -> None:
        """No process is left behind; none of them holds anything that a kill could spoil."""
        for role, process in self._processes.items():
            process.join(timeout=patience)
            process.kill()
            process.join()
            self._pipes[role].close()

    def introduce(self) -> None:
        """Give each party the other's public CURVE key, and the passive one the address to dial."""
        keys = {role: self._receive(role, "key") for role in self._pipes}
        self._send(ACTIVE, keys[PASSIVE])
        self._send(PASSIVE, keys[ACTIVE])
        self._send(PASSIVE, self._receive(ACTIVE, "endpoint"))
        for role in self._pipes:
            self._receive(role, "ready")

    def collect(self, on_progress: Callable[[Progress], None]) -> dict[str, PartyResult]:
        """Pass the active party's progress on until both have reported their results."""
        results: dict[str, PartyResult] = {}
        moments, done = self._moments(), 0.0
        while len(results) < len(self._pipes):
            waiting = {self._pipes[role]: role for role in self._pipes if role not in results}
            for pipe in multiprocessing.connection.wait(list(waiting)):
                role = waiting[pipe]  # type: ignore[index]
                kind, value = self._next(role)
                if kind == "progress" and role == ACTIVE:
                    on_progress(value)
                    done = value.done
                elif kind == "result":
                    results[role] = value
            if moments and moments[0] <= done:
                moments.pop(0)
                self._kill(random.SystemRandom().choice((ACTIVE, PASSIVE)))
        return results

    def _moments(self) -> list[float]:
        """When a party is killed: shares of the training."""
        return sorted(random.SystemRandom().uniform(0, 0.95) for _ in range(self._settings.kills))

    def _kill(self, role: str) -> None:
        """End a party as a power cut would, at whatever it is doing, and start it again."""
        self._processes[role].kill()
        self._processes[role].join()
        self._pipes[role].close()
        with _interrupts_held():
            self._start(role)

    def _send(self, role: str, value: str) -> None:
        with suppress(OSError):  # it has ended: the next receive says why
            self._pipes[role].send(value)

    def _receive(self, role: str, kind: str) -> Any:
        got, value = self._next(role)
        if got != kind:
            raise ProtocolError(f"the {role} process reported {got!r} instead of {kind!r}")
        return value

    def _next(self, role: str) -> tuple[str, Any]:
        kind, value = self._read(role)
        if kind == "error":
            self._fail(role, value)
        return kind, value

    def _read(self, role: str) -> tuple[str, Any]:
        try:
            kind, value = self._pipes[role].recv()
        except (EOFError, OSError):  # OSError: it died with something unread
            return "error", _ending(self._processes[role])
        return kind, value

    def _fail(self, role: str, failure: Failure) -> NoReturn:
        """Raise for the party that failed first: the other one only saw it go, and may say so sooner."""
        if failure.secondary:
            (other,) = self._pipes.keys() - {role}
            deadline = time.monotonic() + PATIENCE
            while self._pipes[other].poll(max(0.0, deadline - time.monotonic())):
                kind, value = self._read(other)
                if kind == "error":
                    role, failure = (role, failure) if value.secondary else (other, value)
                    break
        raise ProtocolError(f"the {role} party failed: {failure.text}")


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold SIGINT back while processes start: they inherit the mask and keep it.

    Ctrl-C reaches every process of the terminal; stopping the parties is left to their parent.
    """
    resource_tracker.ensure_running()  # starts with the first process otherwise, and resets the mask
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _ending(process: Any) -> Failure:
    """How a process ended that reports no more."""
    process.join(timeout=PATIENCE)
    code = process.exitcode
    if code is None:
        return Failure("its process says nothing and does not end")
    if code < 0:
        return Failure(f"its process was ended by signal {-code} ({signal.strsignal(-code)})")
    return Failure(f"its process ended with exit code {code}", secondary=code == 0)
