"""`hecore demo`: a real joint training between two processes on this machine.

scikit-learn's breast cancer data is split by columns. The active process holds ten of them and the diagnosis,
the passive one the other twenty. Each makes its own keys; they train over ZeroMQ on the loopback interface,
encrypted and authenticated, and the active one scores the held-out rows. The parent process only starts them,
passes public keys on (as two companies would by mail) and shows what they report.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from multiprocessing import resource_tracker
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from hecore import PrivateKey, generate_key, load_key, save_key
from hecore.algorithms.channel import (
    AllowList,
    CurveKeys,
    FolderStore,
    Metrics,
    ZmqChannel,
    ZmqOptions,
    dial,
    listen,
)
from hecore.algorithms.checkpoint import Checkpoints
from hecore.algorithms.data import Table
from hecore.algorithms.errors import ConfigurationError, PeerAborted, PeerLost, ProtocolError
from hecore.algorithms.gbdt import GBDTConfig, VerticalGBDTClassifier
from hecore.algorithms.gbdt.demo import train_trees, tree_config, trees_in_the_clear
from hecore.algorithms.lr import LogisticRegressionConfig, Progress, VerticalLogisticRegression
from hecore.algorithms.party import ACTIVE, PASSIVE
from hecore.randomness import random_bytes

ACTIVE_COLUMNS = 10
TEST_SHARE = 0.2
#: With fewer the training refuses: the passive party's weights could give labels away.
MINIMUM_ROWS = 450
JOB = "hecore demo"
ALGORITHMS = ("gbdt", "lr")
#: Both processes run on one machine: a party that is not there within seconds will not come.
OPTIONS = ZmqOptions(connect_timeout=30.0, grace=30.0)
#: Batches between two checkpoints.
EVERY = 4
#: Seconds that a process gets to end by itself, or to say why its peer lost it.
PATIENCE = 5.0

Pipe = multiprocessing.connection.Connection


@dataclass(frozen=True)
class DemoSettings:
    """What the command line chooses; the parties keep their keys and stores in `folder`."""

    rows: int | None = None
    epochs: int = 6
    key_bits: int = 2048
    backend: str | None = None
    algorithm: str = "gbdt"
    trees: int = 20
    kills: int = 0
    folder: str | None = None
    temporary: bool = False  # the folder goes with the run

    def check(self) -> None:
        """ConfigurationError for a parameter that is out of range."""
        if self.algorithm not in ALGORITHMS:
            raise ConfigurationError(f"algorithm = {self.algorithm!r} is not one of {', '.join(ALGORITHMS)}")
        if self.kills and self.algorithm != "lr":
            raise ConfigurationError(
                f"kills = {self.kills}: only --algorithm lr keeps checkpoints from which it goes on"
            )
        self.config()
        self.tree_config()

    def tree_config(self) -> GBDTConfig:
        """The parameters of the demo's trees."""
        return tree_config(self.trees)

    def config(self) -> LogisticRegressionConfig:
        """The parameters of the demo's logistic regression."""
        return LogisticRegressionConfig(
            epochs=self.epochs, batch_size=128, learning_rate=0.05, learning_rate_decay=0.8
        )


@dataclass(frozen=True)
class DemoData:
    """Both views of the common rows, and the rows kept for testing."""

    active: Table
    passive: Table
    train: NDArray[np.int64]
    test: NDArray[np.int64]


@dataclass
class PartyResult:
    """What one process reports at its end."""

    scores: list[float] | None
    loss: list[float]
    seconds: dict[str, float]
    operations: dict[str, int]
    sent: dict[str, Any]
    received: dict[str, Any]
    backend: str
    share: str | None  # SHA-256 of the party's share of a logistic regression
    link: Metrics


@dataclass(frozen=True)
class Failure:
    """Why a process ended without a result; `secondary`: only because the other one did."""

    text: str
    secondary: bool = False


@dataclass
class DemoResult:
    """The outcome of a demo; `scores` maps a model's name to its (AUC, accuracy) on the held-out rows."""

    key_setup_seconds: float
    training_seconds: float
    train_rows: int
    test_rows: int
    scores: dict[str, tuple[float, float]]
    parties: dict[str, PartyResult] = field(default_factory=dict)
    algorithm: str = "lr"
    kills: int = 0


