"""The public names are a promise: adding or dropping one means editing the list here.

`import hecore` must stay quick (under half a second), so it may not load the heavy neighbours
that only some users need.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

#: Module → its `__all__`, sorted.
PUBLIC = {
    "hecore": [
        "BackendUnavailable",
        "CipherBatch",
        "Decryptor",
        "Encryptor",
        "FixedPoint",
        "HecoreError",
        "KeySpec",
        "NotInvertible",
        "PrivateKey",
        "PublicKey",
        "SlotLayout",
        "generate_key",
        "get_backend",
        "load_key",
        "save_key",
    ],
}
HEAVY = ("sklearn", "scipy", "matplotlib", "cupy", "numba", "zmq", "typer", "rich", "pyarrow")


@pytest.mark.parametrize("module", sorted(PUBLIC))
def test_public_names(module: str) -> None:
    assert sorted(importlib.import_module(module).__all__) == PUBLIC[module]


@pytest.mark.parametrize("module", sorted(PUBLIC))
def test_public_names_exist_and_are_explained(module: str) -> None:
    loaded = importlib.import_module(module)
    assert [name for name in loaded.__all__ if not getattr(loaded, name).__doc__] == []


def test_import_loads_nothing_heavy(tmp_path: Path) -> None:
    probe = "import hecore, json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", probe], check=True, capture_output=True, text=True, cwd=tmp_path
    )
    loaded = set(json.loads(done.stdout))
    assert "numpy" in loaded
    assert loaded.isdisjoint(HEAVY)
