"""Drawings that fit any width: shapes are SVG that is stretched, texts are HTML that is not.

Coordinates are thousandths of the plot, y downwards. Lines keep their width when stretched, and a dot is a
line without length. Colours are classes of the style sheet, so that light, dark and paper have their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from hecore.algorithms.job.timeline import CATEGORIES, TimelineRecord
from hecore.algorithms.report.html import Child, Element, tag
from hecore.algorithms.report.words import CATEGORY_NAMES, moment, number, share

UNIT = 1000
#: A curve has so many points at most; of more rounds some are left out.
MOST_POINTS = 400

Points: TypeAlias = Sequence[tuple[int, float | None]]
Scale: TypeAlias = Callable[[float], float]


@dataclass(frozen=True)
class Curve:
    """A line of a chart: its name, the class that colours it, (round, value)."""

    name: str
    colour: str
    points: Points


def line_chart(curves: Sequence[Curve], x_name: str, bounds: tuple[float, float] | None = None) -> Element:
    """Values by round; None leaves a gap. What a round's values were shows where the pointer rests.

    `bounds`, where values have some, are those of the axis where all values are equal.
    """
    curves = [Curve(curve.name, curve.colour, _thinned(curve.points)) for curve in curves]
    values = [y for curve in curves for _, y in curve.points if y is not None]
    rounds = [x for curve in curves for x, _ in curve.points]
    y_ticks = ticks(min(values), max(values), 4, bounds)
    low, high = y_ticks[0], y_ticks[-1]
    first = min(rounds)
    last = max(*rounds, first + 1)

    def x_of(x: float) -> float:
        return UNIT * (x - first) / (last - first)

    def y_of(y: float) -> float:
        return UNIT * (1 - (y - low) / ((high - low) or 1.0))

    grid = [tag("path", class_="grid", d=f"M0 {y_of(y):.1f}H{UNIT}") for y in y_ticks]
    lines = [tag("path", class_=f"line {c.colour}", d=_path(c.points, x_of, y_of)) for c in curves]
    dots = [tag("path", class_=f"dot {c.colour}", d=_last(c.points, x_of, y_of)) for c in curves]
    x_ticks = [first, *(x for x in ticks(first, last, 6) if x == int(x) and first < x <= last)]
    decimals = _decimals(y_ticks)
    return tag(
        "div",
        tag("div", [_mark(f"{y:.{decimals}f}", bottom=1 - y_of(y) / UNIT) for y in y_ticks], class_="y"),
        tag("div", _svg(grid, lines, dots, _hits(curves, x_of, x_name)), class_="area"),
        tag("div", [_mark(f"{x:.0f}", left=x_of(x) / UNIT) for x in x_ticks], class_="x"),
        tag("div", x_name, class_="x-name"),
        class_="plot",
    )


def timeline_band(record: TimelineRecord, end: float) -> Element:
    """What a party did when: of each slot, from below, how much of it each category took."""
    record = record.coarse()
    slots = max(map(len, record.phases.values()), default=0)
    return tag("div", _svg(_fills(record, slots, end), _slot_hits(record, slots, end)), class_="band")


def _fills(record: TimelineRecord, slots: int, end: float) -> list[Element]:
    """One path for each category, of boxes that stand on those of the categories before it."""
    width = UNIT * record.width / end
    heights = [0.0] * slots
    paths = []
    for name in CATEGORIES:
        boxes = []
        for place, seconds in enumerate(record.phases.get(name, ())):
            if seconds > 0:
                tall = UNIT * min(seconds / record.width, 1.0)
                top = UNIT - heights[place] - tall
                boxes.append(f"M{place * width:.2f} {top:.1f}h{width:.2f}v{tall:.1f}h-{width:.2f}z")
                heights[place] += tall
        if boxes:
            paths.append(tag("path", class_=f"fill {name}", d="".join(boxes)))
    return paths


def _slot_hits(record: TimelineRecord, slots: int, end: float) -> list[Element]:
    """A strip for each slot that tells what it holds."""
    width = UNIT * record.width / end
    hits = []
    for place in range(slots):
        parts = []
        for name in CATEGORIES:
            seconds = record.phases.get(name, ())[place : place + 1]
            if seconds and seconds[0]:
                parts.append(f"{CATEGORY_NAMES[name]} {share(seconds[0] / record.width)}")
        begin = place * record.width
        when = f"{moment(begin)} – {moment(begin + record.width)}"
        told = tag("title", f"{when}: {', '.join(parts) or 'nothing measured'}")
        box = {"x": f"{place * width:.2f}", "width": f"{width:.2f}", "y": "0", "height": str(UNIT)}
        hits.append(tag("rect", told, class_="hit", **box))
    return hits


def time_axis(end: float) -> Element:
    """Marks from 0 to `end` seconds."""
    return tag("div", [_mark(moment(at), left=at / end) for at in time_ticks(end)], class_="x")


def bar(part: float, colour: str = "") -> Element:
    """A bar that takes `part` of the width that it has."""
    width = f"width:{100 * min(max(part, 0.0), 1.0):.1f}%"
    return tag("span", tag("span", class_=f"fill {colour}".strip(), style=width), class_="bar")


def ticks(low: float, high: float, about: int, bounds: tuple[float, float] | None = None) -> list[float]:
    """Round numbers from at most `low` to at least `high`, about so many; of equal ones those of `bounds`."""
    if high - low <= 1e-9 * max(abs(low), abs(high)):  # equal but for rounding
        low, high = bounds or (low, low + (abs(low) or 1.0))
    step = _step((high - low) / about)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [i * step for i in range(first, last + 1)]


def time_ticks(end: float) -> list[float]:
    """Moments from 0 to `end` that people count in."""
    wanted = end / 6
    for step in (60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400):
        if wanted <= step and wanted > 30:
            return [i * float(step) for i in range(int(end / step) + 1)]
    size = _step(wanted)
    return [i * size for i in range(int(end / size + 1e-9) + 1)]


def _step(least: float) -> float:
    """1, 2 or 5 times a power of ten, not below `least`."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least * (1 - 1e-9))


