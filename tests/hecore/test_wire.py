"""The wire: round trips, golden bytes, and everything else refused before it is used."""

from __future__ import annotations

import dataclasses
import pickle
import struct
import tracemalloc
from collections.abc import Callable
from typing import Any

import gmpy2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import hecore
from hecore import (
    CipherBatch,
    HecoreError,
    InsecureKey,
    InvalidCiphertext,
    InvalidKey,
    KeyMismatch,
    SlotLayout,
    WireFormatError,
    wire,
)

Vectors = Callable[[str], Any]
Residues = Callable[[CipherBatch], list[int]]

LAYOUT = SlotLayout(3, 24, 10)
#: As in the docstring of hecore/wire.py, written down a second time.
BATCH = struct.Struct("<4sHHIIIIQ32s")
KEY = struct.Struct("<4sHHII")
FIELDS = (
    "magic",
    "version",
    "ndim",
    "scale_bits",
    "slots",
    "slot_bits",
    "value_bits",
    "terms",
    "fingerprint",
)


def changed(data: bytes, **fields: Any) -> bytes:
    """A batch with header fields replaced; "dims" replaces all dimensions."""
    values = dict(zip(FIELDS, BATCH.unpack_from(data), strict=True))
    body = BATCH.size + 8 * values["ndim"]
    dims = fields.pop("dims", struct.unpack_from(f"<{values['ndim']}Q", data, BATCH.size))
    return BATCH.pack(*(values | fields).values()) + struct.pack(f"<{len(dims)}Q", *dims) + data[body:]


@pytest.fixture(scope="module")
def batches(encryptor: hecore.Encryptor) -> dict[str, CipherBatch]:
    return {
        "single": encryptor.encrypt(7),
        "column": encryptor.encrypt([[1.5], [-2.25], [0.0]]),
        "cube": encryptor.encrypt(np.arange(8).reshape(2, 2, 2), scale_bits=3),
        "empty": encryptor.encrypt(np.zeros((0, 4))),
        "packed": encryptor.encrypt([[1, -2, 3, 4], [5, 6, 7, -8]], layout=LAYOUT),
        "packed row": encryptor.encrypt([1, 2], layout=LAYOUT),
        "packed empty": encryptor.encrypt(np.zeros((2, 0), dtype=int), layout=LAYOUT),
    }


NAMES = ["single", "column", "cube", "empty", "packed", "packed row", "packed empty"]


# --- round trips ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_round_trip(
    batches: dict[str, CipherBatch], decryptor: hecore.Decryptor, residues: Residues, name: str
) -> None:
    batch = batches[name]
    data = batch.to_bytes()
    back = CipherBatch.from_bytes(data, batch.public)
    for attribute in ("shape", "scale_bits", "layout", "terms", "public"):
        assert getattr(back, attribute) == getattr(batch, attribute)
    assert residues(back) == residues(batch)
    assert np.array_equal(decryptor.decrypt(back), decryptor.decrypt(batch))
    assert back.to_bytes(rerandomize=False) == data
    assert len(data) == BATCH.size + 8 * batch.ndim + len(batch.residues) * 128


@pytest.mark.parametrize("form", [bytes, bytearray, memoryview, lambda data: np.frombuffer(data, np.uint8)])
def test_forms_of_bytes(
    batches: dict[str, CipherBatch], residues: Residues, form: Callable[[bytes], Any]
) -> None:
    batch = batches["column"]
    assert residues(CipherBatch.from_bytes(form(batch.to_bytes()), batch.public)) == residues(batch)


def test_a_batch_does_not_follow_its_bytes(batches: dict[str, CipherBatch], residues: Residues) -> None:
    data = bytearray(batches["column"].to_bytes())
    batch = CipherBatch.from_bytes(data, batches["column"].public)
    before = residues(batch)
    data[:] = bytes(len(data))
    assert residues(batch) == before


@settings(max_examples=30)
@given(
    hnp.arrays(np.int64, hnp.array_shapes(min_dims=0, min_side=0, max_side=3), elements=st.integers(-9, 9))
)
def test_any_shape(encryptor: hecore.Encryptor, decryptor: hecore.Decryptor, values: np.ndarray) -> None:
    batch = CipherBatch.from_bytes(encryptor.encrypt(values).to_bytes(), encryptor.public)
    assert batch.shape == values.shape
    assert np.array_equal(decryptor.decrypt(batch), values)


