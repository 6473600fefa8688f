"""Vertical gradient-boosted trees.

config        parameters
objectives    gradients, predictions, metrics
binning       columns as bins; candidates: the splits they offer
gradients     (g, h) as integers and ciphertexts
histograms    sums in the clear; encrypted: sums under encryption
splits        gains and leaf values; growth: one tree; sources, remote: where sums come from
messages      the records, and who can read what
active, passive   the drivers; passive_tree: what a passive party knows of a tree
trees, model  what is kept; predict: joint prediction
estimators    VerticalGBDTClassifier and VerticalGBDTRegressor, the estimators of one party
"""

from hecore.algorithms.gbdt.active import Progress
from hecore.algorithms.gbdt.config import GBDTConfig
from hecore.algorithms.gbdt.estimators import VerticalGBDTClassifier, VerticalGBDTRegressor

__all__ = ["GBDTConfig", "Progress", "VerticalGBDTClassifier", "VerticalGBDTRegressor"]
