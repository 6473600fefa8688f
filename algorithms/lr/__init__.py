"""Vertical logistic regression.

config     parameters and the bounds that follow from them
steps      the mathematics: pure functions on shares and ciphertexts
messages   the records, and who can read what
training   the driver of a training
model      VerticalLogisticRegression, the estimator of one party
"""

from hecore.algorithms.lr.config import LogisticRegressionConfig
from hecore.algorithms.lr.model import VerticalLogisticRegression
from hecore.algorithms.lr.training import Progress

__all__ = ["LogisticRegressionConfig", "Progress", "VerticalLogisticRegression"]
