"""The tables of who can read what: one source, and the page shows it whole."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hecore.algorithms.job.folder import RunFolder
from hecore.algorithms.report import build_page, leaks, load_run

from .conftest import Record
from .reading import Node, Read

ROOT = Path(__file__).resolve().parents[3]
DOCUMENT = (ROOT / "THREAT_MODEL.md").read_text(encoding="utf-8")
INSTALLED = ROOT / "algorithms" / "report" / leaks.FILE

TEXT = """\
# Title

## Without a table

| attack | guard |
|---|---|
| one | two |

## Trees and \\| nothing

Some text
over two lines.

- **First.** An item
  over two lines.
- Second.

| message | sender → receiver | the receiver can read |
|---|---|---|
| `a.b` | A → B | this \\| that |
| `c`, twice | B → A | – |

Last words.
"""


def plain(markdown: str) -> str:
    """What a reader sees of Markdown."""
    return re.sub(r"`([^`]+)`|\*\*([^*]+)\*\*|\*([^*]+)\*", lambda m: m[1] or m[2] or m[3], markdown)


def test_the_package_has_what_the_document_has() -> None:
    fresh = leaks.dump(leaks.parse(DOCUMENT))
    assert INSTALLED.read_bytes() == fresh, "THREAT_MODEL.md has changed: run `make leaks`"


@pytest.mark.parametrize("protocol", ["psi", "gbdt", "linear-shared", "channel"])
def test_every_protocol_has_a_table(protocol: str) -> None:
    (table,) = leaks.load()[protocol].tables
    assert table.columns[-1] == "can be inferred"
    assert len(table.rows) >= 5


@pytest.mark.parametrize("protocol", sorted(leaks.load()))
def test_the_page_shows_the_document(record: Record, protocol: str) -> None:
    page = Read.page(build_page(load_run(record(protocols=[protocol], traffic={}))))
    (card,) = page.sections["reading"].all(class_="leaks")
    section = leaks.parse(DOCUMENT)[protocol]
    assert card.all("h3")[0].text == plain(section.title)
    drawn = card.all("table")
    tables = [block for block in section.blocks if isinstance(block, leaks.Table)]
    assert len(drawn) == len(tables)
    for node, table in zip(drawn, tables, strict=True):
        width = len(table.columns)
        assert [head.text for head in node.all("th")][:width] == table.columns
        rows = [[cell.text for cell in row.all("td")][:width] for row in node.all("tr")[1:]]
        assert rows == [[plain(cell) for cell in row] for row in table.rows]
    for block in section.blocks:
        if isinstance(block, leaks.Text):
            assert plain(block.text) in card.text
        elif isinstance(block, leaks.Bullets):
            assert all(plain(item) in card.text for item in block.items)


def card_rows(page: Read) -> list[Node]:
    return page.sections["reading"].all("tbody")[0].all("tr")


@pytest.mark.parametrize(
    ("role", "expected"),
    [
        ("active", {"A → P": "3 sent, 30 B", "P → A": "5 received, 50 B"}),
        ("passive", {"A → P": "5 received, 50 B", "P → A": "3 sent, 30 B"}),
    ],
)
def test_what_went_which_way(record: Record, role: str, expected: dict[str, str]) -> None:
    sent = {"messages": 3, "bytes": 30, "by_type": {"psi.masked": {"messages": 3, "bytes": 30}}}
    back = {"messages": 5, "bytes": 50, "by_type": {"psi.masked": {"messages": 5, "bytes": 50}}}
    path = record(role=role, protocols=["psi"])
    with RunFolder.open(path) as run:
        run.update(traffic={"shop": {"sent": sent, "received": back}})
    rows = card_rows(Read.page(build_page(load_run(path))))
    cells = [[cell.text for cell in row.all("td")] for row in rows]
    assert {row[1]: row[-1] for row in cells if row[0] == "psi.masked"} == expected
    assert {row[-1] for row in cells if row[0] == "psi.outcome"} == {"–"}


def test_a_run_that_exchanged_nothing_has_no_column_for_it(record: Record) -> None:
    page = Read.page(build_page(load_run(record(protocols=["psi"]))))
    heads = [head.text for head in page.sections["reading"].all("th")]
    assert heads[-1] == "can be inferred"


def test_a_protocol_without_a_table_is_named(record: Record) -> None:
    page = Read.page(build_page(load_run(record(protocols=["psi", "new"]))))
    assert "no table for the protocol new" in page.sections["reading"].text


@pytest.mark.parametrize(
    ("role", "text"),
    [
        ("active", "A is bank, the active party. Passive: shop."),
        ("passive", "A is the active party, shop. bank is passive: P or B."),
    ],
)
def test_who_is_who(record: Record, role: str, text: str) -> None:
    path = record(role=role, protocols=["psi"])
    assert text in Read.page(build_page(load_run(path))).sections["reading"].text


def test_sections_are_read_by_heading_and_columns() -> None:
    assert leaks.parse(TEXT) == {
        "gbdt": leaks.Section(
            "Trees and \\| nothing",
            [
                leaks.Text("Some text over two lines."),
                leaks.Bullets(["**First.** An item over two lines.", "Second."]),
                leaks.Table(
                    ["message", "sender → receiver", "the receiver can read"],
                    [["`a.b`", "A → B", "this | that"], ["`c`, twice", "B → A", "–"]],
                ),
                leaks.Text("Last words."),
            ],
        )
    }


def test_a_heading_of_no_known_protocol_is_a_key_itself() -> None:
    assert list(leaks.parse(TEXT.replace("Trees and", "A *New* one:"))) == ["a-new-one-nothing"]


def test_a_row_with_a_cell_too_few() -> None:
    with pytest.raises(ValueError, match="a row of 2 cells in a table of 3"):
        leaks.parse(TEXT.replace("| `a.b` | A → B |", "| `a.b` |"))


def test_two_sections_of_one_protocol() -> None:
    with pytest.raises(ValueError, match="two sections are of"):
        leaks.parse(TEXT + TEXT)
