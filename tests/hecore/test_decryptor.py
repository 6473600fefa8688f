"""Decryption: right answers, and no answer at all to what is no ciphertext."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import hecore
from hecore import Decryptor, EncodingOverflow, InvalidCiphertext, KeyMismatch, SlotLayout

BatchOf = Callable[..., hecore.CipherBatch]


def textbook(key: hecore.PrivateKey, c: int) -> int:
    """m = L(c^λ mod n²)·μ mod n, read between −n/2 and n/2 (Paillier 1999, section 4)."""
    n = key.public.n
    exponent = (key.p - 1) * (key.q - 1) // 2
    m = (pow(c, exponent, n * n) - 1) // n * pow(exponent, -1, n) % n
    return m if m <= n // 2 else m - n


def test_any_unit_decrypts_as_in_the_textbook(
    test_key: hecore.PrivateKey, decryptor: Decryptor, batch_of: BatchOf
) -> None:
    """Not only what an Encryptor makes: every unit modulo n² is a ciphertext of something."""
    n = test_key.public.n
    numbers = [1, n - 1, n + 1, n * n - 1, n * n - n - 1] + [pow(3, e, n * n) for e in range(1, 400, 7)]
    expected = [textbook(test_key, c) for c in numbers]
    small = [place for place, m in enumerate(expected) if abs(m) < n // 3]
    assert len(small) > 20
    batch = batch_of(test_key.public, [numbers[place] for place in small])
    assert decryptor.decrypt(batch).tolist() == [expected[place] for place in small]
    assert decryptor.decrypt(batch_of(test_key.public, [1, n + 1])).tolist() == [0, 1]


def test_forms_of_results(encryptor: hecore.Encryptor, decryptor: Decryptor) -> None:
    assert decryptor.decrypt(encryptor.encrypt([1, 2])).dtype == np.int64
    assert decryptor.decrypt(encryptor.encrypt([1.0, 2.0])).dtype == np.float64
    assert decryptor.decrypt(encryptor.encrypt([2**70])).dtype == object
    assert isinstance(decryptor.decrypt(encryptor.encrypt(1.0)), float)
    assert decryptor.decrypt(encryptor.encrypt(np.zeros((2, 0)))).shape == (2, 0)
    result = decryptor.decrypt(encryptor.encrypt([1, 2]))
    result[0] = 5  # the caller's own
    fixed = decryptor.decrypt_fixed(encryptor.encrypt([0.5, -0.25], scale_bits=2))
    assert (fixed.to_integers().tolist(), fixed.scale_bits, fixed.shape) == ([2, -1], 2, (2,))


def test_a_damaged_ciphertext_of_a_float_is_told(vector_key: hecore.PrivateKey) -> None:
    """It decrypts to noise over 2048 bits: beyond n/3, or beyond float64 but for one time in 2^900."""
    batch = hecore.Encryptor(vector_key).encrypt([1.5, 2.5])
    data = bytearray(batch.to_bytes())
    data[-500] ^= 1
    damaged = hecore.CipherBatch.from_bytes(bytes(data), vector_key.public)
    with pytest.raises(EncodingOverflow, match=r"at row 1 is beyond .*damaged"):
        Decryptor(vector_key).decrypt(damaged)


def invalid(key: hecore.PrivateKey) -> list[tuple[int, str]]:
    """Residues modulo n² that are no ciphertexts."""
    n, p, q = key.public.n, key.p, key.q
    multiple, sharing = "it is 0 or a multiple of n", "it shares a factor with n"
    return [
        (0, multiple),
        (n, multiple),
        (n * (n - 1), multiple),
        (p, sharing),
        (q * q, sharing),
        (n * n - q, sharing),
    ]


def test_no_answer_to_what_is_no_ciphertext(
    test_key: hecore.PrivateKey,
    encryptor: hecore.Encryptor,
    batch_of: BatchOf,
    backend: hecore.kernels.Backend,
) -> None:
    """Raised before the private key is used: a decrypted n or p would give the key away."""
    decryptor = Decryptor(test_key, backend)
    good = encryptor.encrypt([1, 2, 3])
    numbers = good.backend.to_ints(good.residues)
    for place in range(3):
        for c, reason in invalid(test_key):
            bad = batch_of(test_key.public, [*numbers[:place], c, *numbers[place + 1 :]])
            meter = hecore.Meter()
            with (
                meter.activate(),
                pytest.raises(InvalidCiphertext, match=f"ciphertext {place} is invalid: {reason}") as e,
            ):
                decryptor.decrypt(bad)
            assert e.value.index == place
            assert meter.operations["decrypt"] == 0
            with pytest.raises(InvalidCiphertext):
                decryptor.decrypt_fixed(bad)


def test_two_that_share_different_factors(
    test_key: hecore.PrivateKey, decryptor: Decryptor, batch_of: BatchOf
) -> None:
    with pytest.raises(InvalidCiphertext, match="ciphertext 1 "):
        decryptor.decrypt(batch_of(test_key.public, [1, test_key.p, 1, test_key.q]))


def test_a_packed_batch_is_checked_too(
    test_key: hecore.PrivateKey, decryptor: Decryptor, batch_of: BatchOf
) -> None:
    layout = SlotLayout(2, 20, 10)
    bad = batch_of(test_key.public, [1, test_key.public.n], shape=(2, 2), layout=layout)
    with pytest.raises(InvalidCiphertext, match="ciphertext 1 "):
        decryptor.decrypt(bad)


def test_batches_of_another_key(
    encryptor: hecore.Encryptor, decryptor: Decryptor, other_key: hecore.PrivateKey
) -> None:
    batch = encryptor.encrypt([1])
    names = (encryptor.public.fingerprint.hex()[:16], other_key.public.fingerprint.hex()[:16])
    with pytest.raises(KeyMismatch, match=f"encrypted under key {names[0]}, not under {names[1]}"):
        Decryptor(other_key).decrypt(batch)
    with pytest.raises(KeyMismatch, match=f"encrypted under key {names[1]}, not under {names[0]}"):
        decryptor.decrypt(hecore.Encryptor(other_key).encrypt([1]))


def test_the_same_modulus_with_another_nonce_is_another_key(test_key: hecore.PrivateKey) -> None:
    nonce = next(n for n in range(1000) if n != test_key.nonce and works(test_key, n))
    twin = hecore.PrivateKey(test_key.p, test_key.q, nonce, insecure_test_key=True)
    with pytest.raises(KeyMismatch):
        Decryptor(twin).decrypt(hecore.Encryptor(test_key).encrypt([1]))


def works(key: hecore.PrivateKey, nonce: int) -> bool:
    try:
        hecore.PrivateKey(key.p, key.q, nonce, insecure_test_key=True)
    except hecore.InvalidKey:
        return False
    return True


@pytest.mark.parametrize("sign", [1, -1])
def test_results_beyond_a_third_are_refused(
    encryptor: hecore.Encryptor, decryptor: Decryptor, batch_of: BatchOf, sign: int
) -> None:
    n = encryptor.public.n
    limit = n // 3
    for m in (limit, limit + 1, n // 2):
        c = 1 + sign * m % n * n
        batch = batch_of(encryptor.public, [1, c], shape=(2, 1))
        with pytest.raises(
            EncodingOverflow, match=r"result at row 1, column 0 is beyond n/3 and may have wrapped"
        ):
            decryptor.decrypt(batch)
    assert decryptor.decrypt(batch_of(encryptor.public, [1 + sign * (limit - 1) % n * n])).tolist() == [
        sign * (limit - 1)
    ]


def test_a_sum_that_may_have_wrapped_is_refused(encryptor: hecore.Encryptor, decryptor: Decryptor) -> None:
    limit = encryptor.public.n // 3
    x = encryptor.encrypt([limit - 1, 5])
    for result in (x + 1, x + x, x * 2 - 10):
        with pytest.raises(EncodingOverflow, match="row 0"):
            decryptor.decrypt(result)
    assert decryptor.decrypt(x - (limit - 1)).tolist() == [0, 6 - limit]
