"""The public names are a promise: adding or dropping one means editing the list here.

`import hecore` must stay quick (under half a second), so it may not load the heavy neighbours
that only some users need.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

#: Package → its `__all__`, sorted.
PUBLIC = {
    "hecore": [
        "BackendUnavailable",
        "CipherBatch",
        "Decryptor",
        "DeviceLost",
        "EncodingError",
        "EncodingOverflow",
        "Encryptor",
        "FixedPoint",
        "HecoreError",
        "InsecureKey",
        "InvalidCiphertext",
        "InvalidKey",
        "InvalidSetting",
        "KeyFileError",
        "KeyMismatch",
        "KeySpec",
        "LayoutMismatch",
        "Meter",
        "NotInvertible",
        "OutOfMemory",
        "PrivateKey",
        "PublicKey",
        "ScaleMismatch",
        "ShapeMismatch",
        "SlotLayout",
        "SlotOverflow",
        "WireFormatError",
        "concatenate",
        "decode",
        "encode",
        "generate_key",
        "get_backend",
        "histogram",
        "load_key",
        "save_key",
    ],
    "hecore.kernels": [
        "Backend",
        "BackendUnavailable",
        "DeviceLost",
        "FixedBase",
        "HecoreError",
        "InvalidSetting",
        "Modulus",
        "NotInvertible",
        "OutOfMemory",
        "Residues",
        "get_backend",
        "histogram",
    ],
    "hecore.algorithms.channel": [
        "AllowList",
        "Channel",
        "CurveKeys",
        "FolderStore",
        "Metrics",
        "Node",
        "Tally",
        "Traffic",
        "Watermark",
        "ZmqChannel",
        "ZmqOptions",
        "dial",
        "listen",
        "loopback_pair",
    ],
    "hecore.algorithms.data": [
        "Column",
        "Ids",
        "Schema",
        "Split",
        "Table",
        "infer_schema",
        "load_rows",
        "open_source",
        "read_csv",
        "read_ids",
        "read_libsvm",
        "read_table",
        "split_rows",
        "write_rows",
    ],
    "hecore.algorithms.demo": [
        "Comparison",
        "DemoSettings",
        "compare",
        "run_parties",
        "write_demo",
    ],
    "hecore.algorithms.gbdt": [
        "GBDTConfig",
        "Progress",
        "VerticalGBDTClassifier",
        "VerticalGBDTRegressor",
        "importances",
        "load_share",
        "save_share",
    ],
    "hecore.algorithms.lr": [
        "LinearConfig",
        "Progress",
        "VerticalLinearRegression",
        "VerticalLogisticRegression",
        "VerticalPoissonRegression",
    ],
    "hecore.algorithms.lr.exact": ["VerticalTopModel", "train"],
    "hecore.algorithms.psi": [
        "Alignment",
        "Progress",
        "PsiConfig",
        "align",
    ],
    "hecore.algorithms.serving": [
        "Features",
        "Settings",
        "SnapshotFeatures",
        "SqliteFeatures",
        "load_settings",
        "serve",
    ],
    "hecore.algorithms.report": [
        "RunView",
        "build_page",
        "load_run",
    ],
}
HEAVY = ("sklearn", "scipy", "matplotlib", "cupy", "numba", "zmq", "typer", "rich", "pyarrow", "nacl")


@pytest.mark.parametrize("module", sorted(PUBLIC))
def test_public_names(module: str) -> None:
    assert sorted(importlib.import_module(module).__all__) == PUBLIC[module]


def test_no_list_is_missing() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = project["tool"]["setuptools"]["packages"]
    listing = {name for name in packages if hasattr(importlib.import_module(name), "__all__")}
    assert listing == set(PUBLIC)


@pytest.mark.parametrize("module", sorted(PUBLIC))
def test_public_names_exist_and_are_explained(module: str) -> None:
    loaded = importlib.import_module(module)
    assert [name for name in loaded.__all__ if not getattr(loaded, name).__doc__] == []


def test_import_loads_nothing_heavy(tmp_path: Path) -> None:
    probe = "import hecore, json, sys; print(json.dumps(sorted(sys.modules)))"
    command = [sys.executable, "-c", probe]
    loaded = set(json.loads(subprocess.check_output(command, text=True, cwd=tmp_path)))
    assert "numpy" in loaded
    assert loaded.isdisjoint(HEAVY)
