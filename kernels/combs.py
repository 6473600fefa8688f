"""The cache of fixed-base tables that every backend keeps."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

from .modulus import Modulus

Comb = TypeVar("Comb")

#: Tables kept, least recently used first out; 17 MB each for a 1024-bit exponent modulo n² at 2048 bits.
CACHED_COMBS = 8


class CombCache(Generic[Comb]):
    """Combs by modulus, base and longest exponent; two threads that ask for one get the same."""

    def __init__(self, make: Callable[[Modulus, int, int], Comb]) -> None:
        self._make = make
        self._combs: OrderedDict[tuple[Modulus, int, int], Comb] = OrderedDict()
        self._lock = Lock()

    def get(self, modulus: Modulus, base: int, max_bits: int) -> Comb:
        """The comb of these arguments, made at first use."""
        key = (modulus, base, max_bits)
        with self._lock:
            comb = self._combs.pop(key, None) or self._make(modulus, base, max_bits)
            self._combs[key] = comb
            while len(self._combs) > CACHED_COMBS:
                self._combs.popitem(last=False)
            return comb

    def __len__(self) -> int:
        return len(self._combs)
