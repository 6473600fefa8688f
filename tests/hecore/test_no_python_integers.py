"""Between an array and its bytes there is no Python integer an element: only constants are ever imported."""

from __future__ import annotations

import numpy as np
import pytest

import hecore
from hecore import BackendUnavailable, SlotLayout
from hecore.kernels import limbs as lb


@pytest.mark.parametrize("owner", [True, False], ids=["owner", "public"])
@pytest.mark.parametrize("packed", [False, True], ids=["single", "packed"])
@pytest.mark.parametrize("kind", [np.float64, np.int64])
def test_encrypt_to_bytes_and_back(
    test_key: hecore.PrivateKey, monkeypatch: pytest.MonkeyPatch, owner: bool, packed: bool, kind: type
) -> None:
    try:
        backend = hecore.get_backend("simd")
    except BackendUnavailable as error:
        pytest.skip(str(error))
    count = 3000
    values = np.arange(-count // 2, count - count // 2).astype(kind)
    layout = SlotLayout(2, 80, 60) if packed else None
    encryptor = hecore.Encryptor(test_key if owner else test_key.public, backend)
    decryptor = hecore.Decryptor(test_key, backend)
    decryptor.decrypt(encryptor.encrypt(values, layout=layout))  # tables, which import their constants

    longest = 0

    def watch(name: str) -> None:
        original = getattr(lb, name)

        def counted(given, *rest):
            nonlocal longest
            given = list(given) if name == "from_ints" else given
            longest = max(longest, len(given))
            return original(given, *rest)

        monkeypatch.setattr(lb, name, counted)

    watch("from_ints")
    watch("to_ints")
    data = encryptor.encrypt(values, layout=layout).to_bytes()
    found = decryptor.decrypt(hecore.CipherBatch.from_bytes(data, test_key.public, backend))
    assert np.array_equal(found, values)
    assert 0 < longest < 10
