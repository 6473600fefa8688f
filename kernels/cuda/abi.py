"""What every CUDA kernel is called and takes: the one list that sources, launchers and tests share.

A **row** is one residue: D digits of L = T·K little-endian 32-bit limbs, D = 1 for a modulus without a known
root, D = 2 for x = x0 + x1·r modulo r², both digits below r: the two-digit form. Rows hold x·R mod m with
R = 2^(32·L) and are canonical. T neighbouring lanes hold one digit, K limbs each.

`constants` is one buffer for a modulus, r its root (or itself):

    r[L]   ((−R) mod r) + 1 [L]   1·R mod m [D·L]

and `inverse` is −r⁻¹ mod 2^32. A kernel whose name ends in `_D` exists as `…_1` and `…_2`. Operands written
`a`, `a_rows`, `a_step` are read at row `a_rows[i]`, or `i·a_step` where `a_rows` is null: step 0 broadcasts
the first row. `out` never overlaps an operand. `count` is the number of elements of `out` unless said
otherwise. Blocks have THREADS threads, THREADS/T elements; a group beyond `count` repeats the last element
and stores nothing. Kernels marked `strided` work through any `count` with any grid; the rest need a group for
each element.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Threads of a block.
THREADS = 128

#: Independent chains of products in a thread of the probe: enough to hide the latency of one.
PROBE_CHAINS = 8

#: Parameter types as they stand in the sources.
WORDS, OUT = "const u32 *", "u32 *"
ROWS, FLOATS = "const int *", "const double *"
FLAG, INT, WORD = "int *", "int", "u32"


@dataclass(frozen=True)
class Kernel:
    """One entry point: `family`.cu has it for the D in `digits`; `parameters` are (name, type) in order.

    `strided`: any grid works through all elements. `lanes`: T lanes share an element; else a thread has one.
    """

    name: str
    family: str
    digits: tuple[int, ...]
    parameters: tuple[tuple[str, str], ...]
    meaning: str
    strided: bool = False
    lanes: bool = True

    def entries(self) -> tuple[str, ...]:
        """Names of the entry points."""
        return tuple(self.name.replace("_D", f"_{d}") for d in self.digits)


def _operand(name: str) -> tuple[tuple[str, str], ...]:
    return ((name, WORDS), (f"{name}_rows", ROWS), (f"{name}_step", INT))


_OUT = (("out", OUT),)
_MODULUS = (("constants", WORDS), ("inverse", WORD))
_COUNT = (("count", INT),)

KERNELS = (
    # --- product.cu -------------------------------------------------------------------------------------
    Kernel(
        "multiply_D", "product", (1, 2), (*_OUT, *_operand("a"), *_operand("b"), *_MODULUS, *_COUNT),
        "out = a·b/R mod m; a's low digit may be any number below R if its high digit is 0",
    ),
    Kernel(
        "shift_D", "product", (1, 2), (*_OUT, *_operand("a"), ("squarings", INT), *_MODULUS, *_COUNT),
        "out = a^(2^squarings), in Montgomery form",
    ),
    Kernel(
        "squares_D", "product", (1, 2), (*_OUT, ("a", WORDS), *_MODULUS, *_COUNT),
        "out[i] = a^(2^i) of the one row a, in Montgomery form; one group works for all",
        strided=True,
    ),
    Kernel(
        "add_D", "product", (1, 2), (*_OUT, *_operand("a"), *_operand("b"), *_MODULUS, *_COUNT),
        "out = a + b mod m",
    ),
    Kernel(
        "subtract_D", "product", (1, 2), (*_OUT, *_operand("a"), *_operand("b"), *_MODULUS, *_COUNT),
        "out = a − b mod m",
    ),
    Kernel(
        "add_message", "product", (2,), (*_OUT, *_operand("a"), *_operand("b"), *_MODULUS, *_COUNT),
        "out = a·(1 + b·r) mod r²: a has rows of two digits, b rows of one modulo r, Montgomery form both",
    ),
    # --- power.cu ---------------------------------------------------------------------------------------
    Kernel(
        "power_D", "power", (1, 2),
        (
            *_OUT, *_operand("a"), ("exponents", WORDS), ("exponent_step", INT), ("words", INT),
            ("bits", INT), ("window", INT), ("table", OUT), *_MODULUS, *_COUNT,
        ),
        "out = a^e, e the `words` words at exponents + i·exponent_step·words, below 2^bits; windows of"
        " `window` bits; `table` has room for 2^window rows a group of the grid; 0^0 = 1",
        strided=True,
    ),
    # --- comb.cu ----------------------------------------------------------------------------------------
    # A table holds plain rows, [entry][window]: rows 2^j·stride … 2^(j+1)·stride are multiply_D of the rows
    # below 2^j·stride and, by b_rows, of base^(2^(window·t + j)), as squares_D makes them. It is built for
    # the longest exponents; shorter ones use its first windows.
    Kernel(
        "comb_D", "comb", (1, 2),
        (
            *_OUT, ("table", WORDS), ("stride", INT), ("exponents", WORDS), ("words", INT), ("window", INT),
            ("windows", INT), *_MODULUS, *_COUNT,
        ),
        "out = ∏_t table[digit t of exponent][t] over t < `windows`, digits of `window` bits, the lowest"
        " first; bits beyond `words` words are 0. The table has `stride` ≥ `windows` windows:"
        " row digit·stride + t",
    ),
    # --- segment.cu -------------------------------------------------------------------------------------
    Kernel(
        "segment_product_D", "segment", (1, 2),
        (*_OUT, ("x", WORDS), ("indices", ROWS), ("firsts", ROWS), ("lasts", ROWS), *_MODULUS, *_COUNT),
        "out[s] = ∏ x[indices[k]] over firsts[s] ≤ k < lasts[s], 1 if there is none; Montgomery form",
    ),
    # --- convert.cu -------------------------------------------------------------------------------------
    Kernel(
        "import_D", "convert", (1, 2),
        (*_OUT, ("numbers", WORDS), ("words", INT), ("factors", WORDS), *_MODULUS, *_COUNT),
        "out = Σ_c chunk_c ⊗ factors[c], chunk_c the c-th L words of an unsigned number of `words` words (any"
        " count; the last chunk may be short), ⊗ the product of multiply_D. With factors[c] = R^(c+2) mod m:"
        " the number·R mod m",
    ),
    Kernel(
        "export_D", "convert", (1, 2),
        (*_OUT, ("x", WORDS), ("words", INT), *_MODULUS, *_COUNT),
        "out[i][words] = the canonical integer 0 ≤ x < m, lowest word first; words ≥ those of m, the rest 0",
    ),
    Kernel(
        "high_digit", "convert", (2,), (*_OUT, ("x", WORDS), ("factor", WORDS), *_MODULUS, *_COUNT),
        "out = ⌊x / r⌋ as rows of one digit modulo r, Montgomery form; factor = R² mod r, one digit",
    ),
    Kernel(
        "first_not_below", "convert", (1,),
        (("first", FLAG), ("numbers", WORDS), ("words", INT), ("bound", WORDS), *_COUNT),
        "*first = min(*first, the least i with numbers[i] ≥ bound), both of `words` words",
        lanes=False,
    ),
    Kernel(
        "centre", "convert", (1,),
        (("numbers", OUT), ("words", INT), ("modulus", WORDS), ("half", WORDS), *_COUNT),
        "numbers[i] −= modulus where numbers[i] ≥ half, two's complement of `words` words, in place",
        lanes=False,
    ),
    # --- fixed_point.cu: two's complement numbers of some words, lowest first ----------------------------
    Kernel(
        "encode_floats", "fixed_point", (1,),
        (*_OUT, ("values", FLOATS), ("scale_bits", INT), ("words", INT), ("bad", FLAG), *_COUNT),
        "out = round-half-even(values·2^scale_bits); *bad = min(*bad, the first i that is not finite or does"
        " not fit)",
        lanes=False,
    ),
    Kernel(
        "pack_slots", "fixed_point", (1,),
        (
            *_OUT, ("out_words", INT), ("values", WORDS), ("words", INT), ("length", INT), ("slots", INT),
            ("slot_bits", INT), *_COUNT,
        ),
        "out[i] = Σ_j values[row(i), j]·2^(slot_bits·j), signed: each value row has `length` values in"
        " ⌈length/slots⌉ packed numbers; missing values of the last are 0",
        lanes=False,
    ),
    Kernel(
        "unpack_slots", "fixed_point", (1,),
        (
            *_OUT, ("words", INT), ("packed", WORDS), ("packed_words", INT), ("length", INT), ("slots", INT),
            ("slot_bits", INT), *_COUNT,
        ),
        "the signed values that pack_slots packed; count = number of values",
        lanes=False,
    ),
    # --- probe.cu: what the multiplier reaches with nothing else to do -----------------------------------
    Kernel(
        "word_products", "probe", (1,), (*_OUT, ("rounds", INT), *_COUNT),
        "thread i has PROBE_CHAINS numbers a_j = i + j of 64 bits; `rounds` times each is a_j ="
        " (a_j mod 2^32)·(2·i + 1) + a_j mod 2^64, one IMAD.WIDE; out[i] = the xor of the words of all a_j",
        lanes=False,
    ),
)  # fmt: skip

FAMILIES = tuple(dict.fromkeys(kernel.family for kernel in KERNELS))
