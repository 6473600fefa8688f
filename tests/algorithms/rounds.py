"""A party that makes runs one after the other, each of some steps, with a word to every peer in each.

A word follows from all that was taken before, and shows a mask that must be drawn again equal.

    python rounds.py SETTINGS.json      task: plan = [[task, steps, saves], …], every, seconds
"""

from __future__ import annotations

import hashlib
import os
import sys

import msgspec
import numpy as np
from child import doom, join

from hecore.algorithms.channel import ZmqChannel
from hecore.algorithms.checkpoint import Checkpoints, Run
from hecore.algorithms.messages import Message


class Word(Message, frozen=True, kw_only=True, tag="test.word"):
    run: int
    step: int
    digest: bytes
    mask: bytes


def mixed(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def exchange(channel: ZmqChannel, run: Run, number: int, step: int, digest: bytes) -> bytes:
    mask = run.draws(f"{channel.peer} {step}")(8)
    noise = os.urandom(100)  # as of a ciphertext: other bytes in every life
    channel.send(Word(run=number, step=step, digest=digest, mask=mask, payload=(noise,)))
    word = channel.receive(Word)
    assert (word.run, word.step) == (number, step)
    return mixed(digest, word.digest, word.mask)


def one_run(checkpoints: Checkpoints, number: int, plan: tuple[str, int, bool], digest: bytes) -> bytes:
    task, steps, saves = plan
    run = checkpoints.begin(task, {"before": digest.hex()})
    found = run.latest()
    step = 0
    if found is not None:
        digest = bytes.fromhex(msgspec.json.decode(found.state, type=str))
        assert found.arrays["steps"].tolist() == list(range(found.step if not found.over else steps))
        step = found.step
        if found.over:
            return digest
    for at in range(step, steps):
        if saves and run.due(at):
            run.save(at, digest.hex(), {"steps": np.arange(at)})
        for channel in checkpoints.channels:
            digest = exchange(channel, run, number, at, digest)
    run.finish(digest.hex(), {"steps": np.arange(steps)})
    return digest


def main() -> None:
    settings, store, channels = join(sys.argv[1])
    checkpoints = Checkpoints(store, channels, settings.task["every"], settings.task["seconds"])
    doom(settings.doom)
    digest = b""
    for number, plan in enumerate(settings.task["plan"]):
        digest = one_run(checkpoints, number, tuple(plan), digest)
    segments = len(list(store.folder.glob("*/*/*.log")))
    for channel in channels:
        channel.close()
    channels[0].node.close()
    print("result", digest.hex(), segments, flush=True)


if __name__ == "__main__":
    main()
