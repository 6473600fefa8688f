"""Records as tables: on the terminal (rich) and in Markdown, from the same lines of text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .cases import Case
from .record import Record, Row, Seconds
from .runner import REFERENCE, unavailable_line
from .timing import LEAST_CALLS

#: Of rows on a device: shares of the time, and of the bound.
DEVICE_COLUMNS = ("kernels", "copies", "of bound")
LEFT_COLUMNS = ("operation", "on", "group", "counts", "verdict", "what")

#: A share of the core from which on a process counts as undisturbed.
FREE_ENOUGH = 0.95
#: The ratio of two rows holds where neither had this many times the other's part of the core.
EQUAL_ENOUGH = 1.1


def readable(rate: float) -> str:
    """A rate with three digits and a prefix: 12.3 k/s."""
    value, prefix = rate, ""
    for following in ("k", "M", "G"):
        if value < 999.5:
            break
        value, prefix = value / 1000.0, following
    digits = 0 if value >= 99.95 else 1 if value >= 9.995 else 2
    return f"{value:.{digits}f} {prefix}/s"


def times(ratio: float) -> str:
    """A ratio: ×0.06, ×0.94, ×1.2, ×17, ×1,234."""
    if ratio >= 9.95:
        return f"×{ratio:,.0f}"
    if ratio >= 0.995:
        return f"×{ratio:.1f}"
    return f"×{ratio:.2f}" if ratio >= 0.01 else f"×{ratio:.1g}"


def percent(share: float) -> str:
    """A share, such as an interquartile range over its median."""
    return f"{100 * share:.0f} %"


def spread_of(row: Row) -> str:
    """The interquartile range over the median; none of fewer calls than have quartiles."""
    return percent(row.spread) if row.seconds.calls >= LEAST_CALLS else "–"


# --- lines ----------------------------------------------------------------------------------------


def ratio_names(record: Record) -> list[str]:
    """Whom the rates are compared with: the reference backend and the peers that ran."""
    peers = {row.subject for row in record.rows if row.peer}
    return [name for name in record.subjects if name == REFERENCE or name in peers]


def on_device(record: Record) -> bool:
    """Whether some row has a device's own times."""
    return any(row.device_seconds is not None for row in record.rows)


def device_cells(row: Row) -> list[str]:
    """Shares of the time in kernels and in copies, and of the bound that the rate reaches."""

    def share(part: Seconds | None) -> str:
        return "" if part is None else percent(part.median / row.seconds.median)

    reached = percent(row.rate / row.bound) if row.bound else ""
    return [share(row.device_seconds), share(row.copy_seconds), reached]


def header(record: Record) -> list[str]:
    """The columns of a record's table."""
    return [
        "operation",
        "on",
        "batch",
        "rate",
        "IQR",
        "cores",
        *(DEVICE_COLUMNS if on_device(record) else ()),
        *(f"vs {name}" for name in ratio_names(record)),
    ]


