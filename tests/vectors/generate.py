"""Write the published vectors of this folder again: `python tests/vectors/generate.py [folder]`.

Plain Python integers and the standard library only: nothing here comes from hecore, so that hecore can be
checked against it. Everything is fixed; a second run writes the same bytes.

INSECURE TEST KEY: its primes stand below for all to read. It protects nothing and must not be used for data.
"""

from __future__ import annotations

import hashlib
import json
import struct
import sys
from pathlib import Path
from typing import Any

INSECURE_TEST_P = int(
    "e6081091a8dc53d2c6dc97415b45057cbcdc4a16119368c8664d7d9f68ec03df"
    "51bf6c7d885b060aa59bd2d74743cce68fff7f15f315a24c7be6a39c4c2a5684"
    "6c7a361479561d42f4c479125c86f218c195a5fbb4fc2f6aa4382a1c1894b76f"
    "88d19fdbd0702e4b240cade210425230eb4e9f2df0602c0933b72a97bc032a3f",
    16,
)
INSECURE_TEST_Q = int(
    "c97e9ea7efa4a9442d849b735830c6dbe9057081f1037d06af2b0193556a67d8"
    "802402eaa57957d29c1540fe9ab022753309829b6be58458cb367620a349f0eb"
    "dba8f52fd19d25774985107fba60786eefa74ff4647e9ac62ccf63de6ffb86ea"
    "d3b5e6bd47ea06f1ffdc52d0ac0202830edc2dad3cca1bf3b8ad3f468d66ccff",
    16,
)
NONCE = 258
N = INSECURE_TEST_P * INSECURE_TEST_Q
SQUARE = N * N
BYTES = 256
INSECURE_FLAG = 1


# --- the key --------------------------------------------------------------------------------------


def identity() -> bytes:
    """What names the key: nonce u32, then n, little-endian."""
    return struct.pack("<I", NONCE) + N.to_bytes(BYTES, "little")


def fingerprint() -> bytes:
    """SHA-256 of a label and the identity."""
    return hashlib.sha256(b"hecore public key v1" + identity()).digest()


def hashed(purpose: bytes, index: int) -> int:
    """A number modulo n that the owner of the key cannot choose."""
    seed = b"hecore " + purpose + b" v1" + struct.pack("<I", index) + identity()
    return int.from_bytes(hashlib.shake_256(seed).digest(BYTES + 17), "little") % N


def generator() -> int:
    """h = −x² mod n."""
    return -(hashed(b"generator", 0) ** 2) % N


def flip() -> int:
    """y: the first hashed number of Jacobi symbol −1."""
    index = 0
    while jacobi(hashed(b"flip", index), N) != -1:
        index += 1
    return hashed(b"flip", index)


def jacobi(a: int, n: int) -> int:
    """The Jacobi symbol (a/n), n odd, by reciprocity."""
    a, sign = a % n, 1
    while a:
        while a % 2 == 0:
            a //= 2
            if n % 8 in (3, 5):
                sign = -sign
        a, n = n, a
        if a % 4 == n % 4 == 3:
            sign = -sign
        a %= n
    return sign if n == 1 else 0


# --- Paillier -------------------------------------------------------------------------------------


def randomness(index: int) -> int:
    """r of an encryption: fixed, and different for every index."""
    seed = b"hecore test vector" + struct.pack("<I", index)
    return int.from_bytes(hashlib.shake_256(seed).digest(BYTES + 17), "little") % N


def encrypt(message: int, index: int) -> int:
    """(1 + n)^m · r^n mod n², with (1 + n)^m = 1 + m·n."""
    return (1 + message % N * N) * pow(randomness(index), N, SQUARE) % SQUARE


