"""Montgomery arithmetic on all lanes at once, and its batches: the compiled kernels of the simd backend.

Let b be the radix 2^52, K the limbs of a digit and R = b^K. REDC(t) = t/R mod n by
Montgomery (1985), word by word. An odd modulus n is used with R ≥ 2^8·n, and residues are kept *lazily*,
0 ≤ x < 2n, with normalised limbs (below b): no comparison is needed between products.

    one digit     x·R mod n                                     modulo n
    two digits    (x0, x1) with x·R ≡ x0 + x1·n mod n²          modulo n², both digits below 2n

The product of two-digit numbers, with m the multiplier that REDC(a0·b0) computes:

    c0 = REDC(a0·b0) = (a0·b0 + m·n)/R
    c1 = REDC(a0·b1 + a1·b0 + (C − m)),      C a multiple of n with every limb ≥ b − 1

because a·b = c0·R + (a0·b1 + a1·b0 − m)·n mod n². Bounds, for inputs below 2n, C < 4R and R ≥ 2^8·n:

    c0 < (4n² + R·n)/R       = n + 4n²/R           < 1.02·n
    c1 < (8n² + C + R·n)/R   < n + 8n²/R + 4       < 1.04·n + 4 < 2n for n > 4; n = 3 has c1 < n + 5 < 2n + 2

A digit of up to 2^−8·R (a chunk of an integer on its way in) times a canonical constant stays below 2n too.
Accumulators are 64 bits. A limb of an unreduced product is a sum of at most 6·K + 8 halves below 2^52 (2·K
from each of two products, 2·K from the reduction, and a start below 2^54): below 2^64 for K < 680.
Sums start at the rows of scalars that `constants.starts` describes: zeros, or C, or minus the exponents of
floating point that come along (see `lanes`).

`two` is 1 for two digits, 0 for one. Scratch of a thread, in vectors, from `s` on:

    t[2K] | w[2K] | factors[4K] | x[stride] | y[stride] | table …

`c` is the row of constants of a modulus, K words each but for starts, which have 2K:

    n | 2n | C | n in factors | starts: product | cross | square | twice | alone
"""

from __future__ import annotations

import numpy as np

from .bignum import (
    ROWS,
    add_rows,
    add_triangle,
    add_vectors,
    carry_digit,
    clear,
    copy,
    double_and_add,
    double_and_add_squares,
    factors,
    fetch_rows,
    load_rows,
    load_sequential,
    normalise,
    pick,
    reduce_rows,
    reduce_rows_of_both,
    spread,
    store_rows,
    subtract_if_not_less,
)
from .cache import jit
from .lanes import FORM, VECTOR_BYTES

u = np.uint64

FLOATS = FORM.floats
_V = u(VECTOR_BYTES)
_ROWS = u(ROWS)
_BLOCK = u(ROWS * VECTOR_BYTES)
_WORD = u(8)
ONE, TWO, FOUR, EIGHT = u(1), u(2), u(4), u(8)
#: Where the parts of `c` begin, in digits.
DOUBLED, DIFFERENCE, FACTORS = u(1), u(2), u(3)
PRODUCT, CROSS, SQUARE, TWICE, ALONE = u(4), u(6), u(8), u(10), u(12)

# --- one product ----------------------------------------------------------------------------------------


@jit
def _row(c, part, K):
    """The address of a part of the constants."""
    return c + part * _WORD * K


@jit
def _factors(out, x, count):
    """The address of x in factors: out, or x itself where limbs are factors."""
    if FLOATS:
        factors(out, x, count)
        return out
    return x


