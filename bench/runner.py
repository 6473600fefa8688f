"""One run: for every key size, case and batch, all subjects are prepared, checked, then timed in turns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import hecore
from hecore import BackendUnavailable, HecoreError
from hecore.kernels import Backend
from hecore.kernels.cuda.backend import CudaBackend
from hecore.kernels.cuda.device import Device
from hecore.kernels.cuda.probe import word_product_rate

from . import machine
from .cases import Case, Work
from .device_bounds import word_products
from .peers import PEERS, PeerUnavailable, check_peer, make_peer
from .record import Failure, Record, Row, Seconds
from .subjects import HecoreSubject, Subject
from .timing import Clock, DeviceClock, Spread, Timing, host_clock, measure

#: Every backend that a release of hecore may have; the first is the reference of all ratios.
BACKENDS = ("gmp", "simd", "cuda")
REFERENCE = "gmp"


class NothingToRun(HecoreError, RuntimeError):
    """None of the backends asked for runs here."""


@dataclass(frozen=True)
class Plan:
    """What to run. `batches` empty: every case's own; `seconds` a case and subject."""

    cases: Sequence[Case]
    backends: Sequence[str] = BACKENDS
    peers: Sequence[str] = ()
    key_bits: Sequence[int] = (2048,)
    batches: Sequence[int] = ()
    seconds: float = 1.0
    threads: int | None = None
    insecure_test_key: bool = False
    command: str = ""

    @property
    def steps(self) -> int:
        """Case, batch and key size: as many times as `Watcher` is told of a start."""
        return len(self.cases) * len(self.key_bits) * max(1, len(self.batches))


class Watcher:
    """Is told how a run goes; this one does not care."""

    def started(self, case: Case, key_bits: int, subjects: Sequence[str]) -> None:
        """A case begins."""

    def measured(self, row: Row) -> None:
        """A row is there."""

    def failed(self, failure: Failure) -> None:
        """A case gave a wrong result or raised."""

    def finished(self) -> None:
        """A case ends."""


@dataclass
class _Run:
    plan: Plan
    watcher: Watcher
    unavailable: dict[str, str]
    ceilings: Mapping[str, float]
    rows: list[Row] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def key_size(self, backends: Sequence[Backend], peers: Sequence[str], bits: int) -> None:
        key = hecore.generate_key(bits, insecure_test_key=self.plan.insecure_test_key)
        mine: list[Subject] = [HecoreSubject(key, backend) for backend in backends]
        subjects = [*mine, *self.ready_peers(peers, bits)]
        for case in self.plan.cases:
            for batch in self.plan.batches or [0]:
                suited = [one for one in subjects if case.suits(one)]
                if not case.uses_backend:
                    suited = [one for one in suited if one is mine[0] or one not in mine]
                self.watcher.started(case, bits, [one.name for one in suited])
                self.compare(case, suited, batch)
                self.watcher.finished()

    def ready_peers(self, names: Sequence[str], bits: int) -> list[Subject]:
        """The peers that have keys of this length; the reasons of the others are noted."""
        ready = []
        for name in names:
            try:
                ready.append(make_peer(name, bits))
            except PeerUnavailable as error:
                self.unavailable[f"{name} ({bits} bits)"] = machine.scrub(str(error))
        return ready

    def compare(self, case: Case, subjects: Sequence[Subject], batch: int) -> None:
        """Check one case on all subjects, then time those that are right."""
        ready: list[tuple[Subject, int, Work]] = []
        for subject in subjects:
            size = batch or case.batch.for_pace(subject.pace)
            work = self.checked(case, subject, size)
            if work is not None:
                ready.append((subject, size, work))
        outcomes = measure([(work.run, clock_for(one)) for one, _, work in ready], self.plan.seconds)
        for (subject, size, work), outcome in zip(ready, outcomes, strict=True):
            if isinstance(outcome, Exception):
                self.fail(case, subject, outcome)
                continue
            row = make_row(case, subject, size, work.items, outcome, self.ceilings.get(subject.name))
            self.rows.append(row)
            self.watcher.measured(row)

    def checked(self, case: Case, subject: Subject, batch: int) -> Work | None:
        """The case prepared, called once and found right; None, and a failure noted, otherwise."""
        try:
            work = case.prepare(subject, batch)
            work.check(work.run())
        except Exception as error:  # one broken case must not cost the others their figures
            self.fail(case, subject, error)
            return None
        return work

    def fail(self, case: Case, subject: Subject, error: Exception) -> None:
        """Note what a case raised."""
        message = machine.scrub(f"{type(error).__name__}: {error}".splitlines()[0])
        failure = Failure(case=case.name, subject=subject.name, key_bits=subject.key_bits, message=message)
        self.failures.append(failure)
        self.watcher.failed(failure)


