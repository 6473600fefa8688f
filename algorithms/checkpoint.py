"""Checkpoints of one party's run: files that are there whole or not at all.

    checkpoints/0/                      the first run of the job (a training), then 1, 2, …
        000000000024.safetensors        arrays
        000000000024.json               manifest, written last: hashes, state, watermarks

Each file is written beside its place, synced, renamed, and the folder synced. The newest three are kept,
and the channel keeps what a run needs to go on from the oldest of them. No secret key is in them.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from hecore.algorithms.channel import FolderStore, Watermark, ZmqChannel
from hecore.algorithms.channel.disk import make_folder, sync_folder
from hecore.algorithms.channel.store import folder_name
from hecore.algorithms.draws import RepeatableDraws
from hecore.algorithms.errors import CheckpointError

if TYPE_CHECKING:
    from hecore.algorithms.draws import Draws

log = logging.getLogger(__name__)

FORMAT, VERSION = "hecore checkpoint", 1
KEPT = 3

Arrays = dict[str, NDArray[Any]]


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A checkpoint's JSON file; `seal` is SHA-256 of the rest, `binding` hashes of what must not change."""

    format: str = FORMAT
    version: int = VERSION
    job: str
    party: str
    peer: str
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
    """The checkpoints of a party: of a durable channel and its store.

    every   steps between two checkpoints of a run
    """

    def __init__(self, store: FolderStore, channel: ZmqChannel, every: int = 8) -> None:
        if every < 1:
            raise ValueError(f"every = {every} must be positive")
        self.every = every
        self._store, self._channel = store, channel
        self._runs = 0

    def agree(self, terms: Mapping[str, str]) -> None:
        """See Node.agree."""
        self._channel.agree(terms)

    def begin(self, task: str, binding: Mapping[str, str]) -> Run:
        """The next run of this process: the same one as in an earlier process that began as many before."""
        number = self._runs
        self._runs += 1
        peer = self._channel.peer
        folder = self._store.folder / "checkpoints" / folder_name(peer) / str(number)
        make_folder(folder)
        # The peer belongs to it: two trainings with two peers must not draw the same masks.
        draws = RepeatableDraws(self._store.secret, f"{peer!r} {number} {task}")
        return Run(folder, self._channel, task, dict(binding), draws, self.every)


class Run:
    """One run: a training, a scoring."""

    def __init__(
        self,
        folder: Path,
        channel: ZmqChannel,
        task: str,
        binding: dict[str, str],
        draws: Draws,
        every: int,
    ) -> None:
        self.draws, self.every = draws, every
        self._folder, self._channel, self._task, self._binding = folder, channel, task, binding

    def save(self, step: int, state: object, arrays: Arrays) -> None:
        """Make a checkpoint durable: with it everything that was taken and sent until now."""
        from safetensors.numpy import save

        watermarks = self._channel.watermarks()
        name = f"{step:012d}"
        data = save({key: np.ascontiguousarray(array) for key, array in arrays.items()})
        manifest = Manifest(
            job=self._channel.job,
            party=self._channel.me,
            peer=self._channel.peer,
            task=self._task,
            step=step,
            binding=self._binding,
            files={f"{name}.safetensors": hashlib.sha256(data).hexdigest()},
            watermarks=watermarks,
            state=msgspec.Raw(msgspec.json.encode(state)),
        )
        _write(self._folder / f"{name}.safetensors", data)
        _write(self._folder / f"{name}.json", msgspec.json.encode(_sealed(manifest)))
        self._forget()

    def latest(self) -> Checkpoint | None:
        """The newest checkpoint that is whole, and the channel set to go on from it; None if there is none.

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
            self._channel.resume(manifest.watermarks)
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
        channel = self._channel
        pairs = {
            "job": (manifest.job, channel.job),
            "party": (manifest.party, channel.me),
            "peer": (manifest.peer, channel.peer),
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
        """Remove all but the newest; the channel may forget what lies before the oldest that is left."""
        paths = sorted(self._folder.glob("*.json"))
        for path in paths[:-KEPT]:
            path.unlink()
            path.with_suffix(".safetensors").unlink(missing_ok=True)
        if len(paths) >= KEPT:
            oldest = msgspec.json.decode(paths[-KEPT].read_bytes(), type=Manifest)
            self._channel.retain(oldest.watermarks)


class _Damaged(Exception):
    """This checkpoint cannot be read; an older one may."""


class _Head(msgspec.Struct):
    format: str
    version: int


def _sealed(manifest: Manifest) -> Manifest:
    plain = msgspec.json.encode(msgspec.structs.replace(manifest, seal=""), order="sorted")
    return msgspec.structs.replace(manifest, seal=hashlib.sha256(plain).hexdigest())


def _write(path: Path, data: bytes) -> None:
    """The whole file or none, durable when this returns."""
    fresh = path.with_suffix(path.suffix + ".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(path)
    sync_folder(path.parent)
