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
    allowed = AllowList.load(listing)
    assert allowed.keys_of("bank") == [CurveKeys.load(tmp_path / name).public for name in ("new", "newest")]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
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
    AllowList({"bank": public}).save(tmp_path / "list")
    before = (tmp_path / "list").read_bytes()
    result = call(*(argument.format(tmp_path) for argument in arguments))
    assert result.exit_code == 1
    assert text in result.stderr
    assert (tmp_path / "list").read_bytes() == before
