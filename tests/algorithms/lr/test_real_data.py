"""Joint training on the vertical data sets, held against centralised figures of the same kind of model.

Each set is split as it is for the centralised figures; scikit-learn's model is fitted here on the same rows.
The joint metric must be within 1 % of it, and the weights those of the same SGD in the clear, to the bits
that are delivered.
`pytest -s -m ''` prints the table of docs/linear.md.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import linear_model
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import MaxAbsScaler, StandardScaler

from hecore import generate_key
from hecore.algorithms.data import Table, read_csv, read_libsvm
from hecore.algorithms.lr import LinearConfig
from hecore.algorithms.lr.objectives import Objective

from .conftest import clear_fit, fit_star

DATA = Path(__file__).parents[4] / "shared" / "data"

pytestmark = [
    pytest.mark.skipif(
        not DATA.is_dir(), reason="the vertical data sets are not beside this checkout (../shared/data)"
    ),
    pytest.mark.timeout(3000),
]


@dataclass(frozen=True)
class Case:
    """A data set, its parties' files, the joint parameters, and the centralised model."""

    name: str
    central: Any
    options: dict[str, Any]
    label: str = "y"
    files: tuple[str, ...] = ("active", "passive")
    reading: dict[str, Any] = field(default_factory=dict)


LOGISTIC = linear_model.LogisticRegression(max_iter=2000)
CASES = [
    Case("breast", LOGISTIC, {"batch_size": 128, "epochs": 4}),
    Case(
        "motor",
        linear_model.LinearRegression(),
        {"objective": "reg:squarederror", "batch_size": 64, "epochs": 5, "learning_rate_decay": 0.9},
        label="motor_speed",
        files=("active", "passive_1", "passive_2"),
        reading={"id_column": "idx"},
    ),
    Case("epsilon_5k", LOGISTIC, {"batch_size": 512, "epochs": 2}),
    Case("default_credit", LOGISTIC, {"batch_size": 1024, "epochs": 2}),
    Case(
        "a9a",
        LOGISTIC,
        {"batch_size": 1024, "epochs": 2, "learning_rate": 0.5, "learning_rate_decay": 0.7},
    ),
    Case(  # one against the rest by ½ + z/4 is least squares on the classes
        "vehicle",
        linear_model.RidgeClassifier(),
        {
            "objective": "multi:logistic",
            "batch_size": 64,
            "epochs": 8,
            "learning_rate": 0.1,
            "learning_rate_decay": 0.9,
            "alpha": 1e-4,
        },
    ),
    Case(
        "dvisits",
        linear_model.PoissonRegressor(alpha=1e-3, max_iter=1000),
        {"objective": "count:poisson", "batch_size": 512, "epochs": 5, "learning_rate_decay": 0.8},
        label="doctorco",
    ),
]
QUICK = ("breast",)


def load(case: Case) -> tuple[list[Table], list[Table]]:
    """The parties' tables of training and test rows."""
    if case.name == "a9a":
        return load_a9a()
    folder, reading = DATA / case.name, case.reading
    data = [read_csv(folder / f"{name}.csv", **reading) for name in case.files[1:]]
    data.insert(0, read_csv(folder / f"{case.files[0]}.csv", label_column=case.label, **reading))
    if case.central is LOGISTIC:
        data[0] = replace(data[0], label=(data[0].label > 0).astype(np.float64))
    stratify = data[0].label if "logistic" in case.options.get("objective", "logistic") else None
    rows = np.arange(len(data[0]))
    train, test = train_test_split(rows, test_size=0.2, random_state=0, stratify=stratify)
    return [table.take(train) for table in data], [table.take(test) for table in data]


def load_a9a() -> tuple[list[Table], list[Table]]:
    """Sparse tables, never made dense; the test columns are those of both parties in one file."""
    folder = DATA / "a9a"
    active = read_libsvm(folder / "active.libsvm", columns=61)
    passive = read_libsvm(folder / "passive.libsvm", label=False, columns=62)
    test = read_libsvm(folder / "test.libsvm", columns=123)
    passive = replace(passive, columns=test.columns[61:], label=None)
    own, other = test.select(test.columns[:61]), replace(test.select(test.columns[61:]), label=None)
    binary = [replace(table, label=(table.label > 0).astype(np.float64)) for table in (active, own)]
    return [binary[0], passive], [binary[1], other]


def centralised(case: Case, train: list[Table], test: list[Table], objective: Objective) -> float:
    """The metric of scikit-learn's model, fitted on all columns of the training rows."""
    sparse = train[0].is_sparse
    join = _hstack if sparse else np.hstack
    x, unseen = (join([table.values for table in tables]) for tables in (train, test))
    scaler = (MaxAbsScaler() if sparse else StandardScaler()).fit(x)
    model = case.central.fit(scaler.transform(x), train[0].label)
    if case.name == "vehicle":
        return float(model.score(scaler.transform(unseen), test[0].label))
    if case.central is LOGISTIC:
        return objective.metric(test[0], model.decision_function(scaler.transform(unseen))[:, None])
    predicted = model.predict(scaler.transform(unseen))
    if case.name == "dvisits":
        return objective.metric(test[0], np.log(predicted / objective.mean)[:, None])
    return objective.metric(test[0], ((predicted - objective.mean) / objective.scale)[:, None])


def _hstack(parts: list[Any]) -> Any:
    from scipy.sparse import hstack

    return hstack(parts, format="csr")


@pytest.mark.parametrize(
    "case", [pytest.param(c, id=c.name, marks=[] if c.name in QUICK else [pytest.mark.slow]) for c in CASES]
)
def test_the_joint_metric_is_within_one_percent_of_the_centralised_one(case):
    train, test = load(case)
    config = LinearConfig(**case.options)
    keys = [generate_key() for _ in train]
    objective = Objective.of(config, train[0])
    wanted = centralised(case, train, test, objective)
    started = time.perf_counter()
    models, scores = fit_star(train, config, keys, score=test)
    seconds = time.perf_counter() - started
    found = metric_of(objective, test[0], scores)
    sent = sum(end.traffic.sent.bytes + end.traffic.received.bytes for end in models[0].channels)
    print(
        f"\n{case.name}: {objective.metric_name} {found:.4f}, centralised {wanted:.4f}, {seconds:.1f} s with"
        f" scoring, {sent / 1e6:.1f} MB, backend {models[0].backend.name}"
    )
    if objective.higher_is_better:
        assert found >= 0.99 * wanted
    else:
        assert found <= 1.01 * wanted
    clear = clear_fit(*train, config=config)
    delivered = 2.0**-config.output_bits + 5e-5
    for model, block in zip(models, clear.blocks, strict=True):
        np.testing.assert_allclose(model.coef_.reshape(block.shape), block, atol=delivered)
        np.testing.assert_allclose(model.loss_, clear.loss, rtol=1e-5, atol=2e-5)


def metric_of(objective: Objective, table: Table, scores: np.ndarray) -> float:
    """The metric of joint predictions."""
    if objective.name == "binary:logistic":
        positive = np.clip(scores[:, 1], 1e-15, 1 - 1e-15)
        return objective.metric(table, np.log(positive / (1 - positive))[:, None])
    if objective.name == "multi:logistic":
        return float(np.mean(np.argmax(scores, axis=1) == table.label))
    if objective.name == "count:poisson":
        return objective.metric(table, np.log(scores / objective.mean)[:, None])
    return objective.metric(table, ((scores - objective.mean) / objective.scale)[:, None])
