"""The cases that any Paillier library can run: keys, encoding, encryption, arithmetic, linear algebra."""

from __future__ import annotations

from typing import Any

import numpy as np

from .cases import Batch, CaseList, Prepare, Work, derived, draw_twice, draw_values, draw_wide, generator
from .checks import WrongResult, as_objects, check_cipher, check_equal, check_noise
from .subjects import Integers, Subject

#: Steps of encoded floats: 2^−40.
STEP = 2.0**-40
#: Entries of plain vectors and matrices: fixed point with 24 bits and a sign.
ENTRY_BITS = 24
FULL_VALUE_BITS = 20
#: Bits of n that a full-width factor leaves to the value, to sums of 2^16 results and to the bound n/3.
FULL_MARGIN_BITS = 48
MATVEC_ROWS = 16
MATMUL_ROWS, MATMUL_COLUMNS = 8, 4
FEATURES, BINS = 10, 16

ENCRYPT = Batch(128, 4096, 262_144)
CHEAP = Batch(10_000, 10_000, 1_048_576)
PLAIN = Batch(100_000, 100_000, 100_000)

CASES = CaseList()


# --- keys and encoding ----------------------------------------------------------------------------


@CASES.define("keygen", "keys", "a key pair", Batch(1, 1, 1), uses_backend=False)
def keygen(subject: Subject, batch: int) -> Work:
    """`batch` fresh key pairs."""
    values = draw_values(3)

    def check(keys: Any) -> None:
        if len(keys) != batch:
            raise WrongResult(f"{len(keys)} keys, but {batch} expected")
        for key in keys:
            bits, answer = subject.round_trip(key, values)
            check_equal(bits, subject.key_bits, "lengths")
            check_equal(answer, values, "decryptions under the new key")

    return Work(lambda: [subject.new_key() for _ in range(batch)], batch, check)


@CASES.define("encode", "encoding", "floats to fixed point", PLAIN, uses_backend=False)
def encode(subject: Subject, batch: int) -> Work:
    """Floats to fixed point."""
    values = generator(batch).normal(0.0, 1000.0, batch)
    return Work(lambda: subject.encode(values), batch, lambda got: check_floats(subject.decode(got), values))


@CASES.define("decode", "encoding", "fixed point to floats", PLAIN, uses_backend=False)
def decode(subject: Subject, batch: int) -> Work:
    """Fixed point to floats."""
    values = generator(batch).normal(0.0, 1000.0, batch)
    plain = subject.encode(values)
    return Work(lambda: subject.decode(plain), batch, lambda got: check_floats(got, values))


def check_floats(got: Any, expected: Any) -> None:
    """WrongResult unless the floats agree to a step of the encoding."""
    if got.shape != expected.shape:
        raise WrongResult(f"shape {got.shape}, but {expected.shape} expected")
    worst = float(np.max(np.abs(got - expected), initial=0.0))
    if not worst <= STEP:  # a NaN is wrong, too
        raise WrongResult(f"a number is off by {worst}, more than a step of 2^−40")


# --- encryption -----------------------------------------------------------------------------------


def encrypt(kind: str) -> Prepare:
    """The case of one kind of encryption."""

    def prepare(subject: Subject, batch: int) -> Work:
        values = draw_twice(batch)

        def check(cipher: Any) -> None:
            check_cipher(subject, cipher, values)
            check_noise(subject, cipher)

        return Work(lambda: subject.encrypt(values, kind), batch, check)

    return prepare


CASES.define("encrypt-owner", "encryption", "by the key holder, exact noise", ENCRYPT, headline=True)(
    encrypt("owner")
)
CASES.define("encrypt-public", "encryption", "by anyone, short-exponent noise", ENCRYPT, headline=True)(
    encrypt("public")
)
CASES.define("encrypt-uniform", "encryption", "by anyone, uniform noise", ENCRYPT)(encrypt("uniform"))
CASES.define("encrypt-classic", "encryption", "by anyone, noise r^n", Batch(32, 256, 65_536))(
    encrypt("classic")
)


@CASES.define("decrypt", "decryption", "by the key holder", Batch(128, 2048, 131_072), headline=True)
def decrypt(subject: Subject, batch: int) -> Work:
    """Ciphertexts to an array of integers; hecore's validation included."""
    cipher, values = derived(subject, batch)
    return Work(lambda: subject.decrypt(cipher), batch, lambda got: check_equal(got, values))


# --- arithmetic -----------------------------------------------------------------------------------


@CASES.define("add", "arithmetic", "ciphertext + ciphertext", CHEAP, headline=True)
def add(subject: Subject, batch: int) -> Work:
    """Ciphertext + ciphertext."""
    a, left = derived(subject, batch)
    places = np.arange(batch, dtype=np.int64)[::-1].copy()
    b, right = subject.take(a, places), left[places]
    return Work(lambda: subject.add(a, b), batch, lambda got: check_cipher(subject, got, left + right))


