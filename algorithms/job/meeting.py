"""The handshake of a job: the parties compare what they must have set alike, and get the key of the split.

The active party compares with each passive one. Both sides of a difference name it, and both parties.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from hecore.algorithms.built import built
from hecore.algorithms.channel import ZmqChannel
from hecore.algorithms.channel.framed import MAX_REASON
from hecore.algorithms.checkpoint import Checkpoints, Run
from hecore.algorithms.errors import ConfigurationError, HandshakeError
from hecore.algorithms.job.messages import JobHello, JobVerdict
from hecore.algorithms.party import ACTIVE, PASSIVE, differences, same_role, unlike
from hecore.algorithms.settings_file import changes

SPLIT_KEY_BYTES = 32
#: Seconds for which a party that says no waits until it was heard.
PATIENCE = 10.0


class JobRefused(HandshakeError):
    """The parties have set something unlike; all of them know."""


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

    Raises JobRefused naming the terms that differ, with their values at both sides, or two of one role.
    """
    text = msgspec.json.encode(terms, order="sorted").decode()
    digest = {"job file": hashlib.sha256(text.encode()).hexdigest()}
    run = checkpoints.begin("job.meet", {})
    found = run.latest()
    if found is not None:
        met = msgspec.json.decode(found.state, type=built(Met))
        _check_unchanged(met.terms, text)
        if found.over:
            checkpoints.agree(digest)
            return bytes.fromhex(met.split_key)
    else:
        run.save(0, Met(text, ""), {})  # before anything is sent
    for channel in channels:
        channel.send(JobHello(role="active" if active else "passive", terms=text))
    theirs = {channel: channel.receive(JobHello) for channel in channels}
    alike = _same_role(theirs, ACTIVE if active else PASSIVE)
    problem = alike or _unlike({channel: hello.terms for channel, hello in theirs.items()}, text)
    if not active and alike:  # two passive parties: nobody decides, each finds the same
        _until_heard(channels)
        raise JobRefused(problem)
    if active:
        key = _decide(channels, run, split_key, problem)
    else:
        verdict = channels[0].receive(JobVerdict)
        key = bytes.fromhex(verdict.split_key)
        problem = problem or verdict.reason
    if problem:
        raise JobRefused(problem)
    checkpoints.agree(digest)
    run.finish(Met(text, key.hex()))
    return key


def _same_role(theirs: Mapping[ZmqChannel, JobHello], own: str) -> str:
    """What is wrong where a peer has this party's own role; else nothing."""
    same = [channel for channel, hello in theirs.items() if hello.role == own]
    return same_role(same[0].me, same[0].peer, own) if same else ""


def _until_heard(channels: Iterable[ZmqChannel]) -> None:
    for channel in channels:
        channel.node.settle(channel.peer, time.monotonic() + PATIENCE)


def _unlike(theirs: Mapping[ZmqChannel, str], text: str) -> str:
    """The differences to any of the peers; empty if there are none."""
    try:
        found = [differences(channel.me, text, channel.peer, other) for channel, other in theirs.items()]
    except HandshakeError as error:
        return str(error)
    every = [difference for of_one in found for difference in of_one]
    return unlike(every) if every else ""


def _decide(channels: Sequence[ZmqChannel], run: Run, given: bytes | None, problem: str) -> bytes:
    """The active party's part: all hear the key, the job file's or a new one, or what is wrong."""
    key = given or run.draws("split key")(SPLIT_KEY_BYTES)
    verdict = JobVerdict(reason=problem[:MAX_REASON]) if problem else JobVerdict(split_key=key.hex())
    for channel in channels:
        channel.send(verdict)
    if problem:
        _until_heard(channels)
    return key


def _check_unchanged(before: str, now: str) -> None:
    """ConfigurationError naming what was changed in the file of a job that is under way."""
    old, new = (msgspec.json.decode(text, type=dict[str, Any]) for text in (before, now))
    if told := changes(old, new):
        raise ConfigurationError(f"{told}: set it back, or begin anew at all parties")
