"""The demo itself: start both parties, wait, compare with trainings in the clear."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hecore.algorithms.demo.parties import Parties
from hecore.algorithms.demo.results import DemoResult, PartyResult
from hecore.algorithms.demo.settings import DemoData, DemoSettings, load_data
from hecore.algorithms.demo.trees import trees_in_the_clear
from hecore.algorithms.errors import ProtocolError
from hecore.algorithms.lr import Progress
from hecore.algorithms.party import ACTIVE


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
        parties = stack.enter_context(Parties(settings))
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
