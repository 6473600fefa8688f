"""Random draws that a restarted run repeats: what a party's own state depends on.

A party that was killed goes on from its last checkpoint and does again what it did since. What it sent
then stands in its outbox and is not sent again, so the noise of ciphertexts may differ. A mask may not:
the party keeps r, the peer got p + r. So masks come from a secret in the party's store:

    mask of a label = AES-256-CTR(HKDF-SHA256(secret, context ‖ label))

Why this is no two-time pad. A context names one run with its peers, and the hashes of the data and parameters
that it is bound to; a label names one step of it, and its mask covers one vector p.

1. At most one p + r ever leaves: a message is durable in the outbox before it is sent, and a message that
   the outbox has is never sent in another form (`channel.mailbox`).
2. p is the same again anyway: it follows from messages, which come out of the inbox as they were, from
   the party's data and parameters, and from masks. With other data or parameters the masks are others too.
3. A store that was set back (an old copy) does not know what it has sent. The peer does, and ends the
   talk at the greeting, before anything is sent (`channel.link`).
4. Within a process a label is given out once: asking again raises.

Without a store there is nothing to repeat: `fresh` asks the operating system.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

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

        info = b"hecore draw\0" + self._context.encode() + b"\0" + label.encode()
        key = HKDF(SHA256(), 32, None, info).derive(self._secret)
        return Cipher(algorithms.AES256(key), modes.CTR(bytes(16))).encryptor()