def load_data(rows: int | None) -> DemoData:
    """The data set split by columns and rows; `rows` takes a random part. ConfigurationError if too few."""
    from sklearn.datasets import load_breast_cancer
    from sklearn.model_selection import train_test_split

    data = load_breast_cancer()
    total = len(data.target)
    wanted = total if rows is None else rows
    if not MINIMUM_ROWS <= wanted <= total:
        raise ConfigurationError(f"rows = {wanted} is not in {MINIMUM_ROWS} … {total}")
    chosen = np.arange(total)
    if wanted < total:
        chosen, _ = train_test_split(chosen, train_size=wanted, random_state=0, stratify=data.target)
    ids = tuple(f"patient-{i:04d}" for i in chosen)
    names = tuple(str(name) for name in data.feature_names)
    values, label = data.data[chosen], data.target[chosen].astype(np.float64)
    active = Table("active", ids, names[:ACTIVE_COLUMNS], values[:, :ACTIVE_COLUMNS], label)
    passive = Table("passive", ids, names[ACTIVE_COLUMNS:], values[:, ACTIVE_COLUMNS:])
    train, test = train_test_split(np.arange(wanted), test_size=TEST_SHARE, random_state=0, stratify=label)
    return DemoData(active, passive, train, test)


def run_demo(
    settings: DemoSettings, on_event: Callable[[str, Progress | None], None] | None = None
) -> DemoResult:
    """Train with two processes and compare. `on_event(text, progress)` hears of each stage and batch.

    Raises ProtocolError with the party's own words when a process fails.
    """
    tell = on_event or (lambda text, progress: None)
    data = load_data(settings.rows)
    settings.check()  # refuse bad parameters before anything starts
    started = time.perf_counter()
    with ExitStack() as stack:
        if settings.folder is None:
            folder = stack.enter_context(TemporaryDirectory(prefix="hecore-demo-"))
            settings = replace(settings, folder=folder, temporary=True)
        parties = stack.enter_context(_Parties(settings))
        tell(f"two processes make their {settings.key_bits}-bit keys", None)
        parties.introduce()
        ready = time.perf_counter()
        tell("joint training", None)
        results = parties.collect(lambda progress: tell("joint training", progress))
    finished = time.perf_counter()
    tell("training in the clear, to compare", None)
    return DemoResult(
        key_setup_seconds=ready - started,
        training_seconds=finished - ready,
        train_rows=len(data.train),
        test_rows=len(data.test),
        scores=_scores(data, results[ACTIVE], settings),
        parties=results,
        algorithm=settings.algorithm,
        kills=settings.kills,
    )


class _Parties:
    """The two child processes and the pipes on which they report."""

    def __init__(self, settings: DemoSettings) -> None:
        self._settings = settings
        self._processes: dict[str, Any] = {}
        self._pipes: dict[str, Pipe] = {}

    def __enter__(self) -> _Parties:
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


def run_party(role: str, settings: DemoSettings, pipe: Pipe) -> None:
    """The main function of a child process: one party, from its keys to its result."""
    threading.Thread(target=_end_with_parent, args=[settings], daemon=True).start()
    try:
        pipe.send(("result", _train(role, settings, pipe)))
    except Exception as error:
        secondary = isinstance(error, PeerAborted | PeerLost)
        with suppress(OSError):
            pipe.send(("error", Failure(f"{type(error).__name__}: {error}", secondary)))
    finally:
        pipe.close()


