"""The group of the intersection: Curve25519 by its x-coordinates, through libsodium (PyNaCl).

    H(id)  = u( from_uniform( BLAKE2b-256("hecore psi v1"; length ‖ id) ) )
    k · U  = X25519(k, U),        k · (l · U) = l · (k · U)

`from_uniform` is Elligator 2 followed by the cofactor 8: a point of the prime-order subgroup of edwards25519,
of which nobody knows a discrete logarithm. `u` = (1 + y)/(1 − y) is its x-coordinate on the Montgomery form,
which drops the sign. X25519 (RFC 7748) clamps its scalar to a multiple of 8, so that a point of small order
gives 0, which libsodium refuses; the twist is as hard as the curve, so that a value off the curve tells
nothing about the scalar either. Elligator 2 alone does not reach every point, nor each alike. That is no loss
here: it can be inverted, so the random oracle of a security proof can still give answers of known logarithm.

Points are rows of uint8[n, 32]: u in little-endian order, canonical, u < p = 2^255 − 19.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from nacl import bindings
from nacl.exceptions import CryptoError
from nacl.exceptions import RuntimeError as SodiumError
from numpy.typing import NDArray

from hecore.algorithms.errors import ProtocolError
from hecore.kernels import Modulus, get_backend
from hecore.kernels import limbs as lb
from hecore.kernels.threads import Workers

Rows = NDArray[np.uint8]

POINT_BYTES = SCALAR_BYTES = 32
#: Separates these hashes from every other use of BLAKE2b.
PERSON = b"hecore psi v1"
FIELD = Modulus(2**255 - 19)

_ONE = lb.from_ints([1], FIELD.width)
_FIELD_AND_ONE = lb.from_ints([FIELD.value + 1], FIELD.width)
_SIGN = np.uint64(1 << 63)  # in the top limb: the sign of x, which u does not depend on
#: Fewer rows than this are not worth another thread.
ROWS_A_THREAD = 64


def hash_to_group(digests: Rows) -> Rows:
    """The points of uniformly distributed digests uint8[n, 32]."""
    edwards = _each(digests, bindings.crypto_core_ed25519_from_uniform)
    y = lb.from_bytes(edwards.tobytes(), FIELD.width).copy()
    y[:, -1] &= ~_SIGN
    field = get_backend("gmp")  # always there, nothing to compile, and 2 µs of some 20
    # Neither sum reaches p, and 1 − y is not 0: only points of small order have y ∈ {−1, 0, 1}.
    above = field.from_limbs(FIELD, lb.add(y, _ONE))
    below = field.from_limbs(FIELD, lb.subtract(_FIELD_AND_ONE, y))
    u = field.to_bytes(field.mod_mul(above, field.mod_inv(below)))
    return np.frombuffer(u, np.uint8).reshape(-1, POINT_BYTES)


def multiply(scalar: bytes, points: Rows) -> Rows:
    """scalar · U for each row of uint8[n, 32]. ProtocolError naming the first row of small order."""

    def one(point: bytes) -> bytes:
        return bindings.crypto_scalarmult(scalar, point)

    try:
        return _each(points, one)
    except SodiumError:
        row = next(i for i in range(len(points)) if _has_small_order(points[i].tobytes()))
        raise ProtocolError(f"masked id {row} of {len(points)} is a point of small order") from None


def check_points(data: bytes, count: int) -> Rows:
    """`count` points from the peer, uint8[count, 32]: ProtocolError for another length or a value ≥ p.

    A point of small order is left to `multiply`.
    """
    if len(data) != count * POINT_BYTES:
        raise ProtocolError(f"{len(data)} bytes of masked ids instead of {count * POINT_BYTES}")
    limbs = lb.from_bytes(data, FIELD.width)
    canonical = lb.less(limbs, lb.from_ints([FIELD.value], FIELD.width))
    if not canonical.all():
        raise ProtocolError(f"masked id {np.argmin(canonical)} of {count} is not below 2^255 − 19")
    return np.frombuffer(data, np.uint8).reshape(count, POINT_BYTES)


def _has_small_order(point: bytes) -> bool:
    try:
        bindings.crypto_scalarmult(bytes(SCALAR_BYTES), point)
    except CryptoError:
        return True
    return False


@cache
def _workers() -> Workers:
    return Workers("hecore-psi")


def _each(rows: Rows, function: Callable[[bytes], bytes]) -> Rows:
    """`function` of each row's 32 bytes, on all threads: libsodium runs without the interpreter's lock."""

    def part(piece: Rows) -> bytes:
        data = piece.tobytes()
        size = POINT_BYTES
        return b"".join([function(data[start : start + size]) for start in range(0, len(data), size)])

    workers = _workers()
    pieces = np.array_split(rows, max(1, min(workers.count, len(rows) // ROWS_A_THREAD)))
    joined = b"".join(workers.pool.map(part, pieces))
    return np.frombuffer(joined, np.uint8).reshape(-1, POINT_BYTES)
