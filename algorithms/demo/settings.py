"""What the command line chooses, and the data of the demo."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hecore.algorithms.data import Table
from hecore.algorithms.demo.trees import tree_config
from hecore.algorithms.errors import ConfigurationError
from hecore.algorithms.gbdt import GBDTConfig
from hecore.algorithms.lr import LinearConfig

ACTIVE_COLUMNS = 10
TEST_SHARE = 0.2
#: With fewer the training refuses: the passive party's weights could give labels away.
MINIMUM_ROWS = 450
ALGORITHMS = ("gbdt", "lr")


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
        self.config()
        self.tree_config()

    def tree_config(self) -> GBDTConfig:
        """The parameters of the demo's trees."""
        return tree_config(self.trees)

    def config(self) -> LinearConfig:
        """The parameters of the demo's logistic regression."""
        return LinearConfig(epochs=self.epochs, batch_size=128, learning_rate=0.05, learning_rate_decay=0.8)


@dataclass(frozen=True)
class DemoData:
    """Both views of the common rows, and the rows kept for testing."""

    active: Table
    passive: Table
    train: NDArray[np.int64]
    test: NDArray[np.int64]


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
