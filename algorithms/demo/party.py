"""One party of the demo: the main function of a child process."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import shutil
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from hecore import PrivateKey, generate_key, load_key, save_key
from hecore.algorithms.channel import AllowList, CurveKeys, FolderStore, ZmqChannel, ZmqOptions, dial, listen
from hecore.algorithms.checkpoint import Checkpoints
from hecore.algorithms.demo.results import Failure, PartyResult, Pipe
from hecore.algorithms.demo.settings import JOB, DemoSettings, load_data
from hecore.algorithms.errors import PeerAborted, PeerLost, ProtocolError
from hecore.algorithms.gbdt import VerticalGBDTClassifier
from hecore.algorithms.gbdt.demo import train_trees
from hecore.algorithms.lr import VerticalLogisticRegression
from hecore.algorithms.party import ACTIVE, PASSIVE
from hecore.randomness import random_bytes

#: Both processes run on one machine: a party that is not there within seconds will not come.
OPTIONS = ZmqOptions(connect_timeout=30.0, grace=30.0)
#: Batches between two checkpoints.
EVERY = 4


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
            model.fit(table.take(data.train), on_progress=lambda progress: pipe.send(("progress", progress)))
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
