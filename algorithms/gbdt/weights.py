"""Sample weights: what the passive parties let the active one use.

`min_samples_bin` counts rows. Weights can make most of them count for nothing, or give each row a mark of its
own, so that a sum over many rows is one over few, or tells which rows are in it:

    weights 1, 2⁻³⁰, 2⁻³⁰, …         only the first row shows in a sum
    weights 1, 2, 4, 8, …            the bits of a sum are the rows in it
    weights 1 + ½, 1 + ¼, 1 + ⅛, …   likewise, below the number of rows

No passive party sees weights. So `sample_weights` says in the agreed configuration what the active party may
do, and this checks it there, before anything is sent. Rows of weight 0 are not drawn, whatever is agreed:
they are no rows of any sum, and are not counted as such.

    none     no weights, no custom objective (which could do all of the above)
    levels   few weights, each shared by many rows, and none much larger than another: class weights, strata.
             A sum then tells of weights what it tells of labels: how many rows of each kind are in it
    any      the passive parties trust the active one with single rows
"""

from __future__ import annotations

import numpy as np

from hecore.algorithms.errors import ConfigurationError, TableError
from hecore.algorithms.gbdt.config import GBDTConfig
from hecore.algorithms.objectives import Floats

#: Of "levels": different weights, largest over smallest, rows of each as a multiple of min_samples_bin.
MOST_LEVELS, LARGEST_RATIO, ROWS_A_LEVEL = 8, 1000.0, 10


def check_weights(config: GBDTConfig, weight: Floats | None) -> None:
    """Raise for weights of the training rows that the parties have not agreed on.

    ConfigurationError where none are allowed; TableError, whose text no peer is told, for others than agreed.
    """
    if weight is None or config.sample_weights == "any":
        return
    if config.sample_weights == "none":
        raise ConfigurationError(
            'sample_weight is given, but sample_weights = "none": weights weaken the guard on small sums;'
            ' agree on "levels" with all parties (or on "any", which trusts this party with single rows)'
        )
    levels, rows = np.unique(weight[weight > 0], return_counts=True)
    ratio = float(levels[-1] / levels[0])
    least = ROWS_A_LEVEL * config.min_samples_bin
    if levels.size > MOST_LEVELS or ratio > LARGEST_RATIO or rows.min() < least:
        raise TableError(
            f"{levels.size} different weights, each of {rows.min()} rows or more, the largest {ratio:.6g}"
            f' times the smallest: sample_weights = "levels" allows {MOST_LEVELS} different ones, each of'
            f" {least} rows or more, and a ratio of {LARGEST_RATIO:g}; round them, or agree on"
            ' "any" with all parties'
        )