def sections(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    """The rows of one key size: the headline first, then group by group."""
    head = [row for row in rows if row.headline]
    rest = [row for row in rows if not row.headline]
    groups = [(name, list(part)) for name, part in groupby(rest, key=lambda row: row.group)]
    return [("headline", head), *groups] if head else groups


def compared(record: Record) -> Callable[[Row], list[Row | None]]:
    """For a row, those that its rate is compared with, one for each of `ratio_names`."""
    found = {row.key: row for row in record.rows}
    by_subject = {(row.key_bits, row.case, row.subject): row for row in reversed(record.rows)}

    def others(row: Row) -> list[Row | None]:
        out = []
        for name in ratio_names(record):
            other = found.get((*row.key[:3], name)) or by_subject.get((row.key_bits, row.case, name))
            out.append(None if other is row else other)
        return out

    return others


def equal_shares(record: Record, a: Row, b: Row) -> bool:
    """Whether both rows had equal parts of the core; with several cores, or a device, nobody can tell."""
    if record.machine.usable_cores != 1 or a.device_seconds is not None or b.device_seconds is not None:
        return True
    return max(a.cores, b.cores) <= EQUAL_ENOUGH * min(a.cores, b.cores)


def lines(record: Record, rows: Sequence[Row]) -> Iterable[list[str]]:
    """Cells of the rows, the operation named on its first line only."""
    others = compared(record)
    previous = ""
    for row in rows:
        ratios = []
        for other in others(row):
            doubt = "" if other is None or equal_shares(record, row, other) else "?"
            ratios.append("" if other is None else times(row.rate / other.rate) + doubt)
        title = f"{row.case} ({row.unit})"
        label = "" if title == previous else title
        figures = [readable(row.rate), spread_of(row), f"{row.cores:.2f}"]
        if on_device(record):
            figures += device_cells(row)
        yield [label, row.subject, f"{row.batch:,}", *figures, *ratios]
        previous = title


def notes(record: Record) -> list[str]:
    """What belongs under the tables: machine, versions, source, absent subjects, failures."""
    machine, source = record.machine, record.source
    threads = "all" if machine.threads is None else str(machine.threads)
    chip = f"{machine.cpu}, family {machine.cpu_family} model {machine.cpu_model}"
    out = [
        f"{record.created}: {record.command}".rstrip(": "),
        f"{chip}; {machine.usable_cores} of {machine.cores} cores, HECORE_THREADS {threads};"
        f" load {machine.load} before; {machine.system}; {' '.join(machine.features)}",
        *machine.gpus,
        ", ".join(f"{name} {version}" for name, version in record.versions.items()),
    ]
    out += [
        f"{name}: {readable(rate)} word products (32 × 32 + 64 bits) by itself, the bound of all"
        for name, rate in record.ceilings.items()
    ]
    if source is not None:
        out.append(f"commit {source.commit}" + (", with changes" if source.changed else ""))
    out += busy(record)
    out += [unavailable_line(name, reason) for name, reason in record.unavailable.items()]
    out += [f"FAILED {f.case} on {f.subject}, {f.key_bits} bits: {f.message}" for f in record.failures]
    return out


def busy(record: Record) -> list[str]:
    """A warning if rows of a run on one core had not that core to themselves; with more, nobody can tell."""
    rows = [row for row in record.rows if row.device_seconds is None]
    disturbed = sum(row.cores < FREE_ENOUGH for row in rows)
    if record.machine.usable_cores != 1 or not disturbed:
        return []
    out = [
        f"busy machine: {disturbed} of {len(rows)} rows had less than {100 * FREE_ENOUGH:.0f} % of the core"
        " (column cores), so their rates are too low"
    ]
    others = compared(record)
    unequal = {
        f"{row.case} {row.subject} {row.cores:.2f}, {other.subject} {other.cores:.2f}"
        for row in record.rows
        for other in others(row)
        if other is not None and not equal_shares(record, row, other)
    }
    if not unequal:
        return [out[0] + "; ratios hold, as all subjects had equal parts"]
    return [*out, f"ratios with ? do not hold, as one had more of the core: {'; '.join(sorted(unequal))}"]


# --- forms ----------------------------------------------------------------------------------------


def print_record(record: Record, console: Console) -> None:
    """A table for every key size, then the notes."""
    for bits in record.key_bits:
        table = rich_table(f"{bits}-bit keys", header(record))
        for title, rows in sections([row for row in record.rows if row.key_bits == bits]):
            table.add_section()
            table.add_row(f"[bold]{title}[/bold]")
            for cells in lines(record, rows):
                table.add_row(*map(escape, cells))
        console.print(table)
    for note in notes(record):
        console.print(
            escape(note), style="red" if note.startswith("FAILED") else "dim", highlight=False, soft_wrap=True
        )


def rich_table(title: str, columns: Sequence[str]) -> Table:
    """An empty table: words to the left, figures to the right."""
    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="left" if column in LEFT_COLUMNS else "right", no_wrap=True)
    return table


def markdown(record: Record) -> str:
    """The same tables and notes as Markdown."""
    out = []
    columns = header(record)
    for bits in record.key_bits:
        out += [f"### {bits}-bit keys", "", _bar(columns)]
        out.append(_bar("---" if column in LEFT_COLUMNS else "---:" for column in columns))
        for _, rows in sections([row for row in record.rows if row.key_bits == bits]):
            out += [_bar(cells) for cells in lines(record, rows)]
        out.append("")
    return "\n".join([*out, *(f"- {note}" for note in notes(record)), ""])


def _bar(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def print_cases(cases: Sequence[Case], console: Console) -> None:
    """What can be run: every case with its group, what its rate counts, and batch sizes."""
    table = rich_table("", ["operation", "group", "counts", "batch", "what"])
    for case in cases:
        name = f"{case.name} *" if case.headline else case.name
        sizes = (f"{size / 1000:.0f}k" if size >= 1000 else str(size) for size in case.batch)
        table.add_row(name, case.group, case.unit, " / ".join(dict.fromkeys(sizes)), case.text)
    console.print(table)
    console.print("* also in the group headline; batch: gmp and peers / simd / cuda", style="dim")
