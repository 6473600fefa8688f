"""What an error that ends a run means: to the shell, and to whoever starts it again."""

from __future__ import annotations

import errno

from hecore.algorithms.errors import (
    ANEW,
    ChannelTimeout,
    CheckpointError,
    ConfigurationError,
    Fenced,
    HandshakeError,
    PeerAborted,
    PeerLost,
    StoreError,
    StoreInUse,
    TableError,
)

#: Exit codes; docs/jobs.md lists them.
REFUSED, PEER, DISK, REPLACED = 1, 3, 4, 5
BROKEN_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)
#: Errors by their codes; those of all other kinds are REFUSED.
OF_PEERS = (PeerLost, ChannelTimeout, PeerAborted)
OF_REPLACED = (StoreInUse, Fenced)
#: Kinds of errors after which a start is enough; the others come again until something was mended.
PASSING = {error.__name__ for error in (*OF_PEERS, *OF_REPLACED, StoreError, OSError, MemoryError)}


def exit_code(error: Exception) -> int:
    """What a run that failed returns to the shell.

    1  something must be mended first: job file, data, keys, or the other party's
    3  another party went, or never came: start again to go on
    4  the disk: nothing is lost, start again when there is room
    5  another process runs this job here, or has taken over
    """
    if isinstance(error, OF_REPLACED):
        return REPLACED
    if isinstance(error, StoreError) or getattr(error, "errno", None) in BROKEN_DISK:
        return DISK
    if isinstance(error, OF_PEERS) and not isinstance(error, HandshakeError):
        return PEER
    return REFUSED


def next_step(command: str, error: str, *, begun: bool = False) -> str:
    """What to do after a run that ended with this error, as the records have it: its type and its text.

    begun  the run has left a state to go on from: data and what was agreed cannot change any more
    """
    kind = error.partition(":")[0]
    if kind == CheckpointError.__name__ or (kind == HandshakeError.__name__ and ANEW in error):
        return (
            f"all parties must begin anew: start `{command} --anew` here; whoever has done so already starts"
            " without --anew"
        )
    names_anew = "--anew" in error
    if begun and kind == TableError.__name__ and not names_anew:
        return (
            "the job has begun with these data: mend them, and start all parties with --anew, here"
            f" `{command} --anew`; or, where the file was changed since, put it back and start `{command}`"
            " again to go on"
        )
    mended = "" if not kind or kind in PASSING else "when that is mended, "
    step = f"{mended}start `{command}` again to go on"
    if begun and kind == ConfigurationError.__name__ and not names_anew:
        step += "; where that changes what was agreed, all parties start with --anew"
    return step
