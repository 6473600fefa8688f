"""What every backend refuses, in the same words: the ValueErrors of the `Backend` contract."""

from __future__ import annotations

import gmpy2
import numpy as np
from numpy.typing import NDArray

from . import limbs as lb
from .backend import Residues
from .limbs import Limbs
from .modulus import Modulus


def check_canonical(modulus: Modulus, limbs: Limbs) -> None:
    """Unsigned limbs of the modulus' width, every element below it."""
    if limbs.shape[1] != modulus.width:
        raise ValueError(f"limbs of width {limbs.shape[1]}, but the modulus has {modulus.width}")
    outside = lb.first_not_below(limbs, modulus.value)
    if outside is not None:
        raise ValueError(f"element {outside} is not below the modulus")


def check_magnitude(modulus: Modulus, magnitude: Limbs) -> None:
    """Magnitudes of signed integers, unsigned limbs of any width, below the modulus."""
    outside = lb.first_not_below(magnitude, modulus.value)
    if outside is not None:
        raise ValueError(f"element {outside} is not below the modulus in magnitude")


def common_modulus(first: Residues, *others: Residues) -> Modulus:
    """The modulus of batches that are to be combined: one for all."""
    for other in others:
        if other.modulus != first.modulus:
            raise ValueError("batches modulo different moduli cannot be combined")
    return first.modulus


def common_length(a: int, b: int) -> int:
    """The length of the result of an element-wise operation; a length of one repeats."""
    if b in (a, 1):
        return a
    if a == 1:
        return b
    raise ValueError(f"batches of {a} and {b} elements cannot be combined")


def check_mask(mask: NDArray[np.bool_], count: int) -> None:
    """One truth value an element."""
    if len(mask) != count:
        raise ValueError(f"a mask of {len(mask)} for {count} elements")


def check_exponent(exponent: int) -> None:
    """An exponent ≥ 0."""
    if exponent < 0:
        raise ValueError("an exponent is negative: invert the base first")


def check_root(square: Modulus, root: Modulus) -> None:
    """A modulus that knows `root` as its root."""
    if square.root != root:
        raise ValueError("the message is not reduced modulo the root of the modulus")


def known_root(square: Modulus) -> Modulus:
    """The root of a modulus that knows it."""
    if square.root is None:
        raise ValueError("the modulus is not a square with a known root")
    return square.root


def check_factors(p: Modulus, q: Modulus, target: Modulus) -> None:
    """target = p·q with coprime p, q."""
    if p.value * q.value != target.value:
        raise ValueError("the target is not the product of the two moduli")
    if gmpy2.gcd(p.value, q.value) != 1:
        raise ValueError("the two moduli share a factor")


def check_parts(parts: int) -> None:
    """At least one batch to concatenate."""
    if not parts:
        raise ValueError("there is nothing to concatenate")


def check_indices(count: int, indices: NDArray[np.int64]) -> None:
    """Indices into a batch of `count`; negative ones do not count from its end."""
    if indices.size and not 0 <= indices.min() <= indices.max() < count:
        raise ValueError(f"an index is not in 0 ≤ index < {count}")


def check_segments(count: int, indices: NDArray[np.int64], offsets: NDArray[np.int64]) -> None:
    """Segments of indices into a batch of `count`: offsets from 0 to len(indices), non-decreasing."""
    if offsets.size == 0 or offsets[0] != 0 or offsets[-1] != indices.size:
        raise ValueError("offsets must run from 0 to the number of indices")
    if bool((offsets[1:] < offsets[:-1]).any()):
        raise ValueError("offsets must not decrease")
    check_indices(count, indices)