@jit
def _multiply_add(t, x, y, K):
    """t[0 … 2K − 1] += x·y, both in factors."""
    for block in range(K // _ROWS):
        start = u(block) * _BLOCK
        add_rows(t + start, x + start, y, K)


@jit
def _square(t, x, c, K):
    """t[0 … 2K − 1] = x², in factors: the triangle, doubled, and the diagonal."""
    spread(t, _row(c, SQUARE, K), TWO * K)
    for block in range(K // _ROWS):
        start = u(block) * _BLOCK
        add_triangle(t + TWO * start, x + start, K - u(block) * _ROWS)
    double_and_add_squares(t, x, K)


@jit
def _reduce(out, t, c, inverse, K):
    """out = REDC(t), normalised."""
    n = _row(c, FACTORS, K)
    for block in range(K // _ROWS):
        reduce_rows(t + u(block) * _BLOCK, n, inverse, K)
    normalise(out, t + K * _V, K)


@jit
def _reduce_both(out, t, w, c, inverse, K):
    """Two digits: REDC(t), which computes m, and REDC(w − m)."""
    n = _row(c, FACTORS, K)
    for block in range(K // _ROWS):
        start = u(block) * _BLOCK
        reduce_rows_of_both(t + start, w + start, n, inverse, K)
    normalise(out, t + K * _V, K)
    normalise(out + K * _V, w + K * _V, K)


@jit
def multiply(out, a, b, c, inverse, K, two, s):
    """out = a·b/R: one digit modulo n, or (`two`) two digits modulo n². out may be a or b."""
    digit = K * _V
    t, w, f = s, s + TWO * digit, s + FOUR * digit
    x, y = _factors(f, a, (ONE + two) * K), _factors(f + TWO * digit, b, (ONE + two) * K)
    spread(t, _row(c, PRODUCT, K), TWO * K)
    _multiply_add(t, x, y, K)
    if two == 0:
        _reduce(out, t, c, inverse, K)
        return
    spread(w, _row(c, CROSS, K), TWO * K)
    _multiply_add(w, x, y + digit, K)
    _multiply_add(w, x + digit, y, K)
    _reduce_both(out, t, w, c, inverse, K)


@jit
def square(out, a, c, inverse, K, two, s):
    """out = a²/R, in about three quarters of the time of a product. out may be a."""
    digit = K * _V
    t, w, f = s, s + TWO * digit, s + FOUR * digit
    x = _factors(f, a, (ONE + two) * K)
    _square(t, x, c, K)
    if two == 0:
        _reduce(out, t, c, inverse, K)
        return
    spread(w, _row(c, TWICE, K), TWO * K)
    _multiply_add(w, x, x + digit, K)
    double_and_add(w, _row(c, DIFFERENCE, K), K)
    _reduce_both(out, t, w, c, inverse, K)


# --- batches: rows in, rows out ---------------------------------------------------------------------------
# A batch is row-major, `stride` words a row (a multiple of 8 that holds all digits, the rest zero). Operands
# are picked by int64 indices, LANES at a time; blocks first … last − 1 of LANES results are computed.


@jit
def multiply_rows(out, a, a_choice, b, b_choice, first, last, stride, c, inverse, K, two, s):
    """out[i] = a[a_choice[i]] · b[b_choice[i]] / R."""
    x, y = s + EIGHT * K * _V, s + EIGHT * K * _V + stride * _V
    for block in range(first, last):
        i = u(block)
        load_rows(x, a, a_choice + i * _V, stride)
        load_rows(y, b, b_choice + i * _V, stride)
        multiply(x, x, y, c, inverse, K, two, s)
        store_rows(out + i * stride * _V, x, stride)


@jit
def power_rows(
    out, a, a_choice, digits, windows, bits, entries, one, first, last, stride, c, inverse, K, two, s
):
    """out[i] = a[a_choice[i]]^e[i] by fixed windows of `bits` bits, from the highest down.

    `digits` int64[blocks][windows][lanes], lowest first; powers 0 … entries − 1 are tabulated in scratch.
    """
    x, y = s + EIGHT * K * _V, s + EIGHT * K * _V + stride * _V
    table = y + stride * _V
    size = stride * _V
    for block in range(first, last):
        i = u(block)
        chosen = digits + i * u(windows) * _V
        spread(table, one, stride)
        load_rows(table + size, a, a_choice + i * _V, stride)
        for entry in range(2, entries):
            place = table + u(entry) * size
            if entry % 2 == 0:
                square(place, table + u(entry // 2) * size, c, inverse, K, two, s)
            else:
                multiply(place, place - size, table + size, c, inverse, K, two, s)
        pick(x, table, chosen + u(windows - 1) * _V, stride)
        for window in range(windows - 2, -1, -1):
            for _ in range(bits):
                square(x, x, c, inverse, K, two, s)
            pick(y, table, chosen + u(window) * _V, stride)
            multiply(x, x, y, c, inverse, K, two, s)
        store_rows(out + i * stride * _V, x, stride)


@jit
def shift_rows(out, a, a_choice, squarings, first, last, stride, c, inverse, K, two, s):
    """out[i] = a[a_choice[i]]^(2^squarings)."""
    x = s + EIGHT * K * _V
    for block in range(first, last):
        i = u(block)
        load_rows(x, a, a_choice + i * _V, stride)
        for _ in range(squarings):
            square(x, x, c, inverse, K, two, s)
        store_rows(out + i * stride * _V, x, stride)


@jit
def comb_rows(out, table, digits, windows, row_words, first, last, stride, c, inverse, K, two, s):
    """out[i] = ∏_t table[t][digit(i, t)]; digits int64[blocks][windows][lanes], `row_words` a window."""
    x, y = s + EIGHT * K * _V, s + EIGHT * K * _V + stride * _V
    for block in range(first, last):
        i = u(block)
        chosen = digits + i * u(windows) * _V
        rows, size = table, u(row_words) * _WORD
        load_rows(x, rows, chosen, stride)
        for window in range(1, windows):
            rows, chosen = rows + size, chosen + _V
            load_rows(y, rows, chosen, stride)
            if window + 1 < windows:
                fetch_rows(rows + size, chosen + _V, stride)
            multiply(x, x, y, c, inverse, K, two, s)
        store_rows(out + i * stride * _V, x, stride)


@jit
def segment_rows(out, a, chosen, steps, offsets, first, last, stride, c, inverse, K, two, s):
    """out[i] = ∏ of the rows of LANES segments side by side.

    Block i has steps[i] rows of LANES indices from chosen[offsets[i]] on; the lane of a shorter segment goes
    on with a row that holds one.
    """
    x, y = s + EIGHT * K * _V, s + EIGHT * K * _V + stride * _V
    for block in range(first, last):
        place = chosen + u(offsets[block]) * _V
        load_rows(x, a, place, stride)
        for step in range(1, steps[block]):
            load_rows(y, a, place + u(step) * _V, stride)
            if step + 1 < steps[block]:
                fetch_rows(a, place + u(step + 1) * _V, stride)
            multiply(x, x, y, c, inverse, K, two, s)
        store_rows(out + u(block) * stride * _V, x, stride)


@jit
def add_product_rows(out, a, b, first, last, stride, b_stride, c, inverse, K, s):
    """(x0, x1 + m·x0) of two-digit rows a and one-digit rows b = m: multiplication by 1 + m·n."""
    x, y = s + EIGHT * K * _V, s + EIGHT * K * _V + stride * _V
    for block in range(first, last):
        i = u(block)
        load_sequential(x, a + i * stride * _V, stride)
        load_sequential(y, b + i * b_stride * _V, b_stride)
        multiply(y, y, x, c, inverse, K, u(0), s)
        add_vectors(y, y, x + K * _V, K)
        normalise(x + K * _V, y, K)
        subtract_if_not_less(x + K * _V, _row(c, DOUBLED, K), y, K)
        store_rows(out + i * stride * _V, x, stride)


@jit
def add_rows_modulo(out, a, b, first, last, stride, c, K, two, s):
    """out = a + b, each digit brought below 2n again; a low digit that loses n gives 1 to the high one."""
    x, y = s + EIGHT * K * _V, s + EIGHT * K * _V + stride * _V
    high = x + K * _V
    for block in range(first, last):
        i = u(block)
        load_sequential(x, a + i * stride * _V, stride)
        load_sequential(y, b + i * stride * _V, stride)
        add_vectors(x, x, y, stride)
        normalise(x, x, K)
        if two == 0:
            subtract_if_not_less(x, _row(c, DOUBLED, K), y, K)
        else:
            carry_digit(x, c, high, y, K)
            carry_digit(x, c, high, y, K)
            normalise(high, high, K)
            subtract_if_not_less(high, _row(c, DOUBLED, K), y, K)
        store_rows(out + i * stride * _V, x, stride)


@jit
def _plain_digits(x, y, one, c, inverse, K, s):
    """x = canonical plain digits of the two-digit Montgomery x: 0 ≤ x0, x1 < n. y is scratch for `one`."""
    spare = s + FOUR * K * _V
    high = x + K * _V
    spread(y, one, TWO * K)
    multiply(x, x, y, c, inverse, K, ONE, s)
    carry_digit(x, c, high, spare, K)
    normalise(high, high, K)
    subtract_if_not_less(high, c, spare, K)
    subtract_if_not_less(high, c, spare, K)


@jit
def export_rows(out, a, one, first, last, stride, c, inverse, K, two, s):
    """Canonical plain residues: x0 + x1·n in 2·K limbs (`two`), or x in K limbs."""
    x, y = s + EIGHT * K * _V, s + EIGHT * K * _V + stride * _V
    for block in range(first, last):
        i = u(block)
        load_sequential(x, a + i * stride * _V, stride)
        if two == 0:
            spread(y, one, K)
            multiply(x, x, y, c, inverse, K, two, s)
            subtract_if_not_less(x, c, s, K)
        else:
            _plain_digits(x, y, one, c, inverse, K, s)
            spread(s, _row(c, ALONE, K), TWO * K)
            add_vectors(s, s, x, K)
            spread(y, _row(c, FACTORS, K), K)
            _multiply_add(s, _factors(s + FOUR * K * _V, x + K * _V, K), y, K)
            normalise(x, s, TWO * K)
        store_rows(out + i * stride * _V, x, stride)


@jit
def export_high_rows(out, a, one, first, last, stride, out_stride, c, inverse, K, s):
    """The canonical plain high digit x1 of two-digit rows, as one-digit rows."""
    x, y = s + EIGHT * K * _V, s + EIGHT * K * _V + stride * _V
    for block in range(first, last):
        i = u(block)
        load_sequential(x, a + i * stride * _V, stride)
        _plain_digits(x, y, one, c, inverse, K, s)
        clear(y, out_stride)
        copy(y, x + K * _V, K)
        store_rows(out + i * out_stride * _V, y, out_stride)
