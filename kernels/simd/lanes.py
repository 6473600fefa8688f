"""A small assembler for integers side by side: vectors of eight (or four) 64-bit lanes, through LLVM.

    lane:        7      6      5      4      3      2      1      0
    limb 0   [ x7[0]  x6[0]  x5[0]  x4[0]  x3[0]  x2[0]  x1[0]  x0[0] ]   one vector, 64 bytes
    limb 1   [ x7[1]  …                                         x0[1] ]
    …
    limb K−1

Every vector operation works on the same limb of all integers; nothing crosses lanes except transposes. The
drawing has eight lanes. A normalised limb is below 2^52 and leaves 12 bits of a lane for sums of halves of
products x·y = low + high·2^52.

Without vpmadd52 the halves come from floating point (Emmart, Zheng, Weems: "Faster modular exponentiation
using double precision floating point arithmetic on the GPU", 2018), with rounding towards zero:

    h = fma(x, y, 2^104)                  = 2^104 + high·2^52: its 52 bits of mantissa are `high`
    l = fma(x, y, (2^104 + 2^52) − h)     = 2^52 + low: its mantissa is `low`

The words of h and l are added as integers, exponents and all. How many come into each limb of a sum is known
before (`constants`), so sums start at minus as many exponents, and end right modulo 2^64. Kernels of these
forms run under `rounding.towards_zero`.

An intrinsic is a Python function that writes LLVM instructions through an `Emitter`; numba calls it as if it
were a function on integers. All its arguments are uint64: addresses of vectors (64-byte aligned) and counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .forms import chosen

FORM = chosen()
LANES = FORM.lanes
LIMB_BITS = 52
LIMB_MASK = (1 << LIMB_BITS) - 1
VECTOR_BYTES = 8 * LANES

I32, I64 = ir.IntType(32), ir.IntType(64)
VECTOR = ir.VectorType(I64, LANES)
FLOATS = ir.VectorType(ir.DoubleType(), LANES)
PREFETCH = "llvm.prefetch.p0i8"

#: 2^104, of whose 53 bits the last is worth 2^52; the exponents of 2^52 and 2^104, where a float64 has them.
HIGH_ONE = 1 << 2 * LIMB_BITS
LOW_EXPONENT, HIGH_EXPONENT = (1023 + 52) << 52, (1023 + 104) << 52


class Emitter:
    """Writes vector instructions at the current place of an llvmlite IRBuilder."""

    def __init__(self, builder: Any) -> None:
        self.b = builder

    # --- constants -------------------------------------------------------------------------------

    def const(self, value: int) -> Any:
        """A 64-bit scalar."""
        return ir.Constant(I64, value)

    def splat_const(self, value: int) -> Any:
        """A vector with `value` in every lane."""
        return ir.Constant(VECTOR, [value] * LANES)

    @property
    def zero(self) -> Any:
        """A vector of zeros."""
        return self.splat_const(0)

    def splat(self, scalar: Any) -> Any:
        """A vector with a scalar in every lane."""
        undefined = ir.Constant(VECTOR, ir.Undefined)
        first = self.b.insert_element(undefined, scalar, ir.Constant(I32, 0))
        return self.shuffle(first, undefined, [0] * LANES)

    # --- memory ----------------------------------------------------------------------------------

    def address(self, base: Any, index: Any, unit: int = VECTOR_BYTES) -> Any:
        """base + index·unit; `index` a Python integer or a scalar."""
        if isinstance(index, int):
            return self.b.add(base, self.const(index * unit))
        return self.b.add(base, self.b.mul(index, self.const(unit)))

    def load(self, base: Any, index: Any = 0) -> Any:
        """Vector number `index` behind an aligned base address."""
        pointer = self.b.inttoptr(self.address(base, index), VECTOR.as_pointer())
        return self.b.load(pointer, align=VECTOR_BYTES)

    def store(self, value: Any, base: Any, index: Any = 0) -> None:
        """Write vector number `index` behind an aligned base address."""
        pointer = self.b.inttoptr(self.address(base, index), VECTOR.as_pointer())
        self.b.store(value, pointer, align=VECTOR_BYTES)

    def load_scalar(self, base: Any, index: Any = 0) -> Any:
        """64-bit word number `index` behind a base address."""
        pointer = self.b.inttoptr(self.address(base, index, 8), I64.as_pointer())
        return self.b.load(pointer, align=8)

    def broadcast(self, base: Any, index: Any = 0) -> Any:
        """Word number `index` behind a base address, in every lane."""
        return self.splat(self.load_scalar(base, index))

    def prefetch(self, address: Any) -> None:
        """Bring the memory around an address near, without waiting for it."""
        byte, module = ir.IntType(8).as_pointer(), self.b.module
        function = module.globals.get(PREFETCH)
        if function is None:
            function = ir.Function(module, ir.FunctionType(ir.VoidType(), [byte, I32, I32, I32]), PREFETCH)
        read, near, data = (ir.Constant(I32, value) for value in (0, 3, 1))
        self.b.call(function, [self.b.inttoptr(address, byte), read, near, data])

    # --- arithmetic ------------------------------------------------------------------------------

    def factor(self, limb: Any) -> Any:
        """A normalised limb as `multiply_add` takes it: itself, or its number in floating point."""
        if not FORM.floats:
            return limb
        exponent = self.splat_const(LOW_EXPONENT)
        return self.b.fsub(self._as_floats(self.b.or_(limb, exponent)), self._float_const(1 << LIMB_BITS))

    def as_factor(self, word: Any) -> Any:
        """A stored word of a factor (`bignum.factors`) as one."""
        return self._as_floats(word) if FORM.floats else word

    def factor_word(self, factor: Any) -> Any:
        """A factor as a word to store."""
        return self._words(factor) if FORM.floats else factor

    def splat_factor(self, word: Any) -> Any:
        """One factor, a scalar of `constants.factor_words`, in every lane."""
        return self.as_factor(self.splat(word))

    def multiply_add(
        self, sums: list[Any], x: Sequence[Any], y: Any, rows: Sequence[int], first: int = 0
    ) -> None:
        """sums[first + r] += low(x[r]·y), sums[first + r + 1] += high(x[r]·y) for factors and the given r.

        In floating point, each addition also brings LOW_EXPONENT or HIGH_EXPONENT.
        """
        if not FORM.floats:
            # All low halves first: independent chains hide the latency of the multiplier.
            for r in rows:
                sums[first + r] = self._ifma("l", sums[first + r], x[r], y)
            for r in rows:
                sums[first + r + 1] = self._ifma("h", sums[first + r + 1], x[r], y)
            return
        for r in rows:
            high, low = self._halves(x[r], y)
            sums[first + r + 1] = self.b.add(sums[first + r + 1], high)
            sums[first + r] = self.b.add(sums[first + r], low)

    def add_high(self, total: Any, x: Any, y: Any) -> Any:
        """total + high(x·y), with HIGH_EXPONENT in floating point."""
        if not FORM.floats:
            return self._ifma("h", total, x, y)
        return self.b.add(total, self._words(self._fma(x, y, self._float_const(HIGH_ONE))))

    def low_product(self, x: Any, y: Any) -> tuple[Any, Any]:
        """low(x·y) of factors, as a normalised limb and as a factor."""
        if not FORM.floats:
            low = self.limb(self._ifma("l", self.zero, x, y))
            return low, low
        low = self._halves(x, y)[1]
        return self.limb(low), self.b.fsub(self._as_floats(low), self._float_const(1 << LIMB_BITS))

    def carry_out(self, t: Any) -> Any:
        """The carry of t + low(m·n) where that is a multiple of 2^52: ⌈t / 2^52⌉, without the product."""
        return self.carry(self.b.add(t, self.splat_const(LIMB_MASK)))

    def _halves(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Words of 2^104 + high·2^52 and of 2^52 + low."""
        high = self._fma(x, y, self._float_const(HIGH_ONE))
        rest = self.b.fsub(self._float_const(HIGH_ONE + (1 << LIMB_BITS)), high)
        return self._words(high), self._words(self._fma(x, y, rest))

    def _fma(self, *operands: Any) -> Any:
        return self._call(f"llvm.fma.v{LANES}f64", FLOATS, operands)

    def _ifma(self, half: str, *operands: Any) -> Any:
        return self._call(f"llvm.x86.avx512.vpmadd52{half}.uq.512", VECTOR, operands)

    def _call(self, name: str, kind: Any, operands: Sequence[Any]) -> Any:
        module = self.b.module
        function = module.globals.get(name)
        if function is None:
            function = ir.Function(module, ir.FunctionType(kind, [kind] * len(operands)), name)
        return self.b.call(function, list(operands))

    def _float_const(self, value: int) -> Any:
        return ir.Constant(FLOATS, [float(value)] * LANES)

    def _as_floats(self, words: Any) -> Any:
        return self.b.bitcast(words, FLOATS)

    def _words(self, floats: Any) -> Any:
        return self.b.bitcast(floats, VECTOR)

    def add(self, x: Any, y: Any) -> Any:
        return self.b.add(x, y)

    def subtract(self, x: Any, y: Any) -> Any:
        return self.b.sub(x, y)

    def carry(self, x: Any) -> Any:
        """⌊x / radix⌋ of unsigned lanes."""
        return self.b.lshr(x, self.splat_const(LIMB_BITS))

    def borrow(self, x: Any) -> Any:
        """⌊x / radix⌋ of signed lanes: 0 or negative after a subtraction."""
        return self.b.ashr(x, self.splat_const(LIMB_BITS))

    def limb(self, x: Any) -> Any:
        """x mod radix."""
        return self.b.and_(x, self.splat_const(LIMB_MASK))

    def shuffle(self, x: Any, y: Any, order: Sequence[int]) -> Any:
        """Lanes picked from x (0 … LANES − 1) and y (from LANES on)."""
        return self.b.shuffle_vector(x, y, ir.Constant(ir.VectorType(I32, LANES), list(order)))

    def lane(self, x: Any, index: int) -> Any:
        """One lane as a scalar."""
        return self.b.extract_element(x, ir.Constant(I32, index))

    # --- control ---------------------------------------------------------------------------------

    def loop(
        self, first: Any, last: Any, carried: Sequence[Any], body: Callable[[Any, list[Any]], Sequence[Any]]
    ) -> list[Any]:
        """for j in range(first, last): carried = body(j, carried); returns the carried values."""
        b = self.b
        before = b.block
        head, inside, after = (b.function.append_basic_block(name) for name in ("head", "body", "after"))
        b.branch(head)
        b.position_at_end(head)
        counter = b.phi(I64)
        counter.add_incoming(first, before)
        values = []
        for value in carried:
            phi = b.phi(value.type)
            phi.add_incoming(value, before)
            values.append(phi)
        b.cbranch(b.icmp_unsigned("<", counter, last), inside, after)
        b.position_at_end(inside)
        results = body(counter, list(values))
        end = b.block
        counter.add_incoming(b.add(counter, self.const(1)), end)
        for phi, result in zip(values, results, strict=True):
            phi.add_incoming(result, end)
        b.branch(head)
        b.position_at_end(after)
        return values


def vector_intrinsic(arguments: int) -> Callable[[Callable[..., None]], Any]:
    """Make `write(emitter, *addresses and counts)` callable from numba code, as a function without result."""

    def decorate(write: Callable[..., None]) -> Any:
        signature = types.void(*[types.uint64] * arguments)

        def code(context: Any, builder: Any, _: Any, values: Any) -> Any:
            write(Emitter(builder), *values)
            return context.get_dummy_value()

        # numba reads the number of parameters off the function, so one is made for each count.
        typers = {
            2: lambda ctx, a, b: (signature, code),
            3: lambda ctx, a, b, c: (signature, code),
            4: lambda ctx, a, b, c, d: (signature, code),
            5: lambda ctx, a, b, c, d, e: (signature, code),
        }
        typer = typers[arguments]
        typer.__name__ = write.__name__
        typer.__doc__ = write.__doc__
        return intrinsic(typer)

    return decorate
