"""Noise made ahead of time: the same plaintexts, and no noise twice."""

from __future__ import annotations

import numpy as np
import pytest

import hecore
from hecore.algorithms.lr.bounds import Leg, Packing
from hecore.algorithms.lr.shared.ahead import AheadEncryptor
from hecore.algorithms.lr.steps import read_share

from .conftest import small_config


@pytest.fixture
def ahead(test_key):
    made = AheadEncryptor(hecore.Encryptor(test_key))
    yield made
    made.close()


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("prepared", [0, 4, 5, 9])
def test_shares_are_encrypted_whatever_was_prepared(test_key, ahead, outputs, prepared):
    packing = Packing.of(test_key.public, Leg("forward", 20, 40), small_config(), outputs)
    values = np.arange(5 * outputs).reshape(5, outputs) - 6
    share = hecore.encode(values, 8)
    seen = []
    for _ in range(3):
        ahead.prepare(prepared)
        data = ahead.encrypt(share, packing)
        batch = read_share(data, test_key.public, batch_backend(test_key), (5, outputs), 8, packing, "P")
        found = hecore.Decryptor(test_key).decrypt(batch)
        np.testing.assert_array_equal(found.reshape(5, outputs), values)
        seen += batch.backend.to_ints(batch.residues)
    assert len(set(seen)) == len(seen) == 15


def batch_backend(key):
    return hecore.Encryptor(key).backend


def test_a_share_beyond_its_slot_is_refused(test_key, ahead):
    packing = Packing.of(test_key.public, Leg("forward", 20, 40), small_config(), 3)
    share = hecore.FixedPoint.from_integers(np.full((2, 3), 1 << 200, dtype=object))
    ahead.prepare(2)
    with pytest.raises(hecore.EncodingOverflow):
        ahead.encrypt(share, packing)
