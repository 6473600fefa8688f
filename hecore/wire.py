"""The wire form of public keys and ciphertext batches: versioned, bounded, validated; never pickle.

Everything is little-endian.

    batch   "HECB" | version u16 | ndim u16 | scale_bits u32 | slots u32 | slot_bits u32 | value_bits u32
            | terms u64 | fingerprint 32 bytes | dims u64[ndim] | ciphertexts, 8·⌈|n²|/64⌉ bytes each
            unpacked: slots = slot_bits = value_bits = 0, terms = 1
    key     "HECK" | version u16 | flags u16 (1: insecure test key) | nonce u32 | bytes of n u32 | n

What comes in is checked before it is used: lengths before anything is allocated, then 0 < c < n² and
gcd(c, n) = 1 for the whole batch by one product and one gcd (decrypting 0, n or n² by CRT can reveal the
key). Nothing has two forms: what is read and written again gives the same bytes.

There is no checksum. A line has its own (`hecore.algorithms` encrypts and authenticates every message), and
one without a key would keep nobody from changing a batch: any ciphertext can be replaced by a valid one. Of
damage in a file, the checks above find a wrong size and most wrong headers, not a changed ciphertext. That
decrypts to noise over the whole plaintext space: a third of it is refused as beyond n/3, of floats nearly all
the rest (at 2048 bits, as beyond float64); whole numbers come out as integers of some 2000 bits, packed slots
that fill the plaintext as any values. Whoever stores batches on media that err keeps a hash beside them.
"""

from __future__ import annotations

import struct
from math import prod
from typing import TYPE_CHECKING

import gmpy2
import numpy as np

from .encoding import MAXIMUM_SCALE_BITS
from .errors import InsecureKey, InvalidCiphertext, KeyMismatch, LayoutMismatch, WireFormatError
from .kernels import Backend
from .kernels import limbs as lb
from .kernels.backend import Residues
from .kernels.fallback import despite_loss
from .kernels.offsets import even_offsets
from .kernels.select import resolve
from .keys import MAXIMUM_BITS, PublicKey
from .meter import count
from .packing import SlotLayout

if TYPE_CHECKING:
    from .ciphertext import CipherBatch

BATCH_MAGIC = b"HECB"
KEY_MAGIC = b"HECK"
VERSION = 1
MAXIMUM_DIMENSIONS = 8
MAXIMUM_BATCH_SCALE = 2 * MAXIMUM_SCALE_BITS
#: Where one dimension is 0, no bytes bound the others: their product is bounded instead.
MAXIMUM_EMPTY_SIZE = 1 << 20
INSECURE_FLAG = 1

_BATCH_HEADER = struct.Struct("<4sHHIIIIQ32s")
_KEY_HEADER = struct.Struct("<4sHHII")


