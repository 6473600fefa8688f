"""What the repeatable draws of all parties in this process have given, for tests of restored stores."""

from __future__ import annotations

import pytest

from hecore.algorithms.draws import RepeatableDraws
from hecore.randomness import Draw


class Drawn:
    """The first 16 bytes of each draw, beside its label."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._found: set[tuple[str, bytes]] = set()
        plain = RepeatableDraws.__call__

        def watched(draws: RepeatableDraws, label: str) -> Draw:
            draw = plain(draws, label)
            ahead = draw(16)
            self._found.add((label, ahead))

            def give(size: int) -> bytes:
                nonlocal ahead
                first, ahead = ahead[:size], ahead[size:]
                return first + draw(size - len(first))

            return give

        monkeypatch.setattr(RepeatableDraws, "__call__", watched)

    def taken(self) -> tuple[set[bytes], set[bytes]]:
        """Nonces of hellos, and all other draws, since the last call."""
        hello = {first for label, first in self._found if "hello " in label}
        others = {first for label, first in self._found if "hello " not in label}
        self._found.clear()
        return hello, others
