"""One loader for the shares of all models, and what `hecore model show` says of them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner

from hecore.algorithms.cli import app
from hecore.algorithms.errors import ConfigurationError, ProtocolError
from hecore.algorithms.gbdt import GBDTConfig
from hecore.algorithms.gbdt.binning import ColumnBins
from hecore.algorithms.gbdt.model import PassiveShare, save_share
from hecore.algorithms.gbdt.trees import SplitTable
from hecore.algorithms.lr import LinearConfig
from hecore.algorithms.lr.objectives import Objective
from hecore.algorithms.lr.share import FORMAT, VERSION, ActiveSide, ModelRecord
from hecore.algorithms.lr.share import save_share as save_record
from hecore.algorithms.model import is_active, load_model_share
from hecore.algorithms.serving.parts import make_part, make_whole


def record(outputs: int = 1, columns: int = 3) -> ModelRecord:
    """An active share with weights 1, −2, 3, …"""
    weights = [[float((-1) ** place * (place + 1))] * outputs for place in range(columns)]
    return ModelRecord(
        format=FORMAT,
        version=VERSION,
        model="ab" * 16,
        party="bank",
        config=LinearConfig(objective="multi:logistic" if outputs > 1 else "binary:logistic"),
        outputs=outputs,
        columns=[f"x{place}" for place in range(columns)],
        weights=weights,
        mean=[0.0] * columns,
        scale=[1.0] * columns,
        loss=[0.7, 0.5],
        active=ActiveSide(
            objective=Objective(name="multi:logistic" if outputs > 1 else "binary:logistic", outputs=outputs),
            intercept=[0.25] * outputs,
            metrics=[0.9],
        ),
    )


def trees() -> PassiveShare:
    """A passive share with one split."""
    one = np.zeros(1, np.int32)
    return PassiveShare(
        model="cd" * 16,
        party="shop",
        config=GBDTConfig(),
        columns=("age",),
        bins=(ColumnBins([1.5], False, categorical=False),),
        splits=SplitTable(one, one, one, one, np.zeros(1, bool)),
    )


def test_each_kind_is_recognised(tmp_path: Path) -> None:
    path = tmp_path / "share"
    save_record(record(), path)
    assert load_model_share(path) == record()
    assert is_active(record())
    path.write_bytes(msgspec.json.encode(record()))  # JSON on one line
    assert load_model_share(path) == record()
    save_share(trees(), path)
    loaded = load_model_share(path)
    assert isinstance(loaded, PassiveShare)
    assert (loaded.model, is_active(loaded)) == ("cd" * 16, False)


@pytest.mark.parametrize("data", [b"", b"{", b"{}", b'{"format": "other"}', b"not a share", b"\x00" * 100])
def test_other_files_are_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "share"
    path.write_bytes(data)
    with pytest.raises(ProtocolError, match="share"):
        load_model_share(path)


def test_sides_that_cannot_be_served() -> None:
    with pytest.raises(ConfigurationError, match="the active party's"):
        make_part(record(), 16, None)
    with pytest.raises(ConfigurationError, match="a passive party's"):
        make_whole(trees())
    network = msgspec.structs.replace(record().active, network=True)  # type: ignore[type-var]
    with pytest.raises(ConfigurationError, match="neural network"):
        make_whole(msgspec.structs.replace(record(), active=network))


@pytest.mark.parametrize("outputs", [1, 3])
def test_a_linear_share_is_shown(tmp_path: Path, outputs: int) -> None:
    path = tmp_path / "model.json"
    save_record(record(outputs, columns=25), path)
    result = CliRunner(env={"COLUMNS": "120"}).invoke(app, ["model", "show", str(path)])
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.output.splitlines()]
    assert ["intercept", *(["0.25,"] * (outputs - 1)), "0.25"] in lines
    assert ["last", "loss", "0.5", "on", "training", "rows"] in lines
    largest = next(line for line in lines if "x24" in line)
    assert largest.count("25") == outputs
    assert "5 more" in result.output
