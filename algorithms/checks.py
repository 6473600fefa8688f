"""Checks of a configuration: ConfigurationError names the field, its value and what is allowed."""

from __future__ import annotations

from hecore.algorithms.errors import ConfigurationError


def check_range(name: str, value: float, lowest: float, highest: float) -> None:
    """The value of a field is a number from `lowest` to `highest`."""
    if not lowest <= value <= highest:
        raise ConfigurationError(f"{name} = {value} is not in {lowest} … {highest}")


def check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """The value of a field is one of those allowed."""
    if value not in allowed:
        raise ConfigurationError(f"{name} = {value!r} is not one of {', '.join(map(repr, allowed))}")
