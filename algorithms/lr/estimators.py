"""The estimators of one party, with scikit-learn's manners."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hecore.algorithms.data import Table
from hecore.algorithms.lr.config import LinearConfig
from hecore.algorithms.lr.linear import VerticalLinearModel
from hecore.algorithms.objectives import CLASSES, Floats


class VerticalLogisticRegression(VerticalLinearModel):
    """Logistic regression for classes 0 and 1, or 0, 1, …: one against the rest; mode `exact` has softmax."""

    objectives = CLASSES

    def predict_proba(self, table: Table) -> Floats | None:
        """Joint probabilities (rows, classes) at the active party, None elsewhere.

        Each passive party sends its partial logits encrypted under the active party's key; only the active
        party learns anything, and no more than these. With `sigmoid = "linear"` in mode `shared` they rank
        rows, and are not calibrated.
        """
        return self._predictions(table)

    def predict(self, table: Table) -> NDArray[np.int64] | None:
        """The most probable class at the active party, None elsewhere."""
        scores = self.predict_proba(table)
        return None if scores is None else np.argmax(scores, axis=1).astype(np.int64)


class VerticalLinearRegression(VerticalLinearModel):
    """Linear regression with squared error."""

    objectives = ("reg:squarederror",)

    def _default_config(self) -> LinearConfig:
        return LinearConfig(objective="reg:squarederror")

    def predict(self, table: Table) -> Floats | None:
        """Joint predictions at the active party, None elsewhere."""
        return self._predictions(table)


class VerticalPoissonRegression(VerticalLinearModel):
    """Poisson regression of counts, with the logarithm as link."""

    objectives = ("count:poisson",)

    def _default_config(self) -> LinearConfig:
        return LinearConfig(objective="count:poisson")

    def predict(self, table: Table) -> Floats | None:
        """Joint expected counts at the active party, None elsewhere."""
        return self._predictions(table)