def test_public_keys(test_key: hecore.PrivateKey, key: hecore.PrivateKey) -> None:
    assert wire.load_key(wire.dump_key(key.public)) == key.public
    assert not wire.load_key(wire.dump_key(key.public), insecure_test_key=True).insecure_test_key
    back = wire.load_key(wire.dump_key(test_key.public), insecure_test_key=True)
    assert back == test_key.public
    assert back.insecure_test_key


# --- golden bytes ---------------------------------------------------------------------------------


def test_golden_key(vectors: Vectors, vector_key: hecore.PrivateKey) -> None:
    data = bytes.fromhex(vectors("wire_golden")["public_key"])
    assert wire.dump_key(vector_key.public) == data
    assert wire.load_key(data, insecure_test_key=True) == vector_key.public


@pytest.mark.parametrize("place", range(4))
def test_golden_batches(vectors: Vectors, vector_key: hecore.PrivateKey, place: int) -> None:
    """Changes of the wire form fail here. They need a new version, and new vectors."""
    given = vectors("wire_golden")["batches"][place]
    data = bytes.fromhex(given["bytes"])
    batch = CipherBatch.from_bytes(data, vector_key.public)
    assert list(batch.shape) == given["shape"]
    assert batch.scale_bits == given["scale_bits"]
    assert batch.layout == (SlotLayout(*given["layout"]) if given["layout"] else None)
    assert batch.terms == given["terms"]
    assert hecore.Decryptor(vector_key).decrypt(batch).tolist() == given["values"]
    assert batch.to_bytes(rerandomize=False) == data
    assert wire.dump_batch(batch) == data


# --- what is shown --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_fresh_batches_are_written_as_they_are(
    batches: dict[str, CipherBatch], residues: Residues, name: str
) -> None:
    batch = batches[name]
    assert batch.to_bytes() == batch.to_bytes() == batch.to_bytes(rerandomize=False)


@pytest.mark.parametrize("name", ["single", "column", "cube", "packed"])
def test_computed_batches_are_written_anew_each_time(
    batches: dict[str, CipherBatch], decryptor: hecore.Decryptor, residues: Residues, name: str
) -> None:
    computed = batches[name] + 0
    kept = CipherBatch.from_bytes(computed.to_bytes(rerandomize=False), computed.public)
    assert residues(kept) == residues(computed)
    sent = [CipherBatch.from_bytes(computed.to_bytes(), computed.public) for _ in range(3)]
    shown = [c for batch in sent for c in residues(batch)]
    assert len(set(shown)) == len(shown)
    assert not set(shown) & set(residues(computed))
    for batch in sent:
        assert np.array_equal(decryptor.decrypt(batch), decryptor.decrypt(computed))


def test_a_received_batch_is_not_passed_on_as_it_is(
    batches: dict[str, CipherBatch], residues: Residues
) -> None:
    batch = batches["column"]
    received = CipherBatch.from_bytes(batch.to_bytes(), batch.public)
    passed_on = CipherBatch.from_bytes(received.to_bytes(), batch.public)
    assert not set(residues(passed_on)) & set(residues(batch))


def test_the_header_does_not_tell_plain_factors(
    encryptor: hecore.Encryptor, decryptor: hecore.Decryptor
) -> None:
    """Terms are |k| after a product with k, and the largest row sum of a matrix: both may be secret."""
    x = encryptor.encrypt([[1, 2, 3], [4, 5, 6]], layout=LAYOUT)
    headers = []
    for computed in (x * 3, x * -700, x + x, [[5, -7]] @ x, x.sum(0)):
        sent = CipherBatch.from_bytes(computed.to_bytes(), x.public)
        assert np.array_equal(decryptor.decrypt(sent), decryptor.decrypt(computed))
        headers.append(sent.terms)
        with pytest.raises(hecore.SlotOverflow):
            sent + sent
    assert set(headers) == {LAYOUT.max_terms}
    # On request, for a receiver that has to go on adding, and for storage at home.
    assert CipherBatch.from_bytes((x * 3).rerandomize().to_bytes(), x.public).terms == 3
    assert CipherBatch.from_bytes((x * 3).to_bytes(rerandomize=False), x.public).terms == 3


