"""Vertical gradient-boosted trees.

config        parameters
objectives    gradients, predictions, metrics; weights: what passive parties allow
tables        a party's tables; binning: columns as bins; candidates: the splits they offer
gradients     (g, h) as integers and ciphertexts
histograms    sums in the clear; encrypted: sums under encryption
guards        which sums are shown
splits        gains and leaf values; growth: one tree; sources, remote: where sums come from
messages      the records, and who can read what
active, passive   the drivers; passive_tree: what a passive party knows of a tree
standing      checkpoints; fitting: a training from tables to a share
trees, model  what is kept; predict: joint prediction; importance, describe, export
estimators    VerticalGBDTClassifier and VerticalGBDTRegressor, the estimators of one party
"""

from hecore.algorithms.gbdt.active import Progress
from hecore.algorithms.gbdt.config import GBDTConfig
from hecore.algorithms.gbdt.estimators import VerticalGBDTClassifier, VerticalGBDTRegressor
from hecore.algorithms.gbdt.importance import importances
from hecore.algorithms.gbdt.model import load_share, save_share

__all__ = [
    "GBDTConfig",
    "Progress",
    "VerticalGBDTClassifier",
    "VerticalGBDTRegressor",
    "importances",
    "load_share",
    "save_share",
]
