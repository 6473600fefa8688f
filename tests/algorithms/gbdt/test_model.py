"""Shares in files, importances, and the joint export to XGBoost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

import hecore
from hecore.algorithms.cli import app
from hecore.algorithms.data import Table
from hecore.algorithms.errors import ConfigurationError, ProtocolError
from hecore.algorithms.gbdt import GBDTConfig
from hecore.algorithms.gbdt.export import export_joint
from hecore.algorithms.gbdt.importance import importances
from hecore.algorithms.gbdt.model import ActiveShare, PassiveShare, load_share, save_share
from hecore.algorithms.lr.config import LinearConfig
from hecore.algorithms.lr.share import FORMAT, VERSION, ModelRecord
from hecore.algorithms.lr.share import save_share as save_linear

from .conftest import Joint, fit_jointly, tables

SMALL = {"n_estimators": 3, "max_depth": 3, "max_bin": 12, "min_samples_leaf": 2}


def mixed(rows: int = 400, label: str = "binary") -> tuple[list[Table], list[list[str]]]:
    """Numbers, gaps and categories at both parties; names of the categorical columns."""
    rng = np.random.default_rng(9)
    parts = tables(rows, [3, 3], seed=9, label=label)
    out = []
    for part in parts:
        values = part.values.copy()
        values[:, 2] = rng.integers(0, 6, rows)
        values[rng.random((rows, 3)) < 0.1] = np.nan
        out.append(replace(part, values=values, missing=True))
    if label == "binary":
        useful = np.isin(out[1].values[:, 2], [1, 4]) ^ (out[0].values[:, 2] == 2)
        out[0] = replace(out[0], label=np.where(rng.random(rows) < 0.5, useful, parts[0].label))
    return out, [[part.columns[2]] for part in out]


@pytest.fixture(scope="module")
def joint(small_keys: list[hecore.PrivateKey]) -> Joint:
    parts, names = mixed()
    return fit_jointly(parts, GBDTConfig(**SMALL), small_keys, categorical=names)


def equal(first: Any, second: Any) -> bool:
    """Equality of shares, arrays included."""
    if isinstance(first, np.ndarray):
        return first.dtype == second.dtype and np.array_equal(first, second)
    if hasattr(first, "__dataclass_fields__"):
        return type(first) is type(second) and all(
            equal(getattr(first, name), getattr(second, name)) for name in first.__dataclass_fields__
        )
    return first == second


def test_a_share_survives_its_file(joint: Joint, tmp_path: Path) -> None:
    for model in joint.models:
        path = tmp_path / "share.safetensors"
        save_share(model.share, path)
        assert equal(load_share(path), model.share)


def test_a_passive_share_tells_nothing_of_the_label(joint: Joint, tmp_path: Path) -> None:
    """Its file has splits alone: no gain, no sums, no leaf values, and nothing of how good the model is."""
    path = tmp_path / "passive.safetensors"
    save_share(joint.models[1].share, path)
    assert set(load_file(path)) == {f"splits.{n}" for n in ("tree", "node", "column", "bin", "missing_left")}
    for word in (b"gain", b"cover", b"metrics", b"logloss", b"forest"):
        assert word not in path.read_bytes()


@pytest.mark.parametrize(
    ("tensor", "change"),
    [
        ("forest.left", lambda v: np.where(v > 0, 0, v)),  # a node that is its own child
        ("forest.left", lambda v: np.where(v > 0, 10_000, v)),
        ("forest.owner", lambda v: np.where(v >= 0, 2, v)),
        ("forest.owner", lambda v: np.where(v >= 0, 1, v)),
        ("forest.value", lambda v: v * np.inf),
        ("forest.value", lambda v: v[:-1]),
        ("forest.value", lambda v: v.astype(np.float32)),
        ("forest.start", lambda v: v[::-1].copy()),
        ("forest.output", lambda v: v + 5),
        ("forest.gain", lambda v: v[:-1]),
        ("splits.column", lambda v: v + 3),
        ("splits.bin", lambda v: v - 100),
        ("splits.bin", lambda v: v + 100),
        ("splits.node", lambda v: v[::-1].copy()),
        ("splits.missing_left", lambda v: v.astype(np.int8)),
        ("splits.tree", lambda v: v[:-1]),
    ],
)
def test_a_damaged_share_is_refused(joint: Joint, tmp_path: Path, tensor: str, change: Any) -> None:
    path = tmp_path / "share.safetensors"
    save_share(joint.models[0].share, path)
    tensors, text = load_file(path), metadata(path)
    with np.errstate(invalid="ignore"):
        tensors[tensor] = np.ascontiguousarray(change(tensors[tensor]))
    save_file(tensors, path, metadata={"hecore": text})
    with pytest.raises(ProtocolError, match="damaged share"):
        load_share(path)


def metadata(path: Path) -> str:
    """The header of a share's file."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        return file.metadata()["hecore"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "version 2"),
        ({"format": "other"}, "no share"),
        ({"model": "x"}, "no share"),
        ({"surplus": 1}, "no share"),
        ({"bins": []}, "damaged share"),
        ({"config": {"max_depth": -1}}, "no share"),
    ],
)
def test_a_foreign_header_is_refused(joint: Joint, tmp_path: Path, change: Any, message: str) -> None:
    path = tmp_path / "share.safetensors"
    save_share(joint.models[1].share, path)
    header = msgspec.json.decode(metadata(path)) | change
    save_file(load_file(path), path, metadata={"hecore": msgspec.json.encode(header).decode()})
    with pytest.raises(ProtocolError, match=message):
        load_share(path)


