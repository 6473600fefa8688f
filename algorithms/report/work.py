"""What a run took: time, operations, messages."""

from __future__ import annotations

from collections.abc import Sequence

from hecore.algorithms.checks import counted
from hecore.algorithms.job.records import Amount, LinkRecord, PeerTraffic, RunRecord, added
from hecore.algorithms.job.timeline import CATEGORIES, TimelineRecord, category
from hecore.algorithms.report.charts import bar, time_axis, timeline_band
from hecore.algorithms.report.html import Child, Element, tag
from hecore.algorithms.report.sections import pairs
from hecore.algorithms.report.view import RunView
from hecore.algorithms.report.words import CATEGORY_NAMES, PHASES, duration, operation, share, size


def timelines(run: RunView, peers: Sequence[RunView]) -> Element | None:
    """When each party computed, encrypted, waited and sent; own line first, then those that others showed."""
    lines = dict(run.record.timelines)
    for peer in peers:
        own = peer.record.timelines.get(peer.record.party)
        if own is not None:
            lines[peer.record.party] = own
    own_first = sorted(lines, key=lambda party: (party != run.record.party, party))
    end = max((lines[party].end for party in own_first), default=0.0)
    if not end:
        return None
    keys = [tag("span", tag("i", class_=f"fill {name}"), CATEGORY_NAMES[name]) for name in CATEGORIES]
    return tag(
        "figure",
        tag("p", keys, tag("span", tag("i", class_="fill none"), "not measured"), class_="keys"),
        [_line(party, party == run.record.party, lines[party], end) for party in own_first],
        time_axis(end),
        tag(
            "figcaption", f"Time since the parties met, in slots of {duration(_slot(lines))}.", class_="note"
        ),
        class_="card time",
    )


def _slot(lines: dict[str, TimelineRecord]) -> float:
    return max(line.width for line in lines.values())


def _line(party: str, own: bool, record: TimelineRecord, end: float) -> Element:
    seconds = record.coarse().seconds()
    told = [
        f"{CATEGORY_NAMES[name]} {share(seconds[name] / end)}" for name in CATEGORIES if seconds.get(name)
    ]
    name = [tag("b", party), " (this party)" if own else None]
    head = tag("div", tag("span", name), tag("span", " · ".join(told), class_="note"), class_="party")
    return tag("div", head, timeline_band(record, end))


def work(run: RunView, peers: Sequence[RunView]) -> Element | None:
    """Seconds and operations by phase, of each party whose record is there."""
    tables = [_phases(view.record) for view in (run, *peers)]
    tables = [table for table in tables if table is not None]
    return tag("div", tables, class_="stack") if tables else None


def _phases(record: RunRecord) -> Element | None:
    names = {**record.seconds, **record.operations}
    if not names:
        return None
    longest = max(record.seconds.values(), default=0.0) or 1.0
    ranked = sorted(names, key=lambda name: -record.seconds.get(name, 0.0))
    heads = tag("th", "phase"), tag("th"), tag("th", "time", class_="num"), tag("th", "operations")
    body = [_phase(record, name, longest) for name in ranked]
    table = tag("table", tag("thead", tag("tr", heads)), tag("tbody", body), class_="bars phases")
    return tag("div", tag("h3", record.party, ": time and operations by phase"), table, class_="card")


def _phase(record: RunRecord, name: str, longest: float) -> Element:
    seconds, kind = record.seconds.get(name), category(name)
    return tag(
        "tr",
        tag("th", PHASES.get(name, name), tag("small", CATEGORY_NAMES[kind]), scope="row"),
        tag("td", bar((seconds or 0.0) / longest, kind), class_="wide"),
        tag("td", None if seconds is None else duration(seconds), class_="num"),
        tag("td", _operations(record.operations.get(name, {}))),
    )


def _operations(counts: dict[str, int]) -> Child:
    told = [operation(name, count) for name, count in sorted(counts.items(), key=lambda item: -item[1])]
    return tag("ul", [tag("li", tag("b", figure), f" {text}") for figure, text in told]) if told else None


def messages(run: RunView) -> Element | None:
    """Bytes by message type each way, and what the connection went through, by peer."""
    record = run.record
    cards = [
        _traffic(record, peer, traffic, record.links.get(peer))
        for peer, traffic in record.traffic.items()
        if traffic.sent.messages or traffic.received.messages
    ]
    return tag("div", cards, class_="stack") if cards else None


def _traffic(record: RunRecord, peer: str, traffic: PeerTraffic, link: LinkRecord | None) -> Element:
    party = record.party
    both = {f"{party} → {peer}": traffic.sent, f"{peer} → {party}": traffic.received}
    types: dict[str, int] = {}
    for way in both.values():
        types = added(types, {name: amount.bytes for name, amount in way.by_type.items()})
    most = max((amount.bytes for way in both.values() for amount in way.by_type.values()), default=0) or 1

    def row(name: str) -> Element:
        cells = [_amount(text, way.by_type.get(name), most) for text, way in both.items()]
        return tag("tr", tag("th", tag("code", name), scope="row"), cells)

    total = [_amount(text, Amount(messages=way.messages, bytes=way.bytes)) for text, way in both.items()]
    return tag(
        "div",
        tag("h3", f"{party} and {peer}"),
        tag(
            "table",
            tag("thead", tag("tr", tag("th", "message"), [tag("th", text) for text in both])),
            tag("tbody", [row(name) for name in sorted(types, key=lambda name: -types[name])]),
            tag("tfoot", tag("tr", tag("th", "all", scope="row"), total)),
            class_="bars traffic",
        ),
        None if link is None else _connection(link),
        None if link is None or record.starts == 1 else _resumed(record),
        class_="card",
    )


def _amount(way: str, amount: Amount | None, most: int = 0) -> Element:
    """Bytes and messages of one way; a bar where there is a largest one to compare with."""
    if amount is None:
        return tag("td", class_="nothing")
    noun = "message" if amount.messages == 1 else "messages"
    parts = [
        bar(amount.bytes / most, "one") if most else tag("span", class_="bar"),
        tag("b", size(amount.bytes)),
        tag("span", f"{amount.messages:,} {noun}", class_="note"),
    ]
    return tag("td", tag("div", parts, class_="flow"), data_label=way)


def _connection(link: LinkRecord) -> Element:
    trip = None if link.round_trip is None else f"{1000 * link.round_trip:.3g} ms"
    items: list[tuple[str, str | None]] = [
        ("round trip", trip),
        ("on the wire", f"{size(link.sent_bytes)} out, {size(link.received_bytes)} in"),
        ("sent again", size(link.resent_bytes)),
        ("came twice", counted(link.doubled_blocks, "block") if link.doubled_blocks else None),
        ("refused", counted(link.refused_packets, "packet") if link.refused_packets else None),
        ("connections", f"{link.connections:,}"),
    ]
    return pairs((name, value) for name, value in items if value is not None)


def _resumed(record: RunRecord) -> Element:
    """Why messages may have more bytes than the wire: see `RunFolder`."""
    return tag(
        "p",
        f"{record.party} was started {record.starts} times. Messages that a later process made or read again"
        " count again in the table. Most of them were on a disk by then and did not travel again, so the"
        " table may tell of more bytes than the wire.",
        class_="note",
    )
