"""Encryption: who may draw which noise, what is refused, and that no two ciphertexts are alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import hecore
from hecore import BackendUnavailable, EncodingError, EncodingOverflow, Encryptor, SlotLayout, encode
from hecore.kernels.gmp import GmpBackend

LAYOUT = SlotLayout(3, 24, 10)


@pytest.mark.parametrize("randomness", [None, "exact", "djn", "uniform", "classic"])
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (7, 7),
        ([1.5, -2.25, 3.0], [1.5, -2.25, 3.0]),
        (np.arange(-6, 6).reshape(2, 3, 2), np.arange(-6, 6).reshape(2, 3, 2).tolist()),
        (np.zeros((0, 3)), []),
        ([2**64, -(2**70)], [2**64, -(2**70)]),
        ([True, False], [1, 0]),
    ],
)
def test_round_trip(
    test_key: hecore.PrivateKey,
    decryptor: hecore.Decryptor,
    randomness: str | None,
    values: Any,
    expected: Any,
) -> None:
    batch = Encryptor(test_key, randomness=randomness).encrypt(values)
    assert batch.fresh
    assert batch.shape == np.shape(values)
    assert (
        decryptor.decrypt(batch).tolist() == expected if batch.shape else decryptor.decrypt(batch) == expected
    )


def test_a_key_of_the_default_length(key: hecore.PrivateKey, backend: hecore.kernels.Backend) -> None:
    values = np.linspace(-1e6, 1e6, 30).reshape(5, 6)
    decryptor = hecore.Decryptor(key, backend)
    for who in (key, key.public):
        encryptor = Encryptor(who, backend)
        assert np.abs(decryptor.decrypt(encryptor.encrypt(values)) - values).max() <= 2.0**-41
        packed = encryptor.encrypt(values, layout=SlotLayout.for_key(key.public, 64, 2))
        assert np.abs(decryptor.decrypt(packed) - values).max() <= 2.0**-41


def test_who_may_draw_what(test_key: hecore.PrivateKey) -> None:
    assert Encryptor(test_key).randomness == "exact"
    assert Encryptor(test_key.public).randomness == "djn"
    assert Encryptor(test_key.public, randomness="uniform").randomness == "uniform"
    with pytest.raises(ValueError, match="with a PublicKey choose one of djn, uniform, classic"):
        Encryptor(test_key.public, randomness="exact")
    with pytest.raises(ValueError, match="randomness='fast': with a PrivateKey choose one of exact, djn"):
        Encryptor(test_key, randomness="fast")


@pytest.mark.parametrize("randomness", ["exact", "djn", "uniform", "classic"])
@pytest.mark.parametrize("count", [3, 60])  # plain powers, and the comb
def test_every_ciphertext_has_its_own_noise(
    test_key: hecore.PrivateKey,
    backend: hecore.kernels.Backend,
    residues: Callable[..., list[int]],
    randomness: str,
    count: int,
) -> None:
    encryptor = Encryptor(test_key, backend, randomness=randomness)
    seen = [c for _ in range(3) for c in residues(encryptor.encrypt(np.zeros(count, dtype=int)))]
    assert len(set(seen)) == 3 * count


@pytest.mark.parametrize(
    ("values", "scale_bits", "stored"), [([1, 2], None, 0), ([1, 2], 7, 7), ([1.5], None, 40), ([1.5], 0, 0)]
)
def test_scales(
    encryptor: Encryptor, decryptor: hecore.Decryptor, values: Any, scale_bits: int | None, stored: int
) -> None:
    batch = encryptor.encrypt(values, scale_bits=scale_bits)
    assert batch.scale_bits == stored
    assert decryptor.decrypt(batch).tolist() == np.round(values).tolist() if stored == 0 else values


def test_fixed_point_is_taken_as_it_is(encryptor: Encryptor, decryptor: hecore.Decryptor) -> None:
    numbers = encode([1.5, 2.5], 5)
    assert encryptor.encrypt(numbers).scale_bits == 5
    assert encryptor.encrypt(numbers, scale_bits=9).scale_bits == 9
    assert decryptor.decrypt(encryptor.encrypt(numbers, scale_bits=9)).tolist() == [1.5, 2.5]


def test_the_range_is_that_of_the_decryptor(encryptor: Encryptor, decryptor: hecore.Decryptor) -> None:
    """Up to n/3 in magnitude, and not one further: what is encrypted can be decrypted."""
    limit = encryptor.public.n // 3
    largest = [[0, limit - 1], [1 - limit, 5]]
    assert decryptor.decrypt(encryptor.encrypt(largest)).tolist() == largest
    for value in (limit, -limit, limit + 1, encryptor.public.n, 2**512, -(2**512), 2**600):
        with pytest.raises(
            EncodingOverflow,
            match=r"row 1, column 0 is beyond n/3.*scale_bits=0: lower the scale or use a longer key",
        ):
            encryptor.encrypt([[0, limit - 1], [value, 5]])


def test_values_beyond_the_key_are_named(encryptor: Encryptor) -> None:
    values = np.zeros((4, 5))
    values[2, 3] = 1e150
    with pytest.raises(EncodingOverflow, match=r"row 2, column 3 .*scale_bits=40"):
        encryptor.encrypt(values)
    with pytest.raises(EncodingOverflow, match=r"the value is beyond"):
        encryptor.encrypt(1e308)
    with pytest.raises(EncodingOverflow, match="row 2, column 3 needs more than the 10 value bits"):
        encryptor.encrypt(values.clip(0, 1024).astype(int), layout=LAYOUT)


def test_nothing_is_encrypted_of_a_bad_array(encryptor: Encryptor) -> None:
    meter = hecore.Meter()
    with meter.activate():
        for values in ([[1.0, np.nan]], [2**600], ["a"], [[1], [2, 3]]):
            with pytest.raises(EncodingError):
                encryptor.encrypt(values)
    assert meter.operations["encrypt"] == 0


# --- backends -------------------------------------------------------------------------------------


def test_the_backend_by_name(test_key: hecore.PrivateKey, monkeypatch: pytest.MonkeyPatch) -> None:
    gmp = hecore.get_backend("gmp")
    assert Encryptor(test_key, "gmp").backend is gmp
    assert hecore.Decryptor(test_key, "gmp").backend is gmp
    assert Encryptor(test_key, gmp).encrypt([1]).backend is gmp
    monkeypatch.setenv("HECORE_BACKEND", "gmp")
    assert Encryptor(test_key).backend is gmp
    data = Encryptor(test_key).encrypt([1]).to_bytes()
    assert hecore.CipherBatch.from_bytes(data, test_key.public, "gmp").backend is gmp
    assert hecore.CipherBatch.from_bytes(data, test_key.public).backend is gmp


def test_a_backend_that_is_not_there(test_key: hecore.PrivateKey, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for by name, it does not fall back to another."""
    data = Encryptor(test_key).encrypt([1]).to_bytes()
    uses: list[Callable[[str | None], object]] = [
        lambda name: Encryptor(test_key, name),
        lambda name: hecore.Decryptor(test_key, name),
        lambda name: hecore.CipherBatch.from_bytes(data, test_key.public, name),
    ]
    for use in uses:
        with pytest.raises(BackendUnavailable, match="no backend 'abacus'"):
            use("abacus")
    monkeypatch.setenv("HECORE_BACKEND", "abacus")
    for use in uses:
        with pytest.raises(BackendUnavailable, match="no backend 'abacus'"):
            use(None)
        use("gmp")


