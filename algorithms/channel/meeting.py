"""Whether two processes that meet can go on together: a pure comparison of a greeting with a link."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hecore.algorithms.errors import HandshakeError

if TYPE_CHECKING:
    from hecore.algorithms.channel.link import Link
    from hecore.algorithms.channel.packet import Greeting


def disagreement(link: Link, greeting: Greeting) -> HandshakeError | None:
    """Why these two can never go on together."""
    if greeting.job != link.job:
        return HandshakeError(f"{link.peer} works on job {greeting.job!r}, {link.me} on {link.job!r}")
    for name in sorted(link.terms.keys() & greeting.terms.keys()):
        if link.terms[name] != greeting.terms[name]:
            return HandshakeError(
                f"{link.me} and {link.peer} do not have the same {name}: both must start alike"
            )
    for standing in greeting.received:
        out = link.out.get(standing.stream)
        stored, acked = (out.stored, out.acked) if out is not None else (0, 0)
        if standing.block > stored:
            return HandshakeError(
                f"{link.peer} has {standing.block} blocks from {link.me}, who knows of {stored} only:"
                " the store of one side is older than the other's"
            )
        # Of the same process this is a greeting that was overtaken, and no loss.
        if standing.block < acked and greeting.process != link.peer_process:
            return HandshakeError(
                f"{link.peer} has lost blocks {standing.block} … {acked - 1}, which it had acknowledged"
            )
    for kept in greeting.kept:
        into = link.into.get(kept.stream)
        accepted = into.accepted if into is not None else 0
        if kept.first > accepted:
            return HandshakeError(
                f"{link.peer} keeps blocks from {kept.first} on, but {link.me} has {accepted} only:"
                " the store of one side is older than the other's"
            )
    return None
