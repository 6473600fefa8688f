"""Faults planted in copies of the vector kernels: is each one found before it touches a key?

Every fault is one slip of the hand: a carry dropped, a bound off by one, a wrong multiple. It is made in a
copy of `kernels/` (never in the checkout), which then runs `quick_oracle` in a process of its own, with its
own folder for machine code. The answer says what found it: the self-test that every process runs on loading,
or one of the oracle's questions.

    python tests/kernels/simd/planted_faults.py                   all of them: some minutes
    python tests/kernels/simd/planted_faults.py --form avx2 3 17  two of them, in that vector form

A fault belongs here only if it makes a result wrong. Without the `subtract_if_not_less` of one-digit sums,
for example, a sum may reach 4n, and the products that follow bring it below 2n again: it is not in the list.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import hecore.kernels

KERNELS = Path(hecore.kernels.__file__).parent
ORACLE = Path(__file__).with_name("quick_oracle.py")
HALVES = ("ifma",)
FLOATS = ("avx512", "avx2")
EVERY = HALVES + FLOATS


@dataclass(frozen=True)
class Fault:
    """`right`, which stands once in kernels/`file`, is written as `wrong`; in `forms` that matters."""

    file: str
    why: str
    right: str
    wrong: str
    forms: tuple[str, ...] = EVERY


FAULTS = [
    # --- unreduced products ---
    Fault(
        "simd/lanes.py",
        "high halves of products are added a limb too low",
        'sums[first + r + 1] = self._ifma("h", sums[first + r + 1], x[r], y)',
        'sums[first + r] = self._ifma("h", sums[first + r], x[r], y)',
        HALVES,
    ),
    Fault(
        "simd/lanes.py",
        "high halves of products in floating point are added a limb too low",
        "sums[first + r + 1] = self.b.add(sums[first + r + 1], high)",
        "sums[first + r] = self.b.add(sums[first + r], high)",
        FLOATS,
    ),
    Fault(
        "simd/rounding.py",
        "floating point rounds to the nearest",
        "TOWARDS_ZERO = 0x7F80",
        "TOWARDS_ZERO = 0x1F80",
        FLOATS,
    ),
    Fault(
        "simd/lanes.py",
        "low halves lack 2^52 in floating point",
        "self._float_const(HIGH_ONE + (1 << LIMB_BITS))",
        "self._float_const(HIGH_ONE)",
        FLOATS,
    ),
    Fault(
        "simd/lanes.py",
        "a multiplier keeps its exponent as a factor",
        "return self.limb(low), self.b.fsub(self._as_floats(low), self._float_const(1 << LIMB_BITS))",
        "return self.limb(low), self._as_floats(low)",
        FLOATS,
    ),
    Fault(
        "simd/constants.py",
        "sums start without regard to the high halves' exponents",
        "pairs.astype(object) * low + above.astype(object) * high",
        "pairs.astype(object) * low",
        FLOATS,
    ),
    Fault(
        "simd/constants.py",
        "the low half that a reduction does not add is counted with the others",
        "reduction = one - np.where(place < K, low, 0)",
        "reduction = one",
        FLOATS,
    ),
    Fault(
        "simd/constants.py",
        "a square's sum starts at what is right for a product",
        "product, half = -one - reduction, -(one + reduction) // 2",
        "product, half = -one - reduction, -one - reduction",
        FLOATS,
    ),
    Fault(
        "simd/bignum.py",
        "the triangle of a square takes its diagonal with it",
        "own[j], range(j))",
        "own[j], range(j + 1))",
    ),
    Fault(
        "simd/bignum.py",
        "a square's odd limbs are not doubled",
        "sums = [e.add(half, half) for half in (e.load(t, place) for place in places)]",
        "sums = [e.add(e.load(t, places[0]), e.load(t, places[0])), e.load(t, places[1])]",
    ),
    Fault(
        "simd/montgomery.py",
        "the triangles of later blocks begin too low",
        "add_triangle(t + TWO * start, x + start",
        "add_triangle(t + start, x + start",
    ),
    Fault(
        "simd/montgomery.py",
        "the second cross product a1·b0 is missing",
        "    _multiply_add(w, x + digit, y, K)\n",
        "",
    ),
    # --- reduction ---
    Fault(
        "simd/bignum.py",
        "no carry from a finished limb to the next",
        "e.add(sums[r + 1], e.carry_out(sums[r]))",
        "sums[r + 1]",
    ),
    Fault(
        "simd/bignum.py",
        "a finished limb leaves no high half",
        "e.add_high(e.add(sums[r + 1], e.carry_out(sums[r])), m, low_n[0])",
        "e.add(sums[r + 1], e.carry_out(sums[r]))",
    ),
    Fault(
        "simd/bignum.py",
        "one diagonal of the reduction is left out",
        "self.multipliers, low_n[j], range(ROWS - j, ROWS), j)",
        "self.multipliers, low_n[j], range(ROWS - j + 1, ROWS), j)",
    ),
    Fault(
        "simd/lanes.py",
        "the carry of low halves is rounded down",
        "return self.carry(self.b.add(t, self.splat_const(LIMB_MASK)))",
        "return self.carry(t)",
    ),
    Fault(
        "simd/constants.py",
        "the inverse has the wrong sign",
        "-pow(self._n, -1, 1 << LIMB_BITS)",
        "pow(self._n, -1, 1 << LIMB_BITS)",
    ),
    Fault(
        "simd/constants.py",
        "no spare bits: R is only just above n",
        "needed = -(-(base.bits + SPARE_BITS) // LIMB_BITS)",
        "needed = -(-base.bits // LIMB_BITS)",
    ),
    # --- the second digit ---
    Fault(
        "simd/bignum.py",
        "the low digit's multipliers are not taken from the high digit",
        "        second.sums[r] = e.subtract(second.sums[r], first.step(e, low_n, inverse))\n",
        "        first.step(e, low_n, inverse)\n",
    ),
    Fault(
        "simd/constants.py",
        "C is not a multiple of n",
        "multiple = -(-2 * self._radix // self._n) * self._n",
        "multiple = 2 * self._radix",
    ),
    Fault(
        "simd/bignum.py",
        "the upper half of a square's second digit is not doubled",
        "e.store(e.add(high, high), t, place)",
        "e.store(high, t, place)",
    ),
    # --- canonical results ---
    Fault(
        "simd/lanes.py",
        "borrows are shifted in without their sign",
        "return self.b.ashr(x",
        "return self.b.lshr(x",
    ),
    Fault(
        "simd/bignum.py",
        "x = n does not count as x ≥ n",
        'keep = e.b.icmp_signed("<", borrow, e.zero)',
        'keep = e.b.icmp_signed("<=", borrow, e.zero)',
    ),
    Fault(
        "simd/bignum.py",
        "a low digit that loses n gives nothing to the high one",
        "e.b.select(keep, e.zero, e.splat_const(1))",
        "e.zero",
    ),
    Fault(
        "simd/montgomery.py",
        "one-digit results may be n instead of 0",
        "            subtract_if_not_less(x, c, s, K)\n",
        "",
    ),
    Fault(
        "simd/montgomery.py",
        "two-digit results may have the low digit n instead of 0",
        "    carry_digit(x, c, high, spare, K)\n",
        "",
    ),
    Fault(
        "simd/montgomery.py",
        "high digits grow with every message",
        "        subtract_if_not_less(x + K * _V, _row(c, DOUBLED, K), y, K)\n",
        "",
    ),
    # --- windows, lanes and limbs ---
    Fault(
        "simd/montgomery.py",
        "a window is one squaring short",
        "for _ in range(bits):",
        "for _ in range(bits - 1):",
    ),
    Fault(
        "simd/montgomery.py",
        "even entries of a window's table are squares of the wrong entry",
        "table + u(entry // 2) * size",
        "table + u(entry // 2 - 1) * size",
    ),
    Fault(
        "simd/bignum.py",
        "the last lane of a window table is never read",
        "        for lane in range(LANES):\n            word = e.load_scalar",
        "        for lane in range(LANES - 1):\n            word = e.load_scalar",
    ),
    Fault(
        "simd/bignum.py",
        "every lane takes the first one's power from a window table",
        "e.const(8 * lane)",
        "e.const(0)",
    ),
    Fault(
        "simd/bignum.py",
        "the last round of a transpose is missing",
        "while distance < LANES:",
        "while distance < LANES // 2:",
    ),
    Fault(
        "simd/words.py",
        "an exponent's digits that begin in one word do not go on in the next",
        "digit |= words[row, word + 1] << (np.uint64(64) - shift)",
        "pass",
    ),
    Fault(
        "simd/words.py",
        "later blocks take the first block's exponents",
        "row = block * _LANES + lane if",
        "row = lane if",
    ),
    Fault(
        "simd/words.py",
        "limbs that begin in one word do not go on in the next",
        "limb |= words[i, word + 1] << (np.uint64(64) - shift)",
        "pass",
    ),
    Fault(
        "simd/words.py",
        "a chunk's last limb keeps bits of the next chunk",
        "if take < _LIMB:",
        "if take < 0:",
    ),
    Fault(
        "simd/words.py",
        "the highest word lacks what begins in the word below",
        "                out[i, word + 1] |=",
        "                out[i, word] |=",
    ),
    # --- signs, segments, combs ---
    Fault(
        "simd/batch.py",
        "the row behind a batch holds 0 instead of 1",
        "rows[count] = constants.one[0]",
        "rows[count] = 0",
    ),
    Fault(
        "simd/constants.py",
        "a sign is ignored on the way in",
        "self.constant(factor, -factor)",
        "self.constant(factor, factor)",
    ),
    Fault(
        "simd/segments.py",
        "lanes of shorter pieces go on with row 0 instead of 1",
        "chosen[:] = spare",
        "chosen[:] = 0",
    ),
    Fault(
        "pieces.py",
        "the order of pieces is taken for its inverse",
        "place[order] = np.arange(order.size)",
        "place[:] = order",
    ),
    Fault(
        "simd/montgomery.py",
        "a segment's last row is left out",
        "for step in range(1, steps[block]):",
        "for step in range(1, steps[block] - 1):",
    ),
    Fault(
        "simd/fixed_base.py",
        "digits of a comb are swapped: a window's table begins with base, not with 1",
        "entries = [stretch(one(k), len(power)), power]",
        "entries = [power, stretch(one(k), len(power))]",
    ),
    Fault(
        "simd/fixed_base.py",
        "windows that are added later have the wrong weight",
        "1 << (WINDOW_BITS * first)",
        "1 << first",
    ),
    # --- loading ---
    Fault("simd/load.py", "the self-test is not run", "    self_test(backend)\n", ""),
    Fault(
        "selftest.py",
        "the self-test counts results instead of comparing them",
        "if found != expected:",
        "if len(found) != len(expected):",
    ),
]

#: A few that tell quickly that faults are found: a dropped carry, a missing subtraction, a wrong constant.
SAMPLE = [
    "no carry from a finished limb to the next",
    "high digits grow with every message",
    "C is not a multiple of n",
]


def copy_of_the_kernels(folder: Path, fault: Fault | None) -> None:
    """`folder`/hecore with nothing but the kernels, and the fault in them."""
    package = folder / "hecore"
    package.mkdir()
    (package / "__init__.py").touch()
    shutil.copytree(KERNELS, package / "kernels", ignore=shutil.ignore_patterns("__pycache__"))
    if fault is not None:
        source = package / "kernels" / fault.file
        text = source.read_text(encoding="utf-8")
        if text.count(fault.right) != 1:
            raise LookupError(f"{fault.file} does not hold {fault.right!r} once: {fault.why}")
        source.write_text(text.replace(fault.right, fault.wrong), encoding="utf-8")


def found_by(fault: Fault | None, form: str) -> str:
    """What found the fault: the line of `quick_oracle`. RuntimeError if the process broke down."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary).resolve()
        copy_of_the_kernels(folder, fault)
        changes = {
            "PYTHONPATH": str(folder),
            "NUMBA_CACHE_DIR": str(folder / "cache"),
            "HECORE_SIMD_FORM": form,
        }
        done = subprocess.run(
            [sys.executable, ORACLE],
            env=os.environ | changes,
            capture_output=True,
            text=True,
            check=False,
            timeout=250,
        )
        place, _, answer = done.stdout.strip().partition("\n")
        if done.returncode != 0 or not Path(place).is_relative_to(folder):
            raise RuntimeError(f"exit status {done.returncode}, {done.stdout}{done.stderr}")
        return answer


def main() -> None:
    parser = argparse.ArgumentParser(description="Plant faults in copies of the vector kernels.")
    parser.add_argument("numbers", nargs="*", type=int, help="of the faults; all by default")
    parser.add_argument("--form", default="", choices=EVERY, help="the vector form; the best by default")
    options = parser.parse_args()
    if not options.form:
        from hecore.kernels.simd.forms import chosen

        options.form = chosen().name
    survived = 0
    for number, fault in enumerate(FAULTS):
        if options.form not in fault.forms or (options.numbers and number not in options.numbers):
            continue
        begin = time.perf_counter()
        try:
            answer = found_by(fault, options.form)
        except RuntimeError as error:
            answer = f"BROKE DOWN: {error}"
        survived += not answer.startswith(("self-test", "oracle"))
        seconds = time.perf_counter() - begin
        print(f"{number:3} {seconds:5.1f} s  {fault.file:19} {fault.why}\n{'':13}{answer}", flush=True)
    sys.exit(f"{survived} faults were not found" if survived else 0)


if __name__ == "__main__":
    main()
