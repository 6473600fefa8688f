"""Batches of big integers modulo a fixed odd modulus; knows no encryption.

`backend` is the contract. `gmp` fulfils it everywhere, `simd` eight integers at a time where the
processor has vectors for it; `select` chooses one. `multiexp` and `histogram` plan the two operations
that spend most products, for every backend alike. `limbs` is the host form.
"""

from .backend import Backend, FixedBase, Residues
from .errors import BackendUnavailable, HecoreError, NotInvertible
from .histogram import histogram
from .modulus import Modulus
from .select import get_backend

__all__ = [
    "Backend",
    "BackendUnavailable",
    "FixedBase",
    "HecoreError",
    "Modulus",
    "NotInvertible",
    "Residues",
    "get_backend",
    "histogram",
]