def test_another_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("no model")
    with pytest.raises(ProtocolError, match=r"notes\.txt is no safetensors file"):
        load_share(path)
    save_file({"x": np.zeros(1)}, path)
    with pytest.raises(ProtocolError, match="no share"):
        load_share(path)


def test_importances(joint: Joint) -> None:
    active, passive = (model.share for model in joint.models)
    assert isinstance(active, ActiveShare)
    assert isinstance(passive, PassiveShare)
    weights = importances(active), importances(passive)
    splits = int((active.forest.owner >= 0).sum())
    assert sum(sum(weight.values()) for weight in weights) == splits
    assert list(weights[1]) == list(passive.columns)
    assert joint.models[1].feature_importances_.sum() == pytest.approx(1.0)
    gains = importances(active, "gain")
    best = max(gains, key=lambda name: gains[name])
    mine = active.forest.gain[active.forest.splits_of(0)]
    column = active.columns.index(best)
    assert gains[best] == pytest.approx(mine[active.splits.column == column].mean())
    with pytest.raises(ConfigurationError, match="active party alone"):
        importances(passive, "gain")
    with pytest.raises(ConfigurationError, match="is not one of"):
        importances(active, "other")


# --- export ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("label", "options"),
    [
        ("binary", {}),
        ("classes", {"objective": "multi:softprob"}),
        ("classes", {"objective": "multi:softprob", "multi_strategy": "one_output_per_tree"}),
        ("numbers", {"objective": "reg:squarederror"}),
        ("counts", {"objective": "count:poisson"}),
    ],
)
def test_xgboost_predicts_the_same(
    small_keys: list[hecore.PrivateKey], label: str, options: dict[str, Any]
) -> None:
    """Unseen categories and missing values in columns that had none in training included."""
    xgboost = pytest.importorskip("xgboost", reason="XGBoost is not installed: pip install xgboost-cpu")
    parts, names = mixed(label=label)
    config = GBDTConfig(**SMALL | {"n_estimators": 5} | options)
    score = []
    for part in parts:
        values = part.values.copy()
        values[:5] = np.nan
        values[5:30, 2] = np.arange(25)
        score.append(replace(part, values=values))
    joint = fit_jointly(parts, config, small_keys, categorical=names, score=score)
    document = export_joint(joint.models[0].share, [joint.models[1].share])
    booster = xgboost.Booster()
    booster.load_model(bytearray(document))
    values = np.hstack([part.values for part in score])
    data = xgboost.DMatrix(
        values,
        feature_names=booster.feature_names,
        feature_types=booster.feature_types,
        enable_categorical=True,
    )
    margins = booster.predict(data, output_margin=True).reshape(joint.margins.shape)
    np.testing.assert_allclose(margins, joint.margins, rtol=1e-6, atol=1e-6)
    assert booster.num_boosted_rounds() == 5


def test_export_needs_all_shares_of_one_model(joint: Joint) -> None:
    active, passive = (model.share for model in joint.models)
    with pytest.raises(ProtocolError, match="the share of passive1 is missing"):
        export_joint(active, [])
    with pytest.raises(ProtocolError, match="another model"):
        export_joint(active, [replace(passive, model="0" * 32)])
    with pytest.raises(ProtocolError, match="other splits"):
        export_joint(active, [replace(passive, splits=passive.splits.before(1))])
    with pytest.raises(ProtocolError, match="custom"):
        export_joint(replace(active, objective="custom"), [passive])


# --- the command ----------------------------------------------------------------------------------


def command(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, ["model", *map(str, arguments)])


def test_the_command_shows_and_joins_shares(joint: Joint, tmp_path: Path) -> None:
    files = [tmp_path / "active.safetensors", tmp_path / "passive.safetensors"]
    for model, path in zip(joint.models, files, strict=True):
        save_share(model.share, path)
    shown = command("show", files[0])
    assert shown.exit_code == 0, shown.output
    for text in ("active (label", "passive1", "3 with", "last logloss", "mean gain", "x0"):
        assert text in shown.output
    shown = command("show", files[1])
    assert "passive (own splits)" in shown.output
    assert "gain" not in shown.output
    out = tmp_path / "joint.json"
    joined = command("export-joint", *reversed(files), "--out", out)
    assert joined.exit_code == 0, joined.output
    assert out.read_bytes() == export_joint(joint.models[0].share, [joint.models[1].share])
    kept = command("export-joint", *files, "--out", files[1])
    assert kept.exit_code == 1
    assert "it is not overwritten" in kept.output
    failed = command("export-joint", files[1], "--out", tmp_path / "half.json")
    assert failed.exit_code == 1
    assert "the share of the active party is missing: given are those of passive1" in failed.output
    linear = tmp_path / "linear.json"
    record = {
        "format": FORMAT,
        "version": VERSION,
        "model": "ab" * 16,
        "party": "shop",
        "config": LinearConfig(),
    }
    values = {"columns": ["a"], "weights": [[1.0]], "mean": [0.0], "scale": [1.0]}
    save_linear(ModelRecord(**record, **values, outputs=1, loss=[]), linear)
    failed = command("export-joint", files[0], linear, "--out", tmp_path / "half.json")
    assert failed.exit_code == 1
    assert "linear.json is a share of a linear model, and XGBoost takes trees" in " ".join(
        failed.output.split()
    )