def test_one_backend_encrypts_for_another(
    test_key: hecore.PrivateKey, backend: hecore.kernels.Backend, decryptor: hecore.Decryptor
) -> None:
    batch = Encryptor(test_key.public, backend).encrypt([1, -2])
    assert decryptor.decrypt(batch).tolist() == [1, -2]
    other = Encryptor(test_key.public, GmpBackend()).encrypt([3, -4])
    assert hecore.Decryptor(test_key, backend).decrypt(other).tolist() == [3, -4]


def test_automatic_choice_leaves_few_values_to_gmp(
    test_key: hecore.PrivateKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has the latency makes the powers; the batch lives on the fastest backend all the same."""
    monkeypatch.delenv("HECORE_BACKEND", raising=False)
    home, gmp = hecore.get_backend(), hecore.get_backend("gmp")
    if home is gmp:
        pytest.skip("no faster backend runs here")
    used: list[str] = []
    for backend in (home, gmp):
        monkeypatch.setattr(backend, "least_count", 4 if backend is home else 1, raising=False)
        for verb in ("fixed_base", "crt_combine"):
            original = getattr(backend, verb)

            def spy(*given: Any, name: str = backend.name, original: Any = original) -> Any:
                used.append(name)
                return original(*given)

            monkeypatch.setattr(backend, verb, spy, raising=False)
    encryptor, decryptor = Encryptor(test_key), hecore.Decryptor(test_key)
    for values, worker in (([1.5, 2.5, 3.5], gmp), ([1.5, 2.5, 3.5, 4.5], home)):
        used.clear()
        batch = encryptor.encrypt(values)
        assert batch.backend is home
        assert decryptor.decrypt(batch).tolist() == values
        assert set(used) == {worker.name}
    named = Encryptor(test_key, home.name).encrypt(1.5)
    assert (named.backend, used[-1]) == (home, home.name)