def _end_with_parent(settings: DemoSettings) -> None:
    """A parent that was killed can neither stop its children nor remove their keys."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        if settings.temporary and settings.folder:
            shutil.rmtree(settings.folder, ignore_errors=True)
        os._exit(1)


def _train(role: str, settings: DemoSettings, pipe: Pipe) -> PartyResult:
    data = load_data(settings.rows)
    table = data.active if role == ACTIVE else data.passive
    home = _Home(Path(settings.folder or ".") / role)
    key = home.paillier(settings.key_bits)
    with _meet(role, home, pipe, durable=settings.algorithm == "lr") as channel:
        model: VerticalGBDTClassifier | VerticalLogisticRegression
        if settings.algorithm == "gbdt":
            model, scores = train_trees(
                channel,
                settings.tree_config(),
                key,
                settings.backend,
                (table.take(data.train), table.take(data.test)),
                lambda: home.report(pipe, "ready", None),
                lambda progress: pipe.send(("progress", progress)),
            )
        else:
            checkpoints = Checkpoints(home.store, channel, every=EVERY)
            model = VerticalLogisticRegression(
                channel, settings.config(), key=key, backend=settings.backend, checkpoints=checkpoints
            )
            home.report(pipe, "ready", None)
            model.fit(table.take(data.train), lambda progress: pipe.send(("progress", progress)))
            scores = model.predict_proba(table.take(data.test))
        traffic, link = channel.traffic.snapshot(), channel.metrics
    return PartyResult(
        scores=None if scores is None else scores[:, 1].tolist(),
        loss=model.loss_,
        seconds=dict(model.meter.seconds),
        operations=dict(model.meter.operations),
        sent=traffic["sent"],
        received=traffic["received"],
        backend=model.backend.name,
        share=model.digest() if isinstance(model, VerticalLogisticRegression) else None,
        link=link,
    )


class _Home:
    """A party's folder, mode 0700: keys, the other's public key, and the store."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder = folder
        self.store = FolderStore(folder / "store", folder.name, JOB)
        #: A party that starts again knows its peer; nobody waits to introduce them.
        self.again = (folder / "introduced").exists()

    def curve(self) -> CurveKeys:
        """The CURVE key pair, made at the first start."""
        path = self.folder / "curve.key"
        if not path.exists():
            CurveKeys.generate().save(path)
        return CurveKeys.load(path)

    def paillier(self, bits: int) -> PrivateKey:
        """The Paillier key pair, made at the first start; its passphrase lies beside it, readable for us."""
        path, passphrase = self.folder / "paillier.key", self.folder / "passphrase"
        if not path.exists():
            descriptor = os.open(passphrase, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(random_bytes(16).hex())
            key = generate_key(bits)
            save_key(key, path, passphrase.read_text())
            return key
        kept = load_key(path, passphrase.read_text())
        if not isinstance(kept, PrivateKey):
            raise ProtocolError(f"{path} holds no private key")
        return kept

    def report(self, pipe: Pipe, what: str, value: object) -> None:
        """Tell the parent, the first time."""
        if not self.again:
            pipe.send((what, value))


def _meet(role: str, home: _Home, pipe: Pipe, *, durable: bool) -> ZmqChannel:
    """The channel to the other party, whose key and address come from the parent at the first start.

    Trees keep no checkpoints yet: what a restarted party sent before would be of no use, so it is not kept.
    """
    other = PASSIVE if role == ACTIVE else ACTIVE
    keys, address, allowed = home.curve(), home.folder / "endpoint", home.folder / "allowed.toml"
    home.report(pipe, "key", keys.public)
    if not home.again:
        AllowList({other: pipe.recv()}).save(allowed)
    endpoint = address.read_text() if home.again else "tcp://127.0.0.1:0"
    options: dict[str, Any] = {"job": JOB, "options": OPTIONS, "store": home.store if durable else None}
    if role == ACTIVE:
        channel = listen(role, other, endpoint, keys, AllowList.load(allowed), **options)
        endpoint = channel.endpoint
        home.report(pipe, "endpoint", endpoint)
    else:
        endpoint = endpoint if home.again else pipe.recv()
        channel = dial(role, other, endpoint, keys, AllowList.load(allowed), **options)
    if not home.again:
        address.write_text(endpoint)
        (home.folder / "introduced").touch()
    return channel


def _scores(data: DemoData, active: PartyResult, settings: DemoSettings) -> dict[str, tuple[float, float]]:
    """AUC and accuracy on the held-out rows: the joint model, and two models trained in the clear."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import accuracy_score, roc_auc_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    label = data.active.label
    if label is None or active.scores is None:
        raise ProtocolError("the active party reported no scores")
    truth = label[data.test]

    def judge(scores: Any) -> tuple[float, float]:
        decided = np.asarray(scores) > 0.5
        return float(roc_auc_score(truth, scores)), float(accuracy_score(truth, decided))

    def centralised(values: NDArray[np.float64]) -> tuple[float, float]:
        if settings.algorithm == "gbdt":
            model = trees_in_the_clear(settings.tree_config(), values[data.train], label[data.train])
        else:
            model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
            model.fit(values[data.train], label[data.train])
        return judge(model.predict_proba(values[data.test])[:, 1])

    return {
        "joint, nobody shows data (hecore)": judge(active.scores),
        "all columns in one place (scikit-learn)": centralised(
            np.column_stack([data.active.values, data.passive.values])
        ),
        "active party alone (scikit-learn)": centralised(data.active.values),
    }
