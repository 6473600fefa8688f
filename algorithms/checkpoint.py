"""Checkpoints of one party's run: files that are there whole or not at all.

    checkpoints/0/                      the first run of the job (a training), then 1, 2, …
        000000000024.safetensors        arrays
        000000000024.json               manifest, written last: hashes, state, watermarks

One checkpoint holds the watermarks of all peers of the party, so that it goes on with all of them from one
moment. Each file is written beside its place, synced, renamed, and the folder synced. The newest three are
kept, and the channels keep what a run needs to go on from the oldest of them. No secret key is in them.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from hecore.algorithms.channel import FolderStore, Watermark, ZmqChannel
from hecore.algorithms.channel.disk import make_folder, write_whole
from hecore.algorithms.channel.store import folder_name
from hecore.algorithms.draws import RepeatableDraws
from hecore.algorithms.errors import CheckpointError

if TYPE_CHECKING:
    from hecore.algorithms.draws import Draws

log = logging.getLogger(__name__)

FORMAT, VERSION = "hecore checkpoint", 2
KEPT = 3

Arrays = dict[str, NDArray[Any]]


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A checkpoint's JSON file; `seal` is SHA-256 of the rest, `binding` hashes of what must not change."""

    format: str = FORMAT
    version: int = VERSION
    job: str
    party: str
    peers: list[str]
    task: str
    step: int
    binding: dict[str, str]
    files: dict[str, str]
    watermarks: list[Watermark]
    state: msgspec.Raw
    seal: str = ""


@dataclass(frozen=True)
class Checkpoint:
    """What `Run.latest` found."""

    step: int
    state: bytes
    arrays: Arrays