@CASES.define("add-plain", "arithmetic", "ciphertext + integer", CHEAP)
def add_plain(subject: Subject, batch: int) -> Work:
    """Ciphertext + integer."""
    cipher, values = derived(subject, batch)
    plain = draw_values(batch)
    return Work(
        lambda: subject.add_plain(cipher, plain),
        batch,
        lambda got: check_cipher(subject, got, values + plain),
    )


@CASES.define(
    "multiply-64", "arithmetic", "ciphertext · 64-bit integer", Batch(512, 8192, 262_144), headline=True
)
def multiply_64(subject: Subject, batch: int) -> Work:
    """Ciphertext · signed 64-bit integer, a different one each."""
    cipher, values = derived(subject, batch)
    limits = np.iinfo(np.int64)
    factors = generator(batch).integers(limits.min + 1, limits.max, batch, dtype=np.int64)
    return _multiply(subject, cipher, values, factors)


@CASES.define("multiply-full", "arithmetic", "ciphertext · integer as long as n", Batch(32, 1024, 32_768))
def multiply_full(subject: Subject, batch: int) -> Work:
    """Ciphertext · integer nearly as long as n, a different one each."""
    cipher, values = derived(subject, batch, FULL_VALUE_BITS)
    return _multiply(subject, cipher, values, draw_wide(batch, subject.key_bits - FULL_MARGIN_BITS))


def _multiply(subject: Subject, cipher: Any, values: Integers, factors: Integers) -> Work:
    expected = as_objects(values) * as_objects(factors)
    return Work(
        lambda: subject.multiply(cipher, factors),
        len(values),
        lambda got: check_cipher(subject, got, expected),
    )


@CASES.define("sum", "arithmetic", "the sum of the batch", CHEAP, headline=True)
def total(subject: Subject, batch: int) -> Work:
    """The sum of a whole batch: one ciphertext."""
    cipher, values = derived(subject, batch)
    expected = as_objects(values).sum()
    return Work(lambda: subject.total(cipher), batch, lambda got: check_equal(subject.decrypt(got), expected))


# --- linear algebra -------------------------------------------------------------------------------


@CASES.define("dot", "linear", "plain 24-bit vector · encrypted vector", Batch(1000, 4096, 262_144))
def dot(subject: Subject, batch: int) -> Work:
    """Plain vector · encrypted vector."""
    cipher, values = derived(subject, batch)
    return _matmul(subject, draw_values(batch, ENTRY_BITS), cipher, values)


@CASES.define("matvec", "linear", "plain (16, batch) @ encrypted (batch)", Batch(256, 1024, 16_384))
def matvec(subject: Subject, batch: int) -> Work:
    """Plain matrix (16, batch) @ encrypted vector."""
    cipher, values = derived(subject, batch)
    matrix = draw_values(MATVEC_ROWS * batch, ENTRY_BITS).reshape(MATVEC_ROWS, batch)
    return _matmul(subject, matrix, cipher, values)


@CASES.define("matmul", "linear", "plain (8, batch/4) @ encrypted (batch/4, 4)", Batch(256, 1024, 16_384))
def matmul(subject: Subject, batch: int) -> Work:
    """Plain matrix (8, batch/4) @ encrypted matrix (batch/4, 4)."""
    inner = max(1, batch // MATMUL_COLUMNS)
    shape = (inner, MATMUL_COLUMNS)
    cipher, values = derived(subject, inner * MATMUL_COLUMNS)
    matrix = draw_values(MATMUL_ROWS * inner, ENTRY_BITS).reshape(MATMUL_ROWS, inner)
    return _matmul(subject, matrix, subject.reshape(cipher, shape), values.reshape(shape))


def _matmul(subject: Subject, matrix: Integers, cipher: Any, values: Integers) -> Work:
    expected = matrix.astype(object) @ values.astype(object)
    columns = values.size // matrix.shape[-1]
    return Work(
        lambda: subject.matmul(matrix, cipher),
        matrix.size * columns,
        lambda got: check_equal(subject.decrypt(got), expected),
    )


@CASES.define("histogram", "linear", "10 features of 16 bins over the batch", Batch(2000, 20_000, 524_288))
def histogram(subject: Subject, batch: int) -> Work:
    """Sums of encrypted values by bin, codes uniform."""
    cipher, values = derived(subject, batch)
    codes = generator(batch).integers(0, BINS, (batch, FEATURES), dtype=np.uint8)
    numbers = as_objects(values)
    expected = [
        numbers[codes[:, feature] == code].sum() for feature in range(FEATURES) for code in range(BINS)
    ]
    return Work(
        lambda: subject.histogram(cipher, codes, BINS),
        codes.size,
        lambda got: check_equal(subject.decrypt(got), expected),
    )


# --- wire -----------------------------------------------------------------------------------------


@CASES.define("rerandomize", "wire", "new noise before sending", Batch(128, 2048, 131_072))
def rerandomize(subject: Subject, batch: int) -> Work:
    """New noise for every ciphertext."""
    cipher, values = derived(subject, batch)
    before = subject.marks(cipher)

    def check(got: Any) -> None:
        check_cipher(subject, got, values)
        if (subject.marks(got) == before).any():
            raise WrongResult("a ciphertext kept its noise")

    return Work(lambda: subject.rerandomize(cipher), batch, check)
