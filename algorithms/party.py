"""The handshake of a joint step: both parties show what they are about to do, and compare.

Hello: active ↔ passive, in the clear on the authenticated channel. Each learns the other's task and
configuration, its public key, the number of its rows and columns, and SHA-256 of its row ids in order.
Equal digests tell both that their rows match. Where they differ, whoever can guess the other's whole list of
ids can check the guess: parties align their rows first (PSI), so that the lists are known to both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

from hecore.algorithms.channel import Channel
from hecore.algorithms.checks import counted
from hecore.algorithms.data import Table
from hecore.algorithms.errors import CheckpointError, ConfigurationError, HandshakeError, printable
from hecore.algorithms.messages import Message, Name
from hecore.errors import InvalidKey, WireFormatError
from hecore.keys import PublicKey
from hecore.randomness import Draw, random_bytes
from hecore.wire import dump_key, load_key

ACTIVE, PASSIVE = "active", "passive"

#: A peer's column count sizes arrays here.
MAX_COLUMNS = 1 << 20
MAX_CONFIGURATION = 1 << 16
LONGEST_SHOWN = 80
#: So many settings that differ are shown, the rest is counted.
MOST_SHOWN = 12


class Hello(Message, frozen=True, kw_only=True, tag="hello"):
    """What a party is about to do. `configuration` is a JSON object; payload: its public key, if any."""

    task: Name
    role: Annotated[str, msgspec.Meta(pattern=rf"^({ACTIVE}|{PASSIVE})\Z")]
    configuration: Annotated[str, msgspec.Meta(max_length=MAX_CONFIGURATION)]
    alignment: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
    rows: Annotated[int, msgspec.Meta(ge=1)]
    columns: Annotated[int, msgspec.Meta(ge=1, le=MAX_COLUMNS)]
    nonce: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}\Z")]

    def __post_init__(self) -> None:
        if len(self.payload) > 1:
            raise ValueError(f"{len(self.payload)} public keys instead of one")


@dataclass(frozen=True)
class Peer:
    """The other party, as its Hello described it; `session` names this meeting, equal at both parties."""

    name: str
    key: PublicKey | None
    columns: int
    session: str

    @property
    def public(self) -> PublicKey:
        """Its key. HandshakeError if it came without one, as a passive party of trees does."""
        if self.key is None:
            raise HandshakeError(f"{self.name} sent no public key")
        return self.key


def handshake(
    channel: Channel,
    *,
    task: str,
    role: str,
    configuration: msgspec.Struct,
    table: Table,
    public: PublicKey | None,
    keyless: bool = False,
    draw: Draw = random_bytes,
) -> Peer:
    """Exchange Hellos and compare; both sides fail alike, each naming both.

    public    this party's key; None where it needs none
    keyless   a passive peer may have none

    Raises HandshakeError for another task, two parties of one role, unequal configurations (all
    differences are named), rows that do not match, and a public key that is missing, malformed, breaks a
    condition, is this party's own, or is a test key where the other's is none. What only one side can see
    (a foreign key that is bad) the other hears at its next `receive`, when this side's channel aborts with
    the error.
    """
    mine = Hello(
        task=task,
        role=role,
        configuration=msgspec.json.encode(configuration, order="sorted").decode(),
        alignment=table.alignment().hex(),
        rows=len(table),
        columns=len(table.columns),
        nonce=draw(16).hex(),
        payload=() if public is None else (dump_key(public),),
    )
    channel.send(mine)
    theirs = channel.receive(Hello)
    _compare(channel.me, channel.peer, mine, theirs)
    if not theirs.payload and not (keyless and theirs.role == PASSIVE):
        raise HandshakeError(f"{channel.peer} sent no public key, which {channel.me} needs for {task!r}")
    key = read_peer_key(channel.me, channel.peer, public, theirs.payload[0]) if theirs.payload else None
    nonces = sorted([mine.nonce, theirs.nonce])
    session = hashlib.sha256("".join([task, *nonces]).encode()).hexdigest()[:32]
    return Peer(channel.peer, key, theirs.columns, session)


def _compare(me: str, peer: str, mine: Hello, theirs: Hello) -> None:
    if mine.task != theirs.task:
        raise HandshakeError(f"{me} wants to run {mine.task!r}, but {peer} {theirs.task!r}")
    if mine.role == theirs.role:
        raise HandshakeError(same_role(me, peer, mine.role))
    compare_settings(me, mine.configuration, peer, theirs.configuration)
    if mine.rows != theirs.rows:
        raise HandshakeError(
            f"{me} has {counted(mine.rows, 'row')} but {peer} {theirs.rows}: align them first"
        )
    if mine.alignment != theirs.alignment:
        raise HandshakeError(
            f"the {mine.rows} row ids of {me} and {peer} differ, or stand in another order:"
            " both need the same ids in the same order"
        )


def same_role(me: str, peer: str, role: str) -> str:
    """The text of an error for two parties of one role."""
    return f"{me} and {peer} are both {role}: exactly one party, the active one, has the label"


@contextmanager
def telling(channels: Sequence[Channel]) -> Iterator[None]:
    """On an error tell all peers what kind, never a value of the data.

    A text may be about one party, so it goes to a single peer only.
    """
    try:
        yield
    except CheckpointError:  # this party starts again as it was, or all begin anew: the others wait
        raise
    except Exception as error:
        told = isinstance(error, HandshakeError | ConfigurationError) and len(channels) == 1
        for channel in channels:
            channel.abort(str(error) if told else type(error).__name__)
        raise


def compare_settings(me: str, mine: str, peer: str, theirs: str) -> None:
    """HandshakeError naming the settings in which two configurations, JSON objects, differ."""
    found = differences(me, mine, peer, theirs)
    if found:
        raise HandshakeError(unlike(found))


def differences(me: str, mine: str, peer: str, theirs: str) -> list[str]:
    """Of each setting in which two configurations, JSON objects, differ, which values it has at which party.

    Where SECTION.name differs, the other settings of the section are of different things, and left out.
    """
    ours, others = _settings(me, mine), _settings(peer, theirs)
    differing = [
        name
        for name in sorted({*ours, *others})
        if (name in ours, ours.get(name)) != (name in others, others.get(name))
    ]
    other_things = tuple(name.removesuffix("name") for name in differing if name.endswith(".name"))
    told = [name for name in differing if name.endswith(".name") or not name.startswith(other_things)]
    return [
        f"{printable(name, LONGEST_SHOWN)} is {_shown(ours, name)} at {me}"
        f" but {_shown(others, name)} at {peer}"
        for name in told
    ]


def unlike(found: Sequence[str]) -> str:
    """The text of an error for what `differences` has found."""
    more = f", and {len(found) - MOST_SHOWN} more" if len(found) > MOST_SHOWN else ""
    return f"{', '.join(found[:MOST_SHOWN])}{more}: both parties must configure the same"


def _settings(party: str, configuration: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(configuration, type=dict[str, Any])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise HandshakeError(f"the configuration of {party} is no JSON object: {error}") from error


def _shown(settings: dict[str, Any], name: str) -> str:
    """A setting as text, short enough for an error: a peer chose it."""
    text = repr(settings[name]) if name in settings else "not set"
    return text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "…"


def read_peer_key(me: str, peer: str, public: PublicKey | None, data: bytes) -> PublicKey:
    """The public key of `peer`, checked by `me`, whose own is `public`. HandshakeError for a bad one.

    Who has no key of its own takes no test key.
    """
    try:
        key = load_key(data, insecure_test_key=public is not None)
    except (InvalidKey, WireFormatError) as error:
        raise HandshakeError(f"{me} refuses the public key of {peer}: {error}") from error
    if public is None:
        return key
    # Compared, not only refused: so a party that uses a test key by mistake hears of it as well.
    if key.insecure_test_key != public.insecure_test_key:
        test, other = (peer, me) if key.insecure_test_key else (me, peer)
        raise HandshakeError(
            f"{test} uses an insecure test key, but {other} does not: {test} needs a key made without"
            " insecure_test_key"
        )
    if key.n == public.n:
        raise HandshakeError(f"{peer} uses the same key pair as {me}: each needs its own")
    return key
