"""An outsider with a token that reconstructs a passive party's columns: what bounds it, and what does not.

It knows the passive columns of 500 rows, asks the same k random rows of the active party's columns for every
id, and fits a linear regression from the rounded scores to each passive column. The table of THREAT_MODEL.md.
"""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import RidgeCV

from hecore.algorithms.data import Table
from hecore.algorithms.gbdt import GBDTConfig
from hecore.algorithms.gbdt.central import train_centrally
from hecore.algorithms.gbdt.tables import training_rows
from hecore.algorithms.serving.settings import Limits, Scores
from hecore.algorithms.serving.trees import Splits, Trees

ROWS, OWN, OTHER, KNOWN, ATTACKED = 4000, 10, 5, 500, 1000


class Model:
    """100 trees over 10 + 5 normal columns, and the passive party's directions of the first rows."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        values = rng.normal(size=(ROWS, OWN + OTHER))
        label = (values @ rng.normal(size=OWN + OTHER) + rng.logistic(size=ROWS) > 0).astype(float)
        ids = tuple(map(str, range(ROWS)))
        names = tuple(f"x{place}" for place in range(OWN + OTHER))
        bank = Table("bank", ids, names[:OWN], values[:, :OWN], label)
        shop = Table("shop", ids, names[OWN:], values[:, OWN:])
        config = GBDTConfig(n_estimators=100, max_depth=6, max_bin=64, learning_rate=0.1)
        model = train_centrally(config, [("bank", bank), ("shop", shop)], training_rows([bank], None))
        self._trees = Trees(model.forest, 1, model.objective.start)
        self._own = Splits(model.splits[0], model.bins[0])
        self.secret = values[: KNOWN + ATTACKED, OWN:]
        self.directions = Splits(model.splits[1], model.bins[1]).directions(self.secret)

    def asked(self, questions: int, step: float) -> np.ndarray:
        """Rounded scores (rows, questions) for random rows of the active party's columns."""
        rng = np.random.default_rng(1)
        rows = len(self.secret)
        out = []
        for _ in range(questions):
            own = self._own.directions(np.repeat(rng.normal(size=(1, OWN)), rows, axis=0))
            scores = 1 / (1 + np.exp(-self._trees.margins([own, self.directions], rows)[:, 0]))
            out.append(np.rint(scores / step) * step)
        return np.array(out).T

    def learned(self, seen: np.ndarray) -> float:
        """Mean R² of the passive columns of rows that the attacker does not know."""
        found = []
        for column in self.secret.T:
            fit = RidgeCV(np.logspace(-3, 4, 15)).fit(seen[:KNOWN], column[:KNOWN])
            rest = column[KNOWN:] - fit.predict(seen[KNOWN:])
            found.append(1 - rest.var() / column[KNOWN:].var())
        return float(np.mean(found))


@pytest.fixture(scope="module")
def model() -> Model:
    return Model()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_the_default_limits_leave_to_an_outsider(model: Model) -> None:
    step = Scores().probability_step
    caller, party = Limits().daily(active=True), Limits().daily(active=False)

    def after(questions: int) -> float:
        scores = model.asked(questions, step)
        return model.learned(np.column_stack([scores, np.log((scores + 1e-3) / (1 - scores + 1e-3))]))

    without_features, one_day, all_callers, many_days = map(after, (1, caller, party, 100))
    assert without_features < 0.3  # the same answer again and again
    assert one_day < 0.6
    assert one_day < all_callers < 0.85
    assert many_days > 0.85  # limits slow it down, they do not prevent it


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_the_active_party_reads_from_directions(model: Model) -> None:
    """Not bounded by any rounding or rate: see THREAT_MODEL.md."""
    assert model.learned(model.directions.T.astype(float)) > 0.95