def _decimals(values: Sequence[float]) -> int:
    """Digits behind the point in which evenly spaced values differ."""
    step = values[1] - values[0]
    return max(0, -math.floor(math.log10(step) + 1e-9))


def _thinned(points: Points) -> Points:
    every = math.ceil(len(points) / MOST_POINTS)
    return [*points[:-1:every], points[-1]] if every > 1 else points


def _path(points: Points, x_of: Scale, y_of: Scale) -> str:
    parts, pen = [], "M"
    for x, y in points:
        if y is None:
            pen = "M"
            continue
        parts.append(f"{pen}{x_of(x):.1f} {y_of(y):.1f}")
        pen = "L"
    return "".join(parts)


def _last(points: Points, x_of: Scale, y_of: Scale) -> str:
    known = [(x, y) for x, y in points if y is not None]
    x, y = known[-1]
    return f"M{x_of(x):.1f} {y_of(y):.1f}h0"


def _hits(curves: Sequence[Curve], x_of: Scale, x_name: str) -> list[Element]:
    """A strip for each round that tells its values."""
    by_round: dict[int, list[str]] = {}
    for curve in curves:
        for x, y in curve.points:
            by_round.setdefault(x, []).append(f"{curve.name} {number(y)}")
    rounds = sorted(by_round)
    edges = [(a + b) / 2 for a, b in zip(rounds[:1] + rounds, rounds + rounds[-1:], strict=True)]
    hits = []
    for place, x in enumerate(rounds):
        left, right = x_of(edges[place]), x_of(edges[place + 1])
        told = tag("title", f"{x_name} {x}: {', '.join(by_round[x])}")
        box = {"x": f"{left:.1f}", "width": f"{right - left:.1f}", "y": "0", "height": str(UNIT)}
        hits.append(tag("rect", told, class_="hit", **box))
    return hits


def _mark(text: str, **place: float) -> Element:
    ((side, part),) = place.items()
    return tag("span", text, style=f"{side}:{100 * part:.2f}%")


def _svg(*shapes: Child) -> Element:
    return tag(
        "svg",
        *shapes,
        viewBox=f"0 0 {UNIT} {UNIT}",
        preserveAspectRatio="none",
        role="img",
    )
