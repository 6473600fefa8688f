"""A source layer between threads, and the same optimisers in the clear, written out once more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pytest

import hecore
from hecore import Meter
from hecore.algorithms.channel import loopback_pair
from hecore.algorithms.data import Table
from hecore.algorithms.draws import fresh
from hecore.algorithms.lr.config import LinearConfig
from hecore.algorithms.lr.exact.active import ActiveTraining
from hecore.algorithms.lr.exact.passive import PassiveTraining
from hecore.algorithms.lr.exact.top import LinearTop, Top
from hecore.algorithms.lr.messages import Terms
from hecore.algorithms.lr.objectives import Objective
from hecore.algorithms.lr.side import LabelSide, Outcome, Progress, Rows, Side
from hecore.algorithms.party import Peer
from hecore.kernels.select import resolve
from hecore.wire import dump_key

ROWS = 60


@pytest.fixture(scope="session")
def exact_keys() -> list[hecore.PrivateKey]:
    """Quick and insecure, of the active party and two passive ones."""
    return [hecore.generate_key(512, insecure_test_key=True) for _ in range(3)]


def exact_config(**options: Any) -> LinearConfig:
    """For small tables, with features and delivered weights of so many bits that only the training counts."""
    basis = {"mode": "exact", "allow_small_data": True, "feature_bits": 28, "output_bits": 32}
    return LinearConfig(**(basis | {"epochs": 2, "batch_size": 30, "alpha": 1e-2} | options))


def label_of(name: str, values: np.ndarray, seed: int = 0) -> np.ndarray:
    """A label that can be learned from the columns."""
    rng = np.random.default_rng(seed)
    score = values @ rng.normal(size=values.shape[1])
    if name == "count:poisson":
        return rng.poisson(np.exp(0.3 * score)).astype(np.float64)
    if name == "reg:squarederror":
        return score + rng.normal(size=len(score))
    if name == "binary:logistic":
        return (score + rng.logistic(size=len(score)) > 0).astype(np.float64)
    return np.digitize(score, np.quantile(score, [0.3, 0.6])).astype(np.float64)


class Recorder:
    """A channel end that keeps what was sent."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self.sent: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)

    def send(self, message: Any) -> None:
        self.sent.append(message)
        self._channel.send(message)


@dataclass
class Layer:
    """Both sides of a training: what came out, the weights it started with, what they sent and told."""

    active: ActiveTraining
    passive: list[PassiveTraining]
    outcomes: list[Outcome]
    start: np.ndarray
    ends: list[Recorder] = field(default_factory=list)
    told: list[list[Progress]] = field(default_factory=list)

    @property
    def weights(self) -> np.ndarray:
        """Of all columns, the active party's and its intercept first."""
        return np.concatenate([outcome.weights for outcome in self.outcomes])


