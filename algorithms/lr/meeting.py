r"""What the parties of a training agree on after their handshakes: the active party's terms.

P₁  P₂ … Pₘ      every passive party talks to the active one only
  \  |  /
    A            hello with each; then terms: the same to all
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from hecore.algorithms.channel import Channel
from hecore.algorithms.errors import HandshakeError
from hecore.algorithms.lr.messages import Terms
from hecore.algorithms.party import Peer, read_peer_key
from hecore.keys import PublicKey
from hecore.wire import dump_key


def set_terms(
    channels: Sequence[Channel], peers: Sequence[Peer], own_columns: int, outputs: int, weighted: bool
) -> Terms:
    """Name the model and tell all passive parties the terms; of the active party."""
    model = hashlib.sha256("".join(peer.session for peer in peers).encode()).hexdigest()[:32]
    terms = Terms(
        model=model,
        outputs=outputs,
        passive=tuple(peer.name for peer in peers),
        columns=own_columns + sum(peer.columns for peer in peers),
        weighted=weighted,
        payload=tuple(dump_key(peer.public) for peer in peers),
    )
    for channel in channels:
        channel.send(terms)
    return terms


def take_terms(channel: Channel, peer: Peer, own_columns: int, public: PublicKey) -> Terms:
    """Receive the terms, of a passive party. HandshakeError unless they name it, with its own key."""
    terms = channel.receive(Terms)
    mine = [key for name, key in zip(terms.passive, terms.payload, strict=True) if name == channel.me]
    if mine != [dump_key(public)]:
        raise HandshakeError(f"the terms of {peer.name} do not name {channel.me} with its public key")
    if terms.columns < own_columns + peer.columns:
        raise HandshakeError(f"the terms of {peer.name} name {terms.columns} columns: that is too few")
    return terms


def other_keys(terms: Terms, me: str, active: str, public: PublicKey) -> dict[str, PublicKey]:
    """The keys of the other passive parties, as the active party told them."""
    return {
        name: read_peer_key(me, f"{name} (told by {active})", public, key)
        for name, key in zip(terms.passive, terms.payload, strict=True)
        if name != me
    }


def with_intercept(peer: Peer) -> Peer:
    """The active party as the training counts: it has a column more, for the intercept."""
    return replace(peer, columns=peer.columns + 1)