def dump_key(public: PublicKey) -> bytes:
    """The wire form of a public key."""
    n = public.n.to_bytes(-(-public.bits // 8), "little")
    flags = INSECURE_FLAG if public.insecure_test_key else 0
    return _KEY_HEADER.pack(KEY_MAGIC, VERSION, flags, public.nonce, len(n)) + n


def load_key(data: bytes | memoryview, *, insecure_test_key: bool = False) -> PublicKey:
    """Read a public key and check it. WireFormatError for foreign bytes, InvalidKey for a bad key.

    A key marked as a test key is refused (InsecureKey) unless the reader says `insecure_test_key` as well.
    """
    data = memoryview(data).cast("B")
    if len(data) < _KEY_HEADER.size:
        raise WireFormatError(f"a public key needs {_KEY_HEADER.size} bytes, not {len(data)}")
    magic, version, flags, nonce, size = _KEY_HEADER.unpack_from(data)
    _check_format("public key", magic, KEY_MAGIC, version)
    if flags & ~INSECURE_FLAG:
        raise WireFormatError(f"unknown flags {flags:#x} in a public key")
    if size > MAXIMUM_BITS // 8 or len(data) != _KEY_HEADER.size + size:
        raise WireFormatError(f"a public key of {size} bytes in a message of {len(data)} bytes")
    n = int.from_bytes(data[_KEY_HEADER.size :], "little")
    if size != -(-n.bit_length() // 8):
        raise WireFormatError(f"a public key of {size} bytes begins with zeros")
    marked = bool(flags & INSECURE_FLAG)
    if marked and not insecure_test_key:
        raise InsecureKey("the public key is marked as a test key: use it with insecure_test_key=True only")
    return PublicKey(n, nonce, marked)


def dump_batch(batch: CipherBatch) -> bytes:
    """The wire form of a batch as it stands; `CipherBatch.to_bytes` re-randomises before.

    WireFormatError for a batch that no reader would take: too many dimensions, too large a scale.
    """
    layout = batch.layout
    if batch.ndim > MAXIMUM_DIMENSIONS:
        raise WireFormatError(
            f"a batch of {batch.ndim} dimensions: reshape it to {MAXIMUM_DIMENSIONS} at most"
        )
    if batch.scale_bits > MAXIMUM_BATCH_SCALE:
        raise WireFormatError(
            f"a batch with scale_bits={batch.scale_bits}, above the {MAXIMUM_BATCH_SCALE} of the wire format:"
            " multiply by integers, or by floats of fewer bits"
        )
    _check_size(batch.shape)
    header = _BATCH_HEADER.pack(
        BATCH_MAGIC,
        VERSION,
        batch.ndim,
        batch.scale_bits,
        layout.slots if layout else 0,
        layout.slot_bits if layout else 0,
        layout.value_bits if layout else 0,
        batch.terms,
        batch.public.fingerprint,
    )
    dims = struct.pack(f"<{batch.ndim}Q", *batch.shape)
    limbs = batch.backend.to_limbs(batch.residues)
    data = b"".join([header, dims, lb.byte_view(limbs)])  # copied once: they may be gigabytes
    count("bytes_written", len(data))
    return data


def load_batch(
    kind: type[CipherBatch],
    data: bytes | memoryview,
    public: PublicKey,
    backend: Backend | str | None,
) -> CipherBatch:
    """Read and validate a batch; see `CipherBatch.from_bytes`."""
    data = memoryview(data).cast("B")
    if len(data) < _BATCH_HEADER.size:
        raise WireFormatError(f"a batch needs {_BATCH_HEADER.size} bytes at least, not {len(data)}")
    magic, version, ndim, scale_bits, slots, slot_bits, value_bits, terms, fingerprint = (
        _BATCH_HEADER.unpack_from(data)
    )
    _check_format("ciphertext batch", magic, BATCH_MAGIC, version)
    if ndim > MAXIMUM_DIMENSIONS or scale_bits > MAXIMUM_BATCH_SCALE:
        raise WireFormatError(f"a batch header is damaged (ndim {ndim}, scale {scale_bits} bits)")
    if fingerprint != public.fingerprint:
        raise KeyMismatch(
            f"the batch is encrypted under key {fingerprint.hex()[:16]},"
            f" not under {public.fingerprint.hex()[:16]}"
        )
    start = _BATCH_HEADER.size + 8 * ndim
    if len(data) < start:
        raise WireFormatError("a batch is truncated in its header")
    shape = struct.unpack_from(f"<{ndim}Q", data, _BATCH_HEADER.size)
    layout = _read_layout(slots, slot_bits, value_bits, public, ndim)
    if not 1 <= terms <= (layout.max_terms if layout else 1):
        raise WireFormatError(f"a batch header is damaged: {terms} terms")
    _check_size(shape)
    grid = shape if layout is None else (*shape[:-1], layout.ciphertexts(shape[-1]))
    expected = start + prod(grid) * public.square.nbytes
    if len(data) != expected:
        raise WireFormatError(
            f"a batch of shape {shape} takes {expected} bytes, but {len(data)} arrived: truncated or foreign"
        )
    target = resolve(backend)
    limbs = lb.from_bytes(data[start:], public.square.width)
    residues = despite_loss(lambda: _import_checked(target, limbs, public))
    count("bytes_read", len(data))
    return kind(public, target, residues, shape, scale_bits, layout, terms)


def _check_format(what: str, magic: bytes, expected: bytes, version: int) -> None:
    if magic != expected:
        raise WireFormatError(f"these bytes are no {what} (they begin with {magic!r})")
    if version != VERSION:
        raise WireFormatError(
            f"a {what} of format version {version}, but this hecore reads version {VERSION}:"
            " both parties need the same release"
        )


def _read_layout(
    slots: int, slot_bits: int, value_bits: int, public: PublicKey, ndim: int
) -> SlotLayout | None:
    if slots == slot_bits == value_bits == 0:
        return None
    try:
        layout = SlotLayout(slots, slot_bits, value_bits)
        layout.check_key(public)
    except LayoutMismatch as error:
        raise WireFormatError(f"a batch header is damaged: {error}") from None
    if ndim == 0:
        raise WireFormatError("a batch header is damaged: packed, but without an axis")
    return layout


def _check_size(shape: tuple[int, ...]) -> None:
    if 0 in shape and prod(length for length in shape if length) > MAXIMUM_EMPTY_SIZE:
        raise WireFormatError(f"an empty batch of shape {shape} is larger than any that is used")


def _import_checked(backend: Backend, limbs: lb.Limbs, public: PublicKey) -> Residues:
    """Limbs as residues after the checks 0 < c < n², gcd(c, n) = 1."""
    outside = lb.first_not_below(limbs, public.square.value)
    if outside is not None:
        raise InvalidCiphertext(outside, "it is not below n²")
    residues = backend.from_limbs(public.square, limbs)
    validate(backend, residues, public)
    return residues


def validate(backend: Backend, ciphertexts: Residues, public: PublicKey) -> None:
    """InvalidCiphertext unless gcd(c, n) = 1 for every c: one product modulo n of all, then one gcd.

    c = 0 and multiples of p or q fall out with it; c < n² holds for every Residues.
    """
    size = len(ciphertexts)
    if size == 0:
        return
    count("validate", size)
    reduced = backend.reduce(ciphertexts, public.modulus)
    everything = np.arange(size, dtype=np.int64)
    product = backend.segment_product(reduced, everything, even_offsets(1, size))
    if gmpy2.gcd(backend.to_ints(product)[0], public.n) == 1:
        return
    for index, value in enumerate(backend.to_ints(reduced)):
        if gmpy2.gcd(value, public.n) != 1:
            reason = "it is 0 or a multiple of n" if value == 0 else "it shares a factor with n"
            raise InvalidCiphertext(index, reason)
