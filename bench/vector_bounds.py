"""How fast the vector kernels could be: the multiplications an operation cannot do without, over the ceiling.

A digit has K limbs (`simd.constants`), b bits of exponent are read w at a time. In vector multiplications, of
which one gives half a product of limbs in each of LANES numbers:

    product        modulo n 4·K²        modulo n², two digits 10·K²
    squaring       modulo n 3·K²        modulo n², two digits 7·K²

    encrypt        ⌈b/8⌉ − 1 products for each comb, and the message part, one product modulo n
    power          b squarings, ⌈b/w⌉ − 1 products and a table of 2^w entries, half of them squares

Conversions, random numbers, validation and memory are what the bound leaves out, and the gap consists of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import Console

from hecore.kernels import Modulus
from hecore.kernels.simd import probe
from hecore.kernels.simd.constants import Constants
from hecore.kernels.simd.fixed_base import WINDOW_BITS
from hecore.kernels.simd.lanes import FORM, LANES
from hecore.kernels.windows import best_window
from hecore.noise import UNIFORM_SURPLUS_BITS

from .record import Record, Row
from .tables import percent, readable, rich_table

#: Of a product of limbs: low and high.
HALVES = 2


@dataclass(frozen=True)
class Bound:
    """One operation: vector multiplications for LANES items, items a second at the ceiling, and the row."""

    row: Row
    multiplications: float
    rate: float

    @property
    def share(self) -> float:
        """What of the bound was reached."""
        return self.row.rate / self.rate


class Costs:
    """Vector multiplications modulo n² and modulo p² for a key of `bits` bits."""

    def __init__(self, bits: int) -> None:
        self.bits = bits
        self.half = bits // 2
        self._n = _limbs(bits)
        self._p = _limbs(self.half)

    @property
    def product(self) -> float:
        """A product modulo n²."""
        return 5 * HALVES * self._n**2

    @property
    def message(self) -> float:
        """x·(1 + m·n): a product modulo n."""
        return 2 * HALVES * self._n**2

    def comb(self, exponent_bits: int) -> float:
        """A power of a fixed base modulo n²."""
        return (-(-exponent_bits // WINDOW_BITS) - 1) * self.product

    def owner_comb(self) -> float:
        """A power of a fixed base modulo p² and one modulo q²."""
        return 2 * (-(-self.half // WINDOW_BITS) - 1) * 5 * HALVES * self._p**2

    def power(self, exponent_bits: int) -> float:
        """A power modulo n²."""
        return _power(self._n, exponent_bits)

    def owner_power(self) -> float:
        """c^(p−1) modulo p² and c^(q−1) modulo q²."""
        return 2 * _power(self._p, self.half)


OPERATIONS: dict[str, Callable[[Costs], float]] = {
    "encrypt-owner": lambda c: c.owner_comb() + c.message,
    "encrypt-public": lambda c: c.comb(-(-c.bits // 2)) + c.message,
    "encrypt-uniform": lambda c: c.comb(c.bits + UNIFORM_SURPLUS_BITS) + c.message + c.product,
    "encrypt-classic": lambda c: c.power(c.bits) + c.message,
    "decrypt": lambda c: c.owner_power(),
    "add": lambda c: c.product,
    "add-plain": lambda c: c.message,
    "multiply-64": lambda c: c.power(64),
    "multiply-full": lambda c: c.power(c.bits),
    "sum": lambda c: c.product,
    "rerandomize": lambda c: c.comb(c.bits + UNIFORM_SURPLUS_BITS) + 2 * c.product,
    "products": lambda c: c.product,
}


def bounds(record: Record, ceiling: float) -> list[Bound]:
    """The bound of every row of the simd backend that has one, at `ceiling` multiplications a second."""
    out = []
    for row in record.rows:
        if row.subject == "simd" and row.case in OPERATIONS:
            needed = OPERATIONS[row.case](Costs(row.key_bits))
            out.append(Bound(row, needed, LANES * ceiling / needed))
    return out


def measured_ceiling() -> float:
    """Vector multiplications a second on one core."""
    return probe.multiplications_per_second()


def print_bounds(found: Sequence[Bound], ceiling: float, console: Console) -> None:
    """A line for every operation, and the ceiling."""
    table = rich_table("", ["operation", "key", "multiplications", "bound", "rate", "share of the bound"])
    for one in found:
        table.add_row(
            f"{one.row.case} ({one.row.unit})",
            str(one.row.key_bits),
            f"{one.multiplications:,.0f}",
            readable(one.rate),
            readable(one.row.rate),
            percent(one.share),
        )
    console.print(table)
    console.print(
        f"{FORM.description}; ceiling of one core {readable(ceiling)} vector multiplications;"
        f" multiplications are those for {LANES} items",
        style="dim",
        highlight=False,
    )


def _limbs(bits: int) -> int:
    return Constants(Modulus((1 << bits) - 1)).limbs


def _power(limbs: int, exponent_bits: int) -> float:
    window = best_window(exponent_bits)
    squarings = exponent_bits + (1 << (window - 1)) - 1
    products = -(-exponent_bits // window) - 1 + (1 << (window - 1)) - 1
    return HALVES * limbs**2 * (3.5 * squarings + 5 * products)
