"""Key files: what is written can be read by its owner, and by nobody else in any other form."""

from __future__ import annotations

import base64
import os
import random
import stat
from pathlib import Path

import pytest

import hecore
from hecore import InsecureKey, KeyFileError, PrivateKey, PublicKey, keyfile, load_key, save_key, wire

PASSPHRASE = "correct horse battery"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """scrypt in a millisecond, for tests that open many files."""
    monkeypatch.setattr(keyfile, "SCRYPT_COST", 1 << 4)


@pytest.fixture
def private(tmp_path: Path, quick: None, key: PrivateKey) -> Path:
    path = tmp_path / "private.pem"
    save_key(key, path, PASSPHRASE)
    return path


@pytest.fixture
def public(tmp_path: Path, key: PrivateKey) -> Path:
    path = tmp_path / "public.pem"
    save_key(key.public, path)
    return path


# --- private files --------------------------------------------------------------------------------


def test_round_trip_at_full_cost(tmp_path: Path, key: PrivateKey) -> None:
    assert (keyfile.SCRYPT_COST, keyfile.SCRYPT_BLOCK, keyfile.SCRYPT_LANES) == (1 << 17, 8, 1)
    path = tmp_path / "key.pem"
    save_key(key, path, PASSPHRASE)
    assert load_key(path, PASSPHRASE) == key
    with pytest.raises(KeyFileError, match="wrong passphrase, or the file was changed"):
        load_key(path, PASSPHRASE + " ")


@pytest.mark.parametrize("bits", [256, 384, 512, 1920])
def test_all_lengths(tmp_path: Path, quick: None, bits: int) -> None:
    key = hecore.generate_key(bits, insecure_test_key=True)
    path = tmp_path / "key.pem"
    save_key(key, str(path), PASSPHRASE)
    loaded = load_key(str(path), PASSPHRASE, insecure_test_key=True)
    assert isinstance(loaded, PrivateKey)
    assert loaded == key
    assert loaded.insecure_test_key
    assert loaded.public.fingerprint == key.public.fingerprint


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_nobody_else_may_read(tmp_path: Path, quick: None, test_key: PrivateKey, umask: int) -> None:
    before = os.umask(umask)
    try:
        save_key(test_key, tmp_path / "key.pem", PASSPHRASE)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "key.pem").stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o644, 0o777])
def test_a_file_that_others_may_touch_is_refused(private: Path, mode: int) -> None:
    private.chmod(mode)
    with pytest.raises(
        KeyFileError, match=rf"has mode {mode:04o}: others may read this private key; run chmod 600 "
    ):
        load_key(private, PASSPHRASE)
    private.chmod(0o400)
    load_key(private, PASSPHRASE)


def test_the_text_tells_no_secret(private: Path, key: PrivateKey) -> None:
    text = private.read_text(encoding="ascii")
    lines = text.splitlines()
    assert lines[0] == "-----BEGIN HECORE PRIVATE KEY-----"
    assert lines[-1] == "-----END HECORE PRIVATE KEY-----"
    assert lines[1:4] == ["Version: 1", "Bits: 2048", f"Fingerprint: {key.public.fingerprint.hex()}"]
    assert [line.split(": ")[0] for line in lines[4:6]] == ["Salt", "Nonce"]
    body = base64.b64decode("".join(lines[7:-1]))
    assert len(body) == 4 + 2 * 128 + 16
    for secret in (key.p, key.q):
        for order in ("little", "big"):
            raw = secret.to_bytes(128, order)  # type: ignore[arg-type]
            assert not any(raw[i : i + 8] in body for i in range(120))
        assert str(secret)[:20] not in text
        assert f"{secret:x}"[:20] not in text.lower()


def test_every_file_has_a_salt_and_a_nonce_of_its_own(
    tmp_path: Path, quick: None, test_key: PrivateKey
) -> None:
    texts = []
    for name in "abc":
        save_key(test_key, tmp_path / name, PASSPHRASE)
        texts.append((tmp_path / name).read_text().splitlines())
    for place in (5, 6, 8):  # Salt, Nonce, first line of the body
        assert len({text[place] for text in texts}) == 3


@pytest.mark.parametrize(
    "passphrase", ["", "correct horse batterY", "correct horse batter", "x" * 100, "größer"]
)
def test_wrong_passphrases(private: Path, passphrase: str) -> None:
    with pytest.raises(KeyFileError, match="wrong passphrase, or the file was changed"):
        load_key(private, passphrase)


def test_any_text_is_a_passphrase(tmp_path: Path, quick: None, test_key: PrivateKey) -> None:
    for number, passphrase in enumerate(("größer, größer", "𝔲𝔫𝔦𝔠𝔬𝔡𝔢𝔢", "x" * 5000, "a\nb\0c\td ")):
        save_key(test_key, tmp_path / str(number), passphrase)
        assert load_key(tmp_path / str(number), passphrase, insecure_test_key=True) == test_key


