"""Settings in TOML that people write: read into frozen structs, and refused so that they can be mended.

Every error names the file, the key with its table, the value, and what is allowed; of an unknown key the
nearest known one, and all of its table. What is wrong in a file is told together.
"""

from __future__ import annotations

import copy
import difflib
import json
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin

import msgspec

from hecore.algorithms.built import built
from hecore.algorithms.errors import ConfigurationError

Text = Annotated[str, msgspec.Meta(min_length=1)]
T = TypeVar("T")

_UNKNOWN = re.compile(r"unknown field `(.*)`")
_MISSING = re.compile(r"missing required field `(.*)`")


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of a file of settings. Rules that join several of its keys raise ConfigurationError."""


class PeerParty(Section, frozen=True, kw_only=True):
    """Another party; `dial`: the address it listens at, tcp://HOST:PORT, left out where it dials this one."""

    dial: Text | None = None


def toml_value(value: Any) -> str:
    """A value of a file of settings as one writes it there; a key that is left out is "not set"."""
    if value is None:
        return "not set"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    if isinstance(value, str | bool):
        return json.dumps(value, ensure_ascii=False)  # JSON's texts and truth values are TOML's
    return str(value)


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What settings, dotted key → value, are now and were at first; empty where they are the same."""
    return ", ".join(
        f"{name} is {toml_value(now.get(name))} now, but the job under way began with"
        f" {toml_value(before.get(name))}"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    )


def read_settings(path: Path, make: Callable[[dict[str, Any]], T]) -> T:
    """What `make` makes of the tables of a file. ConfigurationError, of it as well, names the file."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is no TOML: {error}") from None
    try:
        return make(content)
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from None


def convert(value: Any, kind: type[T], where: tuple[str, ...] = ()) -> T:
    """`value`, which stands at the key `where` of the file, as a `kind`. ConfigurationError as above."""
    refuse(mistakes(value, kind, where))
    return msgspec.convert(value, built(kind))


def refuse(told: list[str]) -> None:
    """ConfigurationError that names all mistakes, if there are any."""
    if len(told) == 1:
        raise ConfigurationError(told[0])
    if told:
        raise ConfigurationError("".join((f"{len(told)} mistakes", *(f"\n  {text}" for text in told))))


@dataclass(frozen=True)
class Hints:
    """What an error may say beside what a table's own type knows.

    elsewhere  keys that are none of the table, and where they belong, in words
    never      values that the type allows, but no file can have
    """

    elsewhere: Mapping[str, str] = field(default_factory=dict)
    never: tuple[str, ...] = ()


def mistakes(
    value: Any, kind: type[Any], where: tuple[str, ...] = (), hints: Hints | None = None
) -> list[str]:
    """What is wrong with `value`, each in words: see `convert`.

    The first thing that is refused is taken out, and the rest looked at again. What follows from that alone
    (a key that is not set any more, a rule of its table) is no mistake of its own.
    """
    rest, told = copy.deepcopy(value), list[str]()
    gone: set[tuple[str, ...]] = set()  # keys that were taken out, or that those were meant to be
    while (refusal := _refusal(rest, kind)) is not None:
        text, keys = refusal
        unknown, missing = _UNKNOWN.search(text), _MISSING.search(text)
        place = (*keys, unknown[1]) if unknown else keys
        if missing:
            follows = (*keys, missing[1]) in gone
        else:  # a rule of a table follows where one of its keys is gone
            table = not unknown and isinstance(_found(rest, keys), dict)
            follows = table and any(key[: len(keys)] == keys for key in gone)
        if not follows:
            told.append(_told(text, rest, kind, (*where, *keys), len(where), hints or Hints()))
        gone.add(place)
        if unknown:
            gone |= {(*keys, close) for close in _close(unknown[1], _fields(_type_at(kind, keys)))}
        if not _take_out(rest, place):
            break
    return told


def _refusal(value: Any, kind: Any) -> tuple[str, tuple[str, ...]] | None:
    """Why a value is no `kind`, in msgspec's words, and the keys that lead there."""
    try:
        msgspec.convert(value, built(kind))
    except msgspec.ValidationError as error:
        text, _, place = str(error).partition(" - at `")
        if place.startswith("key`"):
            text = f"the name of a table in it: {text[0].lower()}{text[1:]}"
        return text, tuple(_keys(place, value, kind))
    return None


