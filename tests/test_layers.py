"""Imports point downwards only: kernels ← hecore ← algorithms ← bench."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

#: Folder → (import name, rank). A module may import its own rank and the ranks below.
LAYERS = {
    "kernels": ("hecore.kernels", 0),
    "hecore": ("hecore", 1),
    "algorithms": ("hecore.algorithms", 2),
    "bench": ("hecore.bench", 3),
}
#: What the lower layers must not know of at all: sockets and machine learning.
BARRED = {"socket", "socketserver", "asyncio", "zmq", "sklearn"}
BARRED_BELOW = 2


def module_name(path: Path, root: Path = ROOT) -> tuple[str, bool]:
    """Return the import name of the source file `path`, and whether it is a package."""
    folder, *inner = path.relative_to(root).with_suffix("").parts
    is_package = inner[-1] == "__init__"
    return ".".join([LAYERS[folder][0], *(inner[:-1] if is_package else inner)]), is_package


def rank(name: str) -> int | None:
    """Return the rank of the layer that module `name` belongs to; None if it is not ours."""
    owners = [(p, r) for p, r in LAYERS.values() if name == p or name.startswith(p + ".")]
    return max(owners, key=lambda owner: len(owner[0]))[1] if owners else None


def absolute(module: str | None, level: int, name: str, is_package: bool) -> str:
    """Return the absolute name behind `from <level dots><module> import …` in module `name`."""
    if level == 0:
        return module or ""
    parts = name.split(".")
    base = parts[: len(parts) - level + is_package]
    return ".".join([*base, module] if module else base)


def imported(tree: ast.AST, name: str, is_package: bool) -> Iterator[tuple[int, str]]:
    """Yield (line, absolute name) of every import in `tree`, wherever it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = absolute(node.module, node.level, name, is_package)
            for alias in node.names:
                # `from hecore import bench` names a layer, `from hecore import PublicKey` does not.
                inner = f"{base}.{alias.name}"
                yield node.lineno, inner if rank(inner) != rank(base) else base
        elif isinstance(node, ast.Call) and node.args:
            called = node.func.attr if isinstance(node.func, ast.Attribute) else None
            called = node.func.id if isinstance(node.func, ast.Name) else called
            first = node.args[0]
            if called in {"import_module", "__import__"} and isinstance(first, ast.Constant):
                target = str(first.value)
                level = len(target) - len(target.lstrip("."))
                yield node.lineno, absolute(target.lstrip("."), level, name, is_package)


def violations(source: str, name: str, is_package: bool = False) -> list[str]:
    """Return what `source`, as module `name`, imports although its layer must not."""
    own = rank(name)
    assert own is not None
    found = []
    for line, target in imported(ast.parse(source), name, is_package):
        other = rank(target)
        top = target.partition(".")[0]
        if other is not None and other > own:
            found.append(f"{name}:{line} imports {target}, which lies above it")
        elif top in LAYERS and top != "hecore":
            found.append(f"{name}:{line} imports {target}, a name that exists in a checkout only")
        elif own < BARRED_BELOW and top in BARRED:
            found.append(f"{name}:{line} imports {target}, which its layer must not know")
    return found


def test_imports_point_downwards() -> None:
    paths = [path for folder in LAYERS for path in sorted((ROOT / folder).rglob("*.py"))]
    assert len(paths) > len(LAYERS)
    found = []
    for path in paths:
        found += violations(path.read_text(encoding="utf-8"), *module_name(path))
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("folder_file", "expected"),
    [
        ("kernels/limbs.py", ("hecore.kernels.limbs", False)),
        ("kernels/cuda/__init__.py", ("hecore.kernels.cuda", True)),
        ("hecore/__init__.py", ("hecore", True)),
        ("hecore/keys.py", ("hecore.keys", False)),
        ("algorithms/lr/steps.py", ("hecore.algorithms.lr.steps", False)),
    ],
)
def test_module_names(folder_file: str, expected: tuple[str, bool]) -> None:
    assert module_name(ROOT / folder_file) == expected


@pytest.mark.parametrize(
    ("name", "is_package", "source"),
    [
        ("hecore.kernels.gmp", False, "import hecore"),
        ("hecore.kernels.gmp", False, "import hecore.keys"),
        ("hecore.kernels.gmp", False, "from hecore import PublicKey"),
        ("hecore.kernels.gmp", False, "from .. import keys"),
        ("hecore.kernels.gmp", False, "from ..keys import PublicKey"),
        ("hecore.kernels.cuda", True, "from ... import keys"),
        ("hecore.kernels.cuda.launch", False, "from ...keys import PublicKey"),
        ("hecore.kernels", True, "from ..algorithms.channel import Channel"),
        ("hecore.keys", False, "from hecore import algorithms"),
        ("hecore.keys", False, "from . import algorithms as a"),
        ("hecore.keys", False, "from .algorithms.lr import fit"),
        ("hecore.keys", False, "def f():\n    if True:\n        import hecore.algorithms.lr as lr"),
        ("hecore", True, "from .bench import run"),
        ("hecore", True, "import importlib\nimportlib.import_module('.bench', __name__)"),
        ("hecore", True, "__import__('hecore.algorithms')"),
        ("hecore.keys", False, "if TYPE_CHECKING:\n    from hecore.algorithms.channel import C"),
        ("hecore.algorithms.lr.steps", False, "from hecore.bench import timer"),
        ("hecore.algorithms.lr.steps", False, "from ...bench import timer"),
        ("hecore.algorithms.lr.steps", False, "from ... import bench"),
        ("hecore.algorithms.lr.steps", False, "from kernels import gmp"),
        ("hecore.keys", False, "import zmq"),
        ("hecore.kernels.gmp", False, "from sklearn.datasets import load_iris"),
    ],
)
def test_planted_violation_is_found(name: str, is_package: bool, source: str) -> None:
    assert violations(source, name, is_package)


@pytest.mark.parametrize(
    ("name", "is_package", "source"),
    [
        ("hecore.kernels.gmp", False, "from .limbs import Limbs\nfrom hecore.kernels import gmp"),
        ("hecore.kernels.cuda.launch", False, "from ..limbs import Limbs\nimport cupy"),
        ("hecore", True, "from .kernels.errors import HecoreError\nfrom hecore import kernels"),
        ("hecore.keys", False, "from . import errors\nfrom hecore.kernels import get_backend"),
        ("hecore.algorithms.lr", True, "from hecore import PublicKey\nimport zmq, hecore.keys"),
        ("hecore.bench.cli", False, "from hecore.algorithms import lr\nfrom ..kernels import gmp"),
        ("hecore.kernels.gmp", False, "import hecore_extras, numpy.algorithms"),
    ],
)
def test_rightful_imports_pass(name: str, is_package: bool, source: str) -> None:
    assert violations(source, name, is_package) == []
