"""Random numbers for keys, noise and masks: the operating system's generator, and nothing else.

Large amounts are expanded from it by AES-256-CTR under a fresh key per call (`cryptography`), which is
several times faster than asking the kernel for every byte and as hard to predict as AES.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from .kernels import limbs as lb
from .kernels.limbs import Limbs

#: Gives `size` unpredictable bytes.
Draw: TypeAlias = Callable[[int], bytes]

#: Up to here os.urandom is asked directly.
DIRECT_BYTES = 1 << 16


def random_bytes(size: int) -> bytes:
    """`size` unpredictable bytes."""
    if size <= DIRECT_BYTES:
        return os.urandom(size)
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes  # heavy import

    stream = Cipher(algorithms.AES256(os.urandom(32)), modes.CTR(bytes(16))).encryptor()
    return stream.update(bytes(size)) + stream.finalize()


def random_bits(count: int, bits: int, draw: Draw = random_bytes) -> Limbs:
    """`count` integers uniform in [0, 2^bits), unsigned limbs uint64[count, ⌈bits/64⌉].

    `draw(size)` gives the bytes; another one than the operating system's must be as hard to predict.
    """
    width = lb.width_for_bits(bits)
    out = lb.from_bytes(draw(count * width * lb.LIMB_BYTES), width).copy()
    out[:, -1] &= np.uint64((1 << (bits - (width - 1) * lb.LIMB_BITS)) - 1)
    return out


def random_below(bound: int, count: int) -> Limbs:
    """`count` integers exactly uniform in [0, bound), by rejection; bound > 0."""
    bits = (bound - 1).bit_length() or 1
    top = lb.from_ints([bound], lb.width_for_bits(bound.bit_length()))
    if top.shape[1] > lb.width_for_bits(bits):  # bound is 2^(64k): every draw is below it
        return random_bits(count, bits)
    out = random_bits(count, bits)
    while True:
        rejected = np.flatnonzero(~lb.less(out, top))
        if rejected.size == 0:
            return out
        out[rejected] = random_bits(rejected.size, bits)


def random_integer(bits: int, draw: Draw = random_bytes) -> int:
    """One integer uniform in [0, 2^bits)."""
    return lb.to_ints(random_bits(1, bits, draw))[0]