@pytest.mark.parametrize("passphrase", [None, "", "short", "1234567"])
def test_no_file_without_a_passphrase(tmp_path: Path, test_key: PrivateKey, passphrase: str | None) -> None:
    with pytest.raises(KeyFileError, match="needs a passphrase of at least 8 characters"):
        save_key(test_key, tmp_path / "key.pem", passphrase)
    assert not list(tmp_path.iterdir())


def test_a_private_file_is_not_opened_without_a_passphrase(private: Path) -> None:
    with pytest.raises(KeyFileError, match="is encrypted: a passphrase is needed"):
        load_key(private)


# --- public files ---------------------------------------------------------------------------------


def test_public_round_trip(public: Path, key: PrivateKey) -> None:
    loaded = load_key(public)
    assert isinstance(loaded, PublicKey)
    assert loaded == key.public
    assert not loaded.insecure_test_key
    assert load_key(public, "any passphrase", insecure_test_key=True) == key.public
    public.chmod(0o444)
    assert load_key(public) == key.public
    lines = public.read_text(encoding="ascii").splitlines()
    assert lines[0] == "-----BEGIN HECORE PUBLIC KEY-----"
    assert base64.b64decode("".join(lines[5:-1])) == wire.dump_key(key.public)


def test_a_public_file_is_readable(tmp_path: Path, key: PrivateKey) -> None:
    before = os.umask(0o077)
    try:
        save_key(key.public, tmp_path / "key.pem")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "key.pem").stat().st_mode) == 0o644


# --- test keys ------------------------------------------------------------------------------------


def test_the_mark_of_a_test_key_stays(tmp_path: Path, quick: None, test_key: PrivateKey) -> None:
    save_key(test_key, tmp_path / "private", PASSPHRASE)
    save_key(test_key.public, tmp_path / "public")
    for name in ("private", "public"):
        assert "Insecure-Test-Key: yes\n" in (tmp_path / name).read_text()
        with pytest.raises(InsecureKey, match="test key"):
            load_key(tmp_path / name, PASSPHRASE)
        assert load_key(tmp_path / name, PASSPHRASE, insecure_test_key=True).insecure_test_key


def test_a_long_key_can_be_a_test_key(
    tmp_path: Path, quick: None, vector_key: PrivateKey, private: Path, public: Path
) -> None:
    """The published key has 2048 bits; its mark is all that keeps it from use."""
    save_key(vector_key, tmp_path / "marked", PASSPHRASE)
    save_key(vector_key.public, tmp_path / "marked public")
    for name in ("marked", "marked public"):
        with pytest.raises(InsecureKey, match="insecure_test_key=True"):
            load_key(tmp_path / name, PASSPHRASE)
        assert load_key(tmp_path / name, PASSPHRASE, insecure_test_key=True).insecure_test_key
    for path in (private, public):
        assert not load_key(path, PASSPHRASE, insecure_test_key=True).insecure_test_key


# --- damage ---------------------------------------------------------------------------------------


def other_byte(byte: int, draw: random.Random) -> int:
    """Another byte: a flipped bit, another letter, or anything."""
    return draw.choice([byte ^ 1 << draw.randrange(7), draw.choice(b"Az09+/= \n:"), draw.randrange(256)])


@pytest.mark.parametrize("name", ["private", "public"])
def test_every_changed_byte_is_refused(name: str, request: pytest.FixtureRequest) -> None:
    path: Path = request.getfixturevalue(name)
    good = path.read_bytes()
    draw = random.Random(name)
    for place in range(len(good)):
        byte = other_byte(good[place], draw)
        if byte == good[place]:
            continue
        path.write_bytes(good[:place] + bytes([byte]) + good[place + 1 :])
        with pytest.raises((KeyFileError, hecore.InvalidKey)):
            load_key(path, PASSPHRASE)
    path.write_bytes(good)
    load_key(path, PASSPHRASE)


@pytest.mark.parametrize("name", ["private", "public"])
def test_every_cut_and_every_addition_is_refused(name: str, request: pytest.FixtureRequest) -> None:
    path: Path = request.getfixturevalue(name)
    good = path.read_bytes()
    lines = good.splitlines(keepends=True)
    texts = [good[:end] for end in range(0, len(good), 7)] + [good[:-1]]
    texts += [b"".join(lines[:place] + lines[place + 1 :]) for place in range(len(lines))]
    texts += [b"".join([*lines[:place], lines[place], *lines[place:]]) for place in range(len(lines))]
    texts += [b"".join([*lines[:place], b"A comment\n", *lines[place:]]) for place in range(len(lines) + 1)]
    texts += [
        b"".join([*lines[:place], b"Comment: none\n", *lines[place:]]) for place in range(len(lines) + 1)
    ]
    texts += [
        b" " + good,
        good + b"\n",
        good.replace(b"\n", b"\r\n"),
        good.rstrip(b"\n") + b" \n",
        good + good,
    ]
    for text in texts:
        path.write_bytes(text)
        with pytest.raises(KeyFileError):
            load_key(path, PASSPHRASE)


