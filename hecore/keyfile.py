"""Key files: versioned text with a base64 body; the private part encrypted with scrypt and AES-256-GCM.

    -----BEGIN HECORE PRIVATE KEY-----          -----BEGIN HECORE PUBLIC KEY-----
    Version: 1                                  Version: 1
    Bits: 2048                                  Bits: 2048
    Fingerprint: 64 hex digits                  Fingerprint: 64 hex digits
    [Insecure-Test-Key: yes]                    [Insecure-Test-Key: yes]
    Salt: 32 hex digits
    Nonce: 24 hex digits

    base64 of the AES-GCM ciphertext            base64 of wire.dump_key
    -----END HECORE PRIVATE KEY-----            -----END HECORE PUBLIC KEY-----

The header is authenticated with the body. A file has one form: any other byte, even a space, is refused.
Private files are created with mode 0600 and refused when anybody but their owner may read them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import stat
from pathlib import Path

from . import wire
from .errors import InsecureKey, KeyFileError, WireFormatError
from .keys import PrivateKey, PublicKey

VERSION = "1"
PRIVATE = "PRIVATE"
PUBLIC = "PUBLIC"
#: scrypt cost N = 2^17, r = 8, p = 1: 128 MiB and about 0.3 s (OWASP's recommendation).
SCRYPT_COST, SCRYPT_BLOCK, SCRYPT_LANES = 1 << 17, 8, 1
SCRYPT_MEMORY = 256 << 20
MINIMUM_PASSPHRASE, LONGEST_PASSPHRASE = 8, 4096
MAXIMUM_FILE = 1 << 16
#: Header line of a key that was made with insecure_test_key=True.
TEST_MARK = "Insecure-Test-Key"


def save_key(key: PrivateKey | PublicKey, path: str | Path, passphrase: str | None = None) -> None:
    """Write a key file. A PrivateKey needs a passphrase of 8 characters or more; nothing is overwritten.

    Raises KeyFileError for a missing passphrase or an existing file.
    """
    if isinstance(key, PrivateKey):
        text, mode = _private_text(key, passphrase), 0o600
    else:
        header = _header(key)
        text, mode = _armour(PUBLIC, header, wire.dump_key(key)), 0o644
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        raise KeyFileError(f"{path} exists: keys are not overwritten, choose another name") from None
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        os.fchmod(file.fileno(), mode)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def read_passphrase(file: str | Path) -> str:
    """The first line of a file, without its end. Only LF and CRLF end it, so that no passphrase is cut.

    KeyFileError for a line of more than LONGEST_PASSPHRASE characters, or bytes that are no UTF-8 text.
    """
    try:
        with open(file, newline="\n", encoding="utf-8") as stream:
            line = stream.readline(LONGEST_PASSPHRASE + 1)
    except UnicodeDecodeError:
        raise KeyFileError(f"{file} is not UTF-8 text") from None
    if len(line) > LONGEST_PASSPHRASE:
        raise KeyFileError(f"the first line of {file} is longer than {LONGEST_PASSPHRASE} characters")
    return line.removesuffix("\n").removesuffix("\r")


def load_key(
    path: str | Path, passphrase: str | None = None, *, insecure_test_key: bool = False
) -> PrivateKey | PublicKey:
    """Read a key file, private or public as it says, and check the key.

    Raises KeyFileError for a private file that others may read, a wrong passphrase, damage or a foreign
    format; InvalidKey for a key that breaks a condition, InsecureKey for one that is short or was saved as a
    test key, unless `insecure_test_key=True`.
    """
    with open(path, "rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        text = file.read(MAXIMUM_FILE + 1)
    kind, header, body = _parse(path, text)
    if kind == PUBLIC:
        try:
            public = wire.load_key(body, insecure_test_key=insecure_test_key)
        except WireFormatError as error:
            raise KeyFileError(f"{path} is damaged: {error}") from None
        if header != _header(public):
            raise KeyFileError(f"{path}: the header is not that of the key inside")
        return public
    if mode & 0o077:
        raise KeyFileError(
            f"{path} has mode {mode:04o}: others may read this private key; run chmod 600 {path}"
        )
    if passphrase is None:
        raise KeyFileError(f"{path} is encrypted: a passphrase is needed")
    if TEST_MARK in header and not insecure_test_key:
        raise InsecureKey(f"{path} holds a test key: load it with insecure_test_key=True")
    return _decrypt_key(path, header, body, passphrase)


def _header(public: PublicKey) -> dict[str, str]:
    header = {
        "Version": VERSION,
        "Bits": str(public.bits),
        "Fingerprint": public.fingerprint.hex(),
    }
    return header | {TEST_MARK: "yes"} if public.insecure_test_key else header


def _private_text(key: PrivateKey, passphrase: str | None) -> str:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    if passphrase is None or len(passphrase) < MINIMUM_PASSPHRASE:
        raise KeyFileError(
            f"a private key file needs a passphrase of at least {MINIMUM_PASSPHRASE} characters"
        )
    salt, nonce = os.urandom(16), os.urandom(12)
    header = _header(key.public) | {"Salt": salt.hex(), "Nonce": nonce.hex()}
    size = -(-key.p.bit_length() // 8)
    secret = b"".join(
        [key.nonce.to_bytes(4, "little"), *(r.to_bytes(size, "little") for r in (key.p, key.q))]
    )
    sealed = AESGCM(_derive(passphrase, salt)).encrypt(nonce, secret, _authenticated(header))
    return _armour(PRIVATE, header, sealed)


def _decrypt_key(path: str | Path, header: dict[str, str], body: bytes, passphrase: str) -> PrivateKey:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    try:
        salt, nonce = bytes.fromhex(header["Salt"]), bytes.fromhex(header["Nonce"])
        cipher = AESGCM(_derive(passphrase, salt))
        secret = cipher.decrypt(nonce, body, _authenticated(header))
    except (KeyError, ValueError) as error:
        raise KeyFileError(f"{path} is damaged in its header: {error}") from None
    except InvalidTag:
        raise KeyFileError(f"{path}: wrong passphrase, or the file was changed") from None
    size = (len(secret) - 4) // 2
    nonce_value = int.from_bytes(secret[:4], "little")
    p, q = (int.from_bytes(secret[4 + i * size : 4 + (i + 1) * size], "little") for i in (0, 1))
    key = PrivateKey(p, q, nonce_value, TEST_MARK in header)
    if {**_header(key.public), "Salt": header["Salt"], "Nonce": header["Nonce"]} != header:
        raise KeyFileError(f"{path}: the header is not that of the key inside")
    return key


def _derive(passphrase: str, salt: bytes) -> bytes:
    return hashlib.scrypt(
        passphrase.encode(),
        salt=salt,
        n=SCRYPT_COST,
        r=SCRYPT_BLOCK,
        p=SCRYPT_LANES,
        maxmem=SCRYPT_MEMORY,
        dklen=32,
    )


def _authenticated(header: dict[str, str]) -> bytes:
    return "\n".join(f"{name}: {value}" for name, value in header.items()).encode("ascii")


def _armour(kind: str, header: dict[str, str], body: bytes) -> str:
    encoded = base64.b64encode(body).decode("ascii")
    lines = [encoded[i : i + 64] for i in range(0, len(encoded), 64)]
    return "\n".join(
        [
            f"-----BEGIN HECORE {kind} KEY-----",
            _authenticated(header).decode("ascii"),
            "",
            *lines,
            f"-----END HECORE {kind} KEY-----",
            "",
        ]
    )


def _parse(path: str | Path, data: bytes) -> tuple[str, dict[str, str], bytes]:
    if len(data) > MAXIMUM_FILE:
        raise KeyFileError(f"{path} is larger than any key file")
    try:
        lines = data.decode("ascii").removesuffix("\n").split("\n")
    except UnicodeDecodeError:
        raise KeyFileError(f"{path} is no hecore key file") from None
    for kind in (PRIVATE, PUBLIC):
        marks = (f"-----BEGIN HECORE {kind} KEY-----", f"-----END HECORE {kind} KEY-----")
        if (lines[0], lines[-1]) == marks and "" in lines:
            break
    else:
        raise KeyFileError(f"{path} is no hecore key file, or is cut off")
    blank = lines.index("")
    header = dict(line.split(": ", 1) for line in lines[1:blank] if ": " in line)
    if header.get("Version") != VERSION:
        raise KeyFileError(f"{path} has key file version {header.get('Version')}, not {VERSION}")
    try:
        body = base64.b64decode("".join(lines[blank + 1 : -1]), validate=True)
    except binascii.Error as error:
        raise KeyFileError(f"{path} is damaged: {error}") from None
    if _armour(kind, header, body).encode("ascii") != data:
        raise KeyFileError(f"{path} was changed after it was written: copy it again, byte for byte")
    return kind, header, body
