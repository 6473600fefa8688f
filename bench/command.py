"""What the commands have in common: where they write, lists in their options. They fail as `hecore` does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from hecore import InsecureKey, InvalidKey, KeySpec
from hecore.algorithms.errors import ConfigurationError
from hecore.keys import MINIMUM_SECURE_BITS

from .record import Machine

#: What matplotlib writes, by the ending of the name.
PICTURES = (".png", ".svg", ".pdf")
#: The option that all commands with --key-bits have.
InsecureTestKey = Annotated[
    bool, typer.Option("--insecure-test-key", help="Allow keys below 2048 bits: for trying the command out.")
]
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


def check_key_bits(bits: int, insecure_test_key: bool) -> int:
    """`bits`; ConfigurationError for keys that hecore does not make, or that are short without the mark."""
    try:
        KeySpec(bits, insecure_test_key=insecure_test_key)
    except InsecureKey:  # its text is for programs
        remedy = "" if insecure_test_key else ", or add --insecure-test-key to try the command out"
        raise ConfigurationError(
            f"--key-bits {bits}: a modulus of {bits} bits protects nothing: use 2048 or more{remedy}"
        ) from None
    except InvalidKey as error:
        raise ConfigurationError(f"--key-bits {bits}: {error}") from None
    return bits


def told_key_bits(bits: int) -> str:
    """The options for a command that repeats a run."""
    return f"--key-bits {bits}" + (" --insecure-test-key" if bits < MINIMUM_SECURE_BITS else "")


def pair(text: str) -> tuple[int, int]:
    """The two numbers of --columns."""
    parts = text.split(",")
    if len(parts) != 2 or not all(part.strip().isdecimal() for part in parts):
        raise typer.BadParameter(f"{text!r} are not two numbers", param_hint="--columns")
    return int(parts[0]), int(parts[1])


def picture(path: Path, option: str) -> Path:
    """`path`, if a picture can be written under this name. BadParameter naming the option."""
    if path.suffix.lower() not in PICTURES:
        raise typer.BadParameter(
            f"{path.name!r} ends in none of {', '.join(PICTURES)}, which say what to write", param_hint=option
        )
    return path


def print_machine(machine: Machine, command: str, console: Console) -> None:
    """Where figures were measured, and by which command."""
    console.print(
        f"{machine.cpu}, {machine.usable_cores} cores, load {machine.load} before; {command}",
        highlight=False,
        soft_wrap=True,
    )
