"""Faults to plant in the CUDA sources, one at a time: the tests must notice each of them.

Some come to light in the integers, some by a rule of the emulator; some need the edge vectors, as a wrong
carry between limbs or lanes shows once in 2^32 random numbers. `escaped` builds the sources with one fault in
them and runs the cases of one entry point.
"""

from __future__ import annotations

import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path

from hecore.kernels.cuda.device import ENTRIES
from hecore.kernels.cuda.shapes import Shape

from .emulator import build
from .emulator.device import EmulatedDevice, KernelError
from .vectors import cases, fault

SHAPE = Shape(8, 8)


@dataclass(frozen=True)
class Fault:
    """`wrong` in place of `right`, which stands once in a file; the cases of `entry` should show it."""

    name: str
    file: str
    right: str
    wrong: str
    entry: str


def escaped(planted: Fault, folder: Path) -> str | None:
    """Why a fault went unnoticed; None if it was found. ValueError if it does not fit the sources."""
    sources = folder / "src"
    shutil.copytree(build.SOURCES, sources)
    file = sources / planted.file
    text = file.read_text(encoding="utf-8")
    if text.count(planted.right) != 1:
        raise ValueError(f"{planted.name}: {planted.right!r} stands {text.count(planted.right)} times")
    file.write_text(text.replace(planted.right, planted.wrong), encoding="utf-8")
    family = ENTRIES[planted.entry].family
    library = build.kernels_library((family,), SHAPE.lanes, SHAPE.limbs, sources, ("-w",))
    device = EmulatedDevice(builder=lambda *_: library)
    try:
        found = any(fault(case, device) for case in cases(planted.entry, SHAPE))
    except KernelError:
        return None
    return None if found else f"{planted.name}: {planted.entry} gives the right integers"


def faults() -> list[Fault]:
    """The list in planted_faults.toml."""
    text = Path(__file__).with_suffix(".toml").read_text(encoding="utf-8")
    return [Fault(**entry) for entry in tomllib.loads(text)["fault"]]
