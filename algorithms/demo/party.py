"""One party of the demo: the main function of a child process."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import threading
from contextlib import suppress
from pathlib import Path

from hecore.algorithms.checkpoint import Checkpoints
from hecore.algorithms.demo.home import Home, meet
from hecore.algorithms.demo.results import Failure, PartyResult, Pipe
from hecore.algorithms.demo.settings import DemoSettings, load_data
from hecore.algorithms.demo.trees import told
from hecore.algorithms.errors import PeerAborted, PeerLost
from hecore.algorithms.gbdt import VerticalGBDTClassifier
from hecore.algorithms.lr import VerticalLogisticRegression
from hecore.algorithms.party import ACTIVE

#: Batches of a logistic regression, and trees, between two checkpoints.
BATCHES, TREES = 4, 2


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
    home = Home(Path(settings.folder or ".") / role)
    key = home.paillier(settings.key_bits)
    train, test = table.take(data.train), table.take(data.test)
    with meet(role, home, pipe) as channel:
        every = TREES if settings.algorithm == "gbdt" else BATCHES
        checkpoints = Checkpoints(home.store, channel, every=every)
        model: VerticalGBDTClassifier | VerticalLogisticRegression
        home.report(pipe, "ready", None)
        if settings.algorithm == "gbdt":
            model = VerticalGBDTClassifier(
                channel, settings.tree_config(), key=key, backend=settings.backend, checkpoints=checkpoints
            )
            model.fit(train, on_progress=lambda progress: pipe.send(("progress", told(progress))))
        else:
            model = VerticalLogisticRegression(
                channel, settings.config(), key=key, backend=settings.backend, checkpoints=checkpoints
            )
            model.fit(train, on_progress=lambda progress: pipe.send(("progress", progress)))
        scores = model.predict_proba(test)
        traffic, link = channel.traffic.snapshot(), channel.metrics
    return PartyResult(
        scores=None if scores is None else scores[:, 1].tolist(),
        loss=model.loss_,
        seconds=dict(model.meter.seconds),
        operations=dict(model.meter.operations),
        sent=traffic["sent"],
        received=traffic["received"],
        backend=model.backend.name,
        share=model.digest(),
        link=link,
    )
