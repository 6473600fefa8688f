"""Batches of big integers modulo a fixed odd modulus; knows no encryption.

limbs        the host form: arrays of 64-bit limbs, and exact arithmetic on them
modulus      a modulus, and its root where it is a square
backend      the contract: every batch operation, its shapes and domains
checks       what every backend refuses, in the same words
gmp          the backend that is always there, and the oracle of the others
simd         several integers at a time in vector registers, compiled at first use
cuda         whole batches in the memory of a GPU
select       which backend is taken
fallback     a GPU with the CPU behind it: what "auto" takes where there is one
selftest     a first look at a backend that runs compiled code
multiexp     plans matrix powers, `joint` those of dense matrices, `histogram` encrypted histograms: for every
             backend alike
offsets      segments as `segment_product` takes them; `pieces` cuts long ones
combs        the cache of fixed-base tables
threads      how many threads a backend may use
windows      how many bits of an exponent a power reads at a time
"""

from .backend import Backend, FixedBase, Residues
from .errors import (
    BackendUnavailable,
    DeviceLost,
    HecoreError,
    InvalidSetting,
    NotInvertible,
    OutOfMemory,
)
from .histogram import histogram
from .modulus import Modulus
from .select import get_backend

__all__ = [
    "Backend",
    "BackendUnavailable",
    "DeviceLost",
    "FixedBase",
    "HecoreError",
    "InvalidSetting",
    "Modulus",
    "NotInvertible",
    "OutOfMemory",
    "Residues",
    "get_backend",
    "histogram",
]
