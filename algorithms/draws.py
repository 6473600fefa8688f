"""Random draws that a restarted run repeats: what a party's own state depends on.

A party that was killed goes on from its last checkpoint and does again what it did since. What it sent
then stands in its outbox and is not sent again, so the noise of ciphertexts may differ. A mask may not:
the party keeps r, the peer got p + r. So masks come from a secret in the party's store:

    mask of a label = AES-256-CTR(HKDF-SHA256(secret, context ‖ meeting ‖ label))

Why this is no two-time pad. A context names one run with its peers, and the hashes of this party's data and
parameters that it is bound to; the meeting is what the run's handshake came to (`mix`), nothing before it; a
label names one step of the run, and its mask covers one vector p.

1. At most one p + r ever leaves: a message is durable in the outbox before it is sent, and a message that
   the outbox has is never sent in another form (`channel.mailbox`).
2. p is the same again anyway: it follows from messages, which come out of the inbox as they were, from
   the party's data and parameters, and from masks. With other data or parameters the masks are others too.
3. A store that was set back (an old copy) does not know what it has sent. A peer that was not set back does,
   and ends the talk at the greeting, before anything is sent (`channel.link`).
4. Where all stores are set back nobody knows, and p follows from the peers' data, which may be others now. So
   all masks and secret orders are drawn after the handshake, with its session mixed in: a hash of the
   nonces of both sides. A peer's nonce is a draw of its own, bound to its own data, or fresh: with other
   data, parameters or another secret it sends another one, and all masks are others. A party that does not
   shake hands with all parties mixes in a name that follows from all their sessions, by the word of the
   active party. Where all have what they had, all is as it was, p too.
5. Within a process a label is given out once: asking again raises.

Point 4 takes a peer that follows the protocol: one that repeats its old nonce over other data, to a party
whose store was set back too, gets old masks over new numbers. Begin a new job rather than restore a store.

The draws of an alignment are not masks and need no meeting: the scalar and the order of `psi` are bound to
this party's own ids, and hide nothing that follows from the peer's. Repeated to a peer with another list,
they tell it what a second alignment would, and besides that this party's ids are the same.

Without a store there is nothing to repeat: `fresh` asks the operating system.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from hecore.algorithms.errors import ProtocolError
from hecore.randomness import Draw, random_bytes

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers import CipherContext

#: Gives the draw of a label.
Draws: TypeAlias = Callable[[str], Draw]


def fresh(label: str) -> Draw:
    """Draws from the operating system, whatever the label."""
    return random_bytes


class RepeatableDraws:
    """Draws that the same secret, context and label give again in a later process."""

    def __init__(self, secret: bytes, context: str) -> None:
        if len(secret) != 32:
            raise ValueError(f"a secret of {len(secret)} bytes instead of 32")
        self._secret, self._context = secret, context
        self._given: set[str] = set()
        self.meeting = ""

    def mix(self, meeting: str) -> None:
        """Let all later draws depend on `meeting` too. ProtocolError where they depend on another one."""
        if not meeting:
            raise ValueError("nothing to mix into the draws: the session of a handshake is needed")
        if self.meeting not in ("", meeting):
            raise ProtocolError("a run has one meeting: its draws depend on another one already")
        self.meeting = meeting

    def __call__(self, label: str) -> Draw:
        """The draw of a label, once. ProtocolError if it was given before."""
        if label in self._given:
            raise ProtocolError(f"the random draw {label!r} was asked for twice")
        self._given.add(label)
        stream = self._stream(label)
        return lambda size: stream.update(bytes(size))

    def _stream(self, label: str) -> CipherContext:
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes  # heavy imports
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        # As JSON, so that no two of these triples are the same bytes.
        info = b"hecore draw\0" + msgspec.json.encode([self._context, self.meeting, label])
        key = HKDF(SHA256(), 32, None, info).derive(self._secret)
        return Cipher(algorithms.AES256(key), modes.CTR(bytes(16))).encryptor()
