"""Checkpoints of one party's runs, and how a process that starts again finds its place among them.

    checkpoints/…/0/                the first run of the job; then 1, 2, …
        000000000024.safetensors    arrays
        000000000024.json           manifest, written last: hashes, state, watermarks

One checkpoint holds the watermarks of all peers of the party, so that it goes on with all of them from one
moment. No secret key is in it.

A run ends with `finish`, which leaves its result. A process that starts again begins the same runs in the
same order: of those that are over it gets the results, and it goes on in the one that is not:

    run 0   align   ● over       → the result
    run 1   fit     ○ ○ ● over   → the result
    run 2   score   ● over       → the result
    run 3   fit     ○ ○ ○ ×      → from the newest ○

The channels keep what is needed to go on from the third newest checkpoint *of all runs*: where one is damaged
the one before it serves, also across the boundary of two runs. The result of an earlier run stands in one
file; where that is damaged and the logs have moved on, the party cannot go on, and an error says so.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import msgspec

from hecore.algorithms.channel import FolderStore, Watermark, ZmqChannel
from hecore.algorithms.channel.store import folder_name
from hecore.algorithms.checkpoint_files import (
    Arrays,
    Damaged,
    Manifest,
    manifests,
    read_arrays,
    read_manifest,
    remove,
    set_aside,
    write,
)
from hecore.algorithms.draws import RepeatableDraws, fresh
from hecore.algorithms.errors import CheckpointError, DataChanged, TableError
from hecore.algorithms.private_files import make_folder
from hecore.meter import phase
from hecore.randomness import Draw

log = logging.getLogger(__name__)

KEPT = 3
#: What a run is bound to that follows from the data: their hashes, by name.
DATA = ("row ids", "table", "evaluation", "weights")


@dataclass(frozen=True)
class Checkpoint:
    """What `Run.latest` found. `over`: `finish` has left it; `state` and `arrays` are the run's result."""

    step: int
    state: bytes
    arrays: Arrays
    over: bool = False


class Checkpoints:
    """The checkpoints of a party: of its store and its durable channels, one to each peer.

    every     steps between two checkpoints of a run; 0 saves by time alone
    seconds   between two checkpoints of a run; 0 saves by steps alone

    A run saves when either is reached. A party has one Checkpoints, for all its runs and all its peers, and
    sends and receives within runs only. What is to be restartable has this form, with `save` in between
    where there are steps worth keeping:

        run = checkpoints.begin("align", binding)
        found = run.latest()
        if found is not None and found.over:
            return found.arrays["rows"]
        …                                        the handshake
        run.mix(session)
        …                                        messages; masks from run.draws("a label")
        run.finish(arrays={"rows": rows})

    The next run may begin then. A run that is left without `finish`, and messages outside of runs, are done
    again by every later process: nothing that was sent or received since is forgotten, and the log says so.
    """

    def __init__(
        self,
        store: FolderStore,
        channels: ZmqChannel | Sequence[ZmqChannel],
        every: int = 8,
        seconds: float = 0.0,
    ) -> None:
        if every < 0 or seconds < 0 or not (every or seconds):
            raise ValueError(f"every = {every}, seconds = {seconds}: neither below 0, one above")
        self.every, self.seconds = every, seconds
        self.channels = list(channels) if isinstance(channels, Sequence) else [channels]
        self._store = store
        self._runs = 0
        self._last: Run | None = None
        self._keeps_all = False
        self._newest: deque[list[Watermark]] = deque(maxlen=KEPT)  # of all runs

    def agree(self, terms: Mapping[str, str]) -> None:
        """See Node.agree, with every peer, for the run begun last: a peer in another run does not compare."""
        scope = "" if self._last is None else f" of {self._last.name}"
        for channel in self.channels:
            channel.agree({f"{name}{scope}"[:100]: value for name, value in terms.items()})

    def begin(self, task: str, binding: Mapping[str, str]) -> Run:
        """The next run of this process: the same one as in an earlier process that began as many before.

        task      names its kind
        binding   hashes of what its messages follow from; a checkpoint with others is refused
        """
        self._check_place()
        number = self._runs
        self._runs += 1
        peers = repr(sorted(channel.peer for channel in self.channels))
        folder = self._store.folder / "checkpoints" / folder_name(peers) / str(number)
        make_folder(folder)
        # The peers belong to it: two trainings with two peers must not draw the same masks. So does the
        # binding: what was begun with other data, and killed before its first checkpoint, drew others.
        bound = msgspec.json.encode(dict(binding), order="sorted").decode()
        draws = RepeatableDraws(self._store.secret, f"{peers} {number} {task} {bound}")
        self._last = Run(self, folder, task, number, dict(binding), draws)
        return self._last

    def passed(self, marks: list[Watermark]) -> None:
        """There is a checkpoint with these watermarks: runs tell of theirs in the order of their making."""
        if not self._newest or self._newest[-1] != marks:  # a process that goes on saves its place again
            self._newest.append(marks)

    def forget(self) -> None:
        """Let the channels forget what lies before the third newest checkpoint."""
        if self._keeps_all or len(self._newest) < KEPT:
            return
        for channel in self.channels:
            channel.retain([mark for mark in self._newest[0] if mark.peer == channel.peer])

    def _check_place(self) -> None:
        """What a later process must do again for want of a checkpoint needs all that was logged since."""
        left = None
        if self._last is None:
            if any(c.traffic.sent.messages or c.traffic.received.messages for c in self.channels):
                left = "messages before the first run"
        elif not self._last.over:
            left = f"run {self._last.name}, which was left without `finish`,"
        if left is not None and not self._keeps_all:
            log.warning("%s will be done again after a restart: all messages from there on are kept", left)
            self._keeps_all = True


