"""Whether two processes that meet can go on together: a pure comparison of a greeting with a link.

Where they cannot, whoever finds out sends the other a Refusal with the reason, and again at each of its
greetings, until a Refusal comes back: so both end with a HandshakeError. Another process than the one that
a link goes on with has no say while that one is heard; when that one is silent, the other's reason holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hecore.algorithms.errors import ANEW, HandshakeError

if TYPE_CHECKING:
    from hecore.algorithms.channel.link import Link
    from hecore.algorithms.channel.packet import AnyPacket, Greeting

#: The process of a peer that was not met yet.
UNKNOWN = bytes(16)


def disagreement(link: Link, greeting: Greeting) -> HandshakeError | None:
    """Why these two can never go on together."""
    if greeting.job != link.job:
        return HandshakeError(f"{link.peer} works on job {greeting.job!r}, {link.me} on {link.job!r}")
    for name in sorted(link.terms.keys() & greeting.terms.keys()):
        if link.terms[name] != greeting.terms[name]:
            return HandshakeError(
                f"{link.me} and {link.peer} do not have the same {name}: both must start alike"
            )
    received = dict.fromkeys(link.out, 0) | {some.stream: some.block for some in greeting.received}
    for stream, block in received.items():
        out = link.out.get(stream)
        stored, acked = (out.stored, out.acked) if out is not None else (0, 0)
        if block > stored:
            more = f"{link.peer} has {block} pieces of messages from {link.me}, which knows of {stored}"
            return _set_back(link.me, link.peer, more)
        # Of the same process this is a greeting that was overtaken, and no loss.
        if block < acked and greeting.process != link.peer_process:
            lost = f"{link.peer} has lost {acked - block} pieces of messages that {link.me} knows it had"
            return _set_back(link.peer, link.me, lost)
    for kept in greeting.kept:
        into = link.into.get(kept.stream)
        accepted = into.accepted if into is not None else 0
        if kept.first > accepted:
            short = (
                f"{link.peer} keeps no pieces of messages before {kept.first}, but {link.me} has {accepted}"
            )
            return _set_back(link.me, link.peer, short)
    return None


def misnamed(link: Link, packet: AnyPacket) -> HandshakeError:
    """The two do not call one of them alike: a packet under the peer's key has other names in it."""
    found = []
    if packet.receiver != link.me:
        found.append(
            f"{link.peer} calls this party {packet.receiver!r}, and its own name here is {link.me!r}"
        )
    if packet.sender != link.peer:
        found.append(f"{link.peer}, as this party calls it, has {packet.sender!r} as its own name")
    remedy = "a party goes by its own name (party.name of a job file, --me of hecore psi) at all sides"
    return HandshakeError(f"{'; '.join(found)}: {remedy}")


def is_bystander(link: Link, packet: AnyPacket) -> bool:
    """The packet is not of the process that the link goes on with, nor of one that takes over."""
    same = link.peer_process in (UNKNOWN, packet.process)
    return packet.epoch < link.peer_epoch or (packet.epoch == link.peer_epoch and not same)


def another_process(link: Link) -> HandshakeError:
    """Two of the peer's processes claim one epoch, and this is not the one that was met."""
    return HandshakeError(
        f"another process of {link.peer} has connected to {link.me}: it has begun anew, was restarted without"
        f" what it had stored, or runs twice; unless it runs twice, {ANEW}"
    )


def outrun(link: Link, known: int) -> HandshakeError:
    """The peer has met a newer process of this party, and this one has never met the peer."""
    return HandshakeError(
        f"{link.peer} has met epoch {known} of {link.me}, whose process now is of epoch {link.epoch}:"
        f" {link.me} has begun anew, its store was removed or set back, or a newer process runs; unless one"
        f" does, {ANEW}"
    )


def _set_back(party: str, other: str, what: str) -> HandshakeError:
    return HandshakeError(
        f"{party} has begun anew, or its store was removed or set back, but {other} goes on from before:"
        f" {ANEW}; {what}"
    )
