"""Instructions for big integers in lanes: the pieces of products, squares and reductions, and their memory.

ROWS limbs of one factor are held in registers while the other runs past; a digit's K limbs are a multiple of
ROWS. All arguments are addresses of vectors, of rows of scalars where the docstring says so, or counts.
`montgomery` puts these pieces together and states the bounds under which no accumulator overflows.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from .lanes import FORM, I32, LANES, VECTOR_BYTES, Emitter, vector_intrinsic

ROWS = FORM.rows
#: What the memory sends at a time.
LINE_BYTES = 64

# --- unreduced products -------------------------------------------------------------------


@vector_intrinsic(4)
def add_rows(e: Emitter, t: Any, x: Any, y: Any, K: Any) -> None:
    """t[0 … K + ROWS − 1] += x[0 … ROWS − 1] · y[0 … K − 1], limb-wise and unnormalised; x, y are factors.

    window:   t[j] … t[j + ROWS − 1] stay in registers, t[j + ROWS] comes in, t[j] is finished and stored
    """
    own = [e.as_factor(e.load(x, r)) for r in range(ROWS)]
    window = [e.load(t, r) for r in range(ROWS)]

    def column(j: Any, window: list[Any]) -> list[Any]:
        window.append(e.load(t, e.b.add(j, e.const(ROWS))))
        e.multiply_add(window, own, e.as_factor(e.load(y, j)), range(ROWS))
        e.store(window[0], t, j)
        return window[1:]

    window = e.loop(e.const(0), K, window, column)
    for r in range(ROWS):
        e.store(window[r], t, e.b.add(K, e.const(r)))


@vector_intrinsic(3)
def add_triangle(e: Emitter, t: Any, x: Any, K: Any) -> None:
    """t += Σ x[r]·x[s] over r < ROWS, r < s < K: what stands above the diagonal in ROWS rows of a square."""
    own = [e.as_factor(e.load(x, r)) for r in range(ROWS)]
    window = [e.load(t, r) for r in range(ROWS)]
    for j in range(ROWS):
        window.append(e.load(t, j + ROWS))
        e.multiply_add(window, own, own[j], range(j))
        e.store(window[0], t, j)
        window = window[1:]

    def column(j: Any, window: list[Any]) -> list[Any]:
        window.append(e.load(t, e.b.add(j, e.const(ROWS))))
        e.multiply_add(window, own, e.as_factor(e.load(x, j)), range(ROWS))
        e.store(window[0], t, j)
        return window[1:]

    window = e.loop(e.const(ROWS), K, window, column)
    for r in range(ROWS):
        e.store(window[r], t, e.b.add(K, e.const(r)))


@vector_intrinsic(3)
def double_and_add_squares(e: Emitter, t: Any, x: Any, K: Any) -> None:
    """t = 2·t + Σ x[k]²·radix^(2k): completes a square whose triangle is in t[0 … 2K − 1]."""

    def diagonal(k: Any, _: list[Any]) -> list[Any]:
        limb = e.as_factor(e.load(x, k))
        low = e.b.shl(k, e.const(1))
        places = [low, e.b.add(low, e.const(1))]
        sums = [e.add(half, half) for half in (e.load(t, place) for place in places)]
        e.multiply_add(sums, [limb], limb, [0])
        for half, place in zip(sums, places, strict=True):
            e.store(half, t, place)
        return []

    e.loop(e.const(0), K, [], diagonal)


# --- reduction ----------------------------------------------------------------------------


class _Digit:
    """ROWS steps of REDC of the sums at t: their lowest 2·ROWS limbs, and the multipliers found so far."""

    def __init__(self, e: Emitter, t: Any) -> None:
        self.t = t
        self.sums = [e.load(t, r) for r in range(2 * ROWS)]
        self.multipliers: list[Any] = []

    def step(self, e: Emitter, low_n: list[Any], inverse: Any) -> Any:
        """Make the next limb zero; the multiplier, as a limb."""
        r, sums = len(self.multipliers), self.sums
        limb, m = e.low_product(e.factor(e.limb(sums[r])), inverse)
        self.multipliers.append(m)
        # m·n[0] makes the limb zero: what it leaves is a carry and the high half.
        sums[r + 1] = e.add_high(e.add(sums[r + 1], e.carry_out(sums[r])), m, low_n[0])
        e.multiply_add(sums, low_n, m, range(1, ROWS - r), r)
        return limb

    def finish(self, e: Emitter, low_n: list[Any], n: Any, K: Any) -> None:
        """Add the multipliers times n to the limbs above the finished ones, which are not written."""
        sums, t = self.sums, self.t
        for j in range(1, ROWS):
            e.multiply_add(sums, self.multipliers, low_n[j], range(ROWS - j, ROWS), j)

        def column(j: Any, window: list[Any]) -> list[Any]:
            window.append(e.load(t, e.b.add(j, e.const(ROWS))))
            e.multiply_add(window, self.multipliers, e.splat_factor(e.load_scalar(n, j)), range(ROWS))
            e.store(window[0], t, j)
            return window[1:]

        window = e.loop(e.const(ROWS), K, sums[ROWS:], column)
        for r in range(ROWS):
            e.store(window[r], t, e.b.add(K, e.const(r)))


@vector_intrinsic(4)
def reduce_rows(e: Emitter, t: Any, n: Any, inverse: Any, K: Any) -> None:
    """ROWS steps of REDC: adds (m[0] + m[1]·radix + …)·n to t, which makes its lowest ROWS limbs zero.

    m[r] = t[r]·inverse mod radix with inverse = −1/n mod radix. The finished limbs are not written: their
    carry goes into t[ROWS], and t[ROWS … K + ROWS − 1] is stored. `n` is a row of scalars, in factors; so is
    `inverse`.
    """
    inverse = e.splat_factor(inverse)
    low_n = [e.splat_factor(e.load_scalar(n, j)) for j in range(ROWS)]
    digit = _Digit(e, t)
    for _ in range(ROWS):
        digit.step(e, low_n, inverse)
    digit.finish(e, low_n, n, K)


@vector_intrinsic(5)
def reduce_rows_of_both(e: Emitter, t: Any, w: Any, n: Any, inverse: Any, K: Any) -> None:
    """`reduce_rows` of t, and of w less the multipliers of t, limb by limb behind it.

    A multiplier waits for the one before; those of the two digits are found while the other's are waited for.
    """
    inverse = e.splat_factor(inverse)
    low_n = [e.splat_factor(e.load_scalar(n, j)) for j in range(ROWS)]
    first, second = _Digit(e, t), _Digit(e, w)
    for r in range(ROWS):
        second.sums[r] = e.subtract(second.sums[r], first.step(e, low_n, inverse))
        second.step(e, low_n, inverse)
    first.finish(e, low_n, n, K)
    second.finish(e, low_n, n, K)


@vector_intrinsic(3)
def normalise(e: Emitter, out: Any, t: Any, K: Any) -> None:
    """out = t with carries run, limbs below the radix; the last carry is dropped (bounds: there is none)."""

    def limb(k: Any, carried: list[Any]) -> list[Any]:
        total = e.add(e.load(t, k), carried[0])
        e.store(e.limb(total), out, k)
        return [e.carry(total)]

    e.loop(e.const(0), K, [e.zero], limb)


@vector_intrinsic(3)
def double_and_add(e: Emitter, t: Any, c: Any, K: Any) -> None:
    """t = 2·t + c, for the second digit of a square; `c` is a row of K scalars."""

    def limb(k: Any, _: list[Any]) -> list[Any]:
        low = e.load(t, k)
        e.store(e.add(e.add(low, low), e.broadcast(c, k)), t, k)
        place = e.b.add(k, K)
        high = e.load(t, place)
        e.store(e.add(high, high), t, place)
        return []

    e.loop(e.const(0), K, [], limb)


def _reduced_once(e: Emitter, x: Any, n: Any, scratch: Any, K: Any) -> Any:
    """x = x − n in the lanes where x ≥ n; returns the mask of the other lanes. `n` is a row of scalars."""

    def difference(k: Any, carried: list[Any]) -> list[Any]:
        total = e.add(e.subtract(e.load(x, k), e.broadcast(n, k)), carried[0])
        e.store(e.limb(total), scratch, k)
        return [e.borrow(total)]

    [borrow] = e.loop(e.const(0), K, [e.zero], difference)
    keep = e.b.icmp_signed("<", borrow, e.zero)

    def choose(k: Any, _: list[Any]) -> list[Any]:
        e.store(e.b.select(keep, e.load(x, k), e.load(scratch, k)), x, k)
        return []

    e.loop(e.const(0), K, [], choose)
    return keep


@vector_intrinsic(4)
def subtract_if_not_less(e: Emitter, x: Any, n: Any, scratch: Any, K: Any) -> None:
    """x = x − n in the lanes where x ≥ n; `n` is a row of scalars, x is normalised."""
    _reduced_once(e, x, n, scratch, K)


@vector_intrinsic(5)
def carry_digit(e: Emitter, x: Any, n: Any, high: Any, scratch: Any, K: Any) -> None:
    """Where x ≥ n: x = x − n and high = high + 1 in its lowest limb (not normalised)."""
    keep = _reduced_once(e, x, n, scratch, K)
    e.store(e.add(e.load(high, 0), e.b.select(keep, e.zero, e.splat_const(1))), high, 0)


# --- memory ---------------------------------------------------------------------------------


@vector_intrinsic(2)
def clear(e: Emitter, t: Any, count: Any) -> None:
    """t[0 … count − 1] = 0."""

    def limb(k: Any, _: list[Any]) -> list[Any]:
        e.store(e.zero, t, k)
        return []

    e.loop(e.const(0), count, [], limb)


@vector_intrinsic(3)
def copy(e: Emitter, out: Any, x: Any, count: Any) -> None:
    """out[0 … count − 1] = x."""

    def limb(k: Any, _: list[Any]) -> list[Any]:
        e.store(e.load(x, k), out, k)
        return []

    e.loop(e.const(0), count, [], limb)


@vector_intrinsic(3)
def factors(e: Emitter, out: Any, x: Any, count: Any) -> None:
    """out = x as products take it, normalised limbs as factors."""

    def limb(k: Any, _: list[Any]) -> list[Any]:
        e.store(e.factor_word(e.factor(e.load(x, k))), out, k)
        return []

    e.loop(e.const(0), count, [], limb)


@vector_intrinsic(3)
def spread(e: Emitter, out: Any, row: Any, count: Any) -> None:
    """out[k] = row[k] in every lane: one integer for all."""

    def limb(k: Any, _: list[Any]) -> list[Any]:
        e.store(e.broadcast(row, k), out, k)
        return []

    e.loop(e.const(0), count, [], limb)


@vector_intrinsic(4)
def add_vectors(e: Emitter, out: Any, x: Any, y: Any, count: Any) -> None:
    """out = x + y, limb-wise and unnormalised."""

    def limb(k: Any, _: list[Any]) -> list[Any]:
        e.store(e.add(e.load(x, k), e.load(y, k)), out, k)
        return []

    e.loop(e.const(0), count, [], limb)


@vector_intrinsic(4)
def pick(e: Emitter, out: Any, table: Any, choice: Any, count: Any) -> None:
    """out lane l = entry choice[l] of a table of vectors, count vectors an entry (a window table)."""
    index = e.load(choice)
    size = e.b.mul(count, e.const(VECTOR_BYTES))
    lanes = [
        e.b.add(e.b.add(table, e.b.mul(e.lane(index, lane), size)), e.const(8 * lane))
        for lane in range(LANES)
    ]

    def limb(k: Any, _: list[Any]) -> list[Any]:
        vector = e.zero
        for lane in range(LANES):
            word = e.load_scalar(e.address(lanes[lane], k))
            vector = e.b.insert_element(vector, word, ir.Constant(I32, lane))
        e.store(vector, out, k)
        return []

    e.loop(e.const(0), count, [], limb)


def _transpose(e: Emitter, rows: list[Any]) -> list[Any]:
    """A square of words transposed, in rounds of exchanges between lanes 1, 2 (and 4) apart."""
    distance = 1
    while distance < LANES:
        low = [LANES + (j ^ distance) if j & distance else j for j in range(LANES)]
        high = [LANES + j if j & distance else j | distance for j in range(LANES)]
        done = list(rows)
        for i in range(LANES):
            if not i & distance:
                pair = rows[i], rows[i | distance]
                done[i], done[i | distance] = e.shuffle(*pair, low), e.shuffle(*pair, high)
        rows, distance = done, 2 * distance
    return rows


def _load_lanes(e: Emitter, out: Any, lanes: list[Any], stride: Any) -> None:
    """The rows that begin at the addresses `lanes`, one a lane, in squares of LANES words."""

    def square(k: Any, _: list[Any]) -> list[Any]:
        for place, vector in enumerate(_transpose(e, [e.load(lane, k) for lane in lanes])):
            e.store(vector, out, e.b.add(e.b.mul(k, e.const(LANES)), e.const(place)))
        return []

    e.loop(e.const(0), e.b.udiv(stride, e.const(LANES)), [], square)


@vector_intrinsic(4)
def load_rows(e: Emitter, out: Any, rows: Any, choice: Any, stride: Any) -> None:
    """Integers from rows of `stride` words (a multiple of 8) into lanes: lane l = rows[choice[l]]."""
    index = e.load(choice)
    size = e.b.mul(stride, e.const(8))
    lanes = [e.b.add(rows, e.b.mul(e.lane(index, lane), size)) for lane in range(LANES)]

    _load_lanes(e, out, lanes, stride)


@vector_intrinsic(3)
def fetch_rows(e: Emitter, rows: Any, choice: Any, stride: Any) -> None:
    """Ask for the rows that `load_rows` will take, so that they come while something else is computed."""
    index = e.load(choice)
    size = e.b.mul(stride, e.const(8))
    lanes = [e.b.add(rows, e.b.mul(e.lane(index, lane), size)) for lane in range(LANES)]

    def line(k: Any, _: list[Any]) -> list[Any]:
        for lane in lanes:
            e.prefetch(e.address(lane, k, LINE_BYTES))
        return []

    e.loop(e.const(0), e.b.udiv(size, e.const(LINE_BYTES)), [], line)


@vector_intrinsic(3)
def load_sequential(e: Emitter, out: Any, rows: Any, stride: Any) -> None:
    """Consecutive rows of `stride` words (a multiple of 8) into lanes."""
    size = e.b.mul(stride, e.const(8))
    lanes = [e.b.add(rows, e.b.mul(e.const(lane), size)) for lane in range(LANES)]

    _load_lanes(e, out, lanes, stride)


@vector_intrinsic(3)
def store_rows(e: Emitter, rows: Any, x: Any, stride: Any) -> None:
    """Lanes into as many consecutive rows of `stride` words (a multiple of 8)."""
    size = e.b.mul(stride, e.const(8))
    lanes = [e.b.add(rows, e.b.mul(e.const(lane), size)) for lane in range(LANES)]

    def square(k: Any, _: list[Any]) -> list[Any]:
        first = e.b.mul(k, e.const(LANES))
        vectors = [e.load(x, e.b.add(first, e.const(place))) for place in range(LANES)]
        for lane, vector in zip(lanes, _transpose(e, vectors), strict=True):
            e.store(vector, lane, k)
        return []

    e.loop(e.const(0), e.b.udiv(stride, e.const(LANES)), [], square)