def train_layer(
    config: LinearConfig,
    parts: Sequence[Any],
    label: np.ndarray,
    keys: Sequence[hecore.PrivateKey],
    *,
    weight: np.ndarray | None = None,
    evaluation: tuple[Sequence[np.ndarray], np.ndarray] | None = None,
    top: Top | None = None,
    active: type[ActiveTraining] = ActiveTraining,
) -> Layer:
    """Train on standardised columns, the active party's first."""
    table = _table(len(label), label)
    objective = Objective.of(config, table)
    names = [f"passive {number}" for number in range(len(parts) - 1)]
    pairs = [loopback_pair("active", name) for name in names]
    ends = [(Recorder(a), Recorder(b)) for a, b in pairs]
    columns = [part.shape[1] + (place == 0) for place, part in enumerate(parts)]
    terms = Terms(
        model="0" * 32,
        outputs=top.columns if top else objective.outputs,
        passive=tuple(names),
        columns=sum(columns),
        weighted=weight is not None,
        payload=tuple(dump_key(key.public) for key in keys[1 : len(parts)]),
    )
    told: list[list[Progress]] = [[] for _ in parts]
    evaluated = evaluation[0] if evaluation else [None] * len(parts)

    def side(place: int) -> Side:
        peers = [Peer(n, k.public, c, "0") for n, k, c in zip(names, keys[1:], columns[1:], strict=False)]
        holder = Peer("active", keys[0].public, columns[0], "0")
        rows = Rows(with_one(parts[place]) if place == 0 else parts[place], table)
        other = None
        if evaluation:
            values = with_one(evaluated[place]) if place == 0 else evaluated[place]
            other = Rows(values, _table(len(evaluation[1]), evaluation[1]))
        return Side(
            config=config,
            channels=[a for a, _ in ends] if place == 0 else [ends[place - 1][1]],
            peers=peers if place == 0 else [holder],
            terms=terms,
            training=rows,
            evaluation=other,
            label=LabelSide(objective, objective.targets(table), weight) if place == 0 else None,
            key=keys[place],
            backend=resolve(None),
            meter=Meter(),
            draws=fresh,
            on_progress=told[place].append,
        )

    first = side(0)
    training = active(first, first.label, top or LinearTop(objective))
    shares = [source.share() for source in training._sources.values()]
    start = [training.weights["own"].copy(), *(np.empty(0) for _ in names)]

    def answer(place: int) -> tuple[PassiveTraining, Outcome]:
        other = PassiveTraining(side(place))
        start[place] = other.source.final(shares[place - 1])
        return other, other.run()

    def guarded(work: Callable[[], Any], mine: Sequence[Recorder]) -> Any:
        try:
            return work()
        except BaseException as error:  # the others must not wait for ever
            for end in mine:
                end.abort(repr(error))
            raise

    with ThreadPoolExecutor(len(parts)) as pool:
        others = [
            pool.submit(guarded, partial(answer, place), ends[place - 1][1:])
            for place in range(1, len(parts))
        ]
        run = pool.submit(guarded, training.run, [a for a, _ in ends])
        passive, outcomes = zip(*(other.result() for other in others), strict=True)
        every = [run.result(), *outcomes]
    sent = [end for pair in ends for end in pair]
    return Layer(training, list(passive), every, np.concatenate(start), sent, told)


def with_one(values: Any) -> Any:
    """A last column 1."""
    from hecore.algorithms.lr.scaling import with_ones

    return with_ones(values)


def _table(rows: int, label: np.ndarray) -> Table:
    return Table("rows", tuple(f"row {i}" for i in range(rows)), ("x",), np.zeros((rows, 1)), label)


def clear_fit(
    config: LinearConfig,
    parts: Sequence[np.ndarray],
    label: np.ndarray,
    weight: np.ndarray | None = None,
) -> np.ndarray:
    """The same training in the clear, float64: (columns and the intercept behind the first part, outputs)."""
    x = np.column_stack([with_one(parts[0]), *parts[1:]])
    outputs = int(label.max()) + 1 if config.objective.startswith("multi") else 1
    intercept = parts[0].shape[1]
    w = np.zeros((x.shape[1], outputs))
    m, v, step = np.zeros_like(w), np.zeros_like(w), 0
    orders = np.random.default_rng(config.seed)
    count = max(1, round(len(x) / config.batch_size))
    for epoch in range(config.epochs):
        order = orders.permutation(len(x))
        for places in np.array_split(np.arange(len(x)), count):
            rows = order[places]
            z = x[rows] @ w
            errors = _errors(config.objective, z, label, rows)
            if weight is not None:
                errors = errors * weight[rows][:, None]
            penalty = config.alpha * w
            penalty[intercept] = 0
            g = x[rows].T @ errors / len(rows) + penalty
            step += 1
            if config.optimizer == "sgd":
                m = config.momentum * m + g
                w = w - config.rate(epoch) * m
            else:
                m = config.momentum * m + (1 - config.momentum) * g
                v = config.adam_beta_2 * v + (1 - config.adam_beta_2) * g * g
                first, second = 1 - config.momentum**step, 1 - config.adam_beta_2**step
                w = w - config.rate(epoch) * (m / first) / (np.sqrt(v / second) + config.adam_epsilon)
    return w


def _errors(name: str, z: np.ndarray, label: np.ndarray, rows: np.ndarray) -> np.ndarray:
    y = label[rows]
    if name == "binary:logistic":
        return 1 / (1 + np.exp(-z)) - y[:, None]
    if name == "count:poisson":
        return np.exp(z) - y[:, None] / label.mean()
    if name == "reg:squarederror":
        return z - ((y - label.mean()) / label.std())[:, None]
    truth = y[:, None] == np.arange(z.shape[1])
    if name == "multi:logistic":
        return 1 / (1 + np.exp(-z)) - truth
    return np.exp(z) / np.exp(z).sum(axis=1, keepdims=True) - truth
