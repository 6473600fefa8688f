"""`hecore party`: keys of parties, and whom they trust."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hecore.algorithms import cli
from hecore.algorithms.channel import AllowList, CurveKeys


def call(*arguments: object) -> Any:
    return CliRunner(env={"COLUMNS": "200"}).invoke(cli.app, ["party", *map(str, arguments)])


def test_keys_are_made_and_trusted(tmp_path: Path) -> None:
    listing = tmp_path / "allowed.toml"
    for name in ("old", "new", "newest"):
        result = call("keygen", "--out", tmp_path / name)
        assert result.exit_code == 0
        keys = CurveKeys.load(tmp_path / name)
        assert keys.public in result.stdout
        assert keys.secret not in result.stdout
        assert (tmp_path / f"{name}.pub").read_text().strip() == keys.public
        result = call("trust", "bank", tmp_path / f"{name}.pub", "--list", listing)
        assert result.exit_code == 0, result.output
    assert (
        f"the oldest one, {CurveKeys.load(tmp_path / 'old').public}, is not trusted any more" in result.stdout
    )
    allowed = AllowList.load(listing)
    assert allowed.keys_of("bank") == [CurveKeys.load(tmp_path / name).public for name in ("new", "newest")]


def test_keys_and_parties_are_listed_and_removed(tmp_path: Path) -> None:
    listing = tmp_path / "allowed.toml"
    keys = {name: CurveKeys.generate().public for name in ("old", "new", "shop")}
    for name, key in keys.items():
        (tmp_path / name).write_text(key)
    AllowList({"bank": [keys["old"], keys["new"]], "shop": keys["shop"]}).save(listing)
    assert call("list", "--list", listing).stdout.splitlines() == [
        f"bank  {keys['old']}",
        f"bank  {keys['new']}",
        f"shop  {keys['shop']}",
    ]
    result = call("distrust", "bank", tmp_path / "old", "--list", listing)
    assert (result.exit_code, "trusts bank with the other key only" in result.stdout) == (0, True)
    assert AllowList.load(listing).keys_of("bank") == [keys["new"]]
    result = call("distrust", "bank", tmp_path / "new", "--list", listing)
    assert "does not trust bank" in result.stdout
    assert call("distrust", "shop", "--list", listing).exit_code == 0
    assert AllowList.load(listing).parties() == []
    assert "trusts nobody yet" in call("list", "--list", listing).stdout


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["distrust", "shop", "--list", "{}/list"], "'shop' is not on the allow-list"),
        (["distrust", "bank", "{}/shop.pub", "--list", "{}/list"], "none of the 1 keys that bank is trusted"),
        (["distrust", "bank", "--list", "{}/missing"], "No such file"),
        (["list", "--list", "{}/there"], "is no allow-list"),
        (["keygen", "--out", "{}/there"], "keys are not overwritten"),
        (["trust", "shop", "{}/there", "--list", "{}/list"], "40 characters of Z85"),
        (["trust", "shop", "{}/missing", "--list", "{}/list"], "No such file"),
        (
            ["trust", "shop", "{}/bank.pub", "--list", "{}/list"],
            "holds a key of bank",
        ),
        (["trust", "shop", "{}/bank.pub", "--list", "{}/there"], "is no allow-list"),
    ],
)
def test_what_is_refused(tmp_path: Path, arguments: list[str], text: str) -> None:
    (tmp_path / "there").write_text("something else")
    public = CurveKeys.generate().public
    (tmp_path / "bank.pub").write_text(public)
    (tmp_path / "shop.pub").write_text(CurveKeys.generate().public)
    AllowList({"bank": public}).save(tmp_path / "list")
    before = (tmp_path / "list").read_bytes()
    result = call(*(argument.format(tmp_path) for argument in arguments))
    assert result.exit_code == 1
    assert text in result.stderr
    assert (tmp_path / "list").read_bytes() == before