def _take_out(value: Any, keys: tuple[str, ...]) -> bool:
    """Remove what stands at a place; whether something stood there."""
    table = _found(value, keys[:-1])
    return bool(keys) and isinstance(table, dict) and table.pop(keys[-1], None) is not None


def check_address(key: str, address: str | None) -> None:
    """ConfigurationError unless it is one that a party can listen at or dial, or is left out."""
    if address is None:
        return
    parts = re.fullmatch(r"tcp://\S+:(\d{1,5})", address)
    if parts is None or not 1 <= int(parts[1]) <= 65535:
        raise ConfigurationError(
            f"{key} = {address!r}: an address is written tcp://HOST:PORT, with a port from 1 to 65535"
        )


def _keys(place: str, value: Any, kind: Any) -> list[str]:
    """The keys that lead to a place as msgspec tells it, which leaves out those that the writer chose.

    They are found by trying: the first whose value is refused.
    """
    keys: list[str] = []
    for key, index in re.findall(r"\.([^.\[\]`]+)|\[(\.\.\.|\d+)\]", place):
        if key:
            keys.append(key)
        elif index == "...":
            keys.append(_refused(_found(value, keys), _type_at(kind, keys)))
    return keys


def _refused(table: Any, kind: Any) -> str:
    """The key of a table of chosen names whose value is no value of such a table."""
    (_, inner) = get_args(kind)
    for key, value in table.items():
        try:
            msgspec.convert(value, built(inner))
        except msgspec.ValidationError:
            return str(key)
    raise AssertionError("nothing in the table is refused")


def _told(text: str, value: Any, kind: Any, keys: tuple[str, ...], skip: int, hints: Hints) -> str:
    dotted, inner = ".".join(keys), _type_at(kind, keys[skip:])
    unknown, missing = _UNKNOWN.search(text), _MISSING.search(text)
    if unknown:
        allowed = _fields(inner)
        close = _close(unknown[1], allowed)
        hint = f"did you mean {close[0]!r}? " if close else ""
        if unknown[1] in hints.elsewhere:
            hint = f"it is one of {hints.elsewhere[unknown[1]]}; "
        return f"{'.'.join((*keys, unknown[1]))} is no key here: {hint}there are {', '.join(allowed)}"
    if missing:
        return f"{'.'.join((*keys, missing[1]))} is not set"
    found = _found(value, keys[skip:])
    if isinstance(found, dict):  # a rule that joins several keys, in a section's own words
        return f"{dotted + ': ' if dotted else ''}{text}"
    if _fields(inner):
        return f"{dotted} = {found!r}: write [{dotted}], and {', '.join(_fields(inner))} below it"
    plain = text[0].lower() + text[1:].replace(" | null`", "`")  # TOML has no null: a key is left out
    return f"{dotted} = {found!r}: {plain}{_choices(inner, hints.never)}"


def _close(key: str, allowed: list[str]) -> list[str]:
    """The known key that was meant, if one is near: a letter or two apart."""
    return difflib.get_close_matches(key, allowed, 1, cutoff=0.7)


def _found(value: Any, keys: tuple[str, ...] | list[str]) -> Any:
    """What stands at a place."""
    for key in keys:
        value = value.get(key, "") if isinstance(value, dict) else value
    return value


def _fields(kind: Any) -> list[str]:
    """The keys of a table; none of what is no table, or has keys of the writer's choice."""
    return list(getattr(kind, "__struct_fields__", ()))


def _choices(kind: Any, never: tuple[str, ...]) -> str:
    """The texts that are allowed where there are only a few."""
    texts = [choice for choice in get_args(kind) if isinstance(choice, str) and choice not in never]
    return f"; one of {', '.join(map(repr, texts))}" if texts else ""


def _type_at(kind: Any, keys: tuple[str, ...] | list[str]) -> Any:
    for key in keys:
        if get_origin(kind) is dict:
            kind = get_args(kind)[1]
        else:
            table = isinstance(kind, type) and issubclass(kind, msgspec.Struct)
            known = {field.name: field.type for field in msgspec.structs.fields(kind)} if table else {}
            kind = known.get(key)
    return kind
