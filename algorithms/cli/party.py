"""`hecore party`: a party's key for the network, and whom it trusts. `run` and `status` stand in run.py."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from hecore.algorithms.cli.console import friendly, say
from hecore.algorithms.errors import AuthenticationError, ConfigurationError

app = typer.Typer(
    help="Be a party of a joint job: keys for the network, whom to trust, run the job.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
ALLOW_LIST = Path("allowed.toml")


@app.command()
@friendly
def keygen(
    out: Annotated[Path, typer.Option(help="File for the key pair; the public key goes to OUT.pub.")],
) -> None:
    """Make a CURVE key pair: OUT, for you alone (mode 0600), and OUT.pub to give to the other parties."""
    from hecore.algorithms.channel.curve import PUBLIC, CurveKeys  # heavy: ZeroMQ

    public = Path(f"{out}{PUBLIC}")
    for path in (out, public):
        if os.path.lexists(path):
            raise ConfigurationError(f"{path} exists: keys are not overwritten, choose another name")
    keys = CurveKeys.generate()
    keys.save(out)
    public.write_text(f"{keys.public}\n", encoding="ascii")
    say(f"key pair    {out}  (mode 0600; give it to nobody)")
    say(f"public key  {public}  {keys.public}")


AllowListOption = Annotated[Path, typer.Option("--list", help="The allow-list file.")]
PeerName = Annotated[str, typer.Argument(help="The other party's name.")]


@app.command()
@friendly
def trust(
    name: PeerName,
    keyfile: Annotated[Path, typer.Argument(help="Its public key, as `hecore party keygen` wrote it.")],
    allowed: AllowListOption = ALLOW_LIST,
) -> None:
    """Let the holder of a public key in as NAME.

    A party that has a key already then has two, and both are let in: so it changes to the new one whenever it
    likes. A third one pushes the oldest out. A process that runs keeps the list that it began with.
    """
    from hecore.algorithms.channel import AllowList
    from hecore.algorithms.channel.curve import load_public_key

    key = load_public_key(keyfile)
    known = AllowList.load(allowed) if allowed.exists() else AllowList({})
    owner = known.find(key)
    if owner not in (None, name):
        raise AuthenticationError(f"{keyfile} holds a key of {owner}: each party has its own")
    before = known.keys_of(name) if name in known.parties() else []
    known = known.trust(name, key)
    known.save(allowed)
    say(f"{allowed} trusts {name} with {len(known.keys_of(name))} of at most 2 keys")
    for gone in set(before) - set(known.keys_of(name)):
        say(f"the oldest one, {gone}, is not trusted any more")


@app.command()
@friendly
def distrust(
    name: PeerName,
    keyfile: Annotated[
        Path | None, typer.Argument(help="One of its public keys; without it, all of them go.")
    ] = None,
    allowed: AllowListOption = ALLOW_LIST,
) -> None:
    """Take a party, or one of its keys, off the allow-list.

    A process that runs keeps the list that it began with: start it again where a key was stolen.
    """
    from hecore.algorithms.channel import AllowList
    from hecore.algorithms.channel.curve import load_public_key

    known = AllowList.load(allowed).distrust(name, None if keyfile is None else load_public_key(keyfile))
    known.save(allowed)
    still = name in known.parties()
    now = "trusts {} with the other key only" if still else "does not trust {} any more"
    say(f"done: {allowed} {now.format(name)}")


@app.command("list")
@friendly
def show(allowed: AllowListOption = ALLOW_LIST) -> None:
    """Show whom the allow-list lets in: a line for each key, the older one of a party first."""
    from hecore.algorithms.channel import AllowList

    known = AllowList.load(allowed)
    if not known.parties():
        say(f"{allowed} trusts nobody yet: hecore party trust NAME KEYFILE")
    width = max(map(len, known.parties()), default=0)
    for name in known.parties():
        for key in known.keys_of(name):
            say(f"{name:{width}}  {key}")