# --- truncated and foreign ------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_truncated_batches(batches: dict[str, CipherBatch], name: str) -> None:
    """At every byte of header and dimensions, and at every boundary of a ciphertext and its neighbours."""
    batch = batches[name]
    data, start = batch.to_bytes(), BATCH.size + 8 * batch.ndim
    ends = set(range(start + 1)) | {e + d for e in range(start, len(data), 128) for d in (-1, 0, 1, 64)}
    for end in sorted(end for end in ends if end < len(data)):
        with pytest.raises(WireFormatError, match=r"needs 64 bytes at least|truncated"):
            CipherBatch.from_bytes(data[:end], batch.public)
    for more in (b"\0", bytes(8), bytes(128), data):
        with pytest.raises(WireFormatError, match="truncated or foreign"):
            CipherBatch.from_bytes(data + more, batch.public)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "needs 64 bytes at least, not 0"),
        (pickle.dumps({"a": 1}) * 10, r"no ciphertext batch \(they begin with b'\\x80"),
        (b"\x80\x05cos\nsystem\n(S'true'\ntR." + bytes(100), "no ciphertext batch"),
        (b"\x93NUMPY" + bytes(100), "no ciphertext batch"),
        (b"HECK" + bytes(100), "no ciphertext batch .*HECK"),
        (b"hecb" + bytes(100), "no ciphertext batch"),
        (
            b"HECB" + bytes(100),
            "format version 0, but this hecore reads version 1: both parties need the same",
        ),
        (bytes(200), "no ciphertext batch"),
    ],
)
def test_foreign_bytes(test_key: hecore.PrivateKey, data: bytes, message: str) -> None:
    with pytest.raises(WireFormatError, match=message):
        CipherBatch.from_bytes(data, test_key.public)


@pytest.mark.parametrize("version", [0, 2, 256, 65535])
def test_another_version(batches: dict[str, CipherBatch], key: hecore.PrivateKey, version: int) -> None:
    batch = batches["column"]
    with pytest.raises(WireFormatError, match=f"version {version}, but this hecore reads version 1"):
        CipherBatch.from_bytes(changed(batch.to_bytes(), version=version), batch.public)
    data = bytearray(wire.dump_key(key.public))
    data[4:6] = struct.pack("<H", version)
    with pytest.raises(WireFormatError, match=f"public key of format version {version}"):
        wire.load_key(data)


# --- headers that lie -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("column", {"ndim": 9}, "header is damaged"),
        ("column", {"ndim": 65535}, "header is damaged"),
        ("column", {"scale_bits": 2049}, "header is damaged"),
        ("column", {"scale_bits": 2**32 - 1}, "header is damaged"),
        ("column", {"terms": 0}, "damaged: 0 terms"),
        ("column", {"terms": 2}, "damaged: 2 terms"),
        ("packed", {"terms": 0}, "damaged: 0 terms"),
        ("packed", {"terms": LAYOUT.max_terms + 1}, "damaged: 8193 terms"),
        ("packed", {"terms": 2**64 - 1}, "damaged: 18446744073709551615 terms"),
        ("packed", {"slots": 0}, "at least one slot"),
        ("packed", {"slot_bits": 0}, "cannot hold"),
        ("packed", {"slot_bits": 10}, "cannot hold 10 value bits and a sign"),
        ("packed", {"value_bits": 0}, "one value bit"),
        ("packed", {"slots": 22}, "22 slots of 24 bits do not fit a plaintext of 511 bits"),
        ("packed", {"slots": 2**32 - 1}, "do not fit"),
        ("packed", {"slot_bits": 2**32 - 1}, "do not fit"),
        ("packed", {"slots": 1}, "truncated or foreign"),
        ("column", {"value_bits": 1}, "at least one slot"),
        ("column", {"slot_bits": 1}, "at least one slot"),
        ("single", {"slots": 3, "slot_bits": 24, "value_bits": 10}, "packed, but without an axis"),
        ("column", {"dims": (4, 1)}, "takes .* bytes"),
        ("column", {"dims": (0, 1)}, "takes .* bytes"),
        ("column", {"dims": (2**32, 2**32)}, "takes .* bytes"),
        ("column", {"dims": (2**63, 2)}, "takes .* bytes"),
        ("column", {"dims": (2**64 - 1, 2**64 - 1)}, "takes .* bytes"),
        ("cube", {"dims": (2**61, 1, 1)}, "takes .* bytes"),
        ("packed", {"dims": (2, 7)}, "takes .* bytes"),
        ("empty", {"dims": (0, 2**64 - 1)}, "empty batch"),
        ("empty", {"dims": (2**40, 0)}, "empty batch"),
        ("empty", {"dims": (0, 2**20 + 1)}, "empty batch"),
        ("packed empty", {"dims": (2**40, 0)}, "empty batch"),
    ],
)
def test_headers_that_lie(
    batches: dict[str, CipherBatch], name: str, fields: dict[str, Any], message: str
) -> None:
    """Checked against the length of what came: nothing is allocated for what did not come."""
    batch = batches[name]
    data = changed(batch.to_bytes(), **fields)
    tracemalloc.start()
    try:
        with pytest.raises(WireFormatError, match=message):
            CipherBatch.from_bytes(data, batch.public)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_unchanged_headers_pass(batches: dict[str, CipherBatch]) -> None:
    for batch in batches.values():
        assert changed(batch.to_bytes()) == batch.to_bytes()
        CipherBatch.from_bytes(changed(batch.to_bytes()), batch.public)
    empty = batches["empty"]
    assert CipherBatch.from_bytes(changed(empty.to_bytes(), dims=(0, 2**20)), empty.public).shape == (
        0,
        2**20,
    )


