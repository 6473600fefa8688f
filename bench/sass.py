"""Reading compiled CUDA kernels: registers and spills from NVRTC's log, loops from nvdisasm's listing."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from hecore.kernels.cuda.shapes import Shape

from . import nvrtc

WHEEL = "nvidia-cuda-nvdisasm"

_USAGE = re.compile(
    r"Compiling entry function '(\w+)'.*?"
    r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads.*?"
    r"Used (\d+) registers[^\n]*?(?:(\d+) bytes smem)?\n",
    re.DOTALL,
)
_SECTION = re.compile(r"^\.text\.(\w+):\n(.*?)(?=^\.text\.|^\s*\.section|\Z)", re.DOTALL | re.MULTILINE)
_LABEL = re.compile(r"^(\.L\w+):")
_INSTRUCTION = re.compile(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)\s*([^;]*);")


@dataclass(frozen=True)
class Usage:
    """What ptxas says of an entry point: registers a thread, bytes of shared and local memory."""

    registers: int
    shared: int
    stack: int
    spills: int


@dataclass(frozen=True)
class Counts:
    """Instructions: all, IMAD.WIDE among them, and other IMADs (moves and shifts among them)."""

    all: int
    wide: int
    imad: int

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.all + other.all, self.wide + other.wide, self.imad + other.imad)

    def __sub__(self, other: Counts) -> Counts:
        return Counts(self.all - other.all, self.wide - other.wide, self.imad - other.imad)

    def times(self, factor: int) -> Counts:
        """`factor` rounds of them."""
        return Counts(self.all * factor, self.wide * factor, self.imad * factor)


@dataclass(frozen=True)
class Loop:
    """From the target of a backward branch to the branch: places in the program, and the instructions."""

    first: int
    last: int
    counts: Counts

    def holds(self, other: Loop) -> bool:
        """Whether `other` lies inside."""
        return self is not other and self.first <= other.first and other.last <= self.last


@dataclass(frozen=True)
class Code:
    """A compiled entry point."""

    entry: str
    usage: Usage
    counts: Counts
    loops: tuple[Loop, ...]

    def product_loop(self) -> Loop:
        """The innermost loop with the most IMAD.WIDE: the last of a kernel with several products."""
        innermost = [loop for loop in self.loops if not any(loop.holds(other) for other in self.loops)]
        return max(innermost, key=lambda loop: (loop.counts.wide, loop.first))

    def around(self, inner: Loop) -> Loop | None:
        """The smallest loop around another; None if there is none."""
        outer = [loop for loop in self.loops if loop.holds(inner)]
        return min(outer, key=lambda loop: loop.counts.all, default=None)


def why_not() -> str | None:
    """Why machine code cannot be read here; None if it can."""
    return nvrtc.why_not() or (None if disassembler() else f"the package {WHEEL} is not installed")


def disassembler() -> str | None:
    """nvdisasm, of the wheel or of the CUDA toolkit."""
    try:
        files = importlib.metadata.files(WHEEL) or []
    except importlib.metadata.PackageNotFoundError:
        return shutil.which("nvdisasm")
    return next((str(f.locate()) for f in files if f.name == "nvdisasm"), None)


def usages(log: str) -> dict[str, Usage]:
    """What the log of NVRTC says of each entry point."""
    found = {}
    for entry, stack, stores, loads, registers, shared in _USAGE.findall(log):
        found[entry] = Usage(int(registers), int(shared or 0), int(stack), int(stores) + int(loads))
    return found


def compiled(family: str, shape: Shape, target: str) -> dict[str, Code]:
    """The entry points of a family, compiled for a shape and a device such as `sm_90`."""
    cubin, log = nvrtc.compile_family(family, shape, target)
    usage = usages(log)
    return {entry: _code(entry, usage[entry], text) for entry, text in _SECTION.findall(_listing(cubin))}


def _listing(cubin: bytes) -> str:
    tool = disassembler()
    if tool is None:
        raise RuntimeError(why_not())
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        done = subprocess.run(  # noqa: S603 - our own file
            [tool, "-c", str(Path(file.name))], check=True, capture_output=True, text=True
        )
    return done.stdout


def _code(entry: str, usage: Usage, listing: str) -> Code:
    opcodes: list[str] = []
    labels: dict[str, int] = {}
    branches: list[tuple[int, str]] = []
    for line in listing.splitlines():
        if label := _LABEL.match(line):
            labels[label[1]] = len(opcodes)
        elif instruction := _INSTRUCTION.search(line):
            if instruction[1].split(".")[0] == "BRA" and (target := re.search(r"\.L\w+", instruction[2])):
                branches.append((len(opcodes), target[0]))
            opcodes.append(instruction[1])
    loops = tuple(
        Loop(labels[target], place, _counts(opcodes[labels[target] : place + 1]))
        for place, target in branches
        if labels[target] < place
    )
    return Code(entry, usage, _counts(opcodes), loops)


def _counts(opcodes: list[str]) -> Counts:
    wide = sum(opcode.startswith("IMAD.WIDE") for opcode in opcodes)
    imad = sum(opcode.startswith("IMAD") for opcode in opcodes) - wide
    return Counts(len(opcodes), wide, imad)