class Run:
    """One run: an alignment, a training, a scoring. Made by `Checkpoints.begin`.

    draws   what must be drawn again equal, by label; a label that concerns one peer names it. Masks
            and secret orders are drawn after `mix`
    over    it has its result
    """

    def __init__(
        self,
        owner: Checkpoints,
        folder: Path,
        task: str,
        number: int,
        binding: dict[str, str],
        draws: RepeatableDraws,
    ) -> None:
        self.draws = draws
        self.over = False
        self.name = f"{task} {number}"
        self._owner, self._folder, self._task, self._binding = owner, folder, task, binding
        self._saved = time.monotonic()

    def file(self, name: str) -> Path:
        """The place of a file beside the checkpoints, for what only grows and is too large to save each time.

        Whoever writes it makes it durable before `save`, and checks what is found. No name of a checkpoint.
        """
        return self._folder / name

    def mix(self, *sessions: str) -> None:
        """Let what is drawn from now on depend on the run's handshakes: their sessions, in any order.

        They depend on all parties' data; see `draws`. Checkpoints keep them, and `latest` has mixed them in
        already; before the first checkpoint the handshakes are done again, and come to the same sessions.
        ProtocolError where the run has others.
        """
        self.draws.mix(" ".join(sorted(sessions)))

    def due(self, step: int) -> bool:
        """Whether a run should be saved after `step` steps; always before the first."""
        every, seconds = self._owner.every, self._owner.seconds
        by_time = seconds > 0 and time.monotonic() >= self._saved + seconds
        return step == 0 or by_time or (every > 0 and step % every == 0)

    def save(self, step: int, state: object, arrays: Arrays) -> None:
        """Make a checkpoint durable: with it everything that was taken and sent until now.

        `state` goes through JSON. No other thread may use the party's channels meanwhile. The time counts
        as phase "checkpoint" of the active meter.
        """
        with phase("checkpoint"):
            self._save(step, state, arrays, over=False)

    def finish(self, state: object = None, arrays: Arrays | None = None) -> None:
        """The run is over: make its result durable. No later process does anything of it again."""
        with phase("checkpoint"):
            last = max((int(path.stem) for path in manifests(self._folder)), default=-1)
            self._save(last + 1, state, arrays or {}, over=True)
        self.over = True

    def latest(self) -> Checkpoint | None:
        """The newest checkpoint that is whole, and the channels set to go on from it; None if there is none.

        One that is damaged is passed over with a warning, and set aside, where the channels still have
        what the one before it, or the run's start, needs. Raises CheckpointError where they do not, and
        for one of another version, job, party, task, or of other data or parameters.
        """
        damaged: dict[Path, str] = {}
        found = None
        for path in reversed(manifests(self._folder)):
            try:
                manifest = read_manifest(path)
                self._compare(path, manifest)
                found = Checkpoint(
                    manifest.step, bytes(manifest.state), read_arrays(path, manifest), manifest.over
                )
            except Damaged as damage:
                damaged[path] = str(damage)
                continue
            self._go_to(path, manifest)
            break
        if not self.over:
            self._check_reach(damaged)
        for path, text in damaged.items():
            log.warning("passed over a damaged checkpoint, %s", text)
            set_aside(path)
        return found

    def _save(self, step: int, state: object, arrays: Arrays, over: bool) -> None:
        self._saved = time.monotonic()
        channels = self._owner.channels
        marks = [mark for channel in channels for mark in channel.watermarks()]
        manifest = Manifest(
            job=channels[0].job,
            party=channels[0].me,
            peers=sorted(channel.peer for channel in channels),
            task=self._task,
            step=step,
            over=over,
            binding=self._binding,
            meeting=self.draws.meeting,
            files={},
            watermarks=marks,
            state=msgspec.Raw(msgspec.json.encode(state)),
        )
        write(self._folder, manifest, arrays)
        self._owner.passed(marks)
        for path in manifests(self._folder)[:-KEPT]:
            remove(path)
        self._owner.forget()

    def _go_to(self, path: Path, manifest: Manifest) -> None:
        """Set the channels to where a checkpoint stands, and tell of those before it."""
        for older in manifests(self._folder):
            if older < path:
                with suppress(Damaged):
                    self._owner.passed(read_manifest(older).watermarks)
        self._owner.passed(manifest.watermarks)
        if manifest.meeting:
            self.draws.mix(manifest.meeting)
        for channel in self._owner.channels:
            channel.resume([mark for mark in manifest.watermarks if mark.peer == channel.peer])
        self.over = manifest.over

    def _check_reach(self, damaged: Mapping[Path, str]) -> None:
        """CheckpointError unless the channels have all that follows where they stand now."""
        short = ", ".join(channel.peer for channel in self._owner.channels if not channel.reaches())
        if not short:
            return
        if damaged:
            raise CheckpointError(
                f"the messages with {short} that would replace a damaged checkpoint are gone: begin the job"
                f" anew with empty stores; {'; '.join(damaged.values())}"
            )
        raise CheckpointError(
            f"run {self.name} has no checkpoint, and messages with {short} from its start are gone: a job"
            " must make the same runs again after a restart"
        )

    def _compare(self, path: Path, manifest: Manifest) -> None:
        """CheckpointError unless it is of this job, with the same data (DataChanged) and parameters."""
        channels = self._owner.channels
        peers = ", ".join(sorted(channel.peer for channel in channels))
        pairs = {
            "job": (manifest.job, channels[0].job),
            "party": (manifest.party, channels[0].me),
            "peers": (", ".join(manifest.peers), peers),
            "task": (manifest.task, self._task),
        }
        for name in sorted({*manifest.binding, *self._binding}):
            pairs[name] = manifest.binding.get(name, "not set"), self._binding.get(name, "not set")
        for name, (saved, now) in pairs.items():
            if saved != now:
                hashed = len(saved) == len(now) == 2 * hashlib.sha256().digest_size
                differ = "other ones" if hashed else repr(now)
                of = name if hashed else f"{name} {saved!r}"
                error = DataChanged if name in DATA else CheckpointError
                raise error(
                    f"{path} is of {of}, but this run has {differ}: start it as it was, or anew with an"
                    " empty store"
                )


class NoRun:
    """A run of a party without checkpoints, with the methods of `Run`: it keeps nothing."""

    over = False

    def draws(self, label: str) -> Draw:
        """Fresh, whatever the label."""
        return fresh(label)

    def file(self, name: str) -> None:
        """There is none: what grows stays in memory."""

    def mix(self, *sessions: str) -> None:
        """Nothing depends on them."""

    def latest(self) -> None:
        """There never is one."""

    def due(self, step: int) -> bool:
        """Never."""
        return False

    def save(self, step: int, state: object, arrays: Arrays) -> None:
        """Nothing is kept."""

    def finish(self, state: object = None, arrays: Arrays | None = None) -> None:
        """Nothing is kept."""


AnyRun: TypeAlias = Run | NoRun


@contextmanager
def naming_changed(file: str | Path, what: str, anew: str) -> Iterator[None]:
    """TableError in place of DataChanged: it names the file, and what can be done.

    what   of what kind the run is: "job"
    anew   how a party begins it anew
    """
    try:
        yield
    except DataChanged as error:
        raise TableError(
            f"{file} has changed since this {what} began: put it back as it was, or begin anew at all"
            f" parties ({anew})"
        ) from error
