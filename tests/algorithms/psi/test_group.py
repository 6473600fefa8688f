"""The group: libsodium's own conversions as the oracle, fixed values, and what is no valid point."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from nacl import bindings

from hecore.algorithms.data import Ids
from hecore.algorithms.data import split as data_split
from hecore.algorithms.errors import ProtocolError
from hecore.algorithms.psi import group
from hecore.randomness import random_bytes

P = 2**255 - 19
#: Every u of small order that is below p: orders 4, 1 or 2, 8, 8, 4 on the twist (RFC 7748, section 6.1).
SMALL_ORDER = (
    0,
    1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
    P - 1,
)


def rows(*values: int) -> bytes:
    return b"".join(value.to_bytes(32, "little") for value in values)


def points(ids: list[str]) -> np.ndarray:
    return group.hash_to_group(Ids(ids).digests(0, len(ids), group.PERSON))


def test_ids_become_points_as_libsodium_converts_them():
    ids = [f"person {i}" for i in range(200)] + ["Åsa", "a", " "]
    expected = b""
    for text in ids:
        data = text.encode()
        digest = hashlib.blake2b(
            len(data).to_bytes(8, "little") + data, digest_size=32, person=b"hecore psi v1"
        )
        edwards = bindings.crypto_core_ed25519_from_uniform(digest.digest())
        expected += bindings.crypto_sign_ed25519_pk_to_curve25519(edwards)
    assert points(ids).tobytes() == expected


def test_the_point_of_an_id_is_fixed():
    """Two parties with different versions must agree: a change of these bytes is a new protocol."""
    assert points(["a", "person 7"]).tobytes().hex() == (
        "36612a6b0e6ccfdea5158c83c1a69af6cdd6fe39c5a4ed43c4e07642a54e021a"
        "b455ba4849bf87c3e612352d1e36f176c7df45b6f052ced08fc7c3b1d4652860"
    )


def test_masks_commute_and_give_what_x25519_gives():
    ours, theirs = random_bytes(group.SCALAR_BYTES), random_bytes(group.SCALAR_BYTES)
    start = points([f"id {i}" for i in range(150)])
    once = group.multiply(ours, start)
    assert once[3].tobytes() == bindings.crypto_scalarmult(ours, start[3].tobytes())
    both = group.multiply(theirs, once)
    assert np.array_equal(both, group.multiply(ours, group.multiply(theirs, start)))
    assert len({row.tobytes() for row in both}) == 150
    assert not np.array_equal(once, group.multiply(theirs, start))


@pytest.mark.parametrize("threads", ["1", "3"])
def test_threads_do_not_change_the_order(threads, monkeypatch):
    scalar, start = bytes(range(32)), points([f"id {i}" for i in range(500)])
    expected = b"".join(bindings.crypto_scalarmult(scalar, row.tobytes()) for row in start)
    monkeypatch.setenv("HECORE_THREADS", threads)
    group._workers.cache_clear()
    try:
        assert group.multiply(scalar, start).tobytes() == expected
    finally:
        group._workers.cache_clear()


def test_no_rows_are_no_rows():
    none = np.empty((0, 32), np.uint8)
    assert group.hash_to_group(none).shape == (0, 32)
    assert group.multiply(random_bytes(group.SCALAR_BYTES), none).shape == (0, 32)
    assert group.check_points(b"", 0).shape == (0, 32)


def test_every_use_of_blake2b_has_a_person_of_its_own():
    assert group.PERSON != data_split.PERSON
    digests = {
        Ids(["a"]).digests(0, 1, person).tobytes() for person in (group.PERSON, data_split.PERSON, b"")
    }
    assert len(digests) == 3


# --- what a peer may not send ----------------------------------------------------------------------------


@pytest.mark.parametrize("value", [P, P + 1, 2**255 - 1, 2**255, 2**256 - 1, (1 << 255) + 9])
def test_a_value_that_is_not_canonical_is_refused(value):
    with pytest.raises(ProtocolError, match=r"masked id 2 of 3 is not below 2\^255"):
        group.check_points(rows(9, P - 2, value), 3)


def test_the_largest_canonical_value_passes():
    assert group.check_points(rows(P - 1, 2**254), 2).tobytes() == rows(P - 1, 2**254)


@pytest.mark.parametrize("size", [0, 31, 63, 65, 96])
def test_another_length_is_refused(size):
    with pytest.raises(ProtocolError, match=f"{size} bytes of masked ids instead of 64"):
        group.check_points(bytes(size), 2)


@pytest.mark.parametrize("value", SMALL_ORDER)
def test_a_point_of_small_order_is_refused_whatever_the_scalar(value):
    """Its product would be the identity: equal for all such points, and known without the scalar."""
    received = group.check_points(rows(9, value), 2)
    for scalar in (random_bytes(group.SCALAR_BYTES), bytes(32), b"\xff" * 32):
        with pytest.raises(ProtocolError, match="masked id 1 of 2 is a point of small order"):
            group.multiply(scalar, received)