class Checkpoints:
    """The checkpoints of a party: of its store and its durable channels, one to each peer.

    every     steps between two checkpoints of a run; 0 saves by time alone
    seconds   between two checkpoints of a run; 0 saves by steps alone

    A run saves when either is reached.
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
        self._store = store
        self._channels = list(channels) if isinstance(channels, Sequence) else [channels]
        self._runs = 0

    def agree(self, terms: Mapping[str, str]) -> None:
        """See Node.agree; with every peer."""
        for channel in self._channels:
            channel.agree(terms)

    def begin(self, task: str, binding: Mapping[str, str]) -> Run:
        """The next run of this process: the same one as in an earlier process that began as many before."""
        number = self._runs
        self._runs += 1
        peers = sorted(channel.peer for channel in self._channels)
        names = peers[0] if len(peers) == 1 else repr(peers)
        folder = self._store.folder / "checkpoints" / folder_name(names) / str(number)
        make_folder(folder)
        # The peers belong to it: two trainings with two peers must not draw the same masks.
        draws = RepeatableDraws(self._store.secret, f"{names!r} {number} {task}")
        return Run(folder, self._channels, task, dict(binding), draws, self.every, self.seconds)


class Run:
    """One run: a training, a scoring.

    draws   what must be drawn again equal, by label; a label that concerns one peer names it
    """

    def __init__(
        self,
        folder: Path,
        channels: Sequence[ZmqChannel],
        task: str,
        binding: dict[str, str],
        draws: Draws,
        every: int,
        seconds: float,
    ) -> None:
        self.draws = draws
        self._every, self._seconds, self._saved = every, seconds, time.monotonic()
        self._folder, self._task, self._binding = folder, task, binding
        self._channels = {channel.peer: channel for channel in channels}
        self._first = channels[0]

    def due(self, step: int) -> bool:
        """Whether a run should be saved after `step` steps; always before the first."""
        by_time = self._seconds > 0 and time.monotonic() >= self._saved + self._seconds
        return step == 0 or by_time or (self._every > 0 and step % self._every == 0)

    def save(self, step: int, state: object, arrays: Arrays) -> None:
        """Make a checkpoint durable: with it everything that was taken and sent until now."""
        from safetensors.numpy import save

        self._saved = time.monotonic()
        watermarks = [mark for channel in self._channels.values() for mark in channel.watermarks()]
        name = f"{step:012d}"
        data = save({key: np.ascontiguousarray(array) for key, array in arrays.items()})
        manifest = Manifest(
            job=self._first.job,
            party=self._first.me,
            peers=sorted(self._channels),
            task=self._task,
            step=step,
            binding=self._binding,
            files={f"{name}.safetensors": hashlib.sha256(data).hexdigest()},
            watermarks=watermarks,
            state=msgspec.Raw(msgspec.json.encode(state)),
        )
        write_whole(self._folder / f"{name}.safetensors", data)
        write_whole(self._folder / f"{name}.json", msgspec.json.encode(_sealed(manifest)))
        self._forget()

    def latest(self) -> Checkpoint | None:
        """The newest checkpoint that is whole, and the channels set to go on from it; None if there is none.

        One that is damaged is passed over, with a warning. Raises CheckpointError where all are, and for
        one of another version, job, party, task, or of other data or parameters.
        """
        problems = []
        for path in sorted(self._folder.glob("*.json"), reverse=True):
            try:
                manifest, arrays = self._read(path)
            except _Damaged as damage:
                problems.append(f"{path}: {damage}")
                log.warning("passed over a damaged checkpoint, %s", problems[-1])
                continue
            self._compare(path, manifest)
            for peer, channel in self._channels.items():
                channel.resume([mark for mark in manifest.watermarks if mark.peer == peer])
            return Checkpoint(manifest.step, bytes(manifest.state), arrays)
        if problems:
            raise CheckpointError(f"no checkpoint is whole: {'; '.join(problems)}")
        return None

    def _read(self, path: Path) -> tuple[Manifest, Arrays]:
        from safetensors.numpy import load

        data = path.read_bytes()
        try:
            head = msgspec.json.decode(data, type=_Head)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise _Damaged(f"no manifest ({error})") from None
        if (head.format, head.version) != (FORMAT, VERSION):
            raise CheckpointError(
                f"{path} is {head.format!r} version {head.version}, not {FORMAT!r} {VERSION}"
            )
        try:
            manifest = msgspec.json.decode(data, type=Manifest)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise _Damaged(f"no manifest ({error})") from None
        if _sealed(manifest).seal != manifest.seal:
            raise _Damaged("its seal does not fit")
        arrays: Arrays = {}
        for name, digest in manifest.files.items():
            try:
                content = (self._folder / name).read_bytes()
            except FileNotFoundError:
                raise _Damaged(f"{name} is missing") from None
            if hashlib.sha256(content).hexdigest() != digest:
                raise _Damaged(f"{name} does not have the hash that the manifest names")
            arrays |= load(content)
        return manifest, arrays

    def _compare(self, path: Path, manifest: Manifest) -> None:
        """CheckpointError unless it is of this job, with the same data and parameters."""
        pairs = {
            "job": (manifest.job, self._first.job),
            "party": (manifest.party, self._first.me),
            "peers": (", ".join(manifest.peers), ", ".join(sorted(self._channels))),
            "task": (manifest.task, self._task),
        }
        for name in sorted({*manifest.binding, *self._binding}):
            pairs[name] = manifest.binding.get(name, "not set"), self._binding.get(name, "not set")
        for name, (saved, now) in pairs.items():
            if saved != now:
                raise CheckpointError(
                    f"{path} is of {name} {saved!r}, but this run has {now!r}: start it as it was, or anew"
                    " with an empty store"
                )

    def _forget(self) -> None:
        """Remove all but the newest; the channels may forget what lies before the oldest that is left."""
        paths = sorted(self._folder.glob("*.json"))
        for path in paths[:-KEPT]:
            path.unlink()
            path.with_suffix(".safetensors").unlink(missing_ok=True)
        if len(paths) >= KEPT:
            oldest = msgspec.json.decode(paths[-KEPT].read_bytes(), type=Manifest)
            for peer, channel in self._channels.items():
                channel.retain([mark for mark in oldest.watermarks if mark.peer == peer])


class _Damaged(Exception):
    """This checkpoint cannot be read; an older one may."""


class _Head(msgspec.Struct):
    format: str
    version: int


def _sealed(manifest: Manifest) -> Manifest:
    plain = msgspec.json.encode(msgspec.structs.replace(manifest, seal=""), order="sorted")
    return msgspec.structs.replace(manifest, seal=hashlib.sha256(plain).hexdigest())
