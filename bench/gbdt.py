"""Joint trees measured end to end: both parties on this machine, over a channel inside one process.

A problem is a pair of tables; a run trains on it with fresh keys, one thread a party, and keeps each party's
seconds by phase, operations and bytes. A tree's time runs from the end of the one before, on the active
party's clock; the first, in which kernels and tables warm up, is not counted.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from hecore import HecoreError, generate_key
from hecore.algorithms.channel import Channel, loopback_pair
from hecore.algorithms.data import Table, read_libsvm
from hecore.algorithms.gbdt import GBDTConfig, Progress, VerticalGBDTClassifier
from hecore.algorithms.gbdt.estimators import VerticalGBDT
from hecore.algorithms.metrics import auc

from .record import Machine
from .synthetic import make_tables

WARM_UP_TREES = 1
A9A_COLUMNS = (61, 62)


class ProblemError(HecoreError, ValueError):
    """Data that is not there, or a size that makes no problem."""


@dataclass(frozen=True)
class Problem:
    """What is trained: both tables, and rows held out with their labels if there are any."""

    name: str
    active: Table
    passive: Table
    config: GBDTConfig
    test: tuple[Table, Table, NDArray[np.float64]] | None = None


class PartyCost(msgspec.Struct, frozen=True, kw_only=True):
    """One party's side of a run."""

    seconds: dict[str, float]
    operations: dict[str, int]
    sent_bytes: int
    sent_messages: int


class TreesRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run: seconds of every tree but the warm-up, and what each party did for all of them.

    `processor_seconds` are those of both parties' threads: on a busy machine they tell more than the clock.
    """

    problem: str
    rows: int
    columns: tuple[int, int]
    outputs: int
    bins: int
    depth: int
    key_bits: int
    tree_seconds: list[float]
    processor_seconds: list[float]
    warm_up_seconds: float
    parties: dict[str, PartyCost]
    scores: dict[str, float]

    @property
    def median(self) -> float:
        """Seconds a tree."""
        return statistics.median(self.tree_seconds)


class TreesRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Runs of one command, as they are written to a file."""

    format: str = "hecore-bench gbdt"
    version: int = 1
    created: str
    command: str
    machine: Machine
    versions: dict[str, str]
    runs: list[TreesRun]


def synthetic(
    rows: int, columns: tuple[int, int], config: GBDTConfig, *, classes: int = 2, seed: int = 0
) -> Problem:
    """Normal columns, the label of a noisy linear score; every column tells a little."""
    if rows < 20 or min(columns) < 1:
        raise ProblemError(f"{rows} rows and {columns[0]} + {columns[1]} columns are no problem to train on")
    name = f"synthetic {rows:,} × ({columns[0]} + {columns[1]})"
    return Problem(name, *make_tables(rows, columns, classes=classes, seed=seed), config)


def a9a(folder: Path, config: GBDTConfig) -> Problem:
    """The LIBSVM set a9a in FedTree's vertical split, sparse: active.libsvm, passive.libsvm, test.libsvm."""
    own, other = A9A_COLUMNS
    active = _libsvm(folder / "active.libsvm", own)
    passive = replace(_libsvm(folder / "passive.libsvm", other), label=None)
    test = _libsvm(folder / "test.libsvm", own + other)
    truth = np.asarray(test.label)
    parts = []
    for table, columns in ((active, test.columns[:own]), (passive, test.columns[own:])):
        parts.append(replace(test.select(columns), columns=table.columns, label=None))
    return Problem("a9a", active, passive, config, (parts[0], parts[1], truth))


def _libsvm(path: Path, columns: int) -> Table:
    """A sparse table with labels 0 and 1. ProblemError where the file is not there."""
    if not path.is_file():
        raise ProblemError(f"{path.name} is not in the folder given: --data names the folder of a9a")
    table = read_libsvm(path, columns=columns)
    return replace(table, label=(np.asarray(table.label) > 0).astype(np.float64))


def measure(
    problem: Problem, *, key_bits: int = 2048, on_tree: Callable[[Progress], None] | None = None
) -> TreesRun:
    """Train on `problem`, with one more tree than it asks for, the warm-up."""
    rounds = problem.config.n_estimators + WARM_UP_TREES
    config = msgspec.structs.replace(problem.config, n_estimators=rounds)
    insecure = key_bits < 2048
    channels = loopback_pair()
    models: list[VerticalGBDT] = [
        VerticalGBDTClassifier(end, config, key=generate_key(key_bits, insecure_test_key=insecure))
        for end in channels
    ]
    marks = [(time.perf_counter(), time.process_time())]

    def note(progress: Progress) -> None:
        marks.append((time.perf_counter(), time.process_time()))
        if on_tree:
            on_tree(progress)

    def active() -> Any:
        models[0].fit(problem.active, on_progress=note)
        return None if problem.test is None else models[0].margins(problem.test[0])

    def passive() -> Any:
        models[1].fit(problem.passive)
        return None if problem.test is None else models[1].margins(problem.test[1])

    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(active), pool.submit(passive)]
        margins, _ = (future.result() for future in futures)
    seconds = np.diff(np.array(marks), axis=0).tolist()
    return TreesRun(
        problem=problem.name,
        rows=len(problem.active),
        columns=(len(problem.active.columns), len(problem.passive.columns)),
        outputs=_outputs(models[0]),
        bins=config.max_bin,
        depth=config.max_depth,
        key_bits=key_bits,
        tree_seconds=[clock for clock, _ in seconds[WARM_UP_TREES:]],
        processor_seconds=[processor for _, processor in seconds[WARM_UP_TREES:]],
        warm_up_seconds=sum(clock for clock, _ in seconds[:WARM_UP_TREES]),
        parties={
            name: _cost(model, end)
            for name, model, end in zip(("active", "passive"), models, channels, strict=True)
        },
        scores=_scores(models[0], problem, margins),
    )


def _outputs(model: VerticalGBDT) -> int:
    return int(getattr(model.share, "outputs", 1))


def _cost(model: VerticalGBDT, channel: Channel) -> PartyCost:
    sent = channel.traffic.sent
    return PartyCost(
        seconds={name: float(value) for name, value in model.meter.seconds.items()},
        operations={name: int(value) for name, value in model.meter.operations.items()},
        sent_bytes=sent.bytes,
        sent_messages=sent.messages,
    )


def _scores(model: VerticalGBDT, problem: Problem, margins: Any) -> dict[str, float]:
    """The training metric, and the AUC of held-out rows."""
    scores = {f"train {problem.config.objective}": model.evals_result_["train"][-1]}
    if problem.test is not None and margins is not None:
        scores["test AUC"] = auc(problem.test[2], margins[:, 0])
    return scores