def test_batches_of_another_key(batches: dict[str, CipherBatch], other_key: hecore.PrivateKey) -> None:
    batch = batches["column"]
    ours, theirs = batch.public.fingerprint.hex()[:16], other_key.public.fingerprint.hex()[:16]
    with pytest.raises(KeyMismatch, match=f"encrypted under key {ours}, not under {theirs}"):
        CipherBatch.from_bytes(batch.to_bytes(), other_key.public)
    forged = changed(batch.to_bytes(), fingerprint=bytes(32))
    with pytest.raises(KeyMismatch, match="encrypted under key 0000000000000000"):
        CipherBatch.from_bytes(forged, batch.public)


# --- what the sender is told ----------------------------------------------------------------------


def test_what_no_reader_would_take_is_not_written(
    encryptor: hecore.Encryptor, key: hecore.PrivateKey
) -> None:
    with pytest.raises(WireFormatError, match="9 dimensions: reshape it to 8 at most"):
        encryptor.encrypt(np.zeros((1,) * 9)).to_bytes()
    assert (
        CipherBatch.from_bytes(encryptor.encrypt(np.zeros((1,) * 8)).to_bytes(), encryptor.public).ndim == 8
    )
    with pytest.raises(WireFormatError, match="larger than any that is used"):
        encryptor.encrypt(np.zeros((0, 2**20 + 1))).to_bytes()
    wide = dataclasses.replace(encryptor.encrypt([0]), scale_bits=2049)
    with pytest.raises(WireFormatError, match="scale_bits=2049, above the 2048 of the wire format"):
        wide.to_bytes()


# --- ciphertexts that are none --------------------------------------------------------------------


def invalid(key: hecore.PrivateKey) -> list[tuple[int, str]]:
    n, p, q = key.public.n, key.p, key.q
    multiple, sharing, large = "it is 0 or a multiple of n", "it shares a factor with n", "it is not below n²"
    numbers = [
        (0, multiple),
        (n, multiple),
        (n * n - n, multiple),
        (p, sharing),
        (5 * q, sharing),
        (p**2, sharing),
    ]
    return [*numbers, (n * n, large), (n * n + 1, large), (n * n + n, large), (2 ** (2 * 512) - 1, large)]


@pytest.mark.parametrize("name", ["column", "packed"])
def test_invalid_ciphertexts_are_named(
    batches: dict[str, CipherBatch], test_key: hecore.PrivateKey, backend: hecore.kernels.Backend, name: str
) -> None:
    batch = batches[name]
    data = batch.to_bytes()
    start, count = BATCH.size + 8 * batch.ndim, len(batch.residues)
    for place in range(count):
        for c, reason in invalid(test_key):
            bad = data[: start + 128 * place] + c.to_bytes(128, "little") + data[start + 128 * (place + 1) :]
            with pytest.raises(InvalidCiphertext, match=f"ciphertext {place} is invalid: {reason};") as e:
                CipherBatch.from_bytes(bad, batch.public, backend)
            assert e.value.index == place
            assert "the sender must encrypt under this key again" in str(e.value)


def test_errors_cross_processes() -> None:
    error = pickle.loads(pickle.dumps(InvalidCiphertext(3, "it is 0 or a multiple of n")))  # noqa: S301
    assert isinstance(error, InvalidCiphertext)
    assert error.index == 3
    assert str(error) == str(InvalidCiphertext(3, "it is 0 or a multiple of n"))


# --- chance ---------------------------------------------------------------------------------------


@st.composite
def edits(draw: st.DrawFn) -> list[tuple[str, int, bytes]]:
    kind = st.sampled_from(["replace", "insert", "delete", "cut"])
    place = st.integers(0, 64) | st.integers(0, 2000)
    return draw(st.lists(st.tuples(kind, place, st.binary(min_size=1, max_size=9)), min_size=1, max_size=3))


