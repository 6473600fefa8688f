"""A record as a picture: bars of rates by operation and subject, one panel for each key size."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .record import Record, RecordError, Row
from .tables import readable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Distinct in print and for colour-blind readers; backends first.
COLOURS = {"gmp": "#4477aa", "simd": "#228833", "cuda": "#ccbb44", "phe": "#bbbbbb", "heu": "#ee6677"}
OTHER_COLOUR = "#aa3377"
BAR = 0.8
INCHES_A_BAR = 0.2
WIDTH = 9.0


def plot(record: Record, path: Path) -> None:
    """Write the picture, as the ending of its name says. RecordError if the record has no rows."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = [[row for row in record.rows if row.key_bits == bits] for bits in record.key_bits]
    if not panels:
        raise RecordError("the record has no rows to plot")
    heights = [1.2 + INCHES_A_BAR * (len(rows) + len(_operations(rows))) for rows in panels]
    figure = Figure(figsize=(WIDTH, sum(heights)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)
    for axis, rows in zip(axes[:, 0], panels, strict=True):
        draw(axis, rows, record.subjects)
    chip = f"{record.machine.cpu}, {record.machine.usable_cores} of {record.machine.cores} cores"
    figure.suptitle(" · ".join([chip, *record.machine.gpus, record.created[:10]]), fontsize=9)
    figure.savefig(path, format=path.suffix[1:].lower(), dpi=150)


def draw(axis: Axes, rows: list[Row], subjects: list[str]) -> None:
    """One panel: operations from top to bottom, a bar for each subject, quartiles as whiskers."""
    operations = _operations(rows)
    places, labels, top = [], [], 0.0
    for operation in operations:
        mine = [row for row in rows if (row.case, row.unit) == operation]
        several = len({row.subject for row in mine}) < len(mine)
        for offset, row in enumerate(mine):
            _bar(axis, row, top + offset, f" at {row.batch:,}" if several else "")
        places.append(top + (len(mine) - 1) / 2)
        labels.append(f"{operation[0]} ({operation[1]})")
        top += len(mine) + 1
    axis.set_yticks(places, labels)
    axis.set_ylim(top - 0.5, -1.0)
    axis.set_xscale("log")
    axis.margins(x=0.15)
    axis.set_xlabel("items a second, logarithmic; whiskers: quartiles")
    axis.set_title(f"{rows[0].key_bits}-bit keys", loc="left")
    axis.grid(visible=True, axis="x", alpha=0.3)
    axis.set_axisbelow(True)
    _legend(axis, [name for name in subjects if any(row.subject == name for row in rows)])


def _bar(axis: Axes, row: Row, place: float, note: str) -> None:
    rate, slow, fast = row.rate, row.items / row.seconds.upper, row.items / row.seconds.lower
    axis.barh(
        place,
        rate,
        height=BAR,
        color=COLOURS.get(row.subject, OTHER_COLOUR),
        xerr=[[max(0.0, rate - slow)], [max(0.0, fast - rate)]],
        error_kw={"elinewidth": 0.8, "ecolor": "#333333"},
    )
    label = readable(rate) + note
    axis.annotate(label, (fast, place), (4, 0), textcoords="offset points", va="center", fontsize=7)


def _legend(axis: Axes, subjects: list[str]) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(color=COLOURS.get(name, OTHER_COLOUR), label=name) for name in subjects]
    axis.legend(handles=handles, loc="upper right", ncols=len(handles), fontsize=8, frameon=False)


def _operations(rows: list[Row]) -> list[tuple[str, str]]:
    return list(dict.fromkeys((row.case, row.unit) for row in rows))
