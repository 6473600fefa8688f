"""What a user installs: the wheel is complete, claims one name, and imports from anywhere.

Two installations are tried, each from the repository root and from elsewhere: the editable one
that runs these tests, and the wheel. In the root the checkout's hecore/ stands in front of an
installed one; hecore/__init__.py then takes the other three folders from the checkout as well.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

import hecore

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SETTINGS = PROJECT["tool"]["setuptools"]
#: Import name → folder of the checkout.
FOLDERS: dict[str, str] = SETTINGS["package-dir"]

PROBE = """
import json, hecore, hecore.kernels, hecore.algorithms, hecore.bench
modules = (hecore, hecore.kernels, hecore.algorithms, hecore.bench)
print(json.dumps({module.__name__: module.__file__ for module in modules}))
"""


def source_files(root: Path, folders: dict[str, str]) -> dict[str, Path]:
    """Return {path inside the wheel: source file} of every file below the mapped folders."""
    found = {}
    for name, folder in folders.items():
        for path in sorted((root / folder).rglob("*")):
            inner = path.relative_to(root / folder)
            hidden = any(part.startswith((".", "__pycache__")) for part in inner.parts)
            if path.is_file() and not hidden and path.suffix != ".pyc":
                found[f"{name.replace('.', '/')}/{inner.as_posix()}"] = path
    return found


def package_names(root: Path, folders: dict[str, str]) -> set[str]:
    """Return the import names of all folders below the mapped ones that hold an __init__.py."""
    return {
        inside.removesuffix("/__init__.py").replace("/", ".")
        for inside in source_files(root, folders)
        if inside.endswith("/__init__.py")
    }


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel once, from a clean copy of the sources."""
    command = [sys.executable, ROOT / ".ci" / "wheel.py", tmp_path_factory.mktemp("dist")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


@pytest.fixture(scope="session")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel, without its dependencies, into a folder of its own."""
    target = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    subprocess.run([*pip, "--no-deps", "--target", target, wheel], check=True)
    return target


def run_probe(path: list[Path], cwd: Path, *, with_site: bool) -> dict[str, Path]:
    """Import the four packages in a new process started in `cwd`; return where each was found."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    environment["PYTHONPATH"] = os.pathsep.join(map(str, path))
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    command = [sys.executable, *([] if with_site else ["-S"]), "-c", PROBE]
    options = {"cwd": cwd, "env": environment, "capture_output": True, "text": True}
    done = subprocess.run(command, check=False, **options)
    assert done.returncode == 0, done.stderr
    return {name: Path(file) for name, file in json.loads(done.stdout).items()}


def test_every_file_is_in_the_wheel(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = set(source_files(ROOT, FOLDERS))
    assert "hecore/py.typed" in expected
    assert sorted(expected - packed) == [], "missing: extend packages or package-data"
    assert sorted(packed - expected) == []


def test_the_wheel_claims_one_name(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        top_level = next(name for name in names if name.endswith("/top_level.txt"))
        assert archive.read(top_level).decode().split() == ["hecore"]
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"hecore"}


def test_the_wheel_carries_its_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith("/LICENSE"))
        assert archive.read(name) == (ROOT / "LICENSE").read_bytes()


def test_the_version_is_one() -> None:
    assert hecore.__version__ == PROJECT["project"]["version"]


def test_packages_are_listed() -> None:
    assert sorted(SETTINGS["packages"]) == sorted(package_names(ROOT, FOLDERS))


def test_every_module_lies_in_a_package() -> None:
    names = package_names(ROOT, FOLDERS)
    modules = [inside for inside in source_files(ROOT, FOLDERS) if inside.endswith(".py")]
    assert [m for m in modules if m.rpartition("/")[0].replace("/", ".") not in names] == []


def test_an_unlisted_package_would_be_noticed(tmp_path: Path) -> None:
    for name in ("one/__init__.py", "one/inner/__init__.py", "one/inner/data.cu", "one/.x/y.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    folders = {"top.one": "one"}
    assert package_names(tmp_path, folders) == {"top.one", "top.one.inner"}
    assert "top/one/inner/data.cu" in source_files(tmp_path, folders)


@pytest.mark.parametrize("start", ["root", "elsewhere"])
def test_the_wheel_imports(start: str, site: Path, tmp_path: Path) -> None:
    # -S keeps the editable install's import hook out; its neighbours come in as plain folders.
    neighbours = [Path(sysconfig.get_path(kind)) for kind in ("purelib", "platlib")]
    cwd = ROOT if start == "root" else tmp_path
    found = run_probe([site, *neighbours], cwd, with_site=False)
    for name, file in found.items():
        folder = ROOT / FOLDERS[name] if start == "root" else site.joinpath(*name.split("."))
        assert file == folder / "__init__.py"


@pytest.mark.parametrize("start", ["root", "elsewhere"])
def test_the_running_installation_imports(start: str, tmp_path: Path) -> None:
    # Several records can be in sight: an egg-info folder in the root tells nothing of this kind.
    records = [d.read_text("direct_url.json") for d in metadata.distributions(name="hecore")]
    if not any(json.loads(r).get("dir_info", {}).get("editable") for r in records if r):
        pytest.skip("these tests do not run on an editable installation")
    found = run_probe([], ROOT if start == "root" else tmp_path, with_site=True)
    assert found == {name: ROOT / FOLDERS[name] / "__init__.py" for name in found}


@pytest.mark.parametrize("command", sorted(PROJECT["project"]["scripts"]))
def test_the_commands_exist(command: str) -> None:
    target = PROJECT["project"]["scripts"][command]
    assert callable(metadata.EntryPoint(command, target, "console_scripts").load())
