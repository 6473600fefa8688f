"""The end of a job: every party stays until all others have what they need of it.

    JobDone →  ← JobDone     everybody has everything but these
    acknowledged             the peers have it on their disks: this party may go

A party that was killed after its last message finds all that it needs in its own store.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

import msgspec

from hecore.algorithms.built import built
from hecore.algorithms.channel import ZmqChannel
from hecore.algorithms.checkpoint import Checkpoints
from hecore.algorithms.errors import ChannelTimeout, PeerLost, ProtocolError
from hecore.algorithms.job.messages import JobDone, job_done
from hecore.algorithms.job.timeline import TimelineRecord

log = logging.getLogger(__name__)

#: Seconds for which the last acknowledgement is waited for. A peer that has gone by then has got all it
#: needs, or it comes again and finds this party's state.
LAST_WORD = 30.0


def end_job(
    channels: Sequence[ZmqChannel], checkpoints: Checkpoints, timeline: TimelineRecord | None
) -> dict[str, TimelineRecord]:
    """Say that this party is done, and hear it of all others; their time lines, where they show them."""
    run = checkpoints.begin("job.end", {})
    found = run.latest()
    if found is not None:
        return msgspec.json.decode(found.state, type=built(dict[str, TimelineRecord]))
    for channel in channels:
        channel.send(job_done(timeline))
    told = {channel.peer: _hear(channel) for channel in channels}
    shown = {peer: record for peer, record in told.items() if record is not None}
    run.finish(shown)
    return shown


def _hear(channel: ZmqChannel) -> TimelineRecord | None:
    """A peer's last word. This party has its model: neither silence nor nonsense takes that from it."""
    try:
        return channel.receive(JobDone).timeline()
    except (PeerLost, ChannelTimeout, ProtocolError) as error:
        log.warning("the last word of %s is missing: %s", channel.peer, error)
        return None


def all_delivered(channels: Sequence[ZmqChannel]) -> bool:
    """Wait a while until all peers have everything; whether they have."""
    deadline = time.monotonic() + LAST_WORD
    return all([channel.node.settle(channel.peer, deadline) for channel in channels])
