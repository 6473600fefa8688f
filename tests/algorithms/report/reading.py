"""A page as a program reads it."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Self

VOID = {"meta", "br"}


@dataclass
class Node:
    """An element, its children and texts in order."""

    name: str
    attributes: dict[str, str | None]
    children: list[Node | str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All texts in it, blanks as single ones."""
        parts = [child if isinstance(child, str) else child.text for child in self.children]
        return " ".join("".join(parts).split())

    def all(self, name: str = "", class_: str = "") -> list[Node]:
        """Elements below it of that name and class, in order."""
        found = []
        for child in self.children:
            if isinstance(child, Node):
                classes = (child.attributes.get("class") or "").split()
                if name in ("", child.name) and (not class_ or class_ in classes):
                    found.append(child)
                found += child.all(name, class_)
        return found


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open = [Node("", {})]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        node = Node(tag, dict(attrs))
        self.open[-1].children.append(node)
        if tag not in VOID:
            self.open.append(node)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().name == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


class Read(Node):
    """A whole page."""

    @classmethod
    def page(cls, html: str) -> Self:
        reader = _Reader()
        reader.feed(html)
        reader.close()
        assert [node.name for node in reader.open] == [""], "an element is not closed"
        return cls("", {}, reader.open[0].children)

    @property
    def sections(self) -> dict[str, Node]:
        return {node.attributes["id"] or "": node for node in self.all("section")}
