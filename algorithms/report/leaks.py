"""Who can read what: the tables of THREAT_MODEL.md, as far as protocols exchange messages.

The document is the source. `leaks.json` beside this module is its copy for installations, which have no such
document; `make leaks` makes it anew, and a test compares the two.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import resources
from typing import TypeAlias

import msgspec

from hecore.algorithms.built import built

FILE = "leaks.json"
#: How a table of messages begins.
FIRST_COLUMNS = ("message", "sender → receiver")
#: Words of a heading → key of its protocol; the first that fits. Other headings become keys themselves.
_KEYS = (
    (r"set intersection", "psi"),
    (r"trees", "gbdt"),
    (r"`?shared`?", "linear-shared"),
    (r"`?exact`?", "linear-exact"),
    (r"^messages$", "channel"),
    (r"joint jobs", "job"),
)
_CELL = re.compile(r"(?<!\\)\|")


class Text(msgspec.Struct, frozen=True, tag="text"):
    """A paragraph."""

    text: str


class Bullets(msgspec.Struct, frozen=True, tag="list"):
    """A list."""

    items: list[str]


class Table(msgspec.Struct, frozen=True, tag="table"):
    """A table: heads, and rows of as many cells."""

    columns: list[str]
    rows: list[list[str]]

    @property
    def of_messages(self) -> bool:
        """Whether it tells who can read what."""
        return tuple(self.columns[: len(FIRST_COLUMNS)]) == FIRST_COLUMNS


Block: TypeAlias = Text | Bullets | Table


class Section(msgspec.Struct, frozen=True):
    """A section of the document that has a table of messages, in Markdown; its blocks in order."""

    title: str
    blocks: list[Block]

    @property
    def tables(self) -> list[Table]:
        """Its tables of messages."""
        return [block for block in self.blocks if isinstance(block, Table) and block.of_messages]


def parse(document: str) -> dict[str, Section]:
    """The sections with tables of messages, by the key of their protocol.

    ValueError for a row with other cells than its table has heads, and for two sections of one key.
    """
    sections: dict[str, Section] = {}
    for part in re.split(r"^## ", document, flags=re.MULTILINE)[1:]:
        title, _, body = part.partition("\n")
        section = Section(title.strip(), [_block(lines) for lines in _paragraphs(body)])
        if section.tables:
            key = _key(section.title)
            if key in sections:
                raise ValueError(f"two sections are of {key!r}: {sections[key].title!r}, {section.title!r}")
            sections[key] = section
    return sections


def dump(sections: dict[str, Section]) -> bytes:
    """The content of leaks.json."""
    return msgspec.json.format(msgspec.json.encode(sections), indent=1) + b"\n"


@cache
def load() -> dict[str, Section]:
    """The sections as they are installed."""
    data = resources.files(__package__).joinpath(FILE).read_bytes()
    return msgspec.json.decode(data, type=built(dict[str, Section]))


def _key(title: str) -> str:
    for words, key in _KEYS:
        if re.search(words, title, re.IGNORECASE):
            return key
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def _paragraphs(body: str) -> Iterator[list[str]]:
    """Runs of lines; a blank line ends one, and so does the first bullet, the first row of a table."""
    lines: list[str] = []
    kind = ""
    for line in [*body.split("\n"), ""]:
        starts = "|" if line.startswith("|") else "-" if line.startswith("- ") else ""
        new = not line.strip() or (starts != kind and not (kind == "-" and line.startswith("  ")))
        if new and lines:
            yield lines
            lines = []
        if line.strip():
            kind = starts if not lines else kind
            lines.append(line.strip())
        else:
            kind = ""


def _block(lines: Sequence[str]) -> Block:
    if lines[0].startswith("|"):
        columns, _, *rows = (_cells(line) for line in lines)
        for row in rows:
            if len(row) != len(columns):
                raise ValueError(f"a row of {len(row)} cells in a table of {len(columns)}: {' | '.join(row)}")
        return Table(columns, rows)
    if lines[0].startswith("- "):
        items = re.split(r"^- ", "\n".join(lines), flags=re.MULTILINE)
        return Bullets([" ".join(item.split()) for item in items if item])
    return Text(" ".join(lines))


def _cells(line: str) -> list[str]:
    return [cell.strip().replace("\\|", "|") for cell in _CELL.split(line.strip())[1:-1]]
