"""Masks of several passive parties that cancel: the active party sees the sum of their logits, not the parts.

Each pair of passive parties has a seed: the earlier one in the active party's list draws it and sends it
under the other's key, by way of the active party (`shared.seeds`). From it both draw the same masks:

    s_P = Σ_Q ± m_PQ        + at the earlier party, − at the later one:   Σ_P s_P = 0

As in secure aggregation (Bonawitz et al., CCS'17), without drop-outs: here nobody can be missing. The active
party follows the protocol; one that passed on keys of its own would see the parts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hecore import FixedPoint
from hecore.algorithms.lr.exact import steps
from hecore.algorithms.lr.shared.seeds import draws_of


class CancellingMasks:
    """One passive party's part: `seeds` by the name of the other party, `order` of all passive parties."""

    def __init__(self, seeds: Mapping[str, bytes], order: Sequence[str], me: str, model: str) -> None:
        place = order.index(me)
        self._pairs = []
        for number, other in enumerate(order):
            if other != me:
                pair = (me, other) if place < number else (other, me)
                self._pairs.append((draws_of(seeds[other], model, " and ".join(pair)), place < number))

    def mask(self, label: str, rows: int, outputs: int, bits: int, scale_bits: int) -> FixedPoint:
        """s_P of shape (rows, outputs): a sum of integers below 2^bits in magnitude.

        The other parties ask for the same labels, once each, with the same numbers.
        """
        total = FixedPoint.zeros((rows, outputs), scale_bits)
        for draws, earlier in self._pairs:
            part = steps.random_matrix(rows, outputs, bits, scale_bits, draws(label))
            total = total + part if earlier else total - part
        return total
