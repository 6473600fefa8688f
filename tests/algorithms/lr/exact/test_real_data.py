"""Mode `exact` on the vertical data sets with 2048-bit keys, held against the same models in one place."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, PoissonRegressor
from sklearn.metrics import mean_poisson_deviance, roc_auc_score
from sklearn.model_selection import train_test_split

from hecore import generate_key
from hecore.algorithms.channel import loopback_pair
from hecore.algorithms.data import Table, read_csv, read_libsvm
from hecore.algorithms.lr import (
    LinearConfig,
    VerticalLinearRegression,
    VerticalLogisticRegression,
    VerticalPoissonRegression,
)
from hecore.algorithms.lr.exact import VerticalTopModel

from .conftest import clear_fit

DATA = Path(__file__).parents[5] / "shared" / "data"

pytestmark = [
    pytest.mark.skipif(
        not DATA.is_dir(), reason="the vertical data sets are not beside this checkout (../shared/data)"
    ),
    pytest.mark.timeout(900),
]

ADAM = {"optimizer": "adam", "learning_rate_decay": 1.0}


def auc(label: np.ndarray, predicted: np.ndarray) -> float:
    return float(roc_auc_score(label, predicted[:, 1]))


def accuracy(label: np.ndarray, predicted: np.ndarray) -> float:
    return float(np.mean(predicted.argmax(axis=1) == label))


def rmse(label: np.ndarray, predicted: np.ndarray) -> float:
    return float(np.sqrt(np.mean((predicted - label) ** 2)))


def deviance(label: np.ndarray, predicted: np.ndarray) -> float:
    return float(mean_poisson_deviance(label, predicted))


@dataclass(frozen=True)
class Case:
    """A data set; `centralised` is the figure published with it, None is computed here."""

    name: str
    kind: Any
    metric: Callable[[np.ndarray, np.ndarray], float]
    centralised: float | None
    options: dict[str, Any]
    label: str = "y"
    higher: bool = True


LOGISTIC = VerticalLogisticRegression
CASES = [
    Case("breast", LOGISTIC, auc, 1.0, ADAM | {"batch_size": 128, "epochs": 4, "learning_rate": 0.1}),
    Case(
        "motor",
        VerticalLinearRegression,
        rmse,
        None,
        {"objective": "reg:squarederror", "batch_size": 64, "epochs": 10},
        "motor_speed",
        False,
    ),
    Case(
        "dvisits",
        VerticalPoissonRegression,
        deviance,
        None,
        {"objective": "count:poisson", "batch_size": 512, "epochs": 5, "learning_rate": 0.1},
        "doctorco",
        False,
    ),
    Case("epsilon_5k", LOGISTIC, auc, 0.66978, {"batch_size": 512, "epochs": 2}),
    Case(
        "vehicle",
        LOGISTIC,
        accuracy,
        0.8118,
        ADAM
        | {
            "objective": "multi:softprob",
            "batch_size": 128,
            "epochs": 40,
            "learning_rate": 0.1,
            "alpha": 1e-4,
        },
    ),
    Case("default_credit", LOGISTIC, auc, 0.71489, ADAM | {"epochs": 3, "learning_rate": 0.02}),
    Case("a9a", LOGISTIC, auc, 0.9022, {"epochs": 2, "learning_rate": 0.5, "alpha": 1e-4}),
]
QUICK = ("breast",)


def load(case: Case) -> tuple[list[Table], list[Table]]:
    """Training and test tables by party."""
    if case.name == "a9a":
        return load_a9a()
    place = "idx" if case.name == "motor" else "id"
    active = read_csv(DATA / case.name / "active.csv", id_column=place, label_column=case.label)
    others = sorted((DATA / case.name).glob("passive*.csv"))
    parts = [active, *(read_csv(path, id_column=place) for path in others)]
    if case.metric is auc:
        parts[0] = replace(active, label=(active.label > 0).astype(np.float64))
    classes = parts[0].label if case.kind is LOGISTIC else None
    rows = train_test_split(np.arange(len(active)), test_size=0.2, random_state=0, stratify=classes)
    train, test = ([part.take(chosen) for part in parts] for chosen in rows)
    return train, test


def load_a9a() -> tuple[list[Table], list[Table]]:
    """Sparse tables; the test file has the columns of both parties."""
    train = [
        read_libsvm(DATA / "a9a" / "active.libsvm", columns=61),
        read_libsvm(DATA / "a9a" / "passive.libsvm", columns=62, label=False),
    ]
    both = read_libsvm(DATA / "a9a" / "test.libsvm", columns=123)
    values = both.values[:, :61], both.values[:, 61:]
    label = (both.label > 0).astype(np.float64)
    first = replace(both, columns=train[0].columns, values=values[0], label=label)
    second = replace(both, columns=train[1].columns, values=values[1], label=None)
    train[0] = replace(train[0], label=(train[0].label > 0).astype(np.float64))
    return train, [first, second]


def fit(parts: list[Table], test: list[Table], models: list[Any]) -> tuple[np.ndarray, float]:
    """What the active party predicts for the test rows, and the seconds of the training."""
    seconds = []

    def work(model: Any, part: Table, other: Table) -> Any:
        started = time.perf_counter()
        model.fit(part)
        seconds.append(time.perf_counter() - started)
        return model.predict_proba(other) if hasattr(model, "predict_proba") else model.predict(other)

    with ThreadPoolExecutor(len(parts)) as pool:
        runs = [pool.submit(work, *each) for each in zip(models, parts, test, strict=True)]
        return runs[0].result(), max(seconds)


def in_one_place(case: Case, train: list[Table], test: list[Table]) -> float:
    """The metric of the centralised model, where none is published."""
    x, other = (np.hstack([part.values for part in parts]) for parts in (train, test))
    x, other = (values / x.std(axis=0) for values in (x, other))
    model = LinearRegression() if case.metric is rmse else PoissonRegressor(alpha=1e-4, max_iter=2000)
    return case.metric(test[0].label, model.fit(x, train[0].label).predict(other))


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=case.name, marks=() if case.name in QUICK else pytest.mark.slow)
        for case in CASES
    ],
)
def test_joint_models_are_within_one_percent_of_the_centralised_ones(case):
    train, test = load(case)
    config = LinearConfig(mode="exact", **case.options)
    pairs = [loopback_pair("active", f"passive {number}") for number in range(1, len(train))]
    ends = [[a for a, _ in pairs], *(b for _, b in pairs)]
    models = [case.kind(end, config, key=generate_key()) for end in ends]
    predicted, seconds = fit(train, test, models)
    centralised = case.centralised or in_one_place(case, train, test)
    found = case.metric(test[0].label, predicted)
    sent = sum(sum(tally.bytes for tally in (a.traffic.sent, a.traffic.received)) for a, _ in pairs)
    print(
        f"{case.name}: {case.metric.__name__} {found:.4f} ({centralised:.4f} centralised),"
        f" {seconds:.1f} s, {sent / 1e6:.1f} MB"
    )
    if case.higher:
        assert found >= 0.99 * centralised
    else:
        assert found <= 1.01 * centralised
    columns = [np.array(model._fitted().mean) for model in models]
    scales = [np.array(model._fitted().scale) for model in models]
    parts = [
        (part.dense().values - mean) / scale for part, mean, scale in zip(train, columns, scales, strict=True)
    ]
    clear = clear_fit(config, parts, train[0].label)
    own = parts[0].shape[1]
    joint = np.concatenate([model.coef_.reshape(len(model._fitted().columns), -1) for model in models])
    wanted = np.delete(clear, own, axis=0)
    # The own weights are exact; those of others are cut to output_bits, and no further off.
    np.testing.assert_allclose(joint[:own], wanted[:own], atol=1e-6)
    np.testing.assert_allclose(joint[own:], wanted[own:], atol=2.0**-config.output_bits + 1e-6)


@pytest.mark.slow
def test_a_network_is_at_least_as_good_as_the_linear_model():
    """default_credit: 16 units over both parties' columns, three epochs."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra torch)")
    case = next(case for case in CASES if case.name == "default_credit")
    train, test = load(case)
    config = LinearConfig(
        mode="exact", **ADAM | {"epochs": 4, "batch_size": 512, "learning_rate": 0.02, "alpha": 0.0}
    )
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Tanh(), torch.nn.Linear(16, 1))
    first, second = loopback_pair()
    models = [
        VerticalTopModel(first, config, module=module, hidden=16, key=generate_key()),
        VerticalTopModel(second, config, key=generate_key()),
    ]
    predicted, seconds = fit(train, test, models)
    found = auc(test[0].label, predicted)
    print(f"default_credit, 16 units: AUC {found:.4f} (linear 0.7149), {seconds:.1f} s")
    assert found >= 0.74
