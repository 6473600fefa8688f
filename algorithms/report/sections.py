"""What a run was and what came of it: head, results, curves, own columns, configuration."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec

from hecore.algorithms.checks import counted
from hecore.algorithms.job.records import RoundRecord, RunRecord
from hecore.algorithms.report.charts import Curve, bar, line_chart
from hecore.algorithms.report.html import Child, Element, tag
from hecore.algorithms.report.view import RunView
from hecore.algorithms.report.words import (
    ALGORITHMS,
    GROWING,
    METRICS,
    PARTS,
    SHARES,
    duration,
    number,
    share,
    size,
)

#: Columns whose importance is drawn; the rest is counted.
SHOWN = 20


def header(run: RunView) -> Element:
    """Job, party, state, and the figures that are asked for first."""
    record = run.record
    algorithm = ALGORITHMS.get(record.algorithm, record.algorithm) or "Joint job"
    told: list[Child] = [f"{algorithm} · ", tag("strong", record.party), f", {record.role} party"]
    for place, peer in enumerate(record.peers):
        joint = ", with " if place == 0 else " and " if place == len(record.peers) - 1 else ", "
        told += [joint, tag("strong", peer)]
    return tag(
        "header",
        tag(
            "div",
            tag("h1", record.job),
            tag("span", record.status, class_=f"status {record.status}"),
            class_="title",
        ),
        tag("p", told, class_="who"),
        tag("p", _when(record), class_="when"),
        tag("p", record.error, class_="error") if record.error else None,
        tag("div", [_tile(*figure) for figure in _figures(run)], class_="tiles"),
    )


def _figures(run: RunView) -> Iterable[tuple[str, str]]:
    record = run.record
    for metric, values in list(record.results.items())[:2]:
        for part in ("test", "validation", "train", *values):
            if values.get(part) is not None:
                yield number(values[part]), f"{METRICS.get(metric, metric)}, {PARTS.get(part, part)} rows"
                break
    if run.rounds_done:
        yield f"{run.rounds_done:,}", f"{run.round_name}s"
    rows = record.rows
    if rows.train is not None:
        common = "" if rows.common is None else f" of {rows.common:,} common"
        yield f"{rows.train:,}", f"training rows{common}"
    yield duration(record.elapsed), "from start to end" if record.finished else "until the last word"
    total = sum(peer.sent.bytes + peer.received.bytes for peer in record.traffic.values())
    if total:
        yield size(total), "sent and received"


def _tile(figure: str, text: str) -> Element:
    return tag("div", tag("b", figure), tag("span", text), class_="tile")


def _when(record: RunRecord) -> str:
    if record.finished is None:
        return f"since {_moment(record.started)}; last word {_moment(record.updated)}"
    start, end = _moment(record.started), _moment(record.finished)
    if start == end:
        return end
    if record.started.date() == record.finished.date():
        return f"{start.removesuffix(' UTC')} – {record.finished:%H:%M} UTC"
    return f"{start} – {end}"


def _moment(moment: datetime) -> str:
    return f"{moment:%-d %B %Y, %H:%M} UTC"


def results(run: RunView) -> Element | None:
    """Metric by part."""
    values = run.record.results
    parts = [*PARTS, *sorted({part for row in values.values() for part in row} - set(PARTS))]
    parts = [part for part in parts if any(part in row for row in values.values())]
    if not parts:
        return None
    counts = msgspec.to_builtins(run.record.rows)
    heads = [tag("th", PARTS.get(part, part), _rows_of(counts.get(part)), class_="num") for part in parts]
    body = [
        tag(
            "tr",
            tag("th", METRICS.get(metric, metric), scope="row"),
            [tag("td", number(row[part]) if part in row else "", class_="num big") for part in parts],
        )
        for metric, row in values.items()
    ]
    table = tag("table", tag("thead", tag("tr", tag("th"), heads)), tag("tbody", body))
    return tag("div", table, class_="card results")


def _rows_of(count: int | None) -> Element | None:
    return None if count is None else tag("small", counted(count, "row"))


def curves(run: RunView) -> Element | None:
    """Training and validation by round: a chart for each metric."""
    charts = [_curve_card(run, metric, rounds) for metric, rounds in run.rounds.items()]
    charts = [chart for chart in charts if chart is not None]
    return tag("div", charts, class_="cards") if charts else None


def _curve_card(run: RunView, metric: str, rounds: Sequence[RoundRecord]) -> Element | None:
    train = Curve("training", "one", [(r.number, r.train) for r in rounds])
    validation = Curve("validation", "two", [(r.number, r.validation) for r in rounds])
    there = [c for c in (train, validation) if any(value is not None for _, value in c.points)]
    if not there:
        return None
    name = METRICS.get(metric, metric) or "loss"
    return tag(
        "figure",
        tag("figcaption", tag("b", name), f" by {run.round_name}"),
        tag("p", [_key(curve, metric.lower() in GROWING) for curve in there], class_="keys"),
        line_chart(there, run.round_name, (0.0, 1.0) if metric.lower() in SHARES else None),
        class_="card",
    )


def _key(curve: Curve, growing: bool) -> Element:
    known = [(y, x) for x, y in curve.points if y is not None]
    y, x = known[-1]
    best, where = max(known) if growing else min(known)
    text = f"{curve.name}: {number(y)} after {x}"
    text += "" if best == y else f", best {number(best)} after {where}"
    return tag("span", tag("i", class_=f"fill {curve.colour}"), text)


def columns(run: RunView) -> Element | None:
    """Importances of this party's own columns."""
    known = [importance for importance in run.record.importances if importance.share > 0]
    if not known:
        return None
    gains = any(importance.gain is not None for importance in known)
    trees = run.record.algorithm == "gbdt"
    rows = [
        tag(
            "tr",
            tag("th", importance.column, scope="row"),
            tag("td", bar(importance.share / known[0].share, "one"), class_="wide"),
            tag("td", share(importance.share), class_="num"),
            tag("td", "" if importance.gain is None else f"{importance.gain:.4g}", class_="num gain")
            if gains
            else None,
        )
        for importance in known[:SHOWN]
    ]
    what = "splits" if trees else "weights"
    heads = [
        tag("th", "column"),
        tag("th"),
        tag("th", f"share of {what}", class_="num"),
        tag("th", "mean gain", class_="num") if gains else None,
    ]
    unused = len(run.record.importances) - len(known)
    told = f"Columns of {run.record.party} alone: what others hold is not shown to this party."
    return tag(
        "div",
        tag("p", told, class_="note"),
        tag("table", tag("thead", tag("tr", heads)), tag("tbody", rows), class_="bars"),
        _rest(known[SHOWN:], unused),
        class_="card",
    )