def valid() -> dict[str, Any]:
    """Encryptions, and what becomes of them under every operation without the private key."""
    messages = [0, 1, -1, 42, -(2**63), 2**64 + 1, N // 3 - 1, -(N // 3) + 1]
    ciphertexts = [encrypt(message, index) for index, message in enumerate(messages)]
    pairs = [(1, 3), (2, 4), (5, 5)]
    plain = [(3, -43), (5, 2**70), (0, 0)]
    factors = [(3, 5), (3, -5), (4, 0), (5, 2**100 + 1)]
    return {
        "warning": "INSECURE TEST KEY: its primes are public",
        "key": {
            "n": hexadecimal(N),
            "p": hexadecimal(INSECURE_TEST_P),
            "q": hexadecimal(INSECURE_TEST_Q),
            "nonce": NONCE,
            "fingerprint": fingerprint().hex(),
            "generator": hexadecimal(generator()),
            "generator_power": hexadecimal(pow(generator(), N, SQUARE)),
            "flip_power": hexadecimal(pow(flip(), N, SQUARE)),
        },
        "encryptions": [
            {"m": str(message), "r": hexadecimal(randomness(index)), "c": hexadecimal(ciphertexts[index])}
            for index, message in enumerate(messages)
        ],
        "additions": [
            {
                "a": a,
                "b": b,
                "m": str(messages[a] + messages[b]),
                "c": hexadecimal(ciphertexts[a] * ciphertexts[b] % SQUARE),
            }
            for a, b in pairs
        ],
        "plain_additions": [
            {
                "a": a,
                "k": str(k),
                "m": str(messages[a] + k),
                "c": hexadecimal(ciphertexts[a] * (1 + k % N * N) % SQUARE),
            }
            for a, k in plain
        ],
        "multiplications": [
            {
                "a": a,
                "k": str(k),
                "m": str(messages[a] * k),
                "c": hexadecimal(pow(ciphertexts[a], k, SQUARE)),
            }
            for a, k in factors
        ],
    }


def invalid() -> dict[str, Any]:
    """Numbers that are no ciphertexts; decrypting some of them by CRT would reveal the key."""
    p, q = INSECURE_TEST_P, INSECURE_TEST_Q
    sharing = "it shares a factor with n"
    cases = [
        (0, "it is 0 or a multiple of n"),
        (N, "it is 0 or a multiple of n"),
        (2 * N, "it is 0 or a multiple of n"),
        (SQUARE - N, "it is 0 or a multiple of n"),
        (p, sharing),
        (q, sharing),
        (p * p, sharing),
        (q * randomness(100), sharing),
        (SQUARE - p, sharing),
        (SQUARE, "it is not below n²"),
        (SQUARE + 1, "it is not below n²"),
        (2 ** (16 * BYTES) - 1, "it is not below n²"),
    ]
    return {
        "warning": "INSECURE TEST KEY: its primes are public",
        "n": hexadecimal(N),
        "cases": [{"c": hexadecimal(c), "reason": reason} for c, reason in cases],
    }


# --- wire -----------------------------------------------------------------------------------------


def batch(
    shape: tuple[int, ...],
    scale_bits: int,
    ciphertexts: list[int],
    layout: tuple[int, int, int] = (0, 0, 0),
    terms: int = 1,
) -> str:
    """The wire form, as the docstring of hecore/wire.py draws it."""
    header = struct.pack("<4sHHIIIIQ32s", b"HECB", 1, len(shape), scale_bits, *layout, terms, fingerprint())
    dims = struct.pack(f"<{len(shape)}Q", *shape)
    return b"".join([header, dims, *(c.to_bytes(2 * BYTES, "little") for c in ciphertexts)]).hex()


def golden() -> dict[str, Any]:
    """Whole messages; a change of the wire form must change the version and this file."""
    slots, slot_bits = 3, 20
    rows = [[1, -2, 3, -4], [511, -512, 0, 5]]
    packed = [
        sum(value << slot_bits * i for i, value in enumerate(row[start : start + slots]))
        for row in rows
        for start in (0, slots)
    ]
    floats = [1.5, -2.25, 0.0]
    return {
        "warning": "INSECURE TEST KEY: its primes are public",
        "public_key": (
            struct.pack("<4sHHII", b"HECK", 1, INSECURE_FLAG, NONCE, BYTES) + N.to_bytes(BYTES, "little")
        ).hex(),
        "batches": [
            {
                "name": "one integer",
                "shape": [],
                "scale_bits": 0,
                "layout": None,
                "terms": 1,
                "values": -7,
                "bytes": batch((), 0, [encrypt(-7, 20)]),
            },
            {
                "name": "a column of floats",
                "shape": [3, 1],
                "scale_bits": 40,
                "layout": None,
                "terms": 1,
                "values": [[value] for value in floats],
                "bytes": batch((3, 1), 40, [encrypt(int(v * 2**40), 21 + i) for i, v in enumerate(floats)]),
            },
            {
                "name": "packed rows",
                "shape": [2, 4],
                "scale_bits": 0,
                "layout": [slots, slot_bits, 10],
                "terms": 6,
                "values": rows,
                "bytes": batch(
                    (2, 4), 0, [encrypt(m, 24 + i) for i, m in enumerate(packed)], (slots, slot_bits, 10), 6
                ),
            },
            {
                "name": "nothing",
                "shape": [0, 2],
                "scale_bits": 8,
                "layout": None,
                "terms": 1,
                "values": [],
                "bytes": batch((0, 2), 8, []),
            },
        ],
    }


def hexadecimal(number: int) -> str:
    """Hexadecimal digits without a prefix."""
    return f"{number:x}"


def main(folder: Path) -> None:
    """Write the three files."""
    for name, content in (
        ("paillier_valid", valid()),
        ("paillier_invalid", invalid()),
        ("wire_golden", golden()),
    ):
        text = json.dumps(content, indent=1, ensure_ascii=False)
        (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent)
