"""`hecore keygen`: a Paillier key pair in two files."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

import hecore
from hecore.algorithms.checks import check_key_bits
from hecore.algorithms.cli.console import errors, friendly, say
from hecore.keyfile import MINIMUM_PASSPHRASE, read_passphrase


@friendly
def keygen(
    out: Annotated[Path, typer.Option(help="File for the private key; the public one goes to OUT.pub.")],
    bits: Annotated[int, typer.Option(help="Length of n: 2048, 3072 or 4096.")] = 2048,
    passphrase_file: Annotated[
        Path | None, typer.Option(help="Read the passphrase from the first line of this file, do not ask.")
    ] = None,
) -> None:
    """Make a Paillier key pair: OUT, encrypted and for you alone, and OUT.pub to give away."""
    public_path = Path(f"{out}.pub")
    for path in (out, public_path):
        if os.path.lexists(path):
            raise hecore.KeyFileError(f"{path} exists: keys are not overwritten, choose another name")
    if not out.parent.is_dir():
        raise hecore.KeyFileError(f"{out.parent} is no folder: make it first")
    check_key_bits("bits", bits)  # refuse a bad length before asking for a passphrase
    passphrase = _passphrase(passphrase_file)
    with errors.status(f"searching primes for {bits} bits"):
        key = hecore.generate_key(bits)
    hecore.save_key(key, out, passphrase)
    try:
        hecore.save_key(key.public, public_path)
    except BaseException:
        out.unlink()  # a pair or nothing
        raise
    say(f"private key  {out}  (mode 0600, encrypted; do not lose its passphrase)")
    say(f"public key   {public_path}")
    say(f"fingerprint  {key.public.fingerprint.hex()}")


def _passphrase(file: Path | None) -> str:
    if file is not None:
        passphrase = read_passphrase(file)
    elif sys.stdin.isatty():
        passphrase = typer.prompt("passphrase for the private key", hide_input=True, confirmation_prompt=True)
    else:
        raise hecore.KeyFileError("nobody is there to type a passphrase: use --passphrase-file")
    if len(passphrase) < MINIMUM_PASSPHRASE:
        raise hecore.KeyFileError(f"a passphrase needs at least {MINIMUM_PASSPHRASE} characters")
    return passphrase
