"""What the load-time self-test leaves out, against plain integers, in a process of its own.

`python quick_oracle.py` prints one line: what refused the kernels that it found on sys.path,

    self-test: …     loading the backend did
    oracle: …        one of the questions below did
    nothing          they are right, as far as this can tell

Anything else (an exception, a crash) is the caller's to report. `planted_faults` runs it on faulty copies.
"""

from __future__ import annotations

import contextlib
import random
import sys
from collections.abc import Callable

import numpy as np

from hecore.kernels import Backend, BackendUnavailable, Modulus
from hecore.kernels import limbs as lb
from hecore.kernels.backend import Residues
from hecore.kernels.gmp import GmpBackend
from hecore.kernels.simd import load
from hecore.kernels.simd.forms import chosen
from hecore.kernels.simd.lanes import LIMB_BITS


def roots_that_leave_no_spare_bit(backend: Backend) -> bool:
    """Roots of ones, around the length at which a digit takes one more block of limbs."""
    form, rng = chosen(), random.Random(3)
    length = 2 * form.rows * LIMB_BITS
    for bits in range(length - 9, length + 2):
        modulus = Modulus.square_of(Modulus((1 << bits) - 1))
        m = modulus.value
        values = [m - 1, m - 2, *(rng.randrange(m) for _ in range(8))]
        x = backend.from_ints(modulus, values)
        if backend.to_ints(backend.mod_pow(backend.mod_mul(x, x), 4)) != [pow(v, 8, m) for v in values]:
            return False
    return True


def messages_in_a_row(backend: Backend) -> bool:
    """No product brings the high digit back in between: an n too many in each would leave its limbs."""
    root = Modulus((1 << 2 * chosen().rows * LIMB_BITS - 8) - 1)
    modulus = Modulus.square_of(root)
    x = backend.from_ints(modulus, [1, 1 + root.value])
    message = backend.from_ints(root, [root.value - 1])
    for _ in range(600):
        x = backend.mul_one_plus(x, message)
    steps = 600 * (root.value - 1)
    return backend.to_ints(x) == [1 + (start + steps) % root.value * root.value for start in (0, 1)]


def combs_that_grow(backend: Backend) -> bool:
    """Short exponents, then longer ones: the table is extended."""
    modulus = Modulus.square_of(Modulus((1 << 127) - 1))
    comb = backend.fixed_base(modulus, 7, 900)
    for bits in (8, 250, 300, 900):
        exponents = [(1 << bits) - 1, 1 << (bits - 1), 3**5]
        powers = comb.pow(lb.from_ints(exponents, lb.width_for_bits(900)))
        if backend.to_ints(powers) != [pow(7, e, modulus.value) for e in exponents]:
            return False
    return True


class WrongInTheLast(GmpBackend):
    """One product in a batch is off by one."""

    def mod_mul(self, a: Residues, b: Residues) -> Residues:
        out = super().mod_mul(a, b)
        last = (self.to_ints(out)[-1] + 1) % out.modulus.value
        return self.concatenate(
            [self.gather(out, np.arange(len(out) - 1)), self.from_ints(out.modulus, [last])]
        )


def loading_that_tests(_: Backend) -> bool:
    """The self-test is run on loading, and refuses a wrong product."""
    tested: list[Backend] = []
    original, load.self_test = load.self_test, tested.append
    loaded = load.load_simd()
    load.self_test = original
    with contextlib.suppress(BackendUnavailable):
        load.self_test(WrongInTheLast())
        return False
    return tested == [loaded]


QUESTIONS: list[Callable[[Backend], bool]] = [
    loading_that_tests,
    roots_that_leave_no_spare_bit,
    messages_in_a_row,
    combs_that_grow,
]


def verdict() -> str:
    try:
        backend = load.load_simd()
    except BackendUnavailable as error:
        return f"self-test: {error}"
    for question in QUESTIONS:
        if not question(backend):
            return f"oracle: {question.__name__.replace('_', ' ')}"
    return "nothing"


if __name__ == "__main__":
    sys.stdout.write(f"{load.__file__}\n{verdict()}\n")
