"""Errors of parties, channels and protocols.

    HecoreError                    hecore.kernels.errors
    ├── ChannelError               the talk with another party cannot go on
    │   ├── PeerLost               (ConnectionError)  it closed the channel, or was away too long
    │   ├── PeerAborted            it gave up and said why
    │   ├── ChannelTimeout         (TimeoutError)     it never came, or said nothing in time
    │   ├── UnexpectedMessage      it sent another kind of message than the protocol has here
    │   ├── MalformedMessage       (ValueError)       bytes that are no message, or too many
    │   ├── SequenceError          a message was lost or came twice
    │   ├── AuthenticationError    a key or a name is not the one that is trusted
    │   ├── HandshakeError         another protocol version, job or process than expected
    │   ├── Fenced                 a newer process of this party has taken over
    │   └── ReplayError            a restarted party does not repeat what it had sent
    ├── StoreError                 what a party keeps on disk cannot be written, read or trusted
    │   ├── StoreDamaged           (ValueError)       bytes on disk are not those that were written
    │   └── StoreInUse             another process works with it
    ├── CheckpointError            (ValueError)       a checkpoint that cannot be gone on from
    │   └── DataChanged            it is of other data than there are now
    ├── RecordError                (ValueError)       a record of a run that cannot be read
    ├── TableError                 (ValueError)       data that a party cannot use
    ├── AlignmentError             (ValueError)       ids that cannot be aligned, or too few in common
    ├── ConfigurationError         (ValueError)       a parameter of a job outside its range
    └── ProtocolError              a protocol step got values that it cannot go on with

Texts name parties, keys (public ones), endpoints and message types; never a value of the data.
"""

from __future__ import annotations

import os
import re

from hecore.kernels.errors import HecoreError

#: The remedy in a HandshakeError of processes whose stores do not go together; programs know it by that.
ANEW = "begin anew with empty stores at all parties (a job: hecore party run --anew)"
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f]")


def printable(text: str, most: int = 1000) -> str:
    """A text that came from another party, fit for a terminal and one line of a log.

    Control characters (C0, DEL, C1: below U+0020, U+007F to U+009F) become U+FFFD: a peer's escape sequence
    must not move the cursor, nor its newline begin a line. At most `most` characters stay.
    """
    return _CONTROLS.sub("\ufffd", text[:most])


class ChannelError(HecoreError):
    """The talk with another party cannot go on."""


class PeerLost(ChannelError, ConnectionError):
    """The peer closed the channel, or was away for longer than the grace that the channel gives."""


class PeerAborted(ChannelError):
    """The peer gave up and sent its reason; `reason` is its text as `printable` leaves it."""

    def __init__(self, peer: str, reason: str) -> None:
        reason = printable(reason)
        super().__init__(f"{peer} aborted: {reason!r}")
        self.peer = peer
        self.reason = reason

    def __reduce__(self) -> tuple[type[PeerAborted], tuple[str, str]]:
        return type(self), (self.peer, self.reason)


class ChannelTimeout(ChannelError, TimeoutError):
    """The peer never connected, or said nothing within the time given. The call may be repeated."""


class UnexpectedMessage(ChannelError):
    """The next message is of another type than asked for.

    It stays where it is: receiving its own type still returns it.
    """

    def __init__(self, peer: str, expected: str, got: str) -> None:
        super().__init__(f"expected {expected!r} from {peer}, but its next message is {got!r}")
        self.peer = peer
        self.expected = expected
        self.got = got

    def __reduce__(self) -> tuple[type[UnexpectedMessage], tuple[str, str, str]]:
        return type(self), (self.peer, self.expected, self.got)


class MalformedMessage(ChannelError, ValueError):
    """Bytes that are no message of this protocol, or more of them than the limit allows."""


class SequenceError(ChannelError):
    """A message was lost on the way, or came twice."""

    def __init__(self, peer: str, expected: int, got: int) -> None:
        lost = f"{got - expected} lost" if got > expected else "one doubled, or the peer restarted"
        super().__init__(f"message {expected} from {peer} was due, message {got} came: {lost}")
        self.peer = peer
        self.expected = expected
        self.got = got

    def __reduce__(self) -> tuple[type[SequenceError], tuple[str, int, int]]:
        return type(self), (self.peer, self.expected, self.got)


class AuthenticationError(ChannelError):
    """A key or a party's name is not the one that is trusted here."""


class HandshakeError(ChannelError):
    """The peer speaks another protocol version, works on another job or is another process."""


class Fenced(ChannelError):
    """A process of a party is of an older epoch than one that its peer has met: it must end."""

    def __init__(self, party: str, epoch: int, known: int) -> None:
        super().__init__(
            f"this process of {party} is of epoch {epoch}, and one of epoch {known} has taken over: it ends"
        )
        self.party = party
        self.epoch = epoch
        self.known = known

    def __reduce__(self) -> tuple[type[Fenced], tuple[str, int, int]]:
        return type(self), (self.party, self.epoch, self.known)


class ReplayError(ChannelError):
    """After a restart a party came to send something else than it had sent before at the same place."""


class StoreError(HecoreError):
    """What a party keeps on disk cannot be written or read; nothing was acknowledged that is not there."""


class StoreDamaged(StoreError, ValueError):
    """Bytes on disk are not those that were written; the text names the file and the offset."""


class StoreInUse(StoreError):
    """Another process works with this folder."""


class CheckpointError(HecoreError, ValueError):
    """A checkpoint is damaged, of another version, or of another job than the one that is to go on."""


class DataChanged(CheckpointError):
    """A checkpoint is of other data than the run that is to go on: they have changed since."""


class RecordError(HecoreError, ValueError):
    """What lies in a folder is no record of a run, or one of another version; the text names the file."""


class TableError(HecoreError, ValueError):
    """A table, a column or an identifier that a party cannot use; the text names it."""


class AlignmentError(HecoreError, ValueError):
    """Ids that cannot be aligned, or too few in common; the text names the party and the count."""


class ConfigurationError(HecoreError, ValueError):
    """A parameter of a job outside its range; the text names it, its value and what is allowed."""


class ProtocolError(HecoreError):
    """A protocol step got well-formed messages whose values it cannot go on with."""


def told(error: BaseException) -> str:
    """What an error says to people: of the operating system's the file and the reason."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{os.fspath(error.filename)}: {error.strerror}"
    return str(error)
