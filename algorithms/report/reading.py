"""Who can read what: the tables of THREAT_MODEL.md for the protocols that a run used."""

from __future__ import annotations

import re
from collections.abc import Iterable

from hecore.algorithms.report import leaks
from hecore.algorithms.report.html import Child, Element, inline, tag
from hecore.algorithms.report.view import RunView
from hecore.algorithms.report.words import size

IN_THIS_RUN = "in this run"
_TAG = re.compile(r"`([a-z]+(?:[._][a-z_]+)*)`")


def leak_section(run: RunView) -> Element | None:
    """Message by message of each protocol: who sends it, what its receiver can read and infer."""
    known = leaks.load()
    cards = [
        _card(run, known[name]) if name in known else _unknown(name)
        for name in dict.fromkeys(run.record.protocols)
    ]
    return tag("div", tag("p", _roles(run), class_="note"), cards, class_="stack") if cards else None


def _roles(run: RunView) -> str:
    record = run.record
    others = ", ".join(record.peers) or "nobody"
    if record.role == "active":
        return f"A is {record.party}, the active party. Passive: {others}."
    return f"A is the active party, {others}. {record.party} is passive: P or B."


def _unknown(name: str) -> Element:
    return tag(
        "div", tag("p", f"This version of hecore has no table for the protocol {name}."), class_="card"
    )


def _card(run: RunView, section: leaks.Section) -> Element:
    """The section up to its last table in sight, the rest to be opened."""
    last = max(place for place, block in enumerate(section.blocks) if block in section.tables)
    before, after = section.blocks[: last + 1], section.blocks[last + 1 :]
    more = tag("details", tag("summary", "What else follows from it"), _blocks(run, after))
    return tag(
        "div",
        tag("h3", inline(section.title)),
        _blocks(run, before),
        more if after else None,
        class_="card leaks",
    )


def _blocks(run: RunView, blocks: Iterable[leaks.Block]) -> list[Element]:
    drawn = []
    for block in blocks:
        if isinstance(block, leaks.Text):
            drawn.append(tag("p", inline(block.text)))
        elif isinstance(block, leaks.Bullets):
            drawn.append(tag("ul", [tag("li", inline(item)) for item in block.items]))
        else:
            drawn.append(_table(run, block))
    return drawn


def _table(run: RunView, table: leaks.Table) -> Element:
    exchanged = [_exchanged(run, row[0], row[1]) if table.of_messages else None for row in table.rows]
    counted = any(exchanged)
    heads = [*table.columns, *([IN_THIS_RUN] if counted else [])]
    rows = []
    for row, count in zip(table.rows, exchanged, strict=True):
        cells = [
            tag("td", inline(cell), data_label=head) for cell, head in zip(row, table.columns, strict=True)
        ]
        if counted:
            cells.append(tag("td", count or "–", class_="run", data_label=IN_THIS_RUN))
        rows.append(tag("tr", cells))
    return tag("table", tag("thead", tag("tr", [tag("th", head) for head in heads])), tag("tbody", rows))


def _exchanged(run: RunView, message: str, way: str) -> Child:
    """How many of this message went that way, over all peers."""
    found = _TAG.search(message)
    if found is None:
        return None
    told = []
    for name in _ways(run.record.role, way):
        parts = [getattr(traffic, name).by_type.get(found[1]) for traffic in run.record.traffic.values()]
        amounts = [part for part in parts if part is not None]
        if amounts:
            count, total = sum(a.messages for a in amounts), sum(a.bytes for a in amounts)
            told.append(f"{count:,} {name}, {size(total)}")
    return [text for line in told for text in (line, tag("br"))][:-1] or None


def _ways(role: str, way: str) -> list[str]:
    """Sent, received or both: A is the active party, B a passive one; P → Q alone is each to the other."""
    sender, _, receiver = (part.strip() for part in way.partition("→"))
    if sender == "A" or receiver == "B":
        return ["sent" if role == "active" else "received"]
    if receiver == "A" or sender == "B":
        return ["received" if role == "active" else "sent"]
    return ["sent", "received"]
