"""HTML as a tree: every text and attribute is escaped when it is written, whoever it came from."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TypeAlias
from xml.etree import ElementTree as ET

Element: TypeAlias = ET.Element
Child: TypeAlias = "Element | str | Iterable[Child] | None"

#: Inside a style element a browser reads text as it is.
_ENDS_STYLE = re.compile(r"</", re.IGNORECASE)
#: What XML and HTML cannot hold: controls, lone surrogates.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_INLINE = re.compile(r"`([^`]+)`|\*\*([^*]+)\*\*|\*([^*]+)\*")


def tag(name: str, /, *children: Child, **attributes: str | float | None) -> Element:
    """An element. `class_="a"` is the attribute class, `stroke_width` is stroke-width; None leaves one out.

    Children are elements, texts, None (nothing) or iterables of these.
    """
    given = {
        key.rstrip("_").replace("_", "-"): clean(value if isinstance(value, str) else f"{value:g}")
        for key, value in attributes.items()
        if value is not None
    }
    element = ET.Element(name, given)
    _append(element, children)
    return element


def _append(element: Element, child: Child) -> None:
    if child is None:
        return
    if isinstance(child, str):
        if len(element):
            element[-1].tail = (element[-1].tail or "") + clean(child)
        else:
            element.text = (element.text or "") + clean(child)
    elif isinstance(child, ET.Element):
        element.append(child)
    else:
        for inner in child:
            _append(element, inner)


def clean(text: str) -> str:
    """The text without characters that no page can hold, each as U+FFFD."""
    return _UNPRINTABLE.sub("\ufffd", text)


def style(text: str) -> Element:
    """A style element. ValueError for a text that would end it."""
    if _ENDS_STYLE.search(text):
        raise ValueError("a style sheet cannot hold </")
    return tag("style", text)


def inline(markdown: str) -> list[Child]:
    """`code`, **strong** and *emphasis* of Markdown as elements; everything else as text."""
    parts: list[Child] = []
    end = 0
    for match in _INLINE.finditer(markdown):
        parts.append(markdown[end : match.start()])
        code, strong, emphasis = match.groups()
        if code is not None:
            parts.append(tag("code", code))
        else:
            parts.append(tag("strong", strong) if strong is not None else tag("em", emphasis))
        end = match.end()
    return [*parts, markdown[end:]]


def document(root: Element) -> str:
    """The file of a page."""
    return "<!DOCTYPE html>\n" + ET.tostring(root, encoding="unicode", method="html") + "\n"
