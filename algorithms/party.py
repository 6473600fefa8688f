"""The handshake of a joint step: both parties show what they are about to do, and compare.

Hello: active ↔ passive, in the clear on the authenticated channel. Each learns the other's task and
configuration, its public key, the number of its rows and columns, and SHA-256 of its row ids in order:
equal digests tell both that their rows match, unequal ones nothing but that.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from hecore.algorithms.channel import Channel
from hecore.algorithms.data import Table
from hecore.algorithms.errors import HandshakeError
from hecore.algorithms.messages import Message
from hecore.keys import PublicKey
from hecore.wire import dump_key, load_key

ACTIVE, PASSIVE = "active", "passive"


class Hello(Message, frozen=True, kw_only=True, tag="hello"):
    """What a party is about to do. `configuration` is JSON; payload: its public key."""

    task: str
    role: str
    configuration: str
    alignment: str
    rows: int
    columns: int


@dataclass(frozen=True)
class Peer:
    """The other party, as its Hello described it."""

    name: str
    public: PublicKey
    columns: int


def handshake(
    channel: Channel,
    *,
    task: str,
    role: str,
    configuration: msgspec.Struct,
    table: Table,
    public: PublicKey,
) -> Peer:
    """Exchange Hellos and compare; both sides fail alike, each naming both.

    Raises HandshakeError for another task, two parties of one role, unequal configurations (the first
    difference is named) and rows that do not match; InvalidKey for a public key that breaks a condition.
    """
    mine = Hello(
        task=task,
        role=role,
        configuration=msgspec.json.encode(configuration, order="sorted").decode(),
        alignment=table.alignment().hex(),
        rows=len(table),
        columns=len(table.columns),
        payload=(dump_key(public),),
    )
    channel.send(mine)
    theirs = channel.receive(Hello)
    _compare(channel, mine, theirs)
    if len(theirs.payload) != 1:
        raise HandshakeError(f"{channel.peer} sent {len(theirs.payload)} public keys instead of one")
    # A test key is accepted only by a party that uses one itself.
    peer_key = load_key(theirs.payload[0], insecure_test_key=public.insecure_test_key)
    if peer_key == public:
        raise HandshakeError(f"{channel.peer} uses the same key pair as {channel.me}: each needs its own")
    return Peer(channel.peer, peer_key, theirs.columns)


def _compare(channel: Channel, mine: Hello, theirs: Hello) -> None:
    me, peer = channel.me, channel.peer
    if mine.task != theirs.task:
        raise HandshakeError(f"{me} wants to run {mine.task!r}, but {peer} {theirs.task!r}")
    if {mine.role, theirs.role} != {ACTIVE, PASSIVE}:
        raise HandshakeError(
            f"{me} and {peer} are both {mine.role}: exactly one party, the active one, has the label"
        )
    ours, others = msgspec.json.decode(mine.configuration), msgspec.json.decode(theirs.configuration)
    for name in sorted({*ours, *others}):
        if ours.get(name) != others.get(name):
            raise HandshakeError(
                f"{name} is {ours.get(name)!r} at {me} but {others.get(name)!r} at {peer}:"
                " both parties must configure the same"
            )
    if mine.rows != theirs.rows:
        raise HandshakeError(f"{me} has {mine.rows} rows but {peer} {theirs.rows}: align them first")
    if mine.alignment != theirs.alignment:
        raise HandshakeError(
            f"the {mine.rows} row ids of {me} and {peer} differ, or stand in another order:"
            " both need the same ids in the same order"
        )
