"""Windows of a power: how many bits of the exponent are read at a time, on the backends that choose it."""

from __future__ import annotations

#: At most: the table of a power has 2^w entries for each element that is worked on.
MAX_WINDOW = 6


def best_window(bits: int) -> int:
    """The window w with which `bits` bits of exponent need the fewest products: least 2^w + bits/w."""
    return min(range(1, MAX_WINDOW + 1), key=lambda w: (1 << w) + bits / w)
