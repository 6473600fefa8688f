"""The emulator stops a kernel that breaks a rule, and says where: each rule is broken once, deliberately."""

from __future__ import annotations

import re

import numpy as np
import pytest

from hecore.kernels.cuda import abi

from .emulator import build
from .emulator.device import KernelError, run

pytestmark = pytest.mark.skipif(build.why_not() is not None, reason=str(build.why_not()))

#: Name → (body of a kernel that has `out` and `in`, what the emulator says; None if all is well).
BODIES: dict[str, tuple[str, str | None]] = {
    "right": (
        """SHARED_WORDS(there, 32);
        if (thread_index() < 32) write(there + thread_index(), read(in + thread_index()));
        sync_warp();
        const u32 next = from_above<32>(1), other = (thread_index() + next) % 32;
        if (thread_index() < 32) write(out + thread_index(), read(there + other));""",
        None,
    ),
    # --- convergence ---
    "one_lane_leaves": ("if (thread_index() == 5) return; sync_warp();", "diverged"),
    "half_meet": ("if (thread_index() % 32 < 16) sync_warp();", "diverged"),
    "two_places": (
        "if (thread_index() % 2) sync_warp();\n        else sync_warp();",
        "lanes are at different collectives",
    ),
    "two_kinds": ("thread_index() % 2 ? from_lane<8>(0, 0) : from_lane<4>(0, 0);", "different collectives"),
    # --- carry chains ---
    "carry_from_nowhere": ("addc(1, 2);", "read that no instruction of this chain has set"),
    "carry_read_twice": ("add_cc(1, 2); addc(0, 0); addc(0, 0);", "read that no instruction"),
    "carry_lost": ("add_cc(0xffffffff, 1); add_cc(1, 1); addc(0, 0);", "lost"),
    "carry_lost_at_the_end": ("mad_lo_cc(0xffffffff, 1, 1);", "lost"),
    "collective_in_a_chain": ("u32 a = add_cc(1, 1); sync_warp(); addc(a, 0);", "read that no instruction"),
    "carry_not_zero": ("sub_cc(1, 2); carry_is_zero();", "said to be 0"),
    "bound": ("check(thread_index() < 100);", "thread 100: a bound"),
    # --- memory ---
    "read_outside": ("read(in + 32);", "reads outside its buffer: 4 bytes at offset 128 of 128"),
    "read_before": ("read(in - 2000);", "reads outside all buffers"),
    "read_over_the_end": ("read16(in + 28); read16(in + 32);", "16 bytes at offset 128"),
    "write_outside": ("write(out + 32, 1u);", "writes outside its buffer"),
    "write_to_an_operand": ("write(const_cast<u32 *>(in), 1u);", "may only read"),
    "misaligned": ("read16(in + 2);", "16 bytes at an address that is no multiple"),
    "shared_outside": ("SHARED_WORDS(there, 8); write(there + 8, 1u);", "outside"),
    # --- races ---
    "unordered_read": (
        "if (thread_index() < 32) { write(out + thread_index(), 1u); read(out + thread_index() / 2); }",
        "reads what thread 0 wrote, unordered",
    ),
    "unordered_write": ("write(out, thread_index());", "writes over what thread 0 wrote"),
    "write_while_others_read": (
        """if (thread_index() >= 32) return;
        read(out + 7);
        from_lane<32>(0, 0);
        if (thread_index() == 7) write(out + 7, 1u);""",
        "still reads",
    ),
    "between_warps": (
        "if (thread_index() == 0) write(out, 1u); sync_warp(); if (thread_index() == 32) read(out);",
        "thread 32: reads what thread 0 wrote",
    ),
    "between_blocks": ("if (thread_index() == 0) write(out, 1u);", "block 1, thread 0: writes over"),
    "shared_not_written": ("SHARED_WORDS(there, 8); read(there);", "nobody has written"),
    # --- asynchronous copies ---
    "copy_read_early": (
        """SHARED_WORDS(there, 4);
        if (thread_index() == 0) copy16(there, in), copies_until_here(), read(there);""",
        "not yet brought",
    ),
    "copy_of_a_later_set": (
        """SHARED_WORDS(there, 8);
        if (thread_index()) return;
        copy16(there, in), copies_until_here();
        copy16(there + 4, in), copies_until_here();
        wait_for_copies<1>();
        read(there), read(there + 4);""",
        "not yet brought",
    ),
    "copy_not_closed": (
        "SHARED_WORDS(there, 4); if (thread_index() == 0) { copy16(there, in); wait_for_copies<0>(); }",
        "ends with a copy under way",
    ),
    "copy_of_another_lane": (
        """SHARED_WORDS(there, 4);
        if (thread_index() == 0) copy16(there, in);
        copies_until_here();
        wait_for_copies<0>();
        if (thread_index() == 1) read(there);""",
        "thread 1: reads what thread 0 wrote",
    ),
    "copy_onto_a_reader": (
        """SHARED_WORDS(there, 4);
        if (thread_index() == 0) write16(there, read16(in));
        sync_warp();
        if (thread_index() < 2) read(there);
        if (thread_index() == 1) copy16(there, in);""",
        "still reads",
    ),
}


@pytest.fixture(scope="module")
def library():
    kernels = [
        f"KERNEL {name}(u32 *out, const u32 *in) {{\n{body}\n(void)out, (void)in;\n}}\n"
        for name, (body, _) in BODIES.items()
    ]
    parameters = (("out", abi.OUT), ("in", abi.WORDS))
    exports = [build.exported(abi.Kernel(name, "none", (1,), parameters, "")) for name in BODIES]
    program = "\n".join(['#include "emulator.hpp"', *kernels, 'extern "C" {', *exports, "}\n"])
    return build.compiled(program, "rules", ("-w",), [])


@pytest.mark.parametrize("name", BODIES)
def test_rule(library, name: str) -> None:
    _, message = BODIES[name]
    # On one page with what they border on, so that an access outside would go unnoticed.
    page = np.zeros(4096, np.uint32)
    out, operand = page[1024:1056], page[2048:2080]
    operand[:] = np.arange(32)
    blocks = 2 if name == "between_blocks" else 1
    if message is None:
        run(library, name, blocks, [abi.OUT, abi.WORDS], [out, operand])
        assert out.tolist() == [*range(1, 32), 0]
        return
    with pytest.raises(KernelError, match=re.escape(message)) as error:
        run(library, name, blocks, [abi.OUT, abi.WORDS], [out, operand])
    assert f"{name}: block" in str(error.value)


def test_a_launch_after_a_fault_is_right(library) -> None:
    out, operand = np.zeros(32, np.uint32), np.arange(32, dtype=np.uint32)
    with pytest.raises(KernelError):
        run(library, "half_meet", 1, [abi.OUT, abi.WORDS], [out, operand])
    run(library, "right", 1, [abi.OUT, abi.WORDS], [out, operand])
    assert out.tolist() == [*range(1, 32), 0]


def test_the_compiler_has_its_say() -> None:
    with pytest.raises(RuntimeError, match="no_such_thing"):
        build.compiled("int f() { return no_such_thing; }", "broken", (), [])


def test_a_library_is_compiled_once() -> None:
    program = 'extern "C" int nothing() { return 0; }'
    first = build.compiled(program, "nothing", (), [])
    before = first.stat().st_mtime_ns
    assert build.compiled(program, "nothing", (), []) == first
    assert first.stat().st_mtime_ns == before
