"""The batches of a training, as all parties cut them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hecore.algorithms.lr.side import Side
from hecore.algorithms.lr.steps import split_rows


def batches_of(side: Side) -> list[NDArray[np.int64]]:
    """Places of each batch in an epoch's order; see `split_rows` for what is refused."""
    columns = side.training.features.shape[1]
    return split_rows(len(side.training), columns, side.terms.columns - columns, side.config)