def test_unused_bits_of_the_last_letter_are_refused(public: Path) -> None:
    """base64 with padding has several texts for the same bytes; only one is accepted."""
    good = public.read_text(encoding="ascii")
    end = good.index("=")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    same = alphabet[alphabet.index(good[end - 1]) | 1]
    assert same != good[end - 1]
    changed = good[: end - 1] + same + good[end:]
    body = [text.split("\n\n")[1].split("-----")[0] for text in (good, changed)]
    assert base64.b64decode(body[0]) == base64.b64decode(body[1])
    public.write_text(changed)
    with pytest.raises(KeyFileError, match="was changed after it was written"):
        load_key(public)


def test_the_header_of_a_public_file_must_be_true(
    tmp_path: Path, public: Path, other_key: PrivateKey
) -> None:
    good = public.read_text()
    for old, new in (
        ("Bits: 2048", "Bits: 4096"),
        (
            f"Fingerprint: {good.split('Fingerprint: ')[1][:64]}",
            f"Fingerprint: {other_key.public.fingerprint.hex()}",
        ),
        ("Bits: 2048\n", "Bits: 2048\nInsecure-Test-Key: yes\n"),
    ):
        assert old in good
        public.write_text(good.replace(old, new))
        with pytest.raises(KeyFileError, match="header is not that of the key inside"):
            load_key(public, insecure_test_key=True)


def test_the_mark_cannot_be_cut_out(tmp_path: Path, quick: None, vector_key: PrivateKey) -> None:
    for name, key in (("private", vector_key), ("public", vector_key.public)):
        save_key(key, tmp_path / name, PASSPHRASE)
        text = (tmp_path / name).read_text().replace("Insecure-Test-Key: yes\n", "")
        (tmp_path / name).write_text(text)
        with pytest.raises((KeyFileError, InsecureKey)):
            load_key(tmp_path / name, PASSPHRASE)
        with pytest.raises(KeyFileError):
            load_key(tmp_path / name, PASSPHRASE, insecure_test_key=True)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no hecore key file"),
        (b"\x80\x05\x95" + bytes(50), "no hecore key file"),
        (b"-----BEGIN RSA PRIVATE KEY-----\n\nAAAA\n-----END RSA PRIVATE KEY-----\n", "no hecore key file"),
        (b"-----BEGIN HECORE PRIVATE KEY-----\n", "is cut off"),
        (b"-----BEGIN HECORE PUBLIC KEY-----\n\n-----END HECORE PRIVATE KEY-----\n", "is cut off"),
        (b"-----BEGIN HECORE PUBLIC KEY-----\n\n-----END HECORE PUBLIC KEY-----\n", "version None, not 1"),
        (
            b"-----BEGIN HECORE PUBLIC KEY-----\nVersion: 2\n\n-----END HECORE PUBLIC KEY-----\n",
            "key file version 2, not 1",
        ),
        (
            b"-----BEGIN HECORE PUBLIC KEY-----\nVersion: 1\n\n\n-----END HECORE PUBLIC KEY-----\n",
            "was changed",
        ),
        (
            b"-----BEGIN HECORE PUBLIC KEY-----\nVersion: 1\n\n?\n-----END HECORE PUBLIC KEY-----\n",
            "is damaged",
        ),
        (
            b"-----BEGIN HECORE PUBLIC KEY-----\nVersion: 1\n\nAAAA\n-----END HECORE PUBLIC KEY-----\n",
            "is damaged: a public key needs 16 bytes",
        ),
        (b"x" * (1 << 17), "larger than any key file"),
        ("-----BEGIN HECORE PUBLIC KEY-----\nVersion: ä".encode(), "no hecore key file"),
    ],
)
def test_foreign_files(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(data)
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match=message) as caught:
        load_key(path, PASSPHRASE)
    assert str(path) in str(caught.value)


def test_a_private_file_without_its_header_lines(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_text(
        "-----BEGIN HECORE PRIVATE KEY-----\nVersion: 1\n\nAAAA\n-----END HECORE PRIVATE KEY-----\n"
    )
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match="damaged in its header: 'Salt'"):
        load_key(path, PASSPHRASE)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_key(tmp_path / "none", PASSPHRASE)


# --- overwriting ----------------------------------------------------------------------------------


def test_nothing_is_overwritten(
    tmp_path: Path, quick: None, test_key: PrivateKey, other_key: PrivateKey
) -> None:
    path = tmp_path / "key.pem"
    save_key(test_key, path, PASSPHRASE)
    before = path.read_bytes()
    for key, passphrase in ((other_key, PASSPHRASE), (test_key, PASSPHRASE), (other_key.public, None)):
        with pytest.raises(KeyFileError, match="exists: keys are not overwritten, choose another name"):
            save_key(key, path, passphrase)
    assert path.read_bytes() == before
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(KeyFileError, match="exists"):
        save_key(test_key, link, PASSPHRASE)
    assert not (tmp_path / "elsewhere").exists()