def edited(data: bytes, changes: list[tuple[str, int, bytes]]) -> bytes:
    for kind, wanted, piece in changes:
        place = wanted % (len(data) + 1)
        match kind:
            case "replace":
                data = data[:place] + piece + data[place + len(piece) :]
            case "insert":
                data = data[:place] + piece + data[place:]
            case "delete":
                data = data[:place] + data[place + len(piece) :]
            case "cut":
                data = data[:place]
    return data


@settings(max_examples=400)
@given(st.sampled_from(NAMES), edits())
def test_changed_batches_raise_typed_errors(
    batches: dict[str, CipherBatch], name: str, changes: list[tuple[str, int, bytes]]
) -> None:
    """Or are, by chance, another valid batch, which then has one form only."""
    batch = batches[name]
    data = edited(batch.to_bytes(), changes)
    try:
        read = CipherBatch.from_bytes(data, batch.public)
    except HecoreError:
        return
    assert read.to_bytes(rerandomize=False) == data


@settings(max_examples=200)
@given(st.binary(max_size=300))
@example(b"HECB")
def test_any_bytes_raise_typed_errors(test_key: hecore.PrivateKey, data: bytes) -> None:
    with pytest.raises(WireFormatError):
        CipherBatch.from_bytes(data, test_key.public)
    with pytest.raises(WireFormatError):
        wire.load_key(data, insecure_test_key=True)


@settings(max_examples=300)
@given(edits())
def test_changed_keys_raise_typed_errors(
    test_key: hecore.PrivateKey, changes: list[tuple[str, int, bytes]]
) -> None:
    data = edited(wire.dump_key(test_key.public), changes)
    try:
        read = wire.load_key(data, insecure_test_key=True)
    except HecoreError:
        return
    assert wire.dump_key(read) == data


# --- public keys ----------------------------------------------------------------------------------


def key_bytes(n: int, flags: int = 0, nonce: int = 0, size: int | None = None) -> bytes:
    size = -(-n.bit_length() // 8) if size is None else size
    return KEY.pack(b"HECK", 1, flags, nonce, size) + n.to_bytes(size, "little")


def test_key_bytes(key: hecore.PrivateKey) -> None:
    assert key_bytes(key.public.n, nonce=key.nonce) == wire.dump_key(key.public)


def test_bad_keys_are_refused(key: hecore.PrivateKey, test_key: hecore.PrivateKey) -> None:
    n = key.public.n
    good = key_bytes(n)
    cases: list[tuple[bytes, type[Exception], str]] = [
        (b"", WireFormatError, "needs 16 bytes, not 0"),
        (good[:15], WireFormatError, "needs 16 bytes, not 15"),
        (good[:-1], WireFormatError, "256 bytes in a message of 271 bytes"),
        (good + b"\0", WireFormatError, "256 bytes in a message of 273 bytes"),
        (key_bytes(n, size=257), WireFormatError, "begins with zeros"),
        (key_bytes(n, flags=2), WireFormatError, "unknown flags 0x2"),
        (KEY.pack(b"HECK", 1, 0, 0, 2**32 - 1) + bytes(100), WireFormatError, "in a message of"),
        (key_bytes((1 << 8192) - 1, size=1025), WireFormatError, "1025 bytes"),
        (b"HECB" + good[4:], WireFormatError, "no public key"),
        (pickle.dumps(key.public), WireFormatError, "no public key"),
        (key_bytes(n - 1), InvalidKey, "even"),
        (key_bytes(65521 * int(gmpy2.next_prime(1 << 2032))), InvalidKey, "prime factor below 65536"),
        (key_bytes(0, size=0), InvalidKey, "positive"),
        (key_bytes(n, flags=1), InsecureKey, "marked as a test key: use it with insecure_test_key=True only"),
        (key_bytes(test_key.public.n), InsecureKey, "512 bits can be factored"),
        (wire.dump_key(test_key.public), InsecureKey, "marked as a test key"),
    ]
    for data, error, message in cases:
        with pytest.raises(error, match=message):
            wire.load_key(data)
    with pytest.raises(InsecureKey, match="512 bits"):  # the reader's word is not enough
        wire.load_key(key_bytes(test_key.public.n), insecure_test_key=True)
    assert wire.load_key(key_bytes(n, flags=1), insecure_test_key=True).insecure_test_key
