"""PTX → C++ on the emulated machine: what NVRTC makes of the sources, inline assembly included, on the host.

Every PTX instruction becomes one statement, every register a variable. An instruction that is not known here
stops the translation: nothing is guessed.

    {.reg .b32 %r<9>;  mov.u32 %r1, %tid.x;  @%p1 bra $L__BB0_2;}
    u32 r0, …, r8;     r1 = thread_index();  if (p1) goto L__BB0_2;
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path

from hecore.bench import nvrtc
from hecore.kernels.cuda import abi
from hecore.kernels.cuda.shapes import Shape

from . import build

TARGET = "compute_90"
#: PTX type → C++ type, and that of a register (which is unsigned).
TYPES = {f"{kind}{bits}": f"{'i' if kind == 's' else 'u'}{bits}" for kind in "usb" for bits in (16, 32, 64)}
REGISTERS = {"b16": "u16", "b32": "u32", "b64": "u64"}
SPECIAL = {"%tid.x": "thread_index()", "%ctaid.x": "block_index()", "%nctaid.x": "block_count()"}
COMPARISONS = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
#: Operators whose result does not depend on the sign: computed unsigned, where they may wrap.
UNSIGNED = {"add": "+", "sub": "-", "mul.lo": "*", "and": "&", "or": "|", "xor": "^"}
SIGNED = {"div": "/", "rem": "%"}
CARRIES = {"add.cc", "addc.cc", "addc", "sub.cc", "subc.cc", "subc"}
CARRIES |= {"mad.lo.cc", "madc.lo.cc", "madc.hi.cc", "madc.hi"}

ENTRY = re.compile(r"\.visible \.entry (\w+)\(([^)]*)\)[^{]*\{\n(.*?)\n\}", re.DOTALL)
OPERAND = re.compile(r"\{[^}]*\}|\[[^\]]*\]|[^,\s][^,]*")


class UnknownInstruction(Exception):
    """The translator does not know an instruction of the PTX."""


@functools.cache
def library(family: str, lanes: int, limbs: int) -> Path:
    """As `build.library`, from the PTX that NVRTC makes of the family."""
    text, _ = nvrtc.compile_family(family, Shape(lanes, limbs), TARGET)
    kernels = [kernel for kernel in abi.KERNELS if kernel.family == family]
    exports = "".join(build.exported(kernel) for kernel in kernels)
    program = f'{translated(text.decode())}\nextern "C" {{\n{exports}}}\n'
    # Thousands of variables: optimising them takes longer than it saves.
    return build.compiled(program, f"ptx-{family}-{lanes}x{limbs}", ("-O0", "-Wno-unused"), [])


def translated(text: str) -> str:
    """C++ functions for all entry points of a PTX module that `abi` knows."""
    kinds = {entry: kernel.parameters for kernel in abi.KERNELS for entry in kernel.entries()}
    functions = ['#include "ptx.hpp"']
    for name, _, body in ENTRY.findall(re.sub(r"//[^\n]*", "", text)):
        functions.append(_function(name, [kind for _, kind in kinds[name]], body))
    return "\n".join(functions)


def _function(name: str, kinds: list[str], body: str) -> str:
    lines = [f"static void {name}({', '.join(f'{kind} param_{i}' for i, kind in enumerate(kinds))}) {{"]
    shared = re.findall(r"\.shared \.align 16 \.b8 (\w+)\[(\d+)\];", body)
    offset = 0
    for variable, size in shared:
        lines.append(f"constexpr u32 {variable} = {offset};")
        offset += int(size) + -int(size) % 16
    if shared:
        lines.append(f"SHARED_WORDS(shared_memory, {offset // 4});")
        lines.append("const u64 shared_base = reinterpret_cast<u64>(shared_memory);")
    for kind, prefix, count in re.findall(r"\.reg \.(\w+)\s+%(\w+)<(\d+)>;", body):
        names = ", ".join(f"{prefix}{i} = 0" for i in range(int(count)))
        lines.append(f"{'bool' if kind == 'pred' else REGISTERS[kind]} {names};")
    body = re.sub(r"(?m)^\s*\.(reg|shared|pragma)\b[^;]*;", "", body)
    for place, line in enumerate(re.split(r"(?<=[;:])\s", body)):
        statement = line.strip().rstrip(";")
        if statement.endswith(":"):
            lines.append(f"{_label(statement[:-1])}:;")
        elif statement:
            lines.append(_statement(statement, place))
    return "\n".join([*lines, "}"])


def _label(name: str) -> str:
    return name.strip().replace("$", "")


def _statement(text: str, place: int) -> str:
    guard = ""
    if match := re.match(r"@(!?)%(\w+)\s+", text):
        guard, text = f"if ({match[1]}{match[2]}) ", text[match.end() :]
    opcode, _, rest = text.partition(" ") if " " in text.split("\t")[0] else text.partition("\t")
    operands = [operand.strip() for operand in OPERAND.findall(rest)]
    for pattern, translate in INSTRUCTIONS:
        if match := re.fullmatch(pattern, opcode.strip()):
            return f"{guard}{{ {translate(match, operands, place)} }}"
    raise UnknownInstruction(text)


def _value(operand: str) -> str:
    """An operand as a C++ expression."""
    if operand in SPECIAL:
        return SPECIAL[operand]
    if operand.startswith("%"):
        return operand[1:]
    return f"{operand}ll" if re.fullmatch(r"-?\d+", operand) else operand


def _address(operand: str) -> str:
    match = re.fullmatch(r"\[(%?\w+)(?:\+(-?\d+))?\]", operand)
    if not match:
        raise UnknownInstruction(operand)
    return f"({_value(match[1])} + {match[2] or 0})"


def _memory(space: str, operand: str) -> str:
    return f"shared_base + {_address(operand)}" if space == "shared" else _address(operand)


def _many(operand: str) -> str:
    return ", ".join(_value(part.strip()) for part in operand.strip("{}").split(","))


def _carry(m: re.Match[str], o: list[str], _: int) -> str:
    arguments = ", ".join(f"static_cast<u32>({_value(x)})" for x in o[1:])
    return f"{_value(o[0])} = {m[1].replace('.', '_')}({arguments});"


def _cast(kind: str, operand: str) -> str:
    return f"static_cast<{TYPES[kind]}>({_value(operand)})"


def _binary(m: re.Match[str], o: list[str], _: int) -> str:
    unsigned = "u" + m[2][1:]
    kind = m[2] if m[1] in SIGNED else unsigned
    sign = {**UNSIGNED, **SIGNED}[m[1]]
    return f"{_value(o[0])} = {_cast(kind, o[1])} {sign} {_cast(kind, o[2])};"


def _wide(m: re.Match[str], o: list[str], _: int) -> str:
    double = f"{'i' if m[1] == 's' else 'u'}64"
    factors = (f"static_cast<{double}>({_cast(m[1] + m[2], x)})" for x in o[1:])
    return f"{_value(o[0])} = {' * '.join(factors)};"


def _shuffle(m: re.Match[str], o: list[str], place: int) -> str:
    result, _, inside = o[0].partition("|")
    arguments = ", ".join(_value(x) for x in o[1:])
    return f"{_value(result)} = ptx::shuffle<ptx::{m[1].upper()}>({place}, {arguments}, {_value(inside)});"


_KIND = r"([usb](?:16|32|64))"
Translate = Callable[[re.Match[str], list[str], int], str]
#: Pattern of an opcode → statement from match, operands and place in the program.
INSTRUCTIONS: list[tuple[str, Translate]] = [
    (rf"ld\.param\.{_KIND}", lambda m, o, _: f"{_value(o[0])} = (u64)param_{o[1].rpartition('_')[2][:-1]};"),
    (
        rf"ld\.(global|shared)(?:\.nc)?\.{_KIND}",
        lambda m, o, _: f"{_value(o[0])} = ptx::load<{TYPES[m[2]]}>({_memory(m[1], o[1])});",
    ),
    (
        r"ld\.(global|shared)(?:\.nc)?\.v4\.u32",
        lambda m, o, _: f"ptx::load4({_memory(m[1], o[1])}, {_many(o[0])});",
    ),
    (
        rf"st\.(global|shared)\.{_KIND}",
        lambda m, o, _: f"ptx::store<{TYPES[m[2]]}>({_memory(m[1], o[0])}, {_cast(m[2], o[1])});",
    ),
    (
        r"st\.(global|shared)\.v4\.u32",
        lambda m, o, _: f"ptx::store4({_memory(m[1], o[0])}, {_many(o[1])});",
    ),
    (
        r"cp\.async\.cg\.shared\.global",
        lambda m, o, _: f"emulator::begin_copy({_memory('shared', o[0])}, {_address(o[1])});",
    ),
    (r"cp\.async\.commit_group", lambda m, o, _: "emulator::close_copies();"),
    (r"cp\.async\.wait_group", lambda m, o, _: f"emulator::end_copies({_value(o[0])});"),
    (
        r"atom\.global\.min\.s32",
        lambda m, o, _: f"{_value(o[0])} = emulator::minimum({_address(o[1])}, {_cast('s32', o[2])});",
    ),
    (r"mov\.pred", lambda m, o, _: f"{_value(o[0])} = {_value(o[1])} != 0;"),
    (rf"mov\.{_KIND}", lambda m, o, _: f"{_value(o[0])} = {_cast(m[1], o[1])};"),
    (r"cvta\.to\.global\.u64", lambda m, o, _: f"{_value(o[0])} = {_value(o[1])};"),
    (
        rf"cvt\.{_KIND}\.{_KIND}",
        lambda m, o, _: f"{_value(o[0])} = static_cast<{TYPES[m[1]]}>({_cast(m[2], o[1])});",
    ),
    (rf"({'|'.join(re.escape(x) for x in sorted(CARRIES))})\.[us]32", _carry),
    (rf"({'|'.join(re.escape(x) for x in (*UNSIGNED, *SIGNED))})\.{_KIND}", _binary),
    (r"mul\.wide\.([us])(16|32)", _wide),
    (
        rf"mad\.lo\.{_KIND}",
        lambda m, o, _: (
            f"{_value(o[0])} = {_cast('u' + m[1][1:], o[1])} * {_cast('u' + m[1][1:], o[2])}"
            f" + {_cast('u' + m[1][1:], o[3])};"
        ),
    ),
    (
        r"(and|or|xor)\.pred",
        lambda m, o, _: f"{_value(o[0])} = {_value(o[1])} {UNSIGNED[m[1]]} {_value(o[2])};",
    ),
    (r"not\.pred", lambda m, o, _: f"{_value(o[0])} = !{_value(o[1])};"),
    (rf"not\.{_KIND}", lambda m, o, _: f"{_value(o[0])} = ~{_cast(m[1], o[1])};"),
    (rf"neg\.{_KIND}", lambda m, o, _: f"{_value(o[0])} = 0 - {_cast('u' + m[1][1:], o[1])};"),
    (
        rf"(min|max)\.{_KIND}",
        lambda m, o, _: (
            f"{_value(o[0])} = {_cast(m[2], o[1])} {'<' if m[1] == 'min' else '>'} {_cast(m[2], o[2])}"
            f" ? {_value(o[1])} : {_value(o[2])};"
        ),
    ),
    (
        rf"shl\.{_KIND}",
        lambda m, o, _: (
            f"{_value(o[0])} = ptx::shift_left<{TYPES[m[1]]}>({_cast(m[1], o[1])}, {_value(o[2])});"
        ),
    ),
    (
        rf"shr\.{_KIND}",
        lambda m, o, _: (
            f"{_value(o[0])} = ptx::shift_right<{TYPES[m[1]]}>({_cast(m[1], o[1])}, {_value(o[2])});"
        ),
    ),
    (
        r"bfi\.b64",
        lambda m, o, _: f"{_value(o[0])} = ptx::insert_bits({', '.join(_value(x) for x in o[1:])});",
    ),
    (
        rf"selp\.{_KIND}",
        lambda m, o, _: f"{_value(o[0])} = {_value(o[3])} ? {_cast(m[1], o[1])} : {_cast(m[1], o[2])};",
    ),
    (
        rf"setp\.(\w\w)\.{_KIND}",
        lambda m, o, _: f"{_value(o[0])} = {_cast(m[2], o[1])} {COMPARISONS[m[1]]} {_cast(m[2], o[2])};",
    ),
    (r"shfl\.sync\.(idx|up|down)\.b32", _shuffle),
    (
        r"vote\.sync\.ballot\.b32",
        lambda m, o, place: f"{_value(o[0])} = ptx::ballot({place}, {_value(o[1])}, {_value(o[2])});",
    ),
    (r"bar\.warp\.sync", lambda m, o, place: f"ptx::warp_barrier({place}, {_value(o[0])});"),
    (r"bra(?:\.uni)?", lambda m, o, _: f"goto {_label(o[0])};"),
    (r"ret", lambda m, o, _: "return;"),
]
