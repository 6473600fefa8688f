"""The handshake of a job: the parties compare what they must have set alike, and get the key of the split.

The active party compares with each passive one. Both sides of a difference name it, and both parties.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from hecore.algorithms.channel import ZmqChannel
from hecore.algorithms.checkpoint import Checkpoints, Run
from hecore.algorithms.errors import ConfigurationError, HandshakeError
from hecore.algorithms.job.messages import JobHello, SplitKey
from hecore.algorithms.party import compare_settings

SPLIT_KEY_BYTES = 32


class Met(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the handshake leaves: the terms as JSON, and the key of the split, in hex."""

    terms: str
    split_key: str


def meet(
    channels: Sequence[ZmqChannel],
    checkpoints: Checkpoints,
    terms: Mapping[str, Any],
    *,
    active: bool,
    split_key: bytes | None,
) -> bytes:
    """Compare the terms with every peer; the split's key, which the active party gives or draws.

    Raises HandshakeError naming the first term that differs, with its value at both sides.
    """
    text = msgspec.json.encode(terms, order="sorted").decode()
    digest = {"job file": hashlib.sha256(text.encode()).hexdigest()}
    run = checkpoints.begin("job.meet", {})
    found = run.latest()
    if found is not None:
        met = msgspec.json.decode(found.state, type=Met)
        _check_unchanged(met.terms, text)
        checkpoints.agree(digest)
        return bytes.fromhex(met.split_key)
    for channel in channels:
        channel.send(JobHello(terms=text))
    for channel in channels:
        theirs = channel.receive(JobHello).terms
        if theirs != text:
            compare_settings(channel.me, text, channel.peer, theirs)
            raise HandshakeError(f"the job files of {channel.me} and {channel.peer} differ")
    checkpoints.agree(digest)
    key = _split_key(channels, run, split_key) if active else bytes.fromhex(channels[0].receive(SplitKey).key)
    run.save(1, Met(text, key.hex()), {})
    return key


def _split_key(channels: Sequence[ZmqChannel], run: Run, given: bytes | None) -> bytes:
    """The active party's part: the key that the job file names, or a new one."""
    key = given or run.draws("split key")(SPLIT_KEY_BYTES)
    for channel in channels:
        channel.send(SplitKey(key=key.hex()))
    return key


def _check_unchanged(before: str, now: str) -> None:
    """ConfigurationError naming what was changed in the file of a job that is under way."""
    old, new = (msgspec.json.decode(text, type=dict[str, Any]) for text in (before, now))
    for name in sorted({*old, *new}):
        if old.get(name) != new.get(name):
            raise ConfigurationError(
                f"{name} is {new.get(name)!r} now, but the job under way began with {old.get(name)!r}: set it"
                " back, or begin anew with another run.folder at all parties"
            )