def run(plan: Plan, watcher: Watcher | None = None) -> Record:
    """Run a plan. NothingToRun if no backend of the plan is available; peers may be missing."""
    watcher = watcher or Watcher()
    with machine.limited(plan.threads):
        created = datetime.now(UTC).isoformat(timespec="seconds")
        described = machine.describe(plan.threads)
        versions = machine.versions()
        backends, unavailable = find_backends(plan.backends)
        peers = []
        for name in plan.peers:
            try:
                versions[PEERS[name].distribution if name in PEERS else name] = check_peer(name)
                peers.append(name)
            except PeerUnavailable as error:
                unavailable[name] = machine.scrub(str(error))
        ceilings = {one.name: device_ceiling(one) for one in backends if isinstance(one, CudaBackend)}
        state = _Run(plan, watcher, unavailable, ceilings)
        for bits in plan.key_bits:
            state.key_size(backends, peers, bits)
    return Record(
        created=created,
        command=plan.command,
        seconds=plan.seconds,
        machine=described,
        versions=versions,
        source=machine.source(),
        unavailable=unavailable,
        rows=state.rows,
        failures=state.failures,
        ceilings=ceilings,
    )


def find_backends(names: Sequence[str]) -> tuple[list[Backend], dict[str, str]]:
    """The backends that run here, and the reasons of the others. NothingToRun if there are none."""
    found, reasons = [], {}
    for name in names:
        try:
            found.append(hecore.get_backend(name))
        except BackendUnavailable as error:
            reasons[name] = machine.scrub(str(error).splitlines()[0])
        except ValueError as error:  # a malformed HECORE_THREADS
            raise NothingToRun(str(error)) from None
    if not found:
        lines = [unavailable_line(name, reason) for name, reason in reasons.items()]
        raise NothingToRun("\n".join(lines) or "no backend was asked for")
    return found, reasons


def unavailable_line(name: str, reason: str) -> str:
    """What the tables say of a subject that does not run here."""
    return f"no {'CUDA' if name == 'cuda' else name} here: {reason}"


def clock_for(subject: Subject) -> Clock:
    """The host's clock, with the device's own where the subject works on one."""
    device = device_of(subject)
    return host_clock if device is None else DeviceClock(device)


def device_of(subject: Subject) -> Device | None:
    """The (first) device that a subject works on; None for the host."""
    backend = subject.backend if isinstance(subject, HecoreSubject) else None
    return backend.home.device if isinstance(backend, CudaBackend) else None


def device_ceiling(backend: CudaBackend) -> float:
    """Word products a second of all devices of a backend, with nothing else to do."""
    return sum(word_product_rate(engine.device) for engine in backend.engines)


def make_row(
    case: Case, subject: Subject, batch: int, items: int, timing: Timing, ceiling: float | None = None
) -> Row:
    """The row of a measurement; `ceiling` are the word products a second that its device can do."""
    products = word_products(case.name, subject.key_bits)
    return Row(
        case=case.name,
        group=case.group,
        unit=case.unit,
        subject=subject.name,
        peer=not isinstance(subject, HecoreSubject),
        key_bits=subject.key_bits,
        batch=batch,
        items=items,
        seconds=_seconds(timing.host),
        device_seconds=_seconds(timing.device) if timing.device else None,
        copy_seconds=_seconds(timing.copies) if timing.copies else None,
        bound=ceiling / products if ceiling and products else None,
        cores=round(timing.cores, 2),
        headline=case.headline,
    )


def _seconds(spread: Spread) -> Seconds:
    return Seconds(**spread._asdict())
