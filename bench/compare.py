"""Two records of the same operations: which is faster, and is the difference more than noise?"""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape

from hecore import HecoreError

from .record import Record, Row
from .tables import readable, rich_table, spread_of
from .timing import LEAST_CALLS

#: Ratios closer to 1 than this are noise, however steady each run was in itself: two runs of the same code on
#: one machine differed by up to 9 % in a row.
LEAST_RATIO = 1.1
STYLES = {"faster": "green", "slower": "red", "within noise": "dim", "too few calls": "dim"}


class NotComparable(HecoreError, ValueError):
    """Two records without one common measurement; the message says why."""


@dataclass(frozen=True)
class Comparison:
    """One measurement in both records; `ratio` is B's rate over A's."""

    a: Row
    b: Row

    @property
    def ratio(self) -> float:
        """How many times as fast B is."""
        return self.b.rate / self.a.rate

    @property
    def verdict(self) -> str:
        """faster or slower only if the quartiles do not overlap and the medians differ enough.

        Older records have rows of one or two calls, whose quartiles say nothing.
        """
        if min(self.a.seconds.calls, self.b.seconds.calls) < LEAST_CALLS:
            return "too few calls"
        a = [seconds / self.a.items for seconds in (self.a.seconds.lower, self.a.seconds.upper)]
        b = [seconds / self.b.items for seconds in (self.b.seconds.lower, self.b.seconds.upper)]
        overlap = a[0] <= b[1] and b[0] <= a[1]
        if overlap or max(self.ratio, 1.0 / self.ratio) < LEAST_RATIO:
            return "within noise"
        return "faster" if self.ratio > 1.0 else "slower"


def match(a: Record, b: Record) -> list[Comparison]:
    """What both records measured: same case, subject, key size and batch. NotComparable if nothing."""
    if not set(a.key_bits) & set(b.key_bits):
        sizes = [", ".join(map(str, record.key_bits)) or "no" for record in (a, b)]
        raise NotComparable(
            f"A has {sizes[0]}-bit keys, B has {sizes[1]}: run both with the same --key-bits to compare them"
        )
    others = {row.key: row for row in b.rows}
    pairs = [Comparison(row, others[row.key]) for row in a.rows if row.key in others]
    if not pairs:
        raise NotComparable(
            "A and B have no operation, subject and batch size in common: run both with the same options"
        )
    return pairs


def differences(a: Record, b: Record) -> list[str]:
    """What else differs between the runs, and may explain a ratio."""
    out = []
    if a.machine.cpu_model != b.machine.cpu_model or a.machine.cpu != b.machine.cpu:
        out.append(f"another processor: {a.machine.cpu} and {b.machine.cpu}")
    if a.machine.usable_cores != b.machine.usable_cores:
        out.append(f"{a.machine.usable_cores} cores and {b.machine.usable_cores}")
    if a.machine.gpus != b.machine.gpus:
        out.append("another GPU")
    if abs(a.machine.load - b.machine.load) > 0.5:
        out.append(f"load {a.machine.load} before A and {b.machine.load} before B")
    for name in sorted(set(a.versions) | set(b.versions)):
        old, new = a.versions.get(name, "none"), b.versions.get(name, "none")
        if old != new:
            out.append(f"{name} {old} and {new}")
    for here, there, label in ((a, b, "A"), (b, a, "B")):
        keys = {row.key for row in there.rows}
        missing = sum(row.key not in keys for row in here.rows)
        if missing:
            out.append(f"{missing} rows stand in {label} only")
    return out


def print_comparison(a: Record, b: Record, console: Console) -> None:
    """The table of ratios, and what else differs. NotComparable as `match`."""
    pairs = match(a, b)
    table = rich_table("", ["operation", "on", "key", "batch", "A", "IQR", "B", "IQR", "B/A", "verdict"])
    for pair in pairs:
        table.add_row(
            f"{pair.a.case} ({pair.a.unit})",
            escape(pair.a.subject),
            str(pair.a.key_bits),
            f"{pair.a.batch:,}",
            readable(pair.a.rate),
            spread_of(pair.a),
            readable(pair.b.rate),
            spread_of(pair.b),
            f"{pair.ratio:.2f}",
            pair.verdict,
            style=STYLES[pair.verdict],
        )
    console.print(table)
    for line in differences(a, b):
        console.print(escape(f"differs: {line}"), style="dim", highlight=False)
