"""Keys of parties: their files, their text, and who is on the list."""

from __future__ import annotations

import os
import pickle
import stat
from pathlib import Path

import pytest

from hecore.algorithms.channel import AllowList, CurveKeys
from hecore.algorithms.errors import AuthenticationError


def test_file_of_0600_and_back(tmp_path: Path) -> None:
    keys = CurveKeys.generate()
    path = tmp_path / "active.key"
    umask = os.umask(0)
    try:
        keys.save(path)
    finally:
        os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert CurveKeys.load(path) == keys
    with pytest.raises(FileExistsError):
        CurveKeys.generate().save(path)
    assert CurveKeys.load(path) == keys


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o606, 0o610, 0o777])
def test_a_file_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "active.key"
    CurveKeys.generate().save(path)
    path.chmod(mode)
    with pytest.raises(AuthenticationError, match=f"open to others .mode {mode:04o}.: chmod 600"):
        CurveKeys.load(path)


@pytest.mark.parametrize("mend", ["", "format = 2\n{rest}", "format = 1", "{all}more = 1", "\x80"])
def test_another_file_is_refused_without_its_content(tmp_path: Path, mend: str) -> None:
    path = tmp_path / "active.key"
    keys = CurveKeys.generate()
    keys.save(path)
    text = path.read_text()
    path.write_text(mend.format(all=text, rest=text.partition("format = 1\n")[2]), "latin1")
    with pytest.raises(AuthenticationError) as caught:
        CurveKeys.load(path)
    assert keys.secret not in str(caught.value)
    assert caught.value.__cause__ is None


def test_repr_shows_no_secret() -> None:
    keys = CurveKeys.generate()
    assert keys.public in repr(keys)
    assert keys.secret not in repr(keys) + str(keys)
    assert keys == pickle.loads(pickle.dumps(keys))  # noqa: S301 - of our own making
    assert keys != CurveKeys.generate()


def test_keys_that_do_not_belong_together_are_refused() -> None:
    one, other = CurveKeys.generate(), CurveKeys.generate()
    with pytest.raises(AuthenticationError, match="does not belong"):
        CurveKeys(one.public, other.secret)
    assert CurveKeys(one.public, one.secret) == one


@pytest.mark.parametrize("key", ["", "x" * 39, "x" * 41, '"' * 40, "#" * 40, "é" * 40])
def test_what_is_no_key_is_refused(key: str) -> None:
    with pytest.raises(AuthenticationError, match="40 characters of Z85"):
        CurveKeys(key, key)
    with pytest.raises(AuthenticationError, match="the public key of passive must be"):
        AllowList({"passive": key})


def test_allow_list() -> None:
    one, other = CurveKeys.generate().public, CurveKeys.generate().public
    allowed = AllowList({"active": one, "passive": other})
    assert allowed.keys_of("passive") == [other]
    assert allowed.find(one) == "active"
    assert allowed.find(CurveKeys.generate().public) is None
    with pytest.raises(AuthenticationError, match=r"'third' is not on the allow-list: \['active'"):
        allowed.keys_of("third")
    with pytest.raises(AuthenticationError, match="stands twice"):
        AllowList({"active": one, "passive": one})


def test_a_party_changes_its_key_by_having_two_for_a_while() -> None:
    first, second, third = (CurveKeys.generate().public for _ in range(3))
    allowed = AllowList({"active": first}).trust("active", second)
    assert allowed.keys_of("active") == [first, second]
    assert allowed.trust("active", third).keys_of("active") == [second, third]
    assert allowed.trust("active", first).keys_of("active") == [second, first]
    with pytest.raises(AuthenticationError, match="3 public keys"):
        AllowList({"active": [first, second, third]})
    with pytest.raises(AuthenticationError, match="0 public keys"):
        AllowList({"active": []})


def test_an_allow_list_file(tmp_path: Path) -> None:
    first, second = (CurveKeys.generate().public for _ in range(2))
    path = tmp_path / "allow.toml"
    AllowList({'bank "A" é': [first, second]}).save(path)
    assert AllowList.load(path).keys_of('bank "A" é') == [first, second]
    AllowList.load(path).trust("b", CurveKeys.generate().public).save(path)
    assert AllowList.load(path).keys_of('bank "A" é') == [first, second]
    assert [entry.name for entry in tmp_path.iterdir()] == ["allow.toml"]
    for text in ("", "format = 2\n[parties]\n", "format = 1\nmore = 1\n[parties]\n", "\xff"):
        path.write_text(text, encoding="latin-1")
        with pytest.raises(AuthenticationError, match=r"no allow-list|format 2"):
            AllowList.load(path)
