"""Vertical linear models: logistic, linear and Poisson regression over two or more parties' columns.

config       parameters
objectives   labels, predictions and metrics of the active party
polynomials  what stands for σ and exp on shares
scaling      standardised columns
bounds       the sizes that masks and slots are made for
steps        the mathematics: pure functions on shares and ciphertexts
messages     the records, and who can read what
meeting      the active party's terms
side         what a mode's training is given, and what it gives back
epochs       the sequence of batches and epochs, alike in both modes
shared       mode `shared`
exact        mode `exact`, and networks on its source layer
saved        checkpoints
scoring      joint scores
share        a party's share of a model, and its file
linear       what the estimators have in common: training and joint scores
estimators   one party's estimator
"""

from hecore.algorithms.lr.config import LinearConfig
from hecore.algorithms.lr.estimators import (
    VerticalLinearRegression,
    VerticalLogisticRegression,
    VerticalPoissonRegression,
)
from hecore.algorithms.lr.side import Progress

__all__ = [
    "LinearConfig",
    "Progress",
    "VerticalLinearRegression",
    "VerticalLogisticRegression",
    "VerticalPoissonRegression",
]
