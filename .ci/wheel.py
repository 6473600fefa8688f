"""Build the wheel from a clean copy of the sources, and install it into a folder if asked.

setuptools builds in the checkout's build/ and packs whatever an earlier build left there, so a
deleted module would live on in the wheel. A copy has no past, and two builds at once do not meet.

    python .ci/wheel.py DIST             build DIST/hecore-….whl, print its path
    python .ci/wheel.py --install SITE   build and unpack it into SITE, unless SITE is current
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
IGNORED = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")


def copy_sources(target: Path) -> None:
    """Copy to `target` what a wheel is made of: the mapped folders and the metadata files."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for folder in settings["tool"]["setuptools"]["package-dir"].values():
        shutil.copytree(ROOT / folder, target / folder, ignore=IGNORED)
    project = settings["project"]
    for name in ("pyproject.toml", project["readme"], *project["license-files"]):
        shutil.copy(ROOT / name, target / name)


def digest(folder: Path) -> str:
    """Return one hash over the names and the contents of all files below `folder`."""
    total = hashlib.sha256(sys.version.encode())
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        total.update(f"{path.relative_to(folder)} {content}\n".encode())
    return total.hexdigest()


def pip(*arguments: str | Path) -> None:
    """Run this interpreter's pip; its chatter goes to stderr, so that stdout is the answer."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    subprocess.run(command, check=True, stdout=sys.stderr)


def build(sources: Path, dist: Path) -> Path:
    """Build the one wheel of `sources` in `dist` and return its path."""
    options = ("--no-deps", "--no-build-isolation", "--wheel-dir", dist)
    pip("wheel", *options, sources)
    (wheel,) = dist.glob("hecore-*.whl")
    return wheel


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the wheel from a clean copy.")
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("dist", nargs="?", type=Path, help="folder for the wheel")
    place.add_argument("--install", type=Path, metavar="SITE", help="folder to install it into")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        sources = Path(temporary) / "sources"
        sources.mkdir()
        copy_sources(sources)
        if options.dist:
            print(build(sources, options.dist.resolve()))
            return
        site = options.install.resolve()
        stamp = site.with_name(site.name + ".sha256")
        current = digest(sources)
        if site.is_dir() and stamp.is_file() and stamp.read_text() == current:
            return
        stamp.unlink(missing_ok=True)
        shutil.rmtree(site, ignore_errors=True)
        pip("install", "--no-deps", "--target", site, build(sources, Path(temporary) / "dist"))
        stamp.write_text(current)


if __name__ == "__main__":
    main()
