"""What the commands have in common: where they write, lists in their options. They fail as `hecore` does."""

from __future__ import annotations

import typer
from rich.console import Console

from .record import Machine

#: Columns of output that goes to a file or a pipe.
WIDTH_OF_FILES = 120


def output() -> Console:
    """Standard output; wide enough for every table where it is no terminal."""
    console = Console()
    return console if console.is_terminal else Console(width=WIDTH_OF_FILES)


def words(text: str) -> list[str]:
    """Words between commas or spaces, each once."""
    return list(dict.fromkeys(word for word in text.replace(",", " ").split() if word))


def numbers(text: str, option: str) -> list[int]:
    """Positive integers. BadParameter naming the option."""
    given = words(text)
    bad = [word for word in given if not word.isdecimal() or int(word) < 1]
    if bad:
        raise typer.BadParameter(f"{bad[0]!r} is not a positive integer", param_hint=option)
    return [int(word) for word in given]


def pair(text: str) -> tuple[int, int]:
    """The two numbers of --columns."""
    parts = text.split(",")
    if len(parts) != 2 or not all(part.strip().isdecimal() for part in parts):
        raise typer.BadParameter(f"{text!r} are not two numbers", param_hint="--columns")
    return int(parts[0]), int(parts[1])


def print_machine(machine: Machine, command: str, console: Console) -> None:
    """Where figures were measured, and by which command."""
    console.print(
        f"{machine.cpu}, {machine.usable_cores} cores, load {machine.load} before; {command}",
        highlight=False,
        soft_wrap=True,
    )
