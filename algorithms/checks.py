"""Checks of a configuration: ConfigurationError names the field, its value and what is allowed.

And `counted`, for texts of all kinds.
"""

from __future__ import annotations

from typing import Literal, get_args, get_origin

import msgspec
import numpy as np

from hecore import KeySpec
from hecore.algorithms.errors import ConfigurationError
from hecore.errors import HecoreError, InsecureKey


def check_kinds(settings: msgspec.Struct) -> None:
    """Every field holds what its class declares: a number, a truth value, one of a few texts.

    A file of settings is read by the same declarations; this is for settings that Python code makes. Numbers
    of numpy become Python's, and integers become floats where a field is one: equal settings are then equal
    bytes at all parties.
    """
    for field in msgspec.structs.fields(settings):
        given = getattr(settings, field.name)
        value = given.item() if isinstance(given, np.generic) else given
        if get_origin(field.type) is Literal:
            check_choice(field.name, value, get_args(field.type))
        try:
            exact = msgspec.convert(value, field.type)
        except msgspec.ValidationError as error:
            text = str(error)
            raise ConfigurationError(f"{field.name} = {given!r}: {text[0].lower()}{text[1:]}") from None
        if type(exact) is not type(given):
            msgspec.structs.force_setattr(settings, field.name, exact)


def check_range(name: str, value: float, lowest: float, highest: float) -> None:
    """The value of a field is a number from `lowest` to `highest`."""
    if not lowest <= value <= highest:
        raise ConfigurationError(f"{name} = {value} is not in {lowest} … {highest}")


def check_choice(name: str, value: object, allowed: tuple[str, ...]) -> None:
    """The value of a field is one of those allowed."""
    if value not in allowed:
        raise ConfigurationError(f"{name} = {value!r} is not one of {', '.join(map(repr, allowed))}")


def check_key_bits(name: str, bits: int) -> None:
    """Paillier keys have a length that protects, and that hecore computes with."""
    try:
        KeySpec(bits)
    except InsecureKey:  # its text is for programs
        raise ConfigurationError(
            f"{name} = {bits}: a modulus of {bits} bits protects nothing: use 2048 or more"
        ) from None
    except HecoreError as error:
        raise ConfigurationError(f"{name} = {bits}: {error}") from None


def counted(count: int, what: str) -> str:
    """A number of things: "1 row", "2 rows"."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"