def _rest(left: Sequence[Any], unused: int) -> Element | None:
    texts = []
    if left:
        texts.append(f"{len(left):,} more with {share(sum(i.share for i in left))} together")
    if unused:
        texts.append(f"{unused:,} not used")
    return tag("p", "; ".join(texts), class_="note") if texts else None


def configuration(run: RunView) -> Element | None:
    """Section by section; what is not set is left out."""
    cards = []
    for name, settings in run.record.configuration.items():
        there = [(key, _setting(value)) for key, value in settings.items() if value is not None]
        if there:
            cards.append(tag("div", tag("h3", name), pairs(there), class_="card"))
    return tag("div", cards, class_="cards settings") if cards else None


def _setting(value: Any) -> str:
    if isinstance(value, str):
        return value
    return msgspec.json.encode(value).decode()


def pairs(items: Iterable[tuple[str, Child]]) -> Element:
    """Names and values."""
    return tag("dl", [tag("div", tag("dt", name), tag("dd", value)) for name, value in items])


def facts(run: RunView) -> Element:
    """Versions, keys, rows, and how often it was started."""
    record = run.record
    rows = record.rows
    items: list[tuple[str, Child]] = [("started", _moment(record.started))]
    if record.finished:
        items.append((record.status, _moment(record.finished)))
    if record.starts > 1:
        items.append(("processes", f"{record.starts}, one after the other"))
    counts = [("rows in the own file", rows.own), ("common rows", rows.common)]
    counts += [(f"{PARTS[part]} rows", getattr(rows, part)) for part in PARTS]
    counts.append(("own columns", record.columns))
    items += [(name, f"{count:,}") for name, count in counts if count is not None]
    if record.key_bits:
        items.append(("Paillier key", f"{record.key_bits} bits"))
    if record.backend:
        items.append(("arithmetic", record.backend))
    items.append(("hecore", record.hecore))
    return tag("div", pairs(items), class_="card facts")


def footer(run: RunView) -> Element:
    """Where the page is from."""
    return tag(
        "footer",
        f"Made by hecore {run.record.hecore} from the record of {run.record.party}. "
        "This page holds figures of the run, no rows, keys or masks.",
    )
